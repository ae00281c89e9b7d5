//! Rejects in S3: a small object for each call, named by the hash of its content, so that writing it again does
//! no harm.
//!
//! Letters of one sink share an object up to [`OBJECT_BYTES`]. They are not compressed: there should be few. The
//! keys begin with what the dead letters' own prefix has before its first placeholder.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ServerSideEncryption;
use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_128;

use super::{Patience, Rejects, seed_of, sink_of};
use crate::aws::{Place, explain, sdk_config};
use crate::config::types::{Aws, S3Sink};
use crate::encode::DeadLetter;
use crate::telemetry::health::Health;

/// An object is closed when it has this much; a single letter may be larger. The limit of one PutObject is 5 GiB.
const OBJECT_BYTES: usize = 8 * 1024 * 1024;

/// One try of one call: an object and the largest letter (some 14 MiB in base64) at 2 Mbit/s.
const TRY: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub struct S3Rejects {
    client: Client,
    bucket: String,
    folder: String,
    kms_key: Option<String>,
    at: Place,
    patience: Patience,
}

impl S3Rejects {
    /// Rejects beside the dead letters of `config`. Nothing is asked of S3 yet.
    pub async fn connect(config: &S3Sink, aws: Option<&Aws>) -> Result<S3Rejects, String> {
        Ok(Self::open(config, &sdk_config(aws, None).await?))
    }

    /// With settings of the SDK that are loaded already.
    pub fn open(config: &S3Sink, aws: &SdkConfig) -> S3Rejects {
        let endpoint = crate::aws::s3_endpoint(aws);
        let settings = aws_sdk_s3::config::Builder::from(aws)
            // Emulators and VPC endpoints have no name for each bucket.
            .force_path_style(endpoint.is_some())
            .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(TRY).build())
            .build();
        let folder = config.rejected_folder();
        let region = aws.region().map(ToString::to_string).unwrap_or_default();
        S3Rejects {
            client: Client::from_conf(settings),
            patience: Patience::new(format!("s3://{}/{folder}", config.bucket)),
            bucket: config.bucket.clone(),
            folder,
            kms_key: config.kms_key.clone(),
            at: Place { what: "bucket", name: config.bucket.clone(), region, endpoint },
        }
    }

    /// Shows on `/readyz` what cannot be kept.
    #[must_use]
    pub fn shown_by(mut self, health: Health) -> S3Rejects {
        self.patience.health = Some(health);
        self
    }

    async fn put(&self, key: &str, body: Bytes) -> Result<(), String> {
        let put = self.client.put_object().bucket(&self.bucket).key(key).content_type("application/x-ndjson");
        let put = match &self.kms_key {
            Some(kms) => put.server_side_encryption(ServerSideEncryption::AwsKms).ssekms_key_id(kms),
            None => put,
        };
        let answer = put.body(ByteStream::from(body)).send().await;
        answer.map(drop).map_err(|error| explain(&error, "s3:PutObject", &self.at).to_string())
    }
}

/// The objects of these letters: what their keys have below the folder, and their content.
fn objects(letters: &[DeadLetter]) -> Vec<(String, Bytes)> {
    let mut by_sink: BTreeMap<&str, Vec<&DeadLetter>> = BTreeMap::new();
    for letter in letters {
        by_sink.entry(letter.sink.as_deref().unwrap_or("none")).or_default().push(letter);
    }
    let mut objects = Vec::new();
    for (sink, letters) in by_sink {
        let mut body = Vec::new();
        for (index, letter) in letters.iter().enumerate() {
            letter.encode(&mut body);
            if body.len() >= OBJECT_BYTES || index + 1 == letters.len() {
                let body = std::mem::take(&mut body);
                objects.push((format!("{sink}/{:032x}.ndjson", xxh3_128(&body)), Bytes::from(body)));
            }
        }
    }
    objects
}

#[async_trait]
impl Rejects for S3Rejects {
    async fn keep(&self, letters: &[DeadLetter]) {
        for (name, body) in objects(letters) {
            let key = format!("{}{name}", self.folder);
            self.patience.persist(sink_of(letters), seed_of(letters), || self.put(&key, body.clone())).await;
        }
        self.patience.kept(letters);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]
    use super::*;

    #[test]
    fn keys_begin_with_what_stands_before_the_first_placeholder() {
        let check = |prefix: &str, expected: &str| {
            let config = serde_json::json!({"bucket": "lake", "prefix": prefix});
            let config: S3Sink = serde_json::from_value(config).unwrap();
            assert_eq!(config.rejected_folder(), expected, "{prefix}");
        };
        check("", "rejected/");
        check("vpn-dead/", "vpn-dead/rejected/");
        check("vpn-dead/dt={yyyy}-{mm}/", "vpn-dead/rejected/");
        check("a/b/{account}", "a/b/rejected/");
        check("vpn-dead", "rejected/");
        check("{region}/x/", "rejected/");
    }

    fn letter(sink: &str, data: &[u8]) -> DeadLetter {
        let id = DeadLetter::id_of_item(sink, crate::event::EventId(1), data);
        let text = serde_json::json!({"schema": "x", "id": id, "reason": "r", "sink": sink, "size": 0, "data": ""});
        DeadLetter { data: Bytes::copy_from_slice(data), ..serde_json::from_value(text).unwrap() }
    }

    #[test]
    fn each_sink_has_objects_of_its_own_and_equal_letters_equal_names() {
        let letters = [letter("siem", b"1"), letter("lake", b"2"), letter("siem", b"3")];
        let names = |letters: &[DeadLetter]| objects(letters).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        let first = objects(&letters);
        assert_eq!(first.len(), 2);
        assert!(first[0].0.starts_with("lake/") && first[1].0.starts_with("siem/"), "{first:?}");
        assert_eq!(first[1].1.iter().filter(|byte| **byte == b'\n').count(), 2);
        assert_eq!(names(&letters), names(&letters));
        assert_ne!(names(&letters)[1], names(&letters[..2])[1], "other content has another name");
        let large = vec![letter("siem", &vec![7; OBJECT_BYTES]); 3];
        assert_eq!(objects(&large).len(), 3, "an object is closed when it is large");
        assert!(objects(&[]).is_empty());
    }
}
