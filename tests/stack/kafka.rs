//! Apache Kafka, one node in KRaft mode, with plain, TLS, mutual TLS and SASL listeners.
//!
//! The certificates are made at the first start and trusted by nobody: [`Kafka::ca`] is their authority.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::process::{Part, file, folder, free_port, given, installed, start};
use super::{block_on, unique};

const USER: &str = "tester";
const PASSWORD: &str = "tester-secret";

/// A question to the broker that is not answered by then is asked again.
const ASK: Duration = Duration::from_secs(10);

/// How to reach a broker. Topics must be made: [`Kafka::topic`].
pub(crate) struct Kafka {
    /// `host:port` without TLS.
    pub(crate) plain: String,
    /// TLS; the client trusts `ca`.
    pub(crate) tls: String,
    /// TLS that demands a certificate of the client: `certificate` and `key`.
    pub(crate) mutual_tls: String,
    /// TLS with SCRAM-SHA-256, SCRAM-SHA-512 or PLAIN for `user`.
    pub(crate) sasl_tls: String,
    /// Without TLS, for a proxy alone: clients are sent on to the proxy (see [`KafkaBroker::start_behind`]).
    pub(crate) behind: String,
    pub(crate) ca: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) user: String,
    pub(crate) password: String,
}

/// A broker of the caller's own, until it is dropped.
pub(crate) struct KafkaBroker {
    kafka: Kafka,
    part: Part,
}

/// The broker of this test process; with `TUNNELOG_TEST_KAFKA` that one, whose `plain` is the only address.
pub(crate) fn kafka() -> &'static Kafka {
    static GIVEN: OnceLock<Kafka> = OnceLock::new();
    match given("TUNNELOG_TEST_KAFKA") {
        Some(plain) => GIVEN.get_or_init(|| Kafka {
            plain,
            tls: String::new(),
            mutual_tls: String::new(),
            sasl_tls: String::new(),
            behind: String::new(),
            ca: PathBuf::new(),
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            user: String::new(),
            password: String::new(),
        }),
        None => secure_kafka(),
    }
}

/// As [`kafka`], but always one of our own: for tests of TLS and SASL.
pub(crate) fn secure_kafka() -> &'static Kafka {
    static BROKER: OnceLock<KafkaBroker> = OnceLock::new();
    BROKER.get_or_init(KafkaBroker::start)
}

impl KafkaBroker {
    /// One for the caller alone, until it is dropped.
    pub(crate) fn start() -> KafkaBroker {
        KafkaBroker::start_with(&[])
    }

    /// As [`start`](Self::start), with more of the broker's settings, for example `("message.max.bytes", "2000")`.
    pub(crate) fn start_with(settings: &[(&str, &str)]) -> KafkaBroker {
        KafkaBroker::start_as(settings, None)
    }

    /// One behind a proxy that listens on this port: it passes on to `behind`, and a client that comes through it is told
    /// to stay there. All other listeners are as ever.
    pub(crate) fn start_behind(proxy: u16) -> KafkaBroker {
        KafkaBroker::start_as(&[], Some(proxy))
    }

    fn start_as(settings: &[(&str, &str)], proxy: Option<u16>) -> KafkaBroker {
        start(|| {
            let (folder, jars) = (folder("kafka"), installed("kafka"));
            let [plain, tls, mutual, sasl, controller, behind] = std::array::from_fn(|_| free_port());
            let advertised = proxy.unwrap_or(behind);
            let ports = [plain, tls, mutual, sasl, controller, behind, advertised];
            let mut text = properties(ports, &folder.display().to_string());
            text.extend(settings.iter().map(|(name, value)| format!("{name}={value}\n")));
            std::fs::write(folder.join("server.properties"), text).unwrap();
            let script = [folder.clone().into(), jars.into(), USER.into(), PASSWORD.into()];
            let part =
                Part::start("kafka", &folder, ["bash".into(), file("kafka.sh").into()].into_iter().chain(script));
            let at = |port: u16| format!("127.0.0.1:{port}");
            let kafka = Kafka {
                plain: at(plain),
                tls: at(tls),
                mutual_tls: at(mutual),
                sasl_tls: at(sasl),
                behind: at(behind),
                ca: folder.join("ca.pem"),
                certificate: folder.join("client.pem"),
                key: folder.join("client.key"),
                user: USER.into(),
                password: PASSWORD.into(),
            };
            let mut broker = KafkaBroker { kafka, part };
            broker.wait()?;
            Ok(broker)
        })
    }

    /// An orderly shutdown: a second or two; data and ports are kept.
    pub(crate) fn stop(&mut self) {
        self.part.stop();
    }

    /// Ends it as a power failure would; data and ports are kept.
    pub(crate) fn kill(&mut self) {
        self.part.kill();
    }

    /// Starts it again after [`stop`](Self::stop) or [`kill`](Self::kill), and waits until it answers.
    pub(crate) fn start_again(&mut self) {
        self.part.restart();
        self.wait().unwrap_or_else(|reason| panic!("the broker does not come back: {reason}"));
    }

    fn wait(&mut self) -> Result<(), String> {
        let kafka = &self.kafka;
        self.part.wait(|| kafka.answers())
    }
}

impl Deref for KafkaBroker {
    type Target = Kafka;

    fn deref(&self) -> &Kafka {
        &self.kafka
    }
}

impl Kafka {
    /// A client's settings for the plain listener.
    pub(crate) fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.plain);
        config
    }

    /// A new topic of this many partitions; its name.
    pub(crate) fn topic(&self, partitions: i32) -> String {
        let name = unique("topic");
        self.create_topic(&name, partitions);
        name
    }

    /// Makes a topic whose name matters, and waits until it can be written to.
    pub(crate) fn create_topic(&self, name: &str, partitions: i32) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().unwrap();
        let topic = [NewTopic::new(name, partitions, TopicReplication::Fixed(1))];
        let options = AdminOptions::new().operation_timeout(Some(ASK));
        for made in block_on(admin.create_topics(&topic, &options)).unwrap() {
            made.unwrap_or_else(|error| panic!("the topic {error:?} is not made"));
        }
    }

    /// Whether the broker serves clients, and not only its port is open.
    fn answers(&self) -> Result<(), String> {
        std::net::TcpStream::connect(&self.plain).map_err(|error| error.to_string())?;
        let consumer: BaseConsumer = self.config().create().map_err(|error| error.to_string())?;
        let metadata = consumer.fetch_metadata(None, ASK).map_err(|error| error.to_string())?;
        if metadata.brokers().len() == 1 { Ok(()) } else { Err("it has no broker".into()) }
    }
}

/// The broker's settings; `ports` are those of its listeners, and the one that clients of the last are sent to.
fn properties(ports: [u16; 7], folder: &str) -> String {
    let [plain, tls, mutual, sasl, controller, behind, advertised] = ports;
    format!(
        r#"process.roles=broker,controller
node.id=1
listeners=PLAIN://127.0.0.1:{plain},TLS://127.0.0.1:{tls},MUTUAL://127.0.0.1:{mutual},SASL://127.0.0.1:{sasl},BEHIND://127.0.0.1:{behind},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAIN://127.0.0.1:{plain},TLS://127.0.0.1:{tls},MUTUAL://127.0.0.1:{mutual},SASL://127.0.0.1:{sasl},BEHIND://127.0.0.1:{advertised}
listener.security.protocol.map=BEHIND:PLAINTEXT,PLAIN:PLAINTEXT,TLS:SSL,MUTUAL:SSL,SASL:SASL_SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAIN
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
log.dirs={folder}/data

ssl.keystore.type=PEM
ssl.keystore.location={folder}/server-both.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.pem
listener.name.mutual.ssl.client.auth=required

sasl.enabled.mechanisms=SCRAM-SHA-512,SCRAM-SHA-256,PLAIN
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";
listener.name.sasl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;

# One node: nobody to replicate to, nobody to wait for.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.cleaner.enable=false

# As Amazon MSK: a topic that nobody made is an error.
auto.create.topics.enable=false
"#
    )
}
