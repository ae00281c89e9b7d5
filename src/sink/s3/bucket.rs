//! Calls to one bucket: each is tried until it succeeds, is answered with a word that its caller knows, or is stopped.
//!
//! At most [`CALLS`] are under way at a time; a call that waits for its next try takes no place.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, ServerSideEncryption};
use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::trouble::Trouble;
use crate::aws::{Place, explain};
use crate::backoff::Backoff;

/// Calls under way at a time, over all lanes: their parts of 8 MiB are within the sink's memory.
const CALLS: usize = 16;

/// One try of a call that is answered at once, or not at all: a half-open connection.
const TRY_TIMEOUT: Duration = Duration::from_secs(20);

/// One try of a call that carries a part, 8 MiB at 70 KB/s, or that puts many together.
const LONG_TRY_TIMEOUT: Duration = Duration::from_secs(120);

/// Metadata of an object that names its upload: what tells our own object from another's under the same key.
const UPLOAD_MARK: &str = "tunnelog-upload";

/// Why a call gave up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// Nobody wants it any more.
    Stopped,
    /// The service answered with a word that the caller knows what to do about.
    Word(String),
}

/// An upload that has begun: nothing of it is visible until it is completed.
#[derive(Clone, Debug)]
pub(super) struct Upload {
    pub(super) key: String,
    pub(super) id: String,
    /// What its object will carry, see [`UPLOAD_MARK`].
    pub(super) mark: String,
}

/// What a bucket holds under a key.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) etag: Option<String>,
    mark: Option<String>,
}

/// See the module.
pub(super) struct Bucket {
    client: Client,
    name: String,
    kms_key: Option<String>,
    place: Place,
    permits: Semaphore,
    pub(super) trouble: Arc<Trouble>,
    /// Tells this process's uploads from those of others.
    run: u64,
    uploads: AtomicU64,
}

/// The SDK's client, path-style where an endpoint is configured. Tries once: repeating is our business.
pub(super) fn client(aws: &SdkConfig, tries: RetryConfig) -> Client {
    let config = aws_sdk_s3::config::Builder::from(aws)
        .force_path_style(crate::aws::s3_endpoint(aws).is_some())
        .retry_config(tries)
        .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(TRY_TIMEOUT).build())
        .build();
    Client::from_conf(config)
}

/// For calls that may take long.
fn patient() -> aws_sdk_s3::config::Builder {
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(LONG_TRY_TIMEOUT).build();
    aws_sdk_s3::config::Builder::default().timeout_config(timeouts)
}

/// What messages call the bucket.
pub(super) fn place(aws: &SdkConfig, name: &str) -> Place {
    Place {
        what: "bucket",
        name: name.to_owned(),
        region: aws.region().map(ToString::to_string).unwrap_or_default(),
        endpoint: crate::aws::s3_endpoint(aws),
    }
}

impl Bucket {
    pub(super) fn new(aws: &SdkConfig, name: &str, kms_key: Option<&str>) -> Result<Bucket, String> {
        let mut run = [0; 8];
        getrandom::fill(&mut run).map_err(|error| format!("the system gives no random numbers: {error}"))?;
        Ok(Bucket {
            client: client(aws, RetryConfig::disabled()),
            name: name.to_owned(),
            kms_key: kms_key.map(str::to_owned),
            place: place(aws, name),
            permits: Semaphore::new(CALLS),
            trouble: Arc::default(),
            run: u64::from_le_bytes(run),
            uploads: AtomicU64::new(0),
        })
    }

    /// Tries `send` until it succeeds or is answered with one of `words`.
    async fn call<T, E, F>(
        &self,
        operation: &'static str,
        words: &[&str],
        stop: &CancellationToken,
        send: impl Fn() -> F,
    ) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + Error + 'static,
    {
        let mut watch = self.trouble.watch();
        let mut backoff = Backoff::new(self.run ^ self.uploads.load(Ordering::Relaxed));
        loop {
            let answer = {
                // The semaphore is never closed.
                let _permit = self.permits.acquire().await;
                if stop.is_cancelled() {
                    return Err(Refusal::Stopped);
                }
                send().await
            };
            let error = match answer {
                Ok(answer) => {
                    watch.answered();
                    return Ok(answer);
                }
                Err(error) => error,
            };
            if let Some(word) = word_of(&error)
                && words.contains(&word.as_str())
            {
                watch.answered();
                return Err(Refusal::Word(word));
            }
            let error = explain(&error, operation, &self.place);
            tracing::debug!(%error, "a call to S3 failed and is tried again");
            watch.failed(error.to_string());
            tokio::select! {
                () = tokio::time::sleep(backoff.next()) => {}
                () = stop.cancelled() => return Err(Refusal::Stopped),
            }
        }
    }

    /// Begins an upload.
    pub(super) async fn create(&self, key: &str, stop: &CancellationToken) -> Result<Upload, Refusal> {
        let number = self.uploads.fetch_add(1, Ordering::Relaxed);
        let mark = format!("{:016x}-{number}", self.run);
        let send = || {
            let call = self.client.create_multipart_upload().bucket(&self.name).key(key);
            let call = call.checksum_algorithm(ChecksumAlgorithm::Crc32).metadata(UPLOAD_MARK, &mark);
            let kms = self.kms_key.as_ref().map(|_| ServerSideEncryption::AwsKms);
            let kind = if key.ends_with(".ndjson") { "application/x-ndjson" } else { "application/octet-stream" };
            call.content_type(kind).set_server_side_encryption(kms).set_ssekms_key_id(self.kms_key.clone()).send()
        };
        let answer = self.call("s3:PutObject", &[], stop, send).await?;
        let id = answer.upload_id().unwrap_or_default().to_owned();
        Ok(Upload { key: key.to_owned(), id, mark })
    }

    /// Uploads a part. `NoSuchUpload`: somebody aborted the upload.
    pub(super) async fn part(
        &self,
        upload: &Upload,
        number: i32,
        bytes: Bytes,
        stop: &CancellationToken,
    ) -> Result<CompletedPart, Refusal> {
        let send = || {
            let call = self.client.upload_part().bucket(&self.name).key(&upload.key).upload_id(&upload.id);
            let call = call.part_number(number).checksum_algorithm(ChecksumAlgorithm::Crc32);
            call.body(ByteStream::from(bytes.clone())).customize().config_override(patient()).send()
        };
        let answer = self.call("s3:PutObject", &["NoSuchUpload"], stop, send).await?;
        let part = CompletedPart::builder().part_number(number).set_e_tag(answer.e_tag);
        Ok(part.set_checksum_crc32(answer.checksum_crc32).build())
    }

    /// Makes an upload's object visible. `NoSuchUpload` and the like: the upload is not what it was.
    pub(super) async fn complete(
        &self,
        upload: &Upload,
        parts: &[CompletedPart],
        stop: &CancellationToken,
    ) -> Result<(), Refusal> {
        let words = ["NoSuchUpload", "InvalidPart", "InvalidPartOrder", "EntityTooSmall"];
        let send = || {
            let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.to_vec())).build();
            let call = self.client.complete_multipart_upload().bucket(&self.name).key(&upload.key);
            let call = call.upload_id(&upload.id).multipart_upload(parts);
            call.customize().config_override(patient()).send()
        };
        let refusal = match self.call("s3:PutObject", &words, stop, send).await {
            Ok(_) => return Ok(()),
            Err(refusal) => refusal,
        };
        // The answer to an earlier try may have been lost: then the object is there, and it is of this upload.
        let found = if refusal == Refusal::Stopped { None } else { self.find(&upload.key, stop).await? };
        match found {
            Some(found) if found.mark.as_deref() == Some(upload.mark.as_str()) => Ok(()),
            _ => Err(refusal),
        }
    }

    /// Ends an upload without an object; one that is over already is fine.
    pub(super) async fn abort(&self, key: &str, id: &str, stop: &CancellationToken) -> Result<(), Refusal> {
        let send = || self.client.abort_multipart_upload().bucket(&self.name).key(key).upload_id(id).send();
        match self.call("s3:AbortMultipartUpload", &["NoSuchUpload"], stop, send).await {
            Err(Refusal::Stopped) => Err(Refusal::Stopped),
            _ => Ok(()),
        }
    }

    /// The same for an upload that nobody waits for: one try, and a word in the log.
    pub(super) async fn abandon(&self, key: &str, id: &str) {
        let call = self.client.abort_multipart_upload().bucket(&self.name).key(key).upload_id(id);
        let Err(error) = call.send().await else { return };
        if word_of(&error).as_deref() != Some("NoSuchUpload") {
            let error = explain(&error, "s3:AbortMultipartUpload", &self.place);
            tracing::warn!(key, %error, "an abandoned upload stays: nothing of it is visible, a lifecycle rule ends it");
        }
    }

    /// What stands under a key.
    pub(super) async fn find(&self, key: &str, stop: &CancellationToken) -> Result<Option<Found>, Refusal> {
        let send = || self.client.head_object().bucket(&self.name).key(key).send();
        match self.call("s3:GetObject", &["NotFound", "NoSuchKey"], stop, send).await {
            Ok(answer) => {
                let mark = answer.metadata().and_then(|metadata| metadata.get(UPLOAD_MARK)).cloned();
                Ok(Some(Found { etag: answer.e_tag, mark }))
            }
            Err(Refusal::Word(_)) => Ok(None),
            Err(Refusal::Stopped) => Err(Refusal::Stopped),
        }
    }

    /// Deletes an object as it stands now: one that takes its place meanwhile stays, where S3 can tell.
    pub(super) async fn delete(&self, key: &str, stop: &CancellationToken) -> Result<(), Refusal> {
        let Some(found) = self.find(key, stop).await? else { return Ok(()) };
        let gone = ["NoSuchKey", "NotFound", "PreconditionFailed"];
        let words = ["NoSuchKey", "NotFound", "PreconditionFailed", "NotImplemented"];
        let conditional = || {
            let call = self.client.delete_object().bucket(&self.name).key(key);
            call.set_if_match(found.etag.clone()).send()
        };
        match self.call("s3:DeleteObject", &words, stop, conditional).await {
            Err(Refusal::Word(word)) if gone.contains(&word.as_str()) => Ok(()),
            Err(Refusal::Word(_)) => {
                let plain = || self.client.delete_object().bucket(&self.name).key(key).send();
                self.call("s3:DeleteObject", &[], stop, plain).await.map(drop)
            }
            other => other.map(drop),
        }
    }
}

/// The service's word for an error; a HEAD has none but its status.
fn word_of<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Option<String> {
    let service = error.as_service_error()?;
    let status = error.raw_response().map(|response| response.status().as_u16());
    match (service.code(), status) {
        (Some(code), _) => Some(code.to_owned()),
        (None, Some(404)) => Some("NotFound".into()),
        (None, Some(412)) => Some("PreconditionFailed".into()),
        (None, Some(501)) => Some("NotImplemented".into()),
        _ => None,
    }
}
