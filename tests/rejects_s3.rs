//! Rejects in S3, against a store that checks signatures.
#![cfg(feature = "aws")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

#[path = "stack/mod.rs"]
mod stack;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tunnelog::config::types::{Identity, S3Sink};
use tunnelog::decode::recognize::{Item, Recognizer};
use tunnelog::encode::DeadLetter;
use tunnelog::event::EventId;
use tunnelog::sink::rejects::{Rejects as _, S3Rejects};
use tunnelog::telemetry::health::{Health, STARTING};

/// Far more than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn rejects(bucket: &str) -> S3Rejects {
    let s3 = stack::s3();
    let config = json!({"bucket": bucket, "prefix": "dead/dt={yyyy}-{mm}-{dd}/"});
    let config: S3Sink = serde_json::from_value(config).unwrap();
    S3Rejects::open(&config, &stack::aws(&s3.endpoint, &s3.access_key, &s3.secret_key))
}

fn letter(number: u128, sink: &str) -> DeadLetter {
    let data = format!("{{\"n\":{number}}}\n");
    let id = DeadLetter::id_of_item(sink, EventId(number), data.as_bytes());
    let letter = json!({"schema": "tunnelog.dead-letter/1", "id": id, "reason": "too_large", "detail": "HIDDEN",
        "sink": sink, "event_id": EventId(number), "size": data.len(), "data": ""});
    DeadLetter { data: data.into_bytes().into(), ..serde_json::from_value(letter).unwrap() }
}

/// Keys and contents of all objects.
async fn objects(bucket: &str) -> Vec<(String, Vec<u8>)> {
    let client = stack::s3().client();
    let listed = client.list_objects_v2().bucket(bucket).send().await.unwrap();
    let mut objects = Vec::new();
    for object in listed.contents() {
        let key = object.key().unwrap();
        let got = client.get_object().bucket(bucket).key(key).send().await.unwrap();
        objects.push((key.to_owned(), got.body.collect().await.unwrap().to_vec()));
    }
    objects
}

/// What a replay takes them for.
fn read_back(bytes: &[u8]) -> Vec<DeadLetter> {
    let mut recognizer = Recognizer::new(bytes, Identity::default());
    let mut letters = Vec::new();
    while let Some(item) = recognizer.next().unwrap() {
        let Item::Record(found) = item else { panic!("{item:?}") };
        letters.push(DeadLetter::clone(&found.rejected.unwrap()));
    }
    letters
}

#[tokio::test]
async fn letters_are_objects_by_sink_and_writing_them_again_changes_nothing() {
    let bucket = stack::s3().bucket();
    let letters = [letter(1, "siem"), letter(2, "lake"), letter(3, "siem")];
    rejects(&bucket).keep(&letters).await;
    let first = objects(&bucket).await;
    let folders: Vec<&str> = first.iter().map(|(key, _)| key.rsplit_once('/').unwrap().0).collect();
    assert_eq!(folders, ["dead/rejected/lake", "dead/rejected/siem"]);
    assert!(first.iter().all(|(key, _)| key.ends_with(".ndjson")));
    assert_eq!(read_back(&first[0].1), [letters[1].clone()]);
    assert_eq!(read_back(&first[1].1), [letters[0].clone(), letters[2].clone()]);

    // After a crash the same items are refused again.
    rejects(&bucket).keep(&letters).await;
    assert_eq!(objects(&bucket).await, first);
    rejects(&bucket).keep(&letters[..1]).await;
    assert_eq!(objects(&bucket).await.len(), 3, "another choice of letters is another object");
    rejects(&bucket).keep(&[]).await;
    assert_eq!(objects(&bucket).await.len(), 3);
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[tokio::test]
async fn it_tries_until_the_bucket_is_there_and_says_what_is_wrong() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let s3 = stack::s3();
    let bucket = stack::unique("later");
    let health = Health::new();
    health.set(STARTING, None);
    let (rejects, letters) = (rejects(&bucket).shown_by(health.clone()), [letter(1, "siem")]);
    let mending = async {
        while !log.text().contains("cannot be kept") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let shown = health.readiness().1;
        assert!(shown.contains("refused events: sink siem waits") && shown.contains("NoSuchBucket"), "{shown}");
        s3.client().create_bucket().bucket(&bucket).send().await.unwrap();
    };
    let both = async { tokio::join!(rejects.keep(&letters), mending) };
    tokio::time::timeout(PATIENCE, both).await.expect("it goes on by itself");
    assert_eq!(read_back(&objects(&bucket).await[0].1), letters);
    assert!(health.readiness().0, "{}", health.readiness().1);
    let log = log.text();
    for part in ["s3:PutObject on bucket", &bucket, "NoSuchBucket", "create it, or correct the name", "dead/rejected/"]
    {
        assert!(log.contains(part), "`{part}` is missing in {log}");
    }
    assert!(!log.contains("HIDDEN") && !log.contains(&s3.secret_key), "{log}");
}

#[tokio::test]
async fn a_call_that_is_given_up_and_made_again_keeps_all() {
    let bucket = stack::s3().bucket();
    let rejects = rejects(&bucket);
    let letters: Vec<DeadLetter> = (0..20).map(|number| letter(number, "siem")).collect();
    // Dropped in the middle, as a sink does when its lane is rewound or the run ends.
    let _ = tokio::time::timeout(Duration::from_millis(1), rejects.keep(&letters)).await;
    rejects.keep(&letters).await;
    let objects = objects(&bucket).await;
    assert_eq!(objects.len(), 1);
    assert_eq!(read_back(&objects[0].1), letters);
}
