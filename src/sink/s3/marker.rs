//! The marker: an object beside the data that names the checkpoint store that the data belongs to.
//!
//! Object names and the checkpoint only make sense together: another store would publish what is there already a
//! second time, under the same prefix. So a sink that finds the marker of another store refuses to start.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use serde::{Deserialize, Serialize};

use super::names;
use crate::aws::{Class, Place, explain};
use crate::event::Millis;
use crate::sink::{ConnectError, Context};

/// The longest marker that is read: ours have some hundred bytes.
const MARKER_BYTES: i64 = 64 * 1024;

#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    schema: String,
    store: String,
    pipeline: String,
    sink: String,
    created: Millis,
}

/// Whose the prefix is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Owner {
    /// This checkpoint store's.
    Ours,
    /// Nobody's yet.
    Nobody,
    /// Some checkpoint store's; which one is ours is not known now ([`Context::store`] is empty).
    Somebody,
}

/// Looks for markers in one bucket.
pub(super) struct Markers<'a> {
    pub(super) client: &'a Client,
    pub(super) bucket: &'a str,
    pub(super) place: &'a Place,
    pub(super) context: &'a Context,
}

/// A marker's key. Names that begin with `_` are ignored by Athena, Hive and Spark.
pub(super) fn key(fixed: &str, context: &Context) -> String {
    let (pipeline, sink) = (names::safe(Some(&context.pipeline)), names::safe(Some(&context.name)));
    format!("{fixed}_tunnelog/{pipeline}.{sink}.json")
}

impl Markers<'_> {
    /// Takes the prefix for this checkpoint store, or says whose it is.
    pub(super) async fn claim(&self, key: &str) -> Result<(), ConnectError> {
        if self.owner(key).await? == Owner::Ours {
            return Ok(());
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "says to a person when the prefix was taken; nothing depends on it"
        )]
        let now = jiff::Timestamp::now();
        let marker = Marker {
            schema: "tunnelog.marker/1".into(),
            store: self.context.store.to_string(),
            pipeline: self.context.pipeline.to_string(),
            sink: self.context.name.to_string(),
            created: Millis(now.as_millisecond()),
        };
        let body = serde_json::to_vec(&marker).map_err(|error| error.to_string())?;
        let call = self.client.put_object().bucket(self.bucket).key(key).if_none_match("*");
        let answer = call.content_type("application/json").body(ByteStream::from(body)).send().await;
        match answer {
            Ok(_) => Ok(()),
            // Somebody was quicker, or our own first try had succeeded.
            Err(error) if matches!(error.code(), Some("PreconditionFailed" | "ConditionalRequestConflict")) => {
                match self.owner(key).await? {
                    Owner::Ours => Ok(()),
                    Owner::Nobody | Owner::Somebody => {
                        let text = format!("the marker s3://{}/{key} came and went: start again", self.bucket);
                        Err(ConnectError::Passing(text))
                    }
                }
            }
            Err(error) => Err(self.explained(&error, "s3:PutObject")),
        }
    }

    /// Whose the prefix is; another store's is an error that says what to do.
    pub(super) async fn owner(&self, key: &str) -> Result<Owner, ConnectError> {
        let answer = match self.client.get_object().bucket(self.bucket).key(key).send().await {
            Ok(answer) => answer,
            Err(error) if error.code() == Some("NoSuchKey") => return Ok(Owner::Nobody),
            Err(error) => return Err(self.explained(&error, "s3:GetObject")),
        };
        let place = format!("s3://{}/{key}", self.bucket);
        if answer.content_length().is_some_and(|length| length > MARKER_BYTES) {
            return Err(ConnectError::Standing(format!("{place} is no marker of tunnelog: choose another `prefix`")));
        }
        let read = answer.body.collect().await;
        let broken = |error| ConnectError::Passing(format!("reading {place} failed: {error}; start again"));
        let bytes = read.map_err(broken)?.into_bytes();
        let marker: Marker = serde_json::from_slice(&bytes)
            .map_err(|error| format!("{place} is no marker of tunnelog ({error}): choose another `prefix`"))?;
        if self.context.store.is_empty() {
            return Ok(Owner::Somebody);
        }
        if marker.store == *self.context.store {
            return Ok(Owner::Ours);
        }
        let id = |store: &str| store.split('.').next().unwrap_or_default().to_owned();
        if id(&marker.store) == id(&self.context.store) {
            return Err(ConnectError::Standing(format!(
                "the prefix of {place} was written before this sink's checkpoint was reset (pipeline `{}`, sink `{}`, \
                 since {}): what comes again would be there twice, since the same records may be cut into other \
                 objects; choose a new `prefix`, or empty this one and delete {place}",
                marker.pipeline, marker.sink, marker.created
            )));
        }
        Err(ConnectError::Standing(format!(
            "the prefix of {place} was written with another checkpoint store (pipeline `{}`, sink `{}`, since {}): its \
             objects do not match this checkpoint, and their events would be there twice; choose a new `prefix`, or \
             bring back the checkpoint, or delete {place} to accept that",
            marker.pipeline, marker.sink, marker.created
        )))
    }

    fn explained<E>(&self, error: &SdkError<E, HttpResponse>, operation: &str) -> ConnectError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let text = explain(error, operation, self.place);
        let region = error.raw_response().and_then(|answer| answer.headers().get("x-amz-bucket-region"));
        let class = text.class;
        let text = match region.filter(|region| *region != self.place.region) {
            Some(region) => format!("{text}; the bucket is in {region}: set `aws.region` to it"),
            // Without leave to list, S3 says "denied" of what is not there.
            None if text.class == Class::Denied && operation == "s3:GetObject" => {
                format!("{text}, and `s3:ListBucket` on the bucket")
            }
            None => text.to_string(),
        };
        ConnectError::of(class, text)
    }
}
