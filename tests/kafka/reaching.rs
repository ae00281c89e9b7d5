//! What an operator is told when the brokers, the login or the topic are not as the pipeline file says.

use std::sync::Arc;

use tunnelog::config::types::{KafkaSink, Mechanism, Sasl, Tls};
use tunnelog::sink::kafka;

use super::far::{config, context};
use super::stack::{self, Kafka};

async fn probe(config: &KafkaSink) -> Result<String, String> {
    kafka::probe(&context(&Arc::default()), config, None).await.map_err(|error| error.to_string())
}

/// It fails, and the message has all of these.
async fn check_refused(config: &KafkaSink, expect: &[&str]) {
    let error = probe(config).await.expect_err("an error");
    for part in expect {
        assert!(error.contains(part), "`{part}` is missing in: {error}");
    }
    assert!(!error.contains("tester-secret") && !error.contains("wrong-secret"), "{error}");
}

fn broker() -> &'static Kafka {
    tokio::task::block_in_place(stack::secure_kafka)
}

fn topic(broker: &Kafka) -> String {
    tokio::task::block_in_place(|| broker.topic(6))
}

fn login(mechanism: Mechanism, password: &str) -> Option<Sasl> {
    Some(Sasl { mechanism, username: Some("tester".into()), password: Some(password.into()), password_file: None })
}

fn tls(broker: &Kafka) -> Option<Tls> {
    Some(Tls { ca: Some(broker.ca.clone()), ..Tls::default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_reached_is_said() {
    let broker = broker();
    let topic = topic(broker);
    let plain = config(&broker.plain, &topic);
    let said = probe(&plain).await.unwrap();
    assert_eq!(said, format!("topic `{topic}` at {}: 6 partitions, 1 broker, no TLS, no login", broker.plain));

    let encrypted = KafkaSink { tls: tls(broker), ..config(&broker.tls, &topic) };
    assert!(probe(&encrypted).await.unwrap().ends_with("6 partitions, 1 broker, TLS, no login"));

    let mut own = KafkaSink { tls: tls(broker), ..config(&broker.mutual_tls, &topic) };
    let files = own.tls.as_mut().unwrap();
    files.certificate = Some(broker.certificate.clone());
    files.key = Some(broker.key.clone());
    assert!(probe(&own).await.unwrap().ends_with("TLS, no login"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_login_works_and_a_password_may_be_in_a_file() {
    let broker = broker();
    let topic = topic(broker);
    let names = [
        (Mechanism::ScramSha512, "SCRAM-SHA-512"),
        (Mechanism::ScramSha256, "SCRAM-SHA-256"),
        (Mechanism::Plain, "PLAIN"),
    ];
    for (mechanism, name) in names {
        let sasl = login(mechanism, &broker.password);
        let said = probe(&KafkaSink { tls: tls(broker), sasl, ..config(&broker.sasl_tls, &topic) }).await.unwrap();
        assert!(said.ends_with(&format!("TLS, {name}")), "{said}");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{}\n", broker.password)).unwrap();
    let sasl =
        Sasl { password: None, password_file: Some(file.path().into()), ..login(Mechanism::ScramSha512, "").unwrap() };
    let in_file = KafkaSink { tls: tls(broker), sasl: Some(sasl), ..config(&broker.sasl_tls, &topic) };
    assert!(probe(&in_file).await.unwrap().ends_with("TLS, SCRAM-SHA-512"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_named_and_not_shown() {
    let broker = broker();
    let topic = topic(broker);
    for mechanism in [Mechanism::ScramSha512, Mechanism::Plain] {
        let sasl = login(mechanism, "wrong-secret");
        let wrong = KafkaSink { tls: tls(broker), sasl, ..config(&broker.sasl_tls, &topic) };
        check_refused(&wrong, &[&broker.sasl_tls, "check `sasl`: user name, password, mechanism"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_that_does_not_fit_is_named() {
    let broker = broker();
    let topic = topic(broker);
    let unknown = KafkaSink { tls: Some(Tls::default()), ..config(&broker.tls, &topic) };
    check_refused(&unknown, &[&broker.tls, "certificate verify failed", "`tls.ca`"]).await;
    let plain_port = KafkaSink { tls: tls(broker), ..config(&broker.plain, &topic) };
    check_refused(&plain_port, &[&broker.plain, "PLAINTEXT broker listener?", "whether the port wants `tls`"]).await;
    let tls_port = config(&broker.tls, &topic);
    check_refused(&tls_port, &[&broker.tls, "whether the port wants `tls` or `sasl`"]).await;
    let missing = Tls { ca: Some("no-such.pem".into()), ..Tls::default() };
    let missing = KafkaSink { tls: Some(missing), ..config(&broker.tls, &topic) };
    check_refused(&missing, &["`kafka.tls.ca`", "no-such.pem", "cannot be read"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_are_not_there_are_named() {
    let nobody = format!("127.0.0.1:{}", stack::free_port());
    check_refused(&config(&nobody, "any"), &[&nobody, "cannot be reached", "check the addresses in `brokers`"]).await;
    check_refused(&config("no-such.invalid:9092", "any"), &["no-such.invalid", "name resolution"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_named() {
    let broker = broker();
    let topic = stack::unique("missing");
    let name = format!("topic `{topic}` at {}", broker.plain);
    check_refused(&config(&broker.plain, &topic), &[&name, "create it, or correct `topic`"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_librdkafka_are_checked() {
    let mut wrong = config("127.0.0.1:1", "any");
    wrong.librdkafka.insert("linger.mss".into(), "5".into());
    check_refused(&wrong, &["refuses its setting `linger.mss`"]).await;
    let mut weaker = config("127.0.0.1:1", "any");
    weaker.librdkafka.insert("acks".into(), "1".into());
    check_refused(&weaker, &["`kafka.librdkafka.acks`", "cannot be set here"]).await;
}
