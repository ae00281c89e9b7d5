//! How events look in OCSF, ECS and Splunk, as Markdown: printed from the encoders' own tables.

use std::fmt::{Display, Write as _};

use crate::config::kinds_of;
use crate::encode::outcome::{self, Outcome, Step};
use crate::encode::{ecs, ocsf, splunk};
use crate::event::{Action, Kind, SessionState, Severity};

const INTRO: &str = "\
<!-- Generated: UPDATE_GOLDEN=1 cargo test --test schemas -->
# The formats `ocsf`, `ecs` and `splunk`

What becomes of an event's severity and action in each. The event itself is in event.md; the options `raw`, `origin`
and `constants` are in config.md.

In all three the customer's end is the source and AWS's end the destination. The source's address of a BGP or BFD
session is the neighbor; AWS's own address inside the tunnel is not told by the log, and so is absent (`dest_ip` for
Splunk is the tunnel's outside address in every event). An address that could not be read is absent too, and is in
`problems`.

| | `ocsf` | `ecs` | `splunk` |
|---|---|---|---|
| version | OCSF 1.8.0, profile `cloud` | ECS 9.4.0 | CIM 6 |
| event id | `metadata.uid` | `event.id` | `id` |
| time, arrival | `time`, `metadata.logged_time` (ms) | `@timestamp`, `event.created` | `time`, `observed` |
| sentence | `message` | `message` | `description` |
| connection | `metadata.correlation_uid` | `aws.vpn.connection_id` | `connection_id` |
| account, Region | `cloud.account.uid`, `cloud.region` | `cloud.account.id`, `cloud.region` | `account_id`, `region` |
| customer's end | `src_endpoint` | `source` | `src_ip` |
| AWS's end | `dst_endpoint` | `destination`, `observer` | `dest_ip` |
| BGP, IKE, inventory, tags | `unmapped.bgp`, `.ike`, `.vpn` | `aws.vpn.bgp`, `.ike`, … | see *Fields for Splunk* |
| option `raw` | `raw_data` | `event.original` | `raw` |
| option `origin` | `unmapped.origin` | `aws.vpn.origin` | `origin_…` |
| option `constants` | `metadata.tags` | `labels` | at the top level |
";

const ACTIONS: &str = "\
Where OCSF's class has no activity for an action it is `Other` (99), and `activity_name` is the action's own word.
The actions of IKE that delete a security association are a renewal while phase 2 is up, since a rekey deletes the old
one (RFC 7296 section 2.8).

";

/// The reference of the formats, `schemas/formats.md`.
pub fn formats_reference() -> String {
    let mut text = String::from(INTRO);
    text.push_str("\n# Severities\n\n");
    table(&mut text, ["severity", "OCSF `severity_id`", "ECS `event.severity`", "Splunk `severity`"]);
    for severity in Severity::ALL {
        let (id, caption) = ocsf::severity(*severity);
        let (ecs, splunk) = (ecs::severity(*severity), splunk::severity(*severity));
        row(&mut text, [&format!("`{severity}`"), &format!("{id} {caption}"), &ecs, &splunk]);
    }
    text.push_str("\nThe severity itself is in `metadata.log_level`, `log.level` and `vendor_severity`.\n");
    text.push_str("\n# Actions\n\n");
    text.push_str(ACTIONS);
    let heads = [
        "kind",
        "action",
        "OCSF class",
        "activity",
        "status",
        "ECS `event.type`",
        "outcome",
        "Splunk `action`",
        "`status`",
    ];
    table(&mut text, heads);
    for kind in Kind::ALL {
        for action in Action::ALL.iter().filter(|action| kinds_of(**action).contains(kind)) {
            action_rows(&mut text, *kind, *action);
        }
    }
    text.push_str("\n# Fields for Splunk\n\nA tag of the connection is `vpn_tag_` and its name.\n\n");
    table(&mut text, ["field", "meaning"]);
    for (field, meaning) in splunk::FIELDS {
        row(&mut text, [&format!("`{field}`"), meaning]);
    }
    text
}

/// One row, or two where the state of the session makes a difference.
fn action_rows(text: &mut String, kind: Kind, action: Action) {
    let [up, other] = [Some(SessionState::Up), None].map(|state| outcome::interpret(kind, action, state));
    if up == other {
        action_row(text, kind, &format!("`{action}`"), action, other);
    } else {
        action_row(text, kind, &format!("`{action}`, phase 2 up"), action, up);
        action_row(text, kind, &format!("`{action}`, otherwise"), action, other);
    }
}

fn action_row(text: &mut String, kind: Kind, name: &str, action: Action, (step, outcome): (Step, Outcome)) {
    let class = ocsf::class(kind);
    let activity = ocsf::activity(kind, step).map_or("99 Other".into(), |(id, caption)| format!("{id} {caption}"));
    let (status_id, status) = ocsf::status(kind, action, outcome);
    row(
        text,
        [
            &format!("`{kind}`"),
            &name,
            &format!("{} {}", class.uid, class.name),
            &activity,
            &format!("{status_id} {status}"),
            &ecs::types(kind, step, outcome).join(", "),
            &ecs::outcome_word(outcome),
            &splunk::action(kind, step, outcome).unwrap_or_default(),
            &splunk::status(outcome).unwrap_or_default(),
        ],
    );
}

fn table<const N: usize>(text: &mut String, heads: [&str; N]) {
    row(text, heads.each_ref().map(|head| head as &dyn Display));
    text.push_str(&"|---".repeat(N));
    text.push_str("|\n");
}

/// Writing to a string cannot fail.
fn row<const N: usize>(text: &mut String, cells: [&dyn Display; N]) {
    for cell in cells {
        let _ = write!(text, "| {cell} ");
    }
    text.push_str("|\n");
}
