//! The calls to an event collector. One try a call: when to try again is the sink's business.

use std::error::Error as _;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, COOKIE, HeaderMap, SET_COOKIE};
use reqwest::{RequestBuilder, redirect};

use super::answer::{self, Class, Refusal};
use super::envelope::packed;
use super::settings::{Settings, Token};
use crate::config::types::SplunkCompression;
use crate::sink::trouble::Failed;

/// A connection that takes longer is none.
const CONNECT: Duration = Duration::from_secs(5);

/// 1 MB in this time is 0.3 Mbit/s; an answer that takes longer counts as lost.
const ANSWER: Duration = Duration::from_secs(30);

/// Of what is asked at the start, so that an address where nobody answers is named soon.
const ANSWER_AT_START: Duration = Duration::from_secs(10);

/// An answer that is longer is none of an event collector: acknowledgements of 64 ids are some 1 KiB.
const ANSWER_BYTES: usize = 64 * 1024;

/// Cookies of load balancers that are kept and sent back, in bytes.
const COOKIE_BYTES: usize = 4096;

/// Why a call failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Failure {
    pub(super) class: Class,
    pub(super) code: Option<u16>,
    /// Which event of the request is to blame, from 0.
    pub(super) event: Option<usize>,
    /// Whether it is certain that nothing was taken.
    pub(super) is_fate_known: bool,
    /// What a person is told.
    pub(super) text: String,
}

impl Failure {
    /// A request's events are to blame, not the destination.
    pub(super) fn blames_events(&self, has_one_index: bool) -> bool {
        match self.class {
            Class::Event | Class::TooLarge => true,
            // The index of some events only: their placeholders lead there.
            Class::Index => !has_one_index,
            Class::Unreachable
            | Class::Tls
            | Class::Busy
            | Class::Login
            | Class::Channel
            | Class::AckDisabled
            | Class::Unacknowledged
            | Class::Foreign => false,
        }
    }

    pub(super) fn needs_a_person(&self) -> bool {
        match self.class {
            Class::Tls | Class::Login | Class::AckDisabled | Class::Unacknowledged | Class::Index | Class::Foreign => {
                true
            }
            // A channel that is refused is followed by another one; one that is missing is asked for for ever.
            Class::Channel => self.code == Some(10),
            Class::Unreachable | Class::Busy | Class::Event | Class::TooLarge => false,
        }
    }

    /// As a try that took nothing. `passes`: its events are not to blame.
    pub(super) fn failed(self, passes: bool) -> Failed<(Class, Option<u16>)> {
        let needs_a_person = passes && self.needs_a_person();
        Failed { what: (self.class, self.code), text: self.text, passes, needs_a_person }
    }
}

/// Where a call goes, and as whom.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) endpoint: Arc<str>,
    /// None: the token has no acknowledgement.
    pub(super) channel: Option<Arc<str>>,
    /// What a load balancer wants to see again, so that acknowledgements are asked for where the events went.
    pub(super) cookies: Arc<str>,
}

/// Events that were taken.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) ack_id: Option<u64>,
    /// The cookies from now on, if there are new ones.
    pub(super) cookies: Option<Arc<str>>,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    token: Token,
    compression: SplunkCompression,
}

/// An answer as it came.
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Client {
    pub(super) fn new(settings: &Settings) -> Result<Client, String> {
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .redirect(redirect::Policy::none())
            .referer(false)
            .user_agent(concat!("tunnelog/", env!("CARGO_PKG_VERSION")));
        if let Some(authorities) = &settings.authorities {
            http = http.tls_certs_only(authorities.iter().cloned());
        }
        let http = http.build().map_err(|error| format!("the HTTP client cannot be made: {}", in_words(&error)))?;
        Ok(Client { http, token: settings.token.clone(), compression: settings.compression })
    }

    /// Sends events.
    pub(super) async fn events(&self, route: &Route, body: Vec<u8>) -> Result<Taken, Failure> {
        let mut request = self.post(route, "event", None).timeout(ANSWER);
        if self.compression == SplunkCompression::Gzip {
            request = request.header(CONTENT_ENCODING, "gzip");
        }
        let answer = self.ask(route, request.body(packed(body, self.compression))).await?;
        let ack_id = answer::taken(answer.status, &answer.body).map_err(|refusal| self.refused(route, &refusal))?;
        Ok(Taken { ack_id, cookies: cookies(&route.cookies, &answer.headers) })
    }

    /// Asks which of these are acknowledged.
    pub(super) async fn acknowledged(&self, route: &Route, ids: &[u64]) -> Result<Vec<u64>, Failure> {
        let body = serde_json::json!({ "acks": ids }).to_string();
        let request = self.post(route, "ack", route.channel.as_deref()).timeout(ANSWER).body(body);
        let answer = self.ask(route, request).await?;
        answer::acknowledged(answer.status, &answer.body).map_err(|refusal| self.refused(route, &refusal))
    }

    /// Whether the collector is well and takes the token as the pipeline file has it. Sends no event.
    pub(super) async fn knock(&self, route: &Route) -> Result<(), Failure> {
        let health = self.http.get(format!("{}/services/collector/health", route.endpoint)).timeout(ANSWER_AT_START);
        let answer = self.ask(route, health).await?;
        if answer.status != 200 {
            return Err(self.refused(route, &answer::refused(answer.status, &answer.body)));
        }
        let Some(channel) = route.channel.as_deref() else {
            let answer = self.ask(route, self.post(route, "event", None).timeout(ANSWER_AT_START).body("")).await?;
            let refusal = answer::refused(answer.status, &answer.body);
            // "No data" is what is said to nothing at all, once the token is good.
            let is_good = answer.status == 200 || refusal.code == Some(5);
            return if is_good { Ok(()) } else { Err(self.refused(route, &refusal)) };
        };
        let question = self.post(route, "ack", Some(channel)).timeout(ANSWER_AT_START).body(r#"{"acks":[0]}"#);
        let answer = self.ask(route, question).await?;
        let acknowledged = answer::acknowledged(answer.status, &answer.body);
        acknowledged.map(drop).map_err(|refusal| self.refused(route, &refusal))
    }

    fn post(&self, route: &Route, what: &str, channel: Option<&str>) -> RequestBuilder {
        let mut url = format!("{}/services/collector/{what}", route.endpoint);
        if let Some(channel) = channel {
            // Writing to a string cannot fail.
            let _ = write!(url, "?channel={channel}");
        }
        let mut request = self.http.post(url).header(CONTENT_TYPE, "application/json");
        request = request.header(AUTHORIZATION, self.token.header.clone());
        if let Some(channel) = &route.channel {
            request = request.header("X-Splunk-Request-Channel", &**channel);
        }
        if !route.cookies.is_empty() {
            request = request.header(COOKIE, &*route.cookies);
        }
        request
    }

    async fn ask(&self, route: &Route, request: RequestBuilder) -> Result<Answer, Failure> {
        let mut response = request.send().await.map_err(|error| self.broken(route, error))?;
        let (status, headers) = (response.status().as_u16(), std::mem::take(response.headers_mut()));
        let mut body = Vec::new();
        while body.len() < ANSWER_BYTES
            && let Some(chunk) = response.chunk().await.map_err(|error| self.broken(route, error))?
        {
            body.extend_from_slice(&chunk);
        }
        body.truncate(ANSWER_BYTES);
        Ok(Answer { status, headers, body })
    }

    fn refused(&self, route: &Route, refusal: &Refusal) -> Failure {
        Failure {
            class: refusal.class,
            code: refusal.code,
            event: refusal.event,
            is_fate_known: refusal.is_fate_known(),
            text: self.token.hidden_in(&format!("Splunk at {}: {}", route.endpoint, refusal.in_words())),
        }
    }

    fn broken(&self, route: &Route, error: reqwest::Error) -> Failure {
        let class = if is_of_tls(&error) { Class::Tls } else { Class::Unreachable };
        let is_fate_known = error.is_connect() || error.is_builder();
        let (advice, why) = (answer::advice(class), in_words(&error.without_url()));
        let text = self.token.hidden_in(&format!("Splunk at {}: {advice} ({why})", route.endpoint));
        Failure { class, code: None, event: None, is_fate_known, text }
    }
}

/// TLS refuses a connection as data that is not valid.
fn is_of_tls(error: &reqwest::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if cause.downcast_ref::<std::io::Error>().is_some_and(is_not_valid) {
            return true;
        }
        source = cause.source();
    }
    false
}

fn is_not_valid(error: &std::io::Error) -> bool {
    // What one of them wraps is not among its sources.
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<std::io::Error>());
    error.kind() == std::io::ErrorKind::InvalidData || inner.is_some_and(is_not_valid)
}

/// The whole chain: what the HTTP client says first is never the reason.
fn in_words(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            // Writing to a string cannot fail.
            let _ = write!(text, ": {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// The cookies to send from now on: those of this answer over those of earlier ones.
fn cookies(before: &str, headers: &HeaderMap) -> Option<Arc<str>> {
    let new = headers.get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok()?.split(';').next());
    let mut all: Vec<&str> = before.split("; ").filter(|pair| !pair.is_empty()).collect();
    let mut is_new = false;
    for pair in new.map(str::trim).filter(|pair| pair.contains('=')) {
        let name = pair.split('=').next();
        all.retain(|other| other.split('=').next() != name);
        all.push(pair);
        is_new = true;
    }
    let joined = all.join("; ");
    (is_new && joined.len() <= COOKIE_BYTES).then(|| joined.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may panic")]
    use super::*;

    #[test]
    fn a_load_balancers_cookies_are_sent_back() {
        let check = |before: &str, set: &[&str], expect: Option<&str>| {
            let mut headers = HeaderMap::new();
            for value in set {
                headers.append(SET_COOKIE, value.parse().unwrap());
            }
            assert_eq!(cookies(before, &headers).as_deref(), expect, "{before} {set:?}");
        };
        check("", &[], None);
        check("AWSALB=1", &[], None);
        check("", &["AWSALB=1; Expires=Sat; Path=/", "AWSALBCORS=2; Secure"], Some("AWSALB=1; AWSALBCORS=2"));
        check("AWSALB=1; x=y", &["AWSALB=3; Path=/"], Some("x=y; AWSALB=3"));
        check("", &["no cookie"], None);
        check("", &[&format!("long={}", "x".repeat(COOKIE_BYTES))], None);
    }
}
