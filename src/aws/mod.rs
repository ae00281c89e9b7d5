//! How the parts reach AWS: Region, credentials, endpoint, and errors in words that say what to do.
//!
//! Nothing here knows a service's business. Credentials stay inside the SDK: they are never shown or logged.

mod error;

use aws_config::{AppName, BehaviorVersion, ConfigLoader, Region, SdkConfig};

pub use self::error::{AwsError, Class, Place, explain};
pub(crate) use self::error::{causes, class_of};
use crate::config::types::Aws;

/// The session's name in CloudTrail where the pipeline file sets none.
const SESSION: &str = "tunnelog";

/// The SDK's settings for a part. `hint` is a Region that the part's own name tells (a stream's ARN).
///
/// Nothing is asked of AWS yet, except where credentials come from: the first call shows whether they are good.
pub async fn sdk_config(aws: Option<&Aws>, hint: Option<&str>) -> Result<SdkConfig, String> {
    let none = Aws::default();
    let aws = aws.unwrap_or(&none);
    let region = aws.region.as_deref().or(hint);
    let with_endpoint = |loader: ConfigLoader| match &aws.endpoint {
        Some(endpoint) => loader.endpoint_url(endpoint),
        None => loader,
    };
    let Some(role) = &aws.assume_role else { return in_a_region(with_endpoint(loader(region)).load().await) };
    // The endpoint is the part's own service's: STS is asked at its own address.
    let before = in_a_region(loader(region).load().await)?;
    let mut provider = aws_config::sts::AssumeRoleProvider::builder(role)
        .configure(&before)
        .session_name(aws.session_name.as_deref().unwrap_or(SESSION));
    if let Some(id) = &aws.external_id {
        provider = provider.external_id(id);
    }
    let provider = provider.build().await;
    in_a_region(with_endpoint(loader(region).credentials_provider(provider)).load().await)
}

fn loader(region: Option<&str>) -> ConfigLoader {
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    // A fixed word of letters is a valid name.
    if let Ok(name) = AppName::new(SESSION) {
        loader = loader.app_name(name);
    }
    match region {
        Some(region) => loader.region(Region::new(region.to_owned())),
        None => loader,
    }
}

fn in_a_region(config: SdkConfig) -> Result<SdkConfig, String> {
    match config.region() {
        Some(_) => Ok(config),
        None => Err("no Region: set `aws.region` here, or AWS_REGION in the environment".into()),
    }
}

/// Who the credentials of a part are, as an ARN: nobody needs a permission to ask that.
pub async fn identity(aws: Option<&Aws>, hint: Option<&str>) -> Result<String, String> {
    let own = Aws { endpoint: None, ..aws.cloned().unwrap_or_default() };
    let config = sdk_config(Some(&own), hint).await?;
    let region = config.region().map(ToString::to_string).unwrap_or_default();
    let answer = aws_sdk_sts::Client::new(&config).get_caller_identity().send().await;
    let place = Place { what: "service", name: "STS".into(), region, endpoint: None };
    let answer = answer.map_err(|error| explain(&error, "sts:GetCallerIdentity", &place).to_string())?;
    Ok(answer.arn().unwrap_or_default().to_owned())
}

/// Where S3 is reached if not at its own address: `aws.endpoint`, or what the environment says for S3 or for all.
/// Buckets have no names of their own there, so they are addressed by path.
pub fn s3_endpoint(config: &SdkConfig) -> Option<String> {
    config.endpoint_url().map(str::to_owned).or_else(|| {
        let ignored = std::env::var("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").is_ok_and(|word| word == "true");
        std::env::var("AWS_ENDPOINT_URL_S3").ok().filter(|endpoint| !endpoint.is_empty() && !ignored)
    })
}
