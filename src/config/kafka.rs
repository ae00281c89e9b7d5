//! What the Kafka part of a pipeline file may say: topic templates, settings of librdkafka that are not the user's to
//! change, logins. Builds without the feature `kafka`; opens nothing.

use std::fmt::Write as _;

use super::types::{KafkaSink, Mechanism};

/// What stands for a value that an event does not have.
pub const UNKNOWN: &str = "unknown";

/// Kafka's own limit of a topic's name.
const LONGEST_TOPIC: usize = 249;

/// Settings of librdkafka that cannot be passed through, and why, or what to use in place of them.
pub const FORBIDDEN: &[(&str, &str)] = &[
    ("acks", "every in-sync replica confirms a message before it counts as delivered"),
    ("request.required.acks", "every in-sync replica confirms a message before it counts as delivered"),
    ("enable.idempotence", "it keeps the order and avoids duplicates when librdkafka sends again"),
    ("enable.gapless.guarantee", "a message that fails must not be overtaken by its successors"),
    ("transactional.id", "the sink does not use transactions"),
    ("transaction.timeout.ms", "the sink does not use transactions"),
    ("message.timeout.ms", "a message is never given up: it is sent until the broker has it"),
    ("delivery.timeout.ms", "a message is never given up: it is sent until the broker has it"),
    ("retries", "a message is never given up: it is sent until the broker has it"),
    ("message.send.max.retries", "a message is never given up: it is sent until the broker has it"),
    ("max.in.flight", "more than 5 would break the order that idempotence keeps"),
    ("max.in.flight.requests.per.connection", "more than 5 would break the order that idempotence keeps"),
    ("partitioner", "a key must reach the same partition as from a Java producer, run after run"),
    ("queuing.strategy", "the order of a log stream is kept"),
    ("queue.buffering.max.kbytes", "it is bounded so that the process stays inside `limits.memory`"),
    ("queue.buffering.max.messages", "it is bounded so that the process stays inside `limits.memory`"),
    ("delivery.report.only.error", "without delivery reports nothing could be settled"),
    ("bootstrap.servers", "set `brokers`"),
    ("metadata.broker.list", "set `brokers`"),
    ("compression.codec", "set `compression`"),
    ("compression.type", "set `compression`"),
    ("security.protocol", "set `tls` and `sasl`"),
    ("sasl.mechanism", "set `sasl.mechanism` of the sink"),
    ("sasl.mechanisms", "set `sasl.mechanism` of the sink"),
    ("sasl.username", "set `sasl.username` of the sink"),
    ("sasl.password", "set `sasl.password` of the sink to a variable, or `sasl.password_file`"),
    ("sasl.oauthbearer.client.secret", "a secret does not belong here; use `sasl.mechanism: aws_msk_iam` or SCRAM"),
    (
        "sasl.oauthbearer.client.credentials.client.secret",
        "a secret does not belong here; use `sasl.mechanism: aws_msk_iam` or SCRAM",
    ),
    ("sasl.oauthbearer.assertion.private.key.passphrase", "a secret does not belong here; use SCRAM or `tls.key`"),
    ("sasl.oauthbearer.assertion.private.key.pem", "a secret does not belong here; use SCRAM or `tls.key`"),
    ("sasl.oauthbearer.config", "tokens come from AWS: set `sasl.mechanism: aws_msk_iam`"),
    ("ssl.ca.location", "set `tls.ca`"),
    ("ssl.certificate.location", "set `tls.certificate`"),
    ("ssl.key.location", "set `tls.key`"),
    ("ssl.key.password", "set `tls.key_password` to a variable"),
    ("ssl.key.pem", "a secret does not belong here; set `tls.key` to the key's file"),
    ("ssl.keystore.password", "a secret does not belong here; set `tls.key` and `tls.key_password`"),
    ("plugin.library.paths", "the program loads no foreign code"),
    ("test.mock.num.brokers", "it would replace the brokers"),
];

/// One piece of a topic template.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Placeholder {
    Kind,
    Account,
    Region,
}

impl Placeholder {
    const ALL: [(&'static str, Placeholder); 3] =
        [("kind", Placeholder::Kind), ("account", Placeholder::Account), ("region", Placeholder::Region)];
}

/// A topic's name, perhaps with placeholders.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicTemplate {
    /// Literal text, and what follows it.
    parts: Vec<(String, Option<Placeholder>)>,
}

impl TopicTemplate {
    /// Reads a template; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<TopicTemplate, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, tail)) = rest.split_once('{') {
            let Some((name, tail)) = tail.split_once('}') else {
                return Err(format!("`{text}` has a `{{` without its `}}`"));
            };
            let known = Placeholder::ALL.iter().find(|(known, _)| *known == name);
            let Some((_, placeholder)) = known else {
                return Err(format!(
                    "`{{{name}}}` is not known: a topic may have `{{kind}}`, `{{account}}`, `{{region}}`"
                ));
            };
            parts.push((literal.to_owned(), Some(*placeholder)));
            rest = tail;
        }
        parts.push((rest.to_owned(), None));
        let template = TopicTemplate { parts };
        template.check_name(text)?;
        Ok(template)
    }

    fn check_name(&self, text: &str) -> Result<(), String> {
        let literals = self.parts.iter().flat_map(|(literal, _)| literal.chars());
        if let Some(illegal) = literals.into_iter().find(|letter| !is_legal(*letter)) {
            return Err(format!("`{illegal}` cannot be in a topic's name: letters, digits, `.`, `_` and `-` can"));
        }
        let name = self.render(UNKNOWN, None, None);
        if text.is_empty() || name == "." || name == ".." || text.len() > LONGEST_TOPIC {
            return Err(format!("`{text}` is no topic's name: 1 to {LONGEST_TOPIC} letters, not `.` or `..`"));
        }
        Ok(())
    }

    /// The topic itself if there are no placeholders.
    pub fn fixed(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [(name, None)] => Some(name),
            _ => None,
        }
    }

    /// The topic of an event. What a value has that no topic may have becomes `_`.
    pub fn render(&self, kind: &str, account: Option<&str>, region: Option<&str>) -> String {
        let mut name = String::new();
        for (literal, placeholder) in &self.parts {
            name.push_str(literal);
            let value = match placeholder {
                None => continue,
                Some(Placeholder::Kind) => Some(kind),
                Some(Placeholder::Account) => account,
                Some(Placeholder::Region) => region,
            };
            let value = value.filter(|value| !value.is_empty()).unwrap_or(UNKNOWN);
            name.extend(value.chars().map(|letter| if is_legal(letter) { letter } else { '_' }));
        }
        // All letters are ASCII by now.
        name.truncate(LONGEST_TOPIC);
        name
    }
}

fn is_legal(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-')
}

/// Whether a text is a topic's name or template; the error says what is wrong with it.
pub fn check_template(text: &str) -> Result<(), String> {
    TopicTemplate::parse(text).map(drop)
}

/// Everything that is wrong with a Kafka part: the field within the part (`topic`, `sasl.username`), and what to do.
pub fn problems(config: &KafkaSink) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    let mut note = |field: &str, text: String| problems.push((field.to_owned(), text));
    if let Err(error) = check_template(&config.topic) {
        note("topic", error);
    }
    if brokers(config).is_empty() {
        note("brokers", "no broker is named: set `host:port`".into());
    }
    for name in config.librdkafka.keys() {
        if let Some((_, why)) = FORBIDDEN.iter().find(|(forbidden, _)| forbidden == name) {
            note(&format!("librdkafka.{name}"), format!("`{name}` cannot be set here: {why}"));
        }
    }
    if let Some(tls) = &config.tls
        && tls.certificate.is_some() != tls.key.is_some()
    {
        note("tls", "`certificate` and `key` belong together: set both or none".into());
    }
    for (field, text) in login_problems(config) {
        note(field, text);
    }
    problems
}

fn login_problems(config: &KafkaSink) -> Vec<(&'static str, String)> {
    let Some(sasl) = &config.sasl else { return Vec::new() };
    let mut problems = Vec::new();
    if sasl.mechanism == Mechanism::AwsMskIam {
        if sasl.username.is_some() || sasl.password.is_some() || sasl.password_file.is_some() {
            problems.push(("sasl", "`aws_msk_iam` logs in with AWS credentials: leave name and password out".into()));
        }
        return problems;
    }
    if sasl.username.as_deref().is_none_or(str::is_empty) {
        problems.push(("sasl.username", "this mechanism needs a user's name: set `username`".into()));
    }
    match (&sasl.password, &sasl.password_file) {
        (None, None) => problems.push(("sasl", "no password: set `password` to a variable, or `password_file`".into())),
        (Some(_), Some(_)) => problems.push(("sasl", "set `password` or `password_file`, not both".into())),
        _ => {}
    }
    if sasl.mechanism == Mechanism::Plain && config.tls.is_none() && !brokers(config).iter().all(|host| is_local(host))
    {
        let text = "`plain` would send the password in the clear: set `tls: {}`, or use `scram_sha_512`";
        problems.push(("sasl.mechanism", text.into()));
    }
    problems
}

/// The bootstrap brokers, one by one.
pub fn brokers(config: &KafkaSink) -> Vec<&str> {
    let each = config.brokers.iter().flat_map(|text| text.split(','));
    each.map(str::trim).filter(|broker| !broker.is_empty()).collect()
}

/// Whether a broker is on this machine.
fn is_local(broker: &str) -> bool {
    let host = broker.rsplit_once(':').map_or(broker, |(host, _)| host);
    matches!(host, "localhost" | "127.0.0.1" | "[::1]")
}

/// The Region that the name of an Amazon MSK broker tells:
/// `b-1.name.id.c2.kafka.ap-northeast-2.amazonaws.com:9098`.
pub fn region_of(config: &KafkaSink) -> Option<&str> {
    brokers(config).into_iter().find_map(|broker| {
        let mut labels = broker.split(['.', ':']).skip_while(|label| !matches!(*label, "kafka" | "kafka-serverless"));
        let (_, region, amazon) = (labels.next()?, labels.next()?, labels.next()?);
        (amazon == "amazonaws").then_some(region)
    })
}

/// The names of the brokers for a message; long lists are cut.
pub fn shown_brokers(config: &KafkaSink) -> String {
    /// Enough to recognize a cluster by.
    const SHOWN: usize = 3;
    let brokers = brokers(config);
    let mut shown = brokers.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    if brokers.len() > SHOWN {
        // Writing to a String cannot fail.
        let _ = write!(shown, " and {} more", brokers.len() - SHOWN);
    }
    shown
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]
    use super::*;
    use crate::config::types::{KafkaCompression, KafkaKey, Sasl, Tls};

    fn sink(brokers: &[&str], topic: &str) -> KafkaSink {
        KafkaSink {
            brokers: brokers.iter().map(|broker| (*broker).to_owned()).collect(),
            topic: topic.into(),
            key: KafkaKey::default(),
            compression: KafkaCompression::default(),
            tls: None,
            sasl: None,
            librdkafka: std::collections::BTreeMap::new(),
        }
    }

    fn check(template: &str, expect: &str) {
        let rendered = TopicTemplate::parse(template)
            .map(|template| template.render("bgp.session", Some("111122223333"), None))
            .unwrap_or_else(|error| format!("error: {error}"));
        assert_eq!(rendered, expect);
    }

    #[test]
    fn templates_become_legal_names_or_say_what_is_wrong() {
        check("vpn-events", "vpn-events");
        check("vpn.{kind}.{account}", "vpn.bgp.session.111122223333");
        check("{region}", "unknown");
        check("vpn {kind}", "error: ` ` cannot be in a topic's name: letters, digits, `.`, `_` and `-` can");
        check("vpn.{shard}", "error: `{shard}` is not known: a topic may have `{kind}`, `{account}`, `{region}`");
        check("vpn.{kind", "error: `vpn.{kind` has a `{` without its `}`");
        check("", "error: `` is no topic's name: 1 to 249 letters, not `.` or `..`");
        check("..", "error: `..` is no topic's name: 1 to 249 letters, not `.` or `..`");
    }

    #[test]
    fn a_value_cannot_make_an_illegal_name() {
        let template = TopicTemplate::parse("t-{account}").unwrap();
        assert_eq!(template.render("ike", Some("a b/ü"), None), "t-a_b__");
        assert_eq!(template.render("ike", Some(&"9".repeat(400)), None).len(), 249);
        assert_eq!(template.fixed(), None);
        assert_eq!(TopicTemplate::parse("plain").unwrap().fixed(), Some("plain"));
    }

    #[test]
    fn what_the_guarantees_rest_on_and_secrets_cannot_be_passed_through() {
        let mut config = sink(&["b:9092"], "t");
        for name in ["acks", "message.timeout.ms", "sasl.password", "linger.ms"] {
            config.librdkafka.insert(name.into(), "SECRET".into());
        }
        let problems = problems(&config);
        let fields: Vec<&str> = problems.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(fields, ["librdkafka.acks", "librdkafka.message.timeout.ms", "librdkafka.sasl.password"]);
        assert!(problems.iter().all(|(_, text)| !text.contains("SECRET")));
    }

    #[test]
    fn a_login_is_complete_and_never_in_the_clear() {
        let plain = |brokers: &[&str], tls: Option<Tls>| {
            let sasl = Sasl {
                mechanism: Mechanism::Plain,
                username: Some("u".into()),
                password: Some("SECRET".into()),
                password_file: None,
            };
            problems(&KafkaSink { tls, sasl: Some(sasl), ..sink(brokers, "t") })
        };
        assert_eq!(plain(&["kafka.example:9092"], None)[0].0, "sasl.mechanism");
        assert!(plain(&["kafka.example:9092"], Some(Tls::default())).is_empty());
        assert!(plain(&["localhost:9092", "127.0.0.1:9093"], None).is_empty());
        let sasl = Sasl { mechanism: Mechanism::ScramSha256, username: None, password: None, password_file: None };
        assert_eq!(problems(&KafkaSink { sasl: Some(sasl), ..sink(&["b:1"], "t") }).len(), 2);
    }

    #[test]
    fn the_region_of_an_msk_cluster_is_in_its_name() {
        let region = |broker: &str| region_of(&sink(&[broker], "t")).map(str::to_owned);
        assert_eq!(
            region("b-1.vpn.abc123.c2.kafka.ap-northeast-2.amazonaws.com:9098").as_deref(),
            Some("ap-northeast-2")
        );
        assert_eq!(region("boot-x.c1.kafka-serverless.us-east-1.amazonaws.com:9098").as_deref(), Some("us-east-1"));
        assert_eq!(region("kafka.internal:9092"), None);
    }

    #[test]
    fn brokers_may_be_one_text_with_commas() {
        let config = sink(&["a:1, b:2,", "c:3", "d:4"], "t");
        assert_eq!(brokers(&config), ["a:1", "b:2", "c:3", "d:4"]);
        assert_eq!(shown_brokers(&config), "a:1, b:2, c:3 and 1 more");
    }
}
