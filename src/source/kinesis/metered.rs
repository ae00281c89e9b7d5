//! The way to Kinesis, with memory counted: the body of an answer is read when there is memory for it.
//!
//! How long an answer is its head says; what is read ahead of the body is the connection's (some hundred KiB, which a
//! call starts with). So the memory for an answer is taken before the answer is there, and no more than it needs.

use std::sync::Arc;

use aws_config::SdkConfig;
use aws_smithy_http_client::{Connector, proxy::ProxyConfig, tls};
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
    http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

use super::api::{CONNECT, READ};
use crate::memory::Call;

/// The client that these settings have, else one like the SDK's own default: that one cannot be had to wrap it.
pub(super) fn client(sdk: &SdkConfig) -> SharedHttpClient {
    if let Some(client) = sdk.http_client() {
        return client;
    }
    let settings = HttpConnectorSettings::builder().connect_timeout(CONNECT).read_timeout(READ).build();
    let mut connector = Connector::builder()
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc))
        .connector_settings(settings)
        .proxy_config(ProxyConfig::from_env());
    connector.set_sleep_impl(sdk.sleep_impl());
    let connector = SharedHttpConnector::new(connector.build());
    http_client_fn(move |_, _| connector.clone())
}

/// A client for one call.
#[derive(Debug)]
pub(super) struct Metered {
    pub(super) client: SharedHttpClient,
    pub(super) call: Arc<Call>,
}

#[derive(Debug)]
struct MeteredConnector {
    connector: SharedHttpConnector,
    call: Arc<Call>,
}

impl HttpClient for Metered {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let connector = self.client.http_connector(settings, components);
        SharedHttpConnector::new(MeteredConnector { connector, call: Arc::clone(&self.call) })
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.client.connector_metadata()
    }
}

impl HttpConnector for MeteredConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (answer, call) = (self.connector.call(request), Arc::clone(&self.call));
        HttpConnectorFuture::new(async move {
            let answer = answer.await?;
            call.grow(length(&answer)).await;
            Ok(answer)
        })
    }
}

fn length(answer: &HttpResponse) -> Option<u64> {
    let said = answer.headers().get("content-length").and_then(|length| length.parse().ok());
    said.or_else(|| answer.body().content_length())
}
