//! The sink `s3`: objects in an S3 bucket, sealed before they are published.

use super::Context;
use crate::config::types::{Aws, S3Sink};
use crate::sink::Sink;

/// Opens the sink: fails with what is wrong and what to do if its destination cannot be reached.
pub async fn connect(context: Context, config: &S3Sink, aws: Option<&Aws>) -> Result<Box<dyn Sink>, String> {
    open(context, config, &crate::aws::sdk_config(aws, None).await?).await
}

/// Opens the sink with settings of the SDK that are loaded already.
pub async fn open(context: Context, config: &S3Sink, aws: &aws_config::SdkConfig) -> Result<Box<dyn Sink>, String> {
    let _ = (context, config, aws);
    Err("not built yet".into())
}

/// What `check --connect` says: what was reached, or what is wrong and what to do.
pub async fn probe(context: &Context, config: &S3Sink, aws: Option<&Aws>) -> Result<String, String> {
    let _ = (context, config, aws);
    Err("not built yet".into())
}
