//! One signed call, again until it is answered or clearly never will be.
//!
//! The parts are the SDK's: its HTTP client (TLS, proxy, connection pool), its signing, the credentials, retries
//! and time-outs of its settings. The SDK's own run of a call is left out, because it logs whole answers at trace
//! level, and EC2's have pre-shared keys in them.
//!
//! Invariants: an answer's bytes are in one [`Body`], which nothing prints and which is overwritten when it is
//! dropped; at most [`MAX_BODY_BYTES`]; at most [`MAX_ATTEMPTS`] tries, each within a time-out and within the
//! rate limit of its account and Region.

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_sdk_sts::config::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_http_client::{Connector, proxy::ProxyConfig, tls};
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorSettings, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;

use super::endpoint::{Endpoint, Service};
use super::error::Fault;
use super::limit::RateLimit;
use super::xml;
use crate::aws::Class;
use crate::backoff::Backoff;

/// The largest answer: a connection has 6 to 8 KiB of XML, most of it the customer gateway's configuration, so this
/// holds 4,000 of one account in one Region (AWS's quota is 50 unless raised).
const MAX_BODY_BYTES: usize = 32 << 20;
/// Tries of one call, whatever the SDK's settings say.
const MAX_ATTEMPTS: u32 = 10;
/// One try with its answer, where the SDK's settings say nothing.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// Connecting, where the SDK's settings say nothing.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends calls.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    connector: SharedHttpConnector,
    attempts: u32,
    attempt_timeout: Duration,
    sdk: SdkConfig,
}

/// One call.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) service: Service,
    pub(super) endpoint: &'a Endpoint,
    pub(super) credentials: &'a Credentials,
    pub(super) limit: &'a RateLimit,
    /// The operation as the protocol names it: `DescribeVpnConnections`.
    pub(super) operation: &'a str,
    pub(super) body: String,
}

/// An answer's bytes, which may hold pre-shared keys.
pub(super) struct Body(Vec<u8>);

impl Body {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.0.len())
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.0.fill(0);
        // Else the compiler may leave out a store that nothing reads.
        std::hint::black_box(&mut self.0);
    }
}

impl Caller {
    pub(super) fn new(sdk: &SdkConfig) -> Caller {
        let timeouts = sdk.timeout_config();
        let connect = timeouts.and_then(|timeouts| timeouts.connect_timeout()).unwrap_or(CONNECT_TIMEOUT);
        let mut settings = HttpConnectorSettings::builder().connect_timeout(connect);
        settings.set_read_timeout(timeouts.and_then(|timeouts| timeouts.read_timeout()));
        let mut connector = Connector::builder()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc))
            .connector_settings(settings.build())
            .proxy_config(ProxyConfig::from_env());
        connector.set_sleep_impl(sdk.sleep_impl());
        let attempt =
            timeouts.and_then(|timeouts| timeouts.operation_attempt_timeout().or(timeouts.operation_timeout()));
        Caller {
            connector: SharedHttpConnector::new(connector.build()),
            attempts: sdk.retry_config().map_or(3, |retry| retry.max_attempts()).clamp(1, MAX_ATTEMPTS),
            attempt_timeout: attempt.unwrap_or(ATTEMPT_TIMEOUT),
            sdk: sdk.clone(),
        }
    }

    /// Calls until `read` can make something of the answer. A half answer counts as none.
    pub(super) async fn call<T>(
        &self,
        call: &Call<'_>,
        mut read: impl FnMut(&[u8]) -> Result<T, String>,
    ) -> Result<T, Fault> {
        let mut backoff = Backoff::new(call.body.len() as u64);
        let mut attempt = 1;
        loop {
            call.limit.take().await;
            let answer = match tokio::time::timeout(self.attempt_timeout, self.send(call)).await {
                Ok(answer) => answer,
                Err(_) => {
                    let seconds = self.attempt_timeout.as_secs();
                    Err(Fault::new(Class::Unavailable, format!("no answer within {seconds} s")))
                }
            };
            let read = answer.and_then(|body| read(body.bytes()).map_err(|said| Fault::new(Class::Unavailable, said)));
            match read {
                Err(fault) if fault.is_passing() && attempt < self.attempts => {
                    attempt += 1;
                    tokio::time::sleep(backoff.next()).await;
                }
                done => return done,
            }
        }
    }

    async fn send(&self, call: &Call<'_>) -> Result<Body, Fault> {
        let request = self.request(call)?;
        let response = self.connector.call(request).await.map_err(|error| {
            Fault::new(Class::Unavailable, format!("{} cannot be reached: {}", call.endpoint.url, chain(&error)))
        })?;
        let status = response.status().as_u16();
        let body = collect(ByteStream::new(response.into_body())).await?;
        if (200..300).contains(&status) { Ok(body) } else { Err(refusal(call.service, status, &body)) }
    }

    fn request(&self, call: &Call<'_>) -> Result<HttpRequest, Fault> {
        let invalid = |error: &dyn fmt::Display| Fault::new(Class::Invalid, format!("no request can be made: {error}"));
        let url = call.endpoint.url.as_str();
        let target = format!("AWSOrganizationsV20161128.{}", call.operation);
        let headers: &[(&'static str, &str)] = match call.service {
            Service::Ec2 => &[("content-type", "application/x-www-form-urlencoded; charset=utf-8")],
            Service::Organizations => {
                &[("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target.as_str())]
            }
        };
        let identity = call.credentials.clone().into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&call.endpoint.region)
            .name(match call.service {
                Service::Ec2 => "ec2",
                Service::Organizations => "organizations",
            })
            .time(self.now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| invalid(&error))?
            .into();
        let body = SignableBody::Bytes(call.body.as_bytes());
        let signable =
            SignableRequest::new("POST", url, headers.iter().copied(), body).map_err(|error| invalid(&error))?;
        let (instructions, _) = sign(signable, &parameters).map_err(|error| invalid(&error))?.into_parts();
        let mut request = HttpRequest::new(SdkBody::from(call.body.as_str()));
        request.set_method("POST").map_err(|error| invalid(&error))?;
        request.set_uri(url).map_err(|error| invalid(&error))?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, (*value).to_owned());
        }
        for (name, value) in instructions.headers() {
            request.headers_mut().insert(name.to_owned(), value.to_owned());
        }
        request.headers_mut().insert("user-agent", concat!("tunnelog/", env!("CARGO_PKG_VERSION")));
        Ok(request)
    }

    pub(super) fn now(&self) -> SystemTime {
        self.sdk.time_source().unwrap_or_default().now()
    }
}

/// The bytes of an answer, or the fault of one that breaks off or never ends.
async fn collect(mut stream: ByteStream) -> Result<Body, Fault> {
    let mut body = Body(Vec::with_capacity(64 << 10));
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| Fault::new(Class::Unavailable, "the answer broke off"))?;
        if body.0.len() + chunk.len() > MAX_BODY_BYTES {
            let limit = MAX_BODY_BYTES >> 20;
            return Err(Fault::new(
                Class::Invalid,
                format!("the answer is larger than {limit} MiB; please report this"),
            ));
        }
        grow(&mut body, chunk.len());
        body.0.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Makes room, and leaves no copy behind in the room that was given up.
fn grow(body: &mut Body, more: usize) {
    let needed = body.0.len() + more;
    if needed > body.0.capacity() {
        let mut larger = Vec::with_capacity(needed.max(body.0.capacity() * 2));
        larger.extend_from_slice(&body.0);
        drop(std::mem::replace(body, Body(larger)));
    }
}

/// What an error answer says; its text is the service's own and has no data in it.
fn refusal(service: Service, status: u16, body: &Body) -> Fault {
    let said = match service {
        Service::Ec2 => xml::error(body.bytes()),
        Service::Organizations => json_error(body.bytes()),
    };
    match said {
        Some((code, message)) => Fault::of_answer(status, code, &message),
        None => Fault::of_answer(status, format!("HTTP {status}"), ""),
    }
}

fn json_error(body: &[u8]) -> Option<(String, String)> {
    #[derive(serde::Deserialize)]
    struct Refusal {
        #[serde(rename = "__type")]
        code: String,
        #[serde(default, alias = "Message")]
        message: String,
    }
    let refusal: Refusal = serde_json::from_slice(body).ok()?;
    let code = refusal.code.rsplit('#').next().unwrap_or_default().to_owned();
    Some((code, refusal.message))
}

/// An error with its causes, without repeating itself.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let said = next.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = next.source();
    }
    text
}
