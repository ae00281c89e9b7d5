//! TLS with an authority of one's own, and what is said of a certificate that is not to be trusted.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use tunnelog::config::types::SplunkTls;
use tunnelog::sink::ConnectError;

use super::bench::{Bench, Load};
use super::contract::check_once;
use super::destination::Splunk;
use super::stack::{Part, file, folder, free_port, start};

/// The collector behind TLS.
struct Front {
    _part: Part,
    port: u16,
    folder: std::path::PathBuf,
}

fn certificate(folder: &Path, name: &str, subject: &str, arguments: &[&str]) {
    let (key, pem) = (format!("{name}.key"), format!("{name}.pem"));
    let made = Command::new("openssl")
        .current_dir(folder)
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"])
        .args(["-keyout", &key, "-out", &pem, "-subj", &format!("/CN={subject}")])
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("openssl does not run ({error}): apt-get install openssl"));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

impl Front {
    fn of(splunk: &Splunk) -> Front {
        start(|| {
            let (folder, port) = (folder("tls"), free_port());
            certificate(&folder, "ca", "an authority", &[]);
            certificate(&folder, "other", "another authority", &[]);
            let name = "subjectAltName=IP:127.0.0.1";
            let end = "basicConstraints=critical,CA:FALSE";
            certificate(
                &folder,
                "server",
                "splunk",
                &["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", name, "-addext", end],
            );
            let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
            std::fs::write(folder.join("both.pem"), read("server.key") + &read("server.pem")).unwrap();
            let upstream = splunk.collector.address.rsplit(':').next().unwrap().to_owned();
            let command = [
                "python3".into(),
                file("tls_front.py").into(),
                port.to_string().into(),
                folder.join("both.pem").into(),
                upstream.into(),
            ];
            let mut part = Part::start("tls_front.py (python3: apt-get install python3)", &folder, command);
            let connect = || std::net::TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string());
            part.wait(connect)?;
            Ok(Front { _part: part, port, folder })
        })
    }

    fn point(&self, splunk: &mut Splunk, ca: Option<&str>) {
        splunk.config.endpoints = vec![format!("https://127.0.0.1:{}", self.port)];
        splunk.config.tls = ca.map(|ca| SplunkTls { ca: Some(self.folder.join(ca)) });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_go_over_tls_to_a_collector_of_an_own_authority() {
    let mut splunk = Splunk::new();
    let front = Front::of(&splunk);
    front.point(&mut splunk, Some("ca.pem"));
    let load = Load::default();
    let mut bench = Bench::new(load, &splunk, BTreeMap::new());
    bench.finish().await;
    check_once(&splunk, load);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_to_be_trusted_is_no_connection_and_the_token_stays_here() {
    let mut splunk = Splunk::with(json!({}));
    let front = Front::of(&splunk);
    for ca in [None, Some("other.pem")] {
        front.point(&mut splunk, ca);
        match splunk.connect().await.err() {
            Some(ConnectError::Standing(text)) => {
                assert!(text.contains("name the certificate's authority in `tls.ca`"), "{text}");
            }
            other => panic!("{ca:?}: {other:?}"),
        }
    }
    assert_eq!(splunk.collector.state().questions, 0, "nothing came through");
}
