//! Tokens for Amazon MSK with IAM: made from the part's AWS credentials whenever librdkafka asks for a new one.

use std::time::Duration;

use aws_config::{Region, SdkConfig};
use aws_msk_iam_sasl_signer::generate_auth_token_from_credentials_provider;
use aws_sdk_sts::config::SharedCredentialsProvider;
use rdkafka::client::OAuthToken;
use tokio::runtime::Handle;

/// How long credentials may take: container and instance roles answer within seconds.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Makes tokens.
pub(super) struct Tokens {
    region: Region,
    credentials: SharedCredentialsProvider,
    /// librdkafka asks from a thread of its own.
    runtime: Handle,
}

impl Tokens {
    /// Must be called inside the runtime.
    pub(super) fn new(aws: &SdkConfig) -> Result<Tokens, String> {
        let region = aws.region().cloned();
        let region = region.ok_or("no Region: set `aws.region` here, or AWS_REGION in the environment")?;
        let credentials = aws.credentials_provider();
        let credentials = credentials.ok_or("no AWS credentials: set them in the environment or by a role")?;
        Ok(Tokens { region, credentials, runtime: Handle::current() })
    }

    /// A new token, valid for 15 minutes. The error holds no secret.
    pub(super) async fn make(&self) -> Result<OAuthToken, String> {
        let making = generate_auth_token_from_credentials_provider(self.region.clone(), self.credentials.clone());
        let made = tokio::time::timeout(TIMEOUT, making).await;
        let made = made.map_err(|_| "the credentials took longer than 30 s".to_owned());
        let made = made.and_then(|made| made.map_err(|error| error.to_string()));
        let (token, lifetime_ms) = made.map_err(|error| {
            format!(
                "no token for Amazon MSK: {error}; check the credentials: environment variables, profile, the \
                 container's or the instance's role, and `aws.assume_role` with its trust policy"
            )
        })?;
        Ok(OAuthToken { token, principal_name: "tunnelog".into(), lifetime_ms })
    }

    /// The same, for a thread that is not the runtime's.
    pub(super) fn make_blocking(&self) -> Result<OAuthToken, String> {
        self.runtime.block_on(self.make())
    }
}
