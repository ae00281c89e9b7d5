//! The Kafka part: brokers, topics, logins and files. The rules of topics and of librdkafka's settings are in
//! [`crate::config::kafka`]; here they get their places, and secrets are kept out of the file.

use super::aws::is_host_and_port;
use super::{Check, Feature};
use crate::config::kafka;
use crate::config::tree::Path;
use crate::config::types::{Aws, KafkaSink, Mechanism};

impl Check<'_, '_, '_> {
    /// The part at `path`, of the sink at `sink`.
    pub(super) fn kafka(&mut self, sink: &Path, config: &KafkaSink, aws: Option<&Aws>) {
        let path = sink.key("kafka");
        self.built(&path, Feature::Kafka, "sink `kafka`");
        self.brokers(&path.key("brokers"), config);
        // Secrets first: where one stands in the file, nothing else about that field matters.
        self.kafka_secrets(&path, config);
        self.kafka_files(&path, config);
        for (field, text) in kafka::problems(config) {
            self.kafka_problem(&path, &field, &text);
        }
        let iam = config.sasl.as_ref().is_some_and(|sasl| sasl.mechanism == Mechanism::AwsMskIam);
        if iam {
            let named = kafka::region_of(config).map(|region| (region, "the brokers"));
            self.aws(sink, aws, named);
        } else {
            self.aws_unused(sink, aws, "`kafka` with `sasl.mechanism: aws_msk_iam`");
        }
    }

    fn brokers(&mut self, path: &Path, config: &KafkaSink) {
        for (index, text) in config.brokers.iter().enumerate() {
            let mut each = text.split(',').map(str::trim).filter(|broker| !broker.is_empty());
            if !each.all(|broker| is_host_and_port(broker, true)) {
                let notes =
                    ["the form is HOST:PORT, for example b-1.example.com:9096; `tls` and `sasl` say the protocol"];
                self.error(&path.index(index), "not the address of a broker", &notes);
            }
        }
    }

    /// A problem of a field within the part; its remedy stands after the colon.
    fn kafka_problem(&mut self, path: &Path, field: &str, text: &str) {
        let path = match field.strip_prefix("librdkafka.") {
            // The setting's own name has dots.
            Some(setting) => path.key("librdkafka").key(setting),
            None => field.split('.').fold(path.clone(), |path, key| path.key(key)),
        };
        if self.loaded.expanded.contains(&path.to_string()) {
            // The text may repeat what a variable held.
            let notes = ["correct the variable's value; the reference says what is allowed"];
            return self.error(&path, "this cannot be used once its variables are filled in", &notes);
        }
        match text.split_once(": ") {
            Some((message, remedy)) => self.error(&path, message, &[remedy]),
            None => self.error(&path, text, &[]),
        }
    }

    fn kafka_secrets(&mut self, path: &Path, config: &KafkaSink) {
        let sasl = config.sasl.as_ref().and_then(|sasl| sasl.password.as_ref());
        if sasl.is_some() {
            let file = Some("or set `password_file`");
            self.in_a_variable(&path.key("sasl").key("password"), "password: ${KAFKA_PASSWORD}", file);
        }
        if config.tls.as_ref().is_some_and(|tls| tls.key_password.is_some()) {
            self.in_a_variable(&path.key("tls").key("key_password"), "key_password: ${KAFKA_KEY_PASSWORD}", None);
        }
    }

    fn kafka_files(&mut self, path: &Path, config: &KafkaSink) {
        let tls = config.tls.as_ref();
        let files = [
            (path.key("tls").key("ca"), tls.and_then(|tls| tls.ca.as_ref())),
            (path.key("tls").key("certificate"), tls.and_then(|tls| tls.certificate.as_ref())),
            (path.key("tls").key("key"), tls.and_then(|tls| tls.key.as_ref())),
            (path.key("sasl").key("password_file"), config.sasl.as_ref().and_then(|sasl| sasl.password_file.as_ref())),
        ];
        for (path, file) in files {
            if let Some(file) = file {
                self.must_exist(&path, &self.loaded.directory.join(file));
            }
        }
    }
}
