//! SeaweedFS: an S3 that checks signatures and knows multipart uploads, conditional puts and checksums.

use std::sync::OnceLock;

use super::process::{Part, folder, free_port, given, installed, start};
use super::{aws, block_on, unique};

/// A SeaweedFS of its own account.
pub(crate) struct S3 {
    pub(crate) endpoint: String,
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    part: Option<Part>,
}

/// Credentials that may read and list, and nothing else (not with `TUNNELOG_TEST_S3`).
pub(crate) const READER: (&str, &str) = ("reader", "reader-secret");

/// The one of this test process, or `TUNNELOG_TEST_S3`.
pub(crate) fn s3() -> &'static S3 {
    static STORE: OnceLock<S3> = OnceLock::new();
    STORE.get_or_init(|| {
        let Some(endpoint) = given("TUNNELOG_TEST_S3") else { return S3::start() };
        let key = |name: &str| given(name).unwrap_or_else(|| panic!("TUNNELOG_TEST_S3 is set, {name} is not"));
        let (access_key, secret_key) = (key("TUNNELOG_TEST_S3_ACCESS_KEY"), key("TUNNELOG_TEST_S3_SECRET_KEY"));
        S3 { endpoint, access_key, secret_key, part: None }
    })
}

impl S3 {
    /// One for the caller alone, until it is dropped.
    pub(crate) fn start() -> S3 {
        start(|| {
            let (folder, port) = (folder("s3"), free_port());
            let (access_key, secret_key) = (unique("writer"), unique("secret"));
            let identity = |name: &str, access: &str, secret: &str, actions: &[&str]| {
                let credentials = serde_json::json!([{"accessKey": access, "secretKey": secret}]);
                serde_json::json!({"name": name, "credentials": credentials, "actions": actions})
            };
            let identities = serde_json::json!({"identities": [
                identity("writer", &access_key, &secret_key, &["Admin", "Read", "Write", "List", "Tagging"]),
                identity("reader", READER.0, READER.1, &["Read", "List"]),
            ]});
            std::fs::write(folder.join("s3.json"), identities.to_string()).unwrap();
            let command = command(&folder, port);
            let mut part = Part::start("seaweedfs", &folder, command);
            let endpoint = format!("http://127.0.0.1:{port}");
            let store = S3 { endpoint, access_key, secret_key, part: None };
            part.wait(|| store.answers())?;
            Ok(S3 { part: Some(part), ..store })
        })
    }

    /// A client that may do everything.
    pub(crate) fn client(&self) -> aws_sdk_s3::Client {
        aws_sdk_s3::Client::new(&aws(&self.endpoint, &self.access_key, &self.secret_key))
    }

    /// A new empty bucket; its name.
    pub(crate) fn bucket(&self) -> String {
        let (client, name) = (self.client(), unique("bucket"));
        block_on(client.create_bucket().bucket(&name).send()).unwrap();
        name
    }

    /// Writes an object with a body: the gateway answers before there is a volume to write to, also where there will
    /// never be one, and an empty object needs none.
    fn answers(&self) -> Result<(), String> {
        let client = self.client();
        let write = async {
            // Made again where the last question got no further: that is no error.
            let made = client.create_bucket().bucket("is-it-up").send().await;
            let written = client.put_object().bucket("is-it-up").key("yes").body(b"yes".to_vec().into()).send().await;
            written.map(drop).map_err(|error| format!("{error:?} {made:?}"))
        };
        block_on(write)
    }
}

/// All its ports and sockets are free ones and in the folder; what is on by default and not wanted is off.
///
/// Not `weed mini`: that writes nothing where less than 1 % of a disk is free, which may be gigabytes.
fn command(folder: &std::path::Path, port: u16) -> Vec<std::ffi::OsString> {
    let folder = folder.display();
    let mut settings = vec![
        format!("-dir={folder}"),
        "-filer".into(),
        "-s3".into(),
        format!("-s3.config={folder}/s3.json"),
        format!("-s3.port={port}"),
        format!("-s3.localSocket={folder}/s3.sock"),
        format!("-filer.localSocket={folder}/filer.sock"),
        "-ip=127.0.0.1".into(),
        "-ip.bind=127.0.0.1".into(),
        "-master.telemetry=false".into(),
        // By themselves these depend on the disk. A volume is a file that grows; each bucket has some.
        "-master.volumeSizeLimitMB=128".into(),
        "-volume.max=10000".into(),
        "-volume.minFreeSpace=64MiB".into(),
        "-s3.port.iceberg=0".into(),
        "-s3.port.lance=0".into(),
        // As AWS does: a put into a bucket that is not there is an error.
        "-s3.autoCreateBucket=false".into(),
    ];
    let ports = ["master", "volume", "filer"].map(|name| format!("-{name}.port={}", free_port()));
    let grpc = ["master", "volume", "filer", "s3"].map(|name| format!("-{name}.port.grpc={}", free_port()));
    settings.extend(ports.into_iter().chain(grpc));
    let program = [installed("python/bin/weed").into_os_string(), "server".into()];
    program.into_iter().chain(settings.into_iter().map(Into::into)).collect()
}
