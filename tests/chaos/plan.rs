//! What happens in which round: the seed's choice, made before anything runs.
//!
//! Incidents and weathers are dealt from decks, so that a run of three rounds has met every incident once and a longer
//! one every weather of every link.

use std::fmt;

use super::dice::{Deck, Dice};
use super::proxy::{End, Fault, Weather};

/// The links, by what is behind them.
pub(crate) const KINESIS: &str = "kinesis";
pub(crate) const KAFKA: &str = "kafka";
pub(crate) const S3: &str = "s3";
pub(crate) const FIREHOSE: &str = "firehose";
pub(crate) const INVENTORY: &str = "ec2 and sts";
pub(crate) const CHECKPOINT: &str = "dynamodb";

/// One thing that the run does.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// The next part of the round's records, in so many.
    Put {
        part: usize,
        of: usize,
    },
    /// Records of earlier that upstream sends again.
    Again {
        records: usize,
    },
    /// Records that nobody can read.
    Damaged {
        records: usize,
    },
    /// So much at once that a shard must rest after the answer: control messages, which are skipped.
    Megabyte,
    /// Until the program has made so many calls more.
    Wait {
        calls: u64,
    },
    Weather(&'static str, Weather),
    /// Good weather on a link.
    Clear(&'static str),
    Kill,
    Terminate,
    Split,
    Merge,
    /// The broker is stopped in good order, or as by a power failure, for so many calls of the program.
    BrokerAway {
        power_failure: bool,
        calls: u64,
    },
    /// The process is frozen until another one on another machine has taken its checkpoint over and made so many calls;
    /// then it is woken.
    Freeze {
        calls: u64,
    },
    /// The pipeline file's filters change: an orderly stop, another file.
    ChangeFilter,
    /// Until all sinks but this one have everything so far: its trouble is its own.
    OthersGoOn(&'static str),
    /// Until everything that is due is everywhere.
    CatchUp,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Put { part, of } => write!(f, "put part {part} of {of}"),
            Step::Again { records } => write!(f, "upstream repeats {records} records"),
            Step::Damaged { records } => write!(f, "{records} damaged records"),
            Step::Megabyte => write!(f, "1 MB of control messages"),
            Step::Wait { calls } => write!(f, "{calls} calls"),
            Step::Weather(link, weather) if *weather == Weather::DOWN => write!(f, "{link} down"),
            Step::Weather(link, Weather { percent, fault }) => write!(f, "{link}: {percent} % {fault:?}"),
            Step::Clear(link) => write!(f, "{link} clear"),
            Step::Kill => write!(f, "kill -9"),
            Step::Terminate => write!(f, "SIGTERM"),
            Step::Split => write!(f, "split"),
            Step::Merge => write!(f, "merge"),
            Step::BrokerAway { power_failure: true, calls } => write!(f, "broker killed for {calls} calls"),
            Step::BrokerAway { calls, .. } => write!(f, "broker stopped for {calls} calls"),
            Step::Freeze { calls } => write!(f, "frozen until a successor has made {calls} calls, then woken"),
            Step::ChangeFilter => write!(f, "another filter"),
            Step::OthersGoOn(link) => write!(f, "all others than {link} go on"),
            Step::CatchUp => write!(f, "catch up"),
        }
    }
}

/// What a round has of its own, beside weather.
#[derive(Clone, Copy, Debug)]
enum Incident {
    Kill,
    KillTwice,
    Terminate,
    Split,
    Merge,
    BrokerStop,
    BrokerKill,
    /// A sink's far end is away; a shard is split and a pair merged meanwhile.
    Outage(&'static str),
    Again,
    Damaged,
    Megabyte,
    /// The checkpoint's table is away.
    TableAway,
    Freeze,
}

const INCIDENTS: [Incident; 13] = [
    Incident::Kill,
    Incident::KillTwice,
    Incident::Terminate,
    Incident::Split,
    Incident::Merge,
    Incident::BrokerStop,
    Incident::BrokerKill,
    Incident::Outage(KAFKA),
    Incident::Outage(S3),
    Incident::Outage(FIREHOSE),
    Incident::Again,
    Incident::Damaged,
    Incident::Megabyte,
];

/// What can be met beside them where the checkpoint is in a table.
const OF_A_TABLE: [Incident; 2] = [Incident::TableAway, Incident::Freeze];

/// Incidents of a round: a run of three rounds meets each once.
const INCIDENTS_A_ROUND: usize = 5;

/// Links with bad weather in a round.
const WEATHERS_A_ROUND: usize = 3;

/// The faults of a link, without their numbers.
fn weathers(link: &'static str) -> Vec<Fault> {
    let mut faults = vec![
        Fault::Cut(End::Fin),
        Fault::Cut(End::Rst),
        Fault::Delay { ms: 0 },
        Fault::Trickle { bytes_per_second: 0 },
        Fault::Stall { ms: None },
        Fault::HalfAnswer(End::Fin),
        Fault::HalfAnswer(End::Rst),
        Fault::LostAnswer(End::Fin),
        Fault::LostAnswer(End::Rst),
    ];
    faults.extend(match link {
        KINESIS => vec![
            Fault::Error(400, "ProvisionedThroughputExceededException"),
            Fault::Error(500, "InternalFailure"),
            Fault::Error(503, "ServiceUnavailable"),
            Fault::Error(400, "LimitExceededException"),
        ],
        S3 => vec![Fault::Error(503, "SlowDown"), Fault::Error(500, "InternalError")],
        FIREHOSE => vec![
            Fault::Error(503, "ServiceUnavailableException"),
            Fault::Error(500, "InternalFailure"),
            Fault::RefuseSome,
            Fault::RefuseSome,
        ],
        INVENTORY => vec![Fault::Error(503, "RequestLimitExceeded"), Fault::Error(500, "InternalError")],
        CHECKPOINT => {
            vec![Fault::Error(400, "ProvisionedThroughputExceededException"), Fault::Error(500, "InternalServerError")]
        }
        _ => vec![],
    });
    faults
}

/// The run's rounds. In a short run a stalled connection is reset after seconds, as by a gateway that forgets it; in a
/// long one it may also stay until the program itself gives up. That takes half a minute, and two at S3, where a chunk
/// is dozens of calls: there it is always reset.
pub(crate) fn rounds(seed: u64, count: usize, links: &[&'static str]) -> Vec<Vec<Step>> {
    let mut dice = Dice::for_purpose(seed, "plan");
    let of_a_table: &[Incident] = if links.contains(&CHECKPOINT) { &OF_A_TABLE } else { &[] };
    let mut incidents = Deck::new(&[&INCIDENTS, of_a_table].concat());
    let mut bad_links = Deck::new(links);
    let mut faults: Vec<_> = links.iter().map(|link| (*link, Deck::new(&weathers(link)))).collect();
    let change_before = dice.between(1, count.max(2) as u64) as usize;
    let patient = count > 4;
    (0..count)
        .map(|round| {
            let mut own = Vec::new();
            for _ in 0..INCIDENTS_A_ROUND {
                own.push(incidents.deal(&mut dice));
            }
            let mut weather = Vec::new();
            for _ in 0..WEATHERS_A_ROUND {
                let link = bad_links.deal(&mut dice);
                if weather.iter().any(|(other, _)| *other == link) {
                    continue;
                }
                let deck = &mut faults.iter_mut().find(|(name, _)| *name == link).unwrap().1;
                let fault = measured(deck.deal(&mut dice), patient && link != S3, &mut dice);
                let percent = match fault {
                    Fault::Stall { ms: None } => 5,
                    Fault::Stall { .. } => 15,
                    _ => dice.between(10, 50) as u8,
                };
                weather.push((link, Weather { percent, fault }));
            }
            let mut steps = round_of(&own, &weather, &mut dice);
            if round == change_before {
                steps.insert(0, Step::ChangeFilter);
            }
            steps
        })
        .collect()
}

/// A fault with its numbers.
fn measured(fault: Fault, patient: bool, dice: &mut Dice) -> Fault {
    match fault {
        Fault::Delay { .. } => Fault::Delay { ms: dice.between(50, 1500) },
        Fault::Trickle { .. } => Fault::Trickle { bytes_per_second: dice.between(2_000, 20_000) as usize },
        Fault::Stall { .. } => {
            let ever = patient && dice.percent(30);
            Fault::Stall { ms: (!ever).then(|| dice.between(500, 6_000)) }
        }
        other => other,
    }
}

fn round_of(incidents: &[Incident], weather: &[(&'static str, Weather)], dice: &mut Dice) -> Vec<Step> {
    let mut groups: Vec<Vec<Step>> = incidents.iter().map(|incident| group_of(*incident, dice)).collect();
    dice.shuffle(&mut groups);
    let mut steps: Vec<Step> = weather.iter().map(|(link, weather)| Step::Weather(link, *weather)).collect();
    steps.push(Step::Put { part: 0, of: 0 });
    for group in groups {
        steps.push(Step::Wait { calls: dice.between(1, 50) });
        steps.extend(group);
    }
    steps.push(Step::Put { part: 0, of: 0 });
    steps.push(Step::Wait { calls: dice.between(10, 100) });
    steps.extend(weather.iter().map(|(link, _)| Step::Clear(link)));
    if dice.percent(50) {
        steps.push(Step::CatchUp);
    }
    number_parts(&mut steps);
    steps
}

/// The steps of an incident. What interrupts the program does so soon after new records came.
fn group_of(incident: Incident, dice: &mut Dice) -> Vec<Step> {
    let put = Step::Put { part: 0, of: 0 };
    let mut soon = || Step::Wait { calls: dice.between(1, 25) };
    match incident {
        Incident::Kill => vec![put, soon(), Step::Kill],
        Incident::KillTwice => vec![put, soon(), Step::Kill, soon(), Step::Kill],
        Incident::Terminate => vec![put, soon(), Step::Terminate],
        Incident::Split => vec![Step::Split],
        Incident::Merge => vec![Step::Merge],
        Incident::BrokerStop => {
            vec![put, soon(), Step::BrokerAway { power_failure: false, calls: dice.between(10, 80) }]
        }
        Incident::BrokerKill => {
            vec![put, soon(), Step::BrokerAway { power_failure: true, calls: dice.between(10, 80) }]
        }
        Incident::Outage(link) => {
            let mut steps = vec![Step::Weather(link, Weather::DOWN), put.clone(), soon(), Step::Split, soon(), put];
            steps.extend([soon(), Step::Merge, Step::OthersGoOn(link)]);
            if dice.percent(30) {
                steps.extend([Step::Kill, Step::Wait { calls: dice.between(1, 10) }]);
            }
            steps.push(Step::Clear(link));
            steps
        }
        Incident::TableAway => {
            let mut steps = vec![Step::Weather(CHECKPOINT, Weather::DOWN), put];
            steps.push(Step::Wait { calls: dice.between(10, 80) });
            if dice.percent(30) {
                steps.extend([Step::Kill, Step::Wait { calls: dice.between(1, 10) }]);
            }
            steps.push(Step::Clear(CHECKPOINT));
            steps
        }
        Incident::Freeze => vec![put, soon(), Step::Freeze { calls: dice.between(5, 60) }],
        Incident::Again => vec![Step::Again { records: dice.between(3, 20) as usize }],
        Incident::Damaged => vec![Step::Damaged { records: dice.between(1, 6) as usize }],
        // Read in one answer: not while it is being written.
        Incident::Megabyte => vec![Step::Weather(KINESIS, Weather::DOWN), Step::Megabyte, Step::Clear(KINESIS)],
    }
}

/// The round's records in equal parts, first to last.
fn number_parts(steps: &mut [Step]) {
    let parts = steps.iter().filter(|step| matches!(step, Step::Put { .. })).count();
    let mut number = 0;
    for step in steps {
        if let Step::Put { part, of } = step {
            number += 1;
            (*part, *of) = (number, parts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINKS: [&str; 6] = [KINESIS, KAFKA, S3, FIREHOSE, INVENTORY, CHECKPOINT];

    fn words(seed: u64, count: usize) -> String {
        let steps = rounds(seed, count, &LINKS).concat();
        steps.iter().map(|step| format!("{step}\n")).collect()
    }

    #[test]
    fn a_seed_is_a_plan_and_another_seed_another() {
        assert_eq!(words(7, 10), words(7, 10));
        assert_ne!(words(7, 10), words(8, 10));
    }

    #[test]
    fn three_rounds_meet_every_incident_and_one_change_of_filters() {
        for seed in 0..50 {
            let words = words(seed, 3);
            let all = [
                "kill -9",
                "SIGTERM",
                "split",
                "merge",
                "broker killed",
                "broker stopped",
                "repeats",
                "damaged",
                "1 MB",
            ];
            for word in all.into_iter().chain(["kafka down", "s3 down", "firehose down", "dynamodb down", "frozen"]) {
                assert!(words.contains(word), "seed {seed} has no `{word}`:\n{words}");
            }
            assert_eq!(words.matches("another filter").count(), 1, "seed {seed}");
        }
    }

    #[test]
    fn without_a_table_nobody_is_frozen_and_no_table_is_away() {
        for seed in 0..50 {
            let steps = rounds(seed, 10, &LINKS[..5]).concat();
            let words: String = steps.iter().map(|step| format!("{step}\n")).collect();
            assert!(!words.contains("frozen") && !words.contains(CHECKPOINT), "seed {seed}:\n{words}");
        }
    }
}
