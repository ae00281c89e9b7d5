//! The filters against a table and against a naive model that is written without any cleverness.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;
use crate::event::{InventoryInfo, RouteServer, Vpn};
use crate::sample;

fn inventory<'a>(state: InventoryState) -> InventoryInfo<'a> {
    InventoryInfo { state, as_of: None, tunnel_status: None, accepted_routes: None }
}

fn tag_is(key: &str, values: &[&str]) -> Condition {
    let values = values.iter().map(ToString::to_string).collect();
    Condition { tag: BTreeMap::from([(key.to_owned(), values)]), ..Condition::default() }
}

#[track_caller]
fn check(only: Option<Condition>, except: Option<Condition>, event: &Event<'_>, expect: Decision) {
    assert_eq!(Filter::compile(only.as_ref(), except.as_ref()).decide(event), expect);
}

#[test]
fn no_condition_passes_everything_and_an_empty_except_drops_nothing() {
    let event = sample::established();
    check(None, None, &event, Decision::Pass);
    check(Some(Condition::default()), Some(Condition::default()), &event, Decision::Pass);
    // No values: no condition.
    check(None, Some(tag_is("site", &[])), &event, Decision::Pass);
}

#[test]
fn a_transition_condition_needs_a_transition() {
    let up = Condition { transition: vec![Transition::Up], ..Condition::default() };
    let mut event = sample::established();
    check(Some(up.clone()), None, &event, Decision::Pass);
    event.transition = None;
    check(Some(up.clone()), None, &event, Decision::Drop);
    check(None, Some(up), &event, Decision::Pass);
}

#[test]
fn severity_is_this_or_higher() {
    let notice = Condition { min_severity: Some(Severity::Notice), ..Condition::default() };
    let mut event = sample::established();
    for (severity, expect) in
        [(Severity::Info, Decision::Drop), (Severity::Notice, Decision::Pass), (Severity::Critical, Decision::Pass)]
    {
        event.severity = severity;
        check(Some(notice.clone()), None, &event, expect);
    }
}

#[test]
fn a_tag_is_unknown_only_where_the_inventory_does_not_know_the_connection() {
    let seoul = tag_is("site", &["seoul"]);
    let tags = BTreeMap::from([("site".to_owned(), "seoul".to_owned())]);
    let mut event = sample::established();
    check(Some(seoul.clone()), None, &event, Decision::PassUnknown); // no inventory at all
    check(None, Some(seoul.clone()), &event, Decision::PassUnknown);
    for (state, expect) in [
        (InventoryState::Missing, Decision::PassUnknown),
        (InventoryState::Fresh, Decision::Drop),
        (InventoryState::Stale, Decision::Drop),
    ] {
        event.vpn.as_mut().unwrap().inventory = Some(inventory(state));
        check(Some(seoul.clone()), None, &event, expect);
    }
    event.vpn.as_mut().unwrap().tags = Some(&tags);
    check(Some(seoul.clone()), None, &event, Decision::Pass);
    check(None, Some(seoul.clone()), &event, Decision::Drop);
    event.vpn = None;
    check(Some(seoul.clone()), None, &event, Decision::PassUnknown); // the log does not tell which connection
    let mine = Condition { connection: vec!["vpn-1".into()], ..Condition::default() };
    check(Some(mine.clone()), None, &event, Decision::PassUnknown);
    check(None, Some(mine.clone()), &event, Decision::PassUnknown);
    event.route_server = Some(RouteServer { peer_id: None, arn: "arn:aws:ec2:…".into() });
    check(Some(seoul), None, &event, Decision::Drop); // a route server peer is of no connection
    check(Some(mine), None, &event, Decision::Drop);
}

#[test]
fn an_unknown_account_passes_but_another_certain_no_still_drops() {
    let mine = Condition { account: vec!["123456789012".into()], kind: vec![Kind::BgpSession], ..Condition::default() };
    let mut event = sample::established();
    check(Some(mine.clone()), None, &event, Decision::PassUnknown);
    event.kind = Kind::Ike;
    check(Some(mine), None, &event, Decision::Drop);
}

#[test]
fn name_means_the_name_of_the_connection() {
    let mut event = sample::established();
    let vpn = event.vpn.as_mut().unwrap();
    (vpn.name, vpn.inventory) = (Some("seoul-dc"), Some(inventory(InventoryState::Fresh)));
    check(Some(tag_is("Name", &["seoul-dc"])), None, &event, Decision::Pass);
    check(Some(tag_is("Name", &["tokyo-dc"])), None, &event, Decision::Drop);
}

/// The naive model: `Some(bool)` or unknown, every rule spelt out over the lists of the pipeline file.
fn model(condition: &Condition, event: &Event<'_>) -> Option<bool> {
    let mut parts: Vec<Option<bool>> = Vec::new();
    if !condition.kind.is_empty() {
        parts.push(Some(condition.kind.contains(&event.kind)));
    }
    if !condition.action.is_empty() {
        parts.push(Some(condition.action.contains(&event.action)));
    }
    if !condition.transition.is_empty() {
        parts.push(Some(event.transition.is_some_and(|transition| condition.transition.contains(&transition))));
    }
    if let Some(min) = condition.min_severity {
        parts.push(Some(event.severity >= min));
    }
    if !condition.account.is_empty() {
        parts.push(event.cloud.account_id.as_ref().map(|id| condition.account.iter().any(|other| other == id)));
    }
    if !condition.region.is_empty() {
        parts.push(event.cloud.region.as_ref().map(|id| condition.region.iter().any(|other| other == id)));
    }
    if !condition.connection.is_empty() {
        parts.push(match (&event.vpn, &event.route_server) {
            (Some(vpn), _) => Some(condition.connection.iter().any(|other| *other == vpn.connection_id)),
            (None, Some(_)) => Some(false),
            (None, None) => None,
        });
    }
    for (key, values) in &condition.tag {
        parts.push(match &event.vpn {
            None => event.route_server.as_ref().map(|_| false),
            Some(vpn) => match vpn.tags.and_then(|tags| tags.get(key)) {
                Some(value) => Some(values.contains(value)),
                None => match vpn.inventory.as_ref().map(|inventory| inventory.state) {
                    None | Some(InventoryState::Missing) => None,
                    Some(InventoryState::Fresh | InventoryState::Stale) => Some(false),
                },
            },
        });
    }
    if parts.contains(&Some(false)) {
        Some(false)
    } else if parts.contains(&None) {
        None
    } else {
        Some(true)
    }
}

fn model_decide(only: Option<&Condition>, except: Option<&Condition>, event: &Event<'_>) -> Decision {
    let only = only.map_or(Some(true), |condition| model(condition, event));
    let except = except.map_or(Some(false), |condition| model(condition, event));
    match (only, except) {
        (Some(false), _) | (_, Some(true)) => Decision::Drop,
        (Some(true), Some(false)) => Decision::Pass,
        _ => Decision::PassUnknown,
    }
}

fn some_of(words: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    subsequence(words, 0..=words.len()).prop_map(|words| words.into_iter().map(str::to_owned).collect())
}

fn conditions() -> impl Strategy<Value = Condition> {
    let words = (
        subsequence(Kind::ALL, 0..3),
        prop_oneof![Just(Vec::new()), subsequence(Action::ALL, 1..Action::ALL.len())],
        subsequence(Transition::ALL, 0..=2),
        proptest::option::of(select(Severity::ALL)),
    );
    let texts = (
        some_of(&["111111111111", "222222222222"]),
        some_of(&["us-east-1", "eu-west-1"]),
        some_of(&["vpn-1", "vpn-2"]),
        proptest::collection::btree_map(
            select(&["site", "env"][..]).prop_map(str::to_owned),
            subsequence(&["a", "b", "c"][..], 1..3).prop_map(|v| v.into_iter().map(str::to_owned).collect()),
            0..3,
        ),
    );
    (words, texts).prop_map(|((kind, action, transition, min_severity), (account, region, connection, tag))| {
        Condition { kind, action, transition, min_severity, account, region, connection, tag }
    })
}

/// Not the empty condition, whose meaning as `except` is a decision of its own (tested above).
fn filled() -> impl Strategy<Value = Option<Condition>> {
    proptest::option::of(conditions().prop_filter("empty", |condition| Test::compile(condition).is_some()))
}

proptest! {
    #[test]
    fn filters_agree_with_the_naive_model(
        only in filled(),
        except in filled(),
        (kind, action, severity) in (select(Kind::ALL), select(Action::ALL), select(Severity::ALL)),
        transition in proptest::option::of(select(Transition::ALL)),
        account in proptest::option::of(select(&["111111111111", "222222222222", "333333333333"][..])),
        region in proptest::option::of(select(&["us-east-1", "eu-west-1"][..])),
        connection in proptest::option::of(select(&["vpn-1", "vpn-2", "vpn-3"][..])),
        state in proptest::option::of(select(InventoryState::ALL)),
        tags in proptest::option::of(proptest::collection::btree_map(
            select(&["site", "env"][..]).prop_map(str::to_owned), "[abc]", 0..3)),
    ) {
        let mut event = sample::established();
        (event.kind, event.action, event.severity, event.transition) = (kind, action, severity, transition);
        event.cloud.account_id = account.map(Into::into);
        event.cloud.region = region.map(Into::into);
        event.vpn = connection.map(|id| Vpn {
            tags: tags.as_ref(),
            inventory: state.map(inventory),
            ..sample::vpn(id, "203.0.113.17")
        });
        let expect = model_decide(only.as_ref(), except.as_ref(), &event);
        let sinks = [(only.as_ref(), except.as_ref())];
        prop_assert_eq!(Route::compile(&sinks).filters()[0].decide(&event), expect);
    }
}
