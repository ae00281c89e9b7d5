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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]
    use aws_config::BehaviorVersion;
    use aws_sdk_sts::config::Credentials;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn config(region: Option<Region>) -> SdkConfig {
        let credentials = Credentials::new("AKIDEXAMPLE", "SECRET", None, None, "test");
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(region)
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_token_is_a_signed_question_for_the_clusters_region() {
        let tokens = Tokens::new(&config(Some(Region::from_static("ap-northeast-2")))).unwrap();
        // librdkafka asks from a thread that is not the runtime's.
        let made = std::thread::scope(|scope| scope.spawn(|| tokens.make_blocking()).join().unwrap()).unwrap();
        let url = String::from_utf8(URL_SAFE_NO_PAD.decode(&made.token).unwrap()).unwrap();
        assert!(url.starts_with("https://kafka.ap-northeast-2.amazonaws.com/?Action=kafka-cluster%3AConnect"), "{url}");
        assert!(url.contains("X-Amz-Signature=") && url.contains("AKIDEXAMPLE") && !url.contains("SECRET"), "{url}");
        assert!(made.lifetime_ms > 0);
    }

    #[tokio::test]
    async fn without_a_region_the_remedy_is_named() {
        let error = Tokens::new(&config(None)).err().unwrap();
        assert!(error.contains("set `aws.region`"), "{error}");
    }
}
