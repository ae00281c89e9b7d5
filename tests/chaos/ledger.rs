//! The ledger: what was produced, and what of it is where. Knows no part of the system that it judges, only places: a
//! record stands at a shard and a sequence number, an event at an index in it.
//!
//! - **lost**: due and not there;
//! - **repeated**: there more often than upstream sent it, at the same place (upstream's own repeats have places of
//!   their own);
//! - **filtered**: not there, and the pipeline file in force when it was settled leaves it out;
//! - **problem**: there although it was never produced, or was left out, or under another id; repeated where that is
//!   forbidden; out of order.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use tunnelog::delivery::{At, LaneKey, LaneState};
use tunnelog::source::Position;

/// Examples of a problem that are told.
const EXAMPLES: usize = 5;

/// Where a record stands.
pub(crate) type Place = (String, Position);

/// An event that a record must come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) action: String,
    pub(crate) log_stream: String,
}

/// What a record must come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) events: Vec<Event>,
    /// It must become a dead letter.
    pub(crate) damaged: bool,
}

/// A record that was put into the stream.
#[derive(Clone, Debug)]
pub(crate) struct Produced {
    pub(crate) content: Content,
    /// For people: in which round, at which step.
    pub(crate) when: String,
    /// Upstream had sent the same before.
    pub(crate) again: bool,
    /// The pipeline file in force.
    file: usize,
}

/// An event, or a dead letter, as it was found at a far end.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) place: Place,
    /// 0 for a dead letter.
    pub(crate) index: u64,
    pub(crate) id: String,
    /// What it was found in: order is looked at within each.
    pub(crate) within: String,
}

/// When the program ended, however it did: what it remembered.
#[derive(Clone, Debug)]
struct End {
    file: usize,
    lanes: BTreeMap<LaneKey, LaneState>,
}

/// A record's place and the index in it.
type Spot<'l> = (&'l Place, u64);

/// What may be at a far end: the event (none for a dead letter), and whether it must be there.
type Due<'l> = BTreeMap<Spot<'l>, (Option<&'l Event>, bool)>;

/// Which repeats a far end may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Repeats {
    Allowed,
    /// Only what a run left unremembered.
    OfWhatWasNotRemembered,
    Never,
}

/// Which order a far end keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Order {
    None,
    /// In each log stream the first of each event comes in order.
    FirstOfEach,
    /// The same, and what is repeated is a whole suffix.
    Suffixes,
    /// The order of records within each object.
    Strict,
}

/// A far end: the sink's name in the pipeline file, and its promise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promise {
    pub(crate) sink: &'static str,
    pub(crate) letters: bool,
    pub(crate) repeats: Repeats,
    pub(crate) order: Order,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Ledger {
    records: BTreeMap<Place, Produced>,
    /// Places in the order of production: what order within a log stream means.
    order: Vec<Place>,
    /// Actions that each pipeline file leaves out.
    files: Vec<Vec<&'static str>>,
    ends: Vec<End>,
}

/// A line of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) sink: &'static str,
    pub(crate) produced: usize,
    pub(crate) delivered: usize,
    pub(crate) repeated: usize,
    pub(crate) filtered: usize,
    pub(crate) lost: usize,
    pub(crate) problems: Vec<String>,
}

impl Ledger {
    /// The pipeline file that holds from now on, by what it leaves out.
    pub(crate) fn file(&mut self, without: &[&'static str]) {
        self.files.push(without.to_vec());
    }

    pub(crate) fn produced(&mut self, place: Place, content: Content, when: &str, again: bool) {
        let file = self.files.len() - 1;
        let before = self.records.insert(place.clone(), Produced { content, when: when.to_owned(), again, file });
        assert!(before.is_none(), "the stream gave the place {place:?} twice");
        self.order.push(place);
    }

    /// The program ended, and remembers this.
    pub(crate) fn ended(&mut self, lanes: BTreeMap<LaneKey, LaneState>) {
        self.ends.push(End { file: self.files.len() - 1, lanes });
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &Produced> {
        self.records.values()
    }

    /// The pipeline files under which a record may have been settled: from the one when it came to the one that
    /// decided, when the sink first remembered it.
    fn files_for(&self, sink: &str, place: &Place, produced: &Produced) -> std::ops::RangeInclusive<usize> {
        let decided = self.ends.iter().find(|end| end.remembers(sink, place)).map(|end| end.file);
        produced.file..=decided.unwrap_or(self.files.len() - 1).max(produced.file)
    }

    fn passes(&self, file: usize, event: &Event) -> bool {
        !self.files[file].contains(&event.action.as_str())
    }

    /// What is due at a far end: by place and index, whether it must be there (else it may).
    fn due(&self, promise: Promise) -> Due<'_> {
        let mut due = BTreeMap::new();
        for (place, produced) in &self.records {
            if promise.letters {
                if produced.content.damaged {
                    due.insert((place, 0), (None, true));
                }
                continue;
            }
            let files = self.files_for(promise.sink, place, produced);
            for (index, event) in produced.content.events.iter().enumerate() {
                let must = self.passes(*files.end(), event);
                // An object is rebuilt under the file that decides; elsewhere what an earlier one let pass stays.
                let may =
                    must || promise.repeats != Repeats::Never && files.clone().any(|file| self.passes(file, event));
                if may {
                    due.insert((place, index as u64), (Some(event), must));
                }
            }
        }
        due
    }

    /// How many are due and not there: what a catch-up waits for.
    pub(crate) fn missing(&self, promise: Promise, found: &[Found]) -> usize {
        let there: BTreeSet<_> = found.iter().map(|found| (&found.place, found.index)).collect();
        self.due(promise).iter().filter(|(at, (_, must))| *must && !there.contains(at)).count()
    }

    /// Judges a far end.
    pub(crate) fn row(&self, promise: Promise, found: &[Found]) -> Row {
        let due = self.due(promise);
        let mut times: BTreeMap<Spot<'_>, Vec<&Found>> = BTreeMap::new();
        for one in found {
            times.entry((&one.place, one.index)).or_default().push(one);
        }
        let mut tell = Tell::default();
        for (at, copies) in &times {
            let Some((event, _)) = due.get(at) else {
                tell.of("not due, and there", || self.describe(at));
                continue;
            };
            if let Some(event) = event
                && let Some(other) = copies.iter().find(|copy| copy.id != event.id)
            {
                tell.of("another id", || format!("{}, found {}", self.describe(at), other.id));
            }
            let allowed = match promise.repeats {
                Repeats::Allowed => usize::MAX,
                Repeats::Never => 1,
                Repeats::OfWhatWasNotRemembered => {
                    1 + self.ends.iter().filter(|end| !end.remembers(promise.sink, at.0)).count()
                }
            };
            if copies.len() > allowed {
                let within: Vec<_> = copies.iter().map(|copy| copy.within.as_str()).collect();
                tell.of("too often", || format!("{}: {} times, {within:?}", self.describe(at), copies.len()));
            }
        }
        let lost: Vec<_> = due.iter().filter(|(at, (_, must))| *must && !times.contains_key(at)).collect();
        for (at, _) in &lost {
            tell.of("lost", || self.describe(at));
        }
        self.check_order(promise, &due, found, &mut tell);
        let produced = if promise.letters { due.len() } else { self.events() };
        let delivered = times.keys().filter(|at| due.contains_key(at)).count();
        Row {
            sink: promise.sink,
            produced,
            delivered,
            repeated: times.values().map(|copies| copies.len() - 1).sum(),
            filtered: produced - delivered - lost.len(),
            lost: lost.len(),
            problems: tell.into_lines(),
        }
    }

    /// Places of events, upstream's repeats among them.
    pub(crate) fn events(&self) -> usize {
        self.records().map(|record| record.content.events.len()).sum()
    }

    fn describe(&self, at: &Spot<'_>) -> String {
        let ((shard, position), index) = at;
        let produced = self.records.get(at.0);
        let when = produced.map_or("never produced", |produced| produced.when.as_str());
        let event = produced.and_then(|produced| produced.content.events.get(*index as usize));
        let id = event.map_or("no event", |event| event.id.as_str());
        format!("{id} ({shard} {position} index {index}; produced: {when})")
    }

    fn check_order(&self, promise: Promise, due: &Due<'_>, found: &[Found], tell: &mut Tell) {
        if promise.order == Order::None {
            return;
        }
        // Within an object the order of records; else the order of production, log stream by log stream.
        let mut within: BTreeMap<&str, Vec<Spot<'_>>> = BTreeMap::new();
        for one in found {
            within.entry(&one.within).or_default().push((&one.place, one.index));
        }
        if promise.order == Order::Strict {
            for (name, places) in within {
                if let Some(pair) = places.windows(2).find(|pair| pair[0] >= pair[1]) {
                    tell.of("out of order in an object", || format!("{name}: {}", self.describe(&pair[1])));
                }
            }
            return;
        }
        let mut streams = self.streams(due);
        // What is lost has been told too: it is not waited for.
        let there: BTreeSet<_> = within.values().flatten().copied().collect();
        streams.values_mut().flatten().for_each(|(at, must)| *must &= there.contains(at));
        for (name, places) in within {
            let Some(stream) = streams.get(name) else { continue };
            let ranks: BTreeMap<_, usize> = stream.iter().enumerate().map(|(rank, (at, _))| (*at, rank)).collect();
            let (mut next, mut newest) = (0, 0);
            for at in places {
                // What is not due has been told.
                let Some(rank) = ranks.get(&at).copied() else { continue };
                let from = if promise.order == Order::Suffixes { next } else { newest };
                // What may be left out may be skipped; to go back is a rewind.
                if rank > from && stream[from..rank].iter().any(|(_, must)| *must) {
                    tell.of("out of order", || format!("{name}: {} comes too early", self.describe(&at)));
                }
                next = rank + 1;
                newest = newest.max(next);
            }
        }
    }

    /// What may be there of each log stream, in the order of production, and whether it must.
    fn streams<'l>(&'l self, due: &Due<'l>) -> BTreeMap<&'l str, Vec<(Spot<'l>, bool)>> {
        let mut streams: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for place in &self.order {
            for (at, (event, must)) in due.range((place, 0)..=(place, u64::MAX)) {
                if let Some(event) = event {
                    streams.entry(event.log_stream.as_str()).or_default().push((*at, *must));
                }
            }
        }
        streams
    }
}

impl End {
    fn remembers(&self, sink: &str, place: &Place) -> bool {
        self.lanes.iter().any(|(key, state)| {
            let passed = match state.at {
                At::Start(_) => false,
                At::After(position) => place.1 <= position,
                At::ShardEnd => true,
            };
            passed && *key.sink == *sink && *key.shard.shard == *place.0
        })
    }
}

/// Problems by their kind, with a few examples of each.
#[derive(Default)]
struct Tell(BTreeMap<&'static str, (usize, Vec<String>)>);

impl Tell {
    fn of(&mut self, kind: &'static str, example: impl FnOnce() -> String) {
        let (count, examples) = self.0.entry(kind).or_default();
        *count += 1;
        if examples.len() < EXAMPLES {
            examples.push(example());
        }
    }

    fn into_lines(self) -> Vec<String> {
        let line = |(kind, (count, examples)): (&str, (usize, Vec<String>))| {
            format!("{kind}: {count}, for example\n      {}", examples.join("\n      "))
        };
        self.0.into_iter().map(line).collect()
    }
}

impl Row {
    /// The columns' names, as [`Row`] writes them.
    pub(crate) const HEAD: &'static str = "  far end          produced   delivered   repeated   filtered       lost";
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { sink, produced, delivered, repeated, filtered, lost, problems } = self;
        write!(f, "  {sink:<14}{produced:>11}{delivered:>12}{repeated:>11}{filtered:>11}{lost:>11}")?;
        problems.iter().try_for_each(|problem| write!(f, "\n    {problem}"))
    }
}
