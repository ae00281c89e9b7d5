//! Sinks whose destination is away when the pipeline starts, or is reloaded: the others go on, and once it is there it
//! gets everything.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;

use super::far::{self, Hose};
use super::stack::{self, KafkaBroker};
use super::support::program::{Running, tunnelog, wait_until};
use super::world::{Place, World, Written, expected, file_sink, pipeline, place, places, stream_of};

/// Starts the program with credentials of the S3, and none of this machine's own settings.
fn start(world: &World) -> Running {
    let s3 = stack::s3();
    let log = File::create(world.folder.path().join("stderr")).unwrap();
    let mut command = tunnelog(world.folder.path(), &["run", "pipeline.yaml"]);
    command.envs([
        ("AWS_ACCESS_KEY_ID", s3.access_key.as_str()),
        ("AWS_SECRET_ACCESS_KEY", s3.secret_key.as_str()),
        ("AWS_REGION", stack::REGION),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
    ]);
    Running::of(command.stdout(Stdio::null()).stderr(log))
}

/// Everything arrived, in whatever order.
#[track_caller]
fn check_all(events: &[serde_json::Value]) {
    let sorted = |mut written: Written| {
        written.values_mut().for_each(|places: &mut Vec<Place>| {
            places.sort_unstable();
            places.dedup();
        });
        written
    };
    assert_eq!(sorted(places(events)), sorted(expected().clone()));
}

/// A port that is closed until it is opened.
struct Gate(SocketAddr);

impl Gate {
    fn new() -> Gate {
        Gate(format!("127.0.0.1:{}", stack::free_port()).parse().unwrap())
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.0)
    }

    /// From now on it leads to this endpoint.
    #[expect(clippy::disallowed_methods, reason = "a gate of the test, in threads of its own")]
    fn open(&self, endpoint: &str) {
        let to = endpoint.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let listener = TcpListener::bind(self.0).unwrap();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(&to) else { continue };
                let ways = [(client.try_clone(), server.try_clone()), (Ok(server), Ok(client))];
                for (from, to) in ways {
                    let (mut from, mut to) = (from.unwrap(), to.unwrap());
                    std::thread::spawn(move || {
                        // Whichever end goes away ends both.
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(std::net::Shutdown::Write);
                    });
                }
            }
        });
    }
}

#[test]
fn a_broker_that_is_away_at_the_start_holds_up_nobody_and_gets_everything_later() {
    let world = World::new();
    let mut broker = KafkaBroker::start();
    let topic = broker.topic(3);
    broker.stop();
    let all = file_sink("all", "");
    let siem = format!(
        "siem: {{ kafka: {{ brokers: [\"{}\"], topic: {topic} }}, format: {{ json: {{ origin: true }} }} }}",
        broker.plain
    );
    world.write(&pipeline("", &[&all, &siem]));
    let mut running = start(&world);
    wait_until("the others have everything", || {
        world.output("all").exists() && places(&world.events("all")) == *expected()
    });
    assert_eq!(world.count("the sink's destination is away; the pipeline starts without it"), 1, "{}", world.log());
    wait_until("it is not ready", || {
        let ready = world.get("/readyz");
        ready.starts_with("HTTP/1.1 503") && ready.contains("sink siem: brokers at")
    });
    assert!(!running.has_ended());
    broker.start_again();
    assert_eq!(running.wait().code(), Some(0), "{}", world.log());
    assert_eq!(places(&world.events("all")), *expected());
    let messages: Vec<_> = far::topic(&broker.plain, &topic).into_iter().map(|message| message.event).collect();
    check_all(&messages);
}

#[test]
fn buckets_and_streams_behind_a_closed_port_get_everything_once_it_is_open() {
    let world = World::new();
    let (gates, hose) = ([Gate::new(), Gate::new()], Hose::new());
    let bucket = stack::s3().bucket();
    let at = |gate: &Gate| format!("aws: {{ endpoint: \"{}\" }}", gate.endpoint());
    let origin = "format: { json: { origin: true } }";
    let lake = format!("lake: {{ s3: {{ bucket: {bucket}, prefix: vpn/ }}, {origin}, {} }}", at(&gates[0]));
    let stream = format!("hose: {{ firehose: {{ stream: {} }}, {origin}, {} }}", hose.name, at(&gates[1]));
    let letters = format!("dead_letters: {{ s3: {{ bucket: {bucket}, prefix: dead/ }}, {} }}\n", at(&gates[0]));
    world.write(&(pipeline("", &[&file_sink("all", ""), &lake, &stream]) + &letters));
    let mut running = start(&world);
    wait_until("the others have everything", || {
        world.output("all").exists() && places(&world.events("all")) == *expected()
    });
    let parts = ["sink lake: ", "sink hose: ", "sink dead letters: "];
    wait_until("none of them is ready", || {
        let ready = world.get("/readyz");
        parts.iter().all(|part| ready.contains(part))
    });
    assert_eq!(world.count("the sink's destination is away; the pipeline starts without it"), 3, "{}", world.log());
    gates[0].open(&stack::s3().endpoint);
    gates[1].open(&stack::moto().endpoint);
    assert_eq!(running.wait().code(), Some(0), "{}", world.log());
    let objects = far::bucket(&stack::s3().client(), &bucket, "vpn/");
    let events: Vec<_> = objects.into_iter().flat_map(|(_, events)| events).collect();
    let mut seen: Vec<_> = events.iter().map(|event| (stream_of(event).to_owned(), place(event))).collect();
    seen.sort_unstable();
    assert!(seen.windows(2).all(|pair| pair[0] != pair[1]), "each event is in the bucket once");
    check_all(&events);
    check_all(&hose.events());
    assert_eq!(places(&world.events("all")), *expected());
}

#[test]
fn a_reload_does_not_wait_for_a_destination_that_is_away() {
    let world = World::new();
    let all = file_sink("all", "");
    world.write(&pipeline("rate: 100", &[&all]));
    let mut running = world.start();
    world.wait_for_growth("all");
    // What is missing stays a refusal.
    let missing = format!("siem: {{ kafka: {{ brokers: [\"{}\"], topic: not-there }} }}", stack::kafka().plain);
    world.write(&pipeline("rate: 100", &[&all, &missing]));
    running.signal("HUP");
    wait_until("it is refused", || world.count("the pipeline runs on as it was") == 1);
    assert!(world.log().contains("create it, or correct `topic`"), "{}", world.log());
    let closed = Gate::new();
    let siem = format!("siem: {{ kafka: {{ brokers: [\"{}\"], topic: events }} }}", closed.0);
    world.write(&pipeline("rate: 100", &[&all, &siem]));
    world.reload(&running);
    assert_eq!(world.count("the sink's destination is away; the reload goes on"), 1, "{}", world.log());
    wait_until("it is told", || world.get("/readyz").contains("sink siem: brokers at"));
    world.wait_for_growth("all");
    world.finish(&mut running, &[&all]);
    assert_eq!(places(&world.events("all")), *expected());
}
