//! Which sink gets which event: `only` and `except` of the pipeline file, compiled.
//!
//! Three-valued: a condition on what the inventory would tell, where the inventory does not know the
//! connection, is neither met nor failed but unknown. Unknown passes and is counted, since filtered must
//! never be loss. Pure; a decision is a few bit tests before it looks at any text.

use crate::config::types::Condition;
use crate::event::{Action, Event, InventoryState, Kind, Severity, Transition};

/// What a filter says about an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The sink gets it.
    Pass,
    /// The sink gets it because a condition could not be decided: count it.
    PassUnknown,
    /// The sink does not get it.
    Drop,
}

/// The filters of all sinks, in the order in which they were given.
#[derive(Clone, Debug, Default)]
pub struct Route {
    filters: Vec<Filter>,
}

impl Route {
    /// Compiles each sink's `only` and `except`.
    pub fn compile(sinks: &[(Option<&Condition>, Option<&Condition>)]) -> Route {
        Route { filters: sinks.iter().map(|(only, except)| Filter::compile(*only, *except)).collect() }
    }

    /// One filter a sink.
    pub fn filters(&self) -> &[Filter] {
        &self.filters
    }
}

/// One sink's filter.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    only: Option<Test>,
    except: Option<Test>,
}

impl Filter {
    /// Compiles `only` and `except`. A condition without any key is no condition: `except: {}` throws
    /// nothing away.
    pub fn compile(only: Option<&Condition>, except: Option<&Condition>) -> Filter {
        Filter { only: only.and_then(Test::compile), except: except.and_then(Test::compile) }
    }

    /// Decides about an enriched event: it passes `only` unless it definitely fails it, and `except` unless
    /// it definitely meets it.
    pub fn decide(&self, event: &Event<'_>) -> Decision {
        let only = self.only.as_ref().map_or(Truth::Yes, |test| test.of(event));
        if only == Truth::No {
            return Decision::Drop;
        }
        let except = self.except.as_ref().map_or(Truth::No, |test| test.of(event));
        match (only, except) {
            (_, Truth::Yes) => Decision::Drop,
            (Truth::Yes, Truth::No) => Decision::Pass,
            _ => Decision::PassUnknown,
        }
    }
}

/// Kleene's three values, in the order in which AND takes the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Truth {
    No,
    Unknown,
    Yes,
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Truth::Yes } else { Truth::No }
    }
}

const _: () = assert!(Action::ALL.len() <= 64 && Kind::ALL.len() <= 64, "the bit sets have 64 places");

/// The place of "no transition" in the bit set of transitions.
const NO_TRANSITION: u64 = 1 << Transition::ALL.len();

/// The values that a key may have, sorted; none: any.
type Allowed = Box<[Box<str>]>;

/// A compiled condition.
#[derive(Clone, Debug)]
struct Test {
    kinds: u64,
    actions: u64,
    transitions: u64,
    min_severity: Severity,
    accounts: Allowed,
    regions: Allowed,
    connections: Allowed,
    tags: Box<[(Box<str>, Allowed)]>,
}

impl Test {
    fn compile(condition: &Condition) -> Option<Test> {
        let Condition { kind, action, transition, min_severity, account, region, connection, tag } = condition;
        let test = Test {
            kinds: bits(kind.iter().map(|word| *word as u32)),
            actions: bits(action.iter().map(|word| *word as u32)),
            transitions: bits(transition.iter().map(|word| *word as u32)),
            min_severity: min_severity.unwrap_or(Severity::Debug),
            accounts: sorted(account),
            regions: sorted(region),
            connections: sorted(connection),
            tags: tag
                .iter()
                .filter(|(_, values)| !values.is_empty())
                .map(|(key, values)| (key.as_str().into(), sorted(values)))
                .collect(),
        };
        let texts = [&test.accounts, &test.regions, &test.connections].iter().all(|list| list.is_empty());
        let words = kind.is_empty() && action.is_empty() && transition.is_empty() && min_severity.is_none();
        if words && texts && test.tags.is_empty() { None } else { Some(test) }
    }

    fn of(&self, event: &Event<'_>) -> Truth {
        let transition = event.transition.map_or(NO_TRANSITION, |transition| 1 << transition as u32);
        let words = self.kinds & (1 << event.kind as u32) != 0
            && self.actions & (1 << event.action as u32) != 0
            && self.transitions & transition != 0
            && event.severity >= self.min_severity;
        if !words {
            return Truth::No;
        }
        let mut truth = fact(&self.accounts, event.cloud.account_id.as_deref());
        truth = truth.min(fact(&self.regions, event.cloud.region.as_deref()));
        truth = truth.min(self.connection(event));
        if truth == Truth::No { truth } else { self.tags(event, truth) }
    }

    fn connection(&self, event: &Event<'_>) -> Truth {
        match &event.vpn {
            _ if self.connections.is_empty() => Truth::Yes,
            Some(vpn) => contains(&self.connections, &vpn.connection_id).into(),
            None => of_no_connection(event),
        }
    }

    fn tags(&self, event: &Event<'_>, mut truth: Truth) -> Truth {
        for (key, values) in &self.tags {
            truth = truth.min(tag(event, key, values));
        }
        truth
    }
}

/// A route server peer belongs to no connection. Any other line belongs to one, even if its log does not tell
/// which: IKE lines carry no identity, and it can be lost on their way.
fn of_no_connection(event: &Event<'_>) -> Truth {
    if event.route_server.is_some() { Truth::No } else { Truth::Unknown }
}

/// A tag that is there decides. One that is not there is a definite no if the inventory knows the
/// connection (or there is no connection that could have tags), and unknown otherwise.
fn tag(event: &Event<'_>, key: &str, values: &[Box<str>]) -> Truth {
    let Some(vpn) = &event.vpn else { return of_no_connection(event) };
    let value = vpn.tags.and_then(|tags| tags.get(key)).map(String::as_str);
    // `Name` is no tag in events; who filters by it means `vpn.name`.
    let value = value.or_else(|| vpn.name.filter(|_| key == "Name"));
    match (value, &vpn.inventory) {
        (Some(value), _) => contains(values, value).into(),
        (None, Some(inventory)) if inventory.state != InventoryState::Missing => Truth::No,
        (None, _) => Truth::Unknown,
    }
}

/// Account and Region: unknown where nothing, not even the envelope or the configuration, told one.
fn fact(allowed: &[Box<str>], value: Option<&str>) -> Truth {
    match value {
        _ if allowed.is_empty() => Truth::Yes,
        Some(value) => contains(allowed, value).into(),
        None => Truth::Unknown,
    }
}

/// The set of `places`; no places mean no condition, so all.
fn bits(places: impl Iterator<Item = u32>) -> u64 {
    let set = places.fold(0, |set, place| set | 1 << place);
    if set == 0 { u64::MAX } else { set }
}

fn sorted(texts: &[String]) -> Allowed {
    let mut texts: Vec<Box<str>> = texts.iter().map(|text| text.as_str().into()).collect();
    texts.sort_unstable();
    texts.dedup();
    texts.into()
}

fn contains(sorted: &[Box<str>], text: &str) -> bool {
    sorted.binary_search_by(|probe| probe.as_ref().cmp(text)).is_ok()
}

#[cfg(test)]
mod tests;
