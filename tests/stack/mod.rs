//! The test stack: the real parts that tunnelog works with, started on free ports of this machine, and gone when the
//! test process is gone, also after `kill -9`. `make stack` installs them into `.tools/stack/`.
//!
//! ```ignore
//! #[path = "stack/mod.rs"]
//! mod stack;
//!
//! let kinesis = stack::kinesis();                                    // one for all tests of this process
//! let config = stack::aws(&kinesis.endpoint, "any", "key");
//! let mut broker = stack::KafkaBroker::start();                      // one for this test, gone when dropped
//! broker.stop();
//! broker.start_again();                                              // same ports, same data
//! ```
//!
//! | part | what it is | what it does not do |
//! |---|---|---|
//! | [`kafka`] | Apache Kafka, a single node | make a topic by itself: [`Kafka::topic`] does |
//! | [`kinesis`] | kinesis-local: shards end and have children as in AWS | check credentials, throttle reads |
//! | [`s3`] | SeaweedFS: checks signatures, multipart, `If-None-Match` | make a bucket by itself: [`S3::bucket`] does |
//! | [`moto`] | Firehose → S3, CloudWatch Logs → Kinesis, STS, EC2, … | check signatures, end a closed shard |
//! | `lake/bin/python` | DuckDB, pyarrow and sqlglot, run by `tests/lake.rs` | Athena's own engine |
//!
//! The part `schemas` runs nothing: it is what OCSF and Elastic publish, for `tests/formats.rs`.
//!
//! Each is started on first use and shared by the tests of one test binary; names (streams, topics, buckets) must
//! therefore be a test's own: [`unique`] makes one. `TYPE::start()` starts one for the caller alone.
//!
//! Somebody's own endpoints are used in place of starting one: `TUNNELOG_TEST_KAFKA` (bootstrap brokers, plain text;
//! tests of TLS and SASL start their own, see [`secure_kafka`]), `TUNNELOG_TEST_KINESIS`, `TUNNELOG_TEST_MOTO`, `TUNNELOG_TEST_S3` with
//! `TUNNELOG_TEST_S3_ACCESS_KEY` and `TUNNELOG_TEST_S3_SECRET_KEY`. They are addresses to write to: never a real
//! deployment's.
//!
//! All of it is plain blocking calls, for tests with and without a runtime. Never changes this process's environment.

#![allow(dead_code, unused_imports, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

#[cfg(feature = "kafka")]
mod kafka;
mod kinesis;
mod moto;
mod process;
mod s3;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sts::config::{Credentials, SharedCredentialsProvider};

#[cfg(feature = "kafka")]
pub(crate) use self::kafka::{Kafka, KafkaBroker, kafka, secure_kafka};
pub(crate) use self::kinesis::{KinesisLocal, active, kinesis};
pub(crate) use self::moto::{Moto, moto};
pub(crate) use self::process::{Part, file, folder, free_port, installed, start};
pub(crate) use self::s3::{READER, S3, s3};

/// The Region that all parts are in.
pub(crate) const REGION: &str = "us-east-1";

/// How a client of the AWS SDK reaches a part: explicit credentials, nothing from the environment.
pub(crate) fn aws(endpoint: &str, access_key: &str, secret_key: &str) -> SdkConfig {
    let credentials = Credentials::new(access_key, secret_key, None, None, "test stack");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static(REGION))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

/// A name that no other test has: small letters, digits and hyphens, as buckets, streams and topics allow them.
pub(crate) fn unique(prefix: &str) -> String {
    format!("{prefix}-{:016x}", RandomState::new().build_hasher().finish())
}

/// Runs a future to its end from anywhere, also from inside another runtime.
pub(crate) fn block_on<T: Send>(future: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        scope.spawn(move || runtime().block_on(future)).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
