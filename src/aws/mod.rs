//! How the parts reach AWS: Region, credentials, endpoint, and errors in words that say what to do.
//!
//! Nothing here knows a service's business. Credentials stay inside the SDK: they are never shown or logged.

mod error;

use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};

pub(crate) use self::error::class_of;
pub use self::error::{AwsError, Class, Place, explain};
use crate::config::types::Aws;

/// The session's name in CloudTrail where the pipeline file sets none.
const SESSION: &str = "tunnelog";

/// The SDK's settings for a part. `hint` is a Region that the part's own name tells (a stream's ARN).
///
/// Nothing is asked of AWS yet, except where credentials come from: the first call shows whether they are good.
pub async fn sdk_config(aws: Option<&Aws>, hint: Option<&str>) -> Result<SdkConfig, String> {
    let none = Aws::default();
    let aws = aws.unwrap_or(&none);
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    // A fixed word of letters is a valid name.
    if let Ok(name) = AppName::new(SESSION) {
        loader = loader.app_name(name);
    }
    if let Some(region) = aws.region.as_deref().or(hint) {
        loader = loader.region(Region::new(region.to_owned()));
    }
    if let Some(endpoint) = &aws.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    let config = loader.load().await;
    if config.region().is_none() {
        return Err("no Region: set `aws.region` here, or AWS_REGION in the environment".into());
    }
    let Some(role) = &aws.assume_role else { return Ok(config) };
    let mut provider = aws_config::sts::AssumeRoleProvider::builder(role)
        .configure(&config)
        .session_name(aws.session_name.as_deref().unwrap_or(SESSION));
    if let Some(id) = &aws.external_id {
        provider = provider.external_id(id);
    }
    let provider = aws_sdk_sts::config::SharedCredentialsProvider::new(provider.build().await);
    Ok(config.into_builder().credentials_provider(provider).build())
}
