//! Every metric: its name, kind, labels and help, in one table that the recorder, the tests and the
//! documentation share.
//!
//! Names follow the Prometheus conventions: base units (seconds, bytes), `_total` on counters. Label values
//! are names from the pipeline file or words from closed lists, never data, so the number of series is
//! bounded by the pipeline.

/// The version in a label; always 1.
pub const BUILD_INFO: &str = "tunnelog_build_info";
/// Records that readers brought.
pub const RECORDS_READ: &str = "tunnelog_records_read_total";
/// Bytes of records as the source delivered them.
pub const RECORD_BYTES_READ: &str = "tunnelog_record_bytes_read_total";
/// Events that came out of the core.
pub const EVENTS: &str = "tunnelog_events_total";
/// CloudWatch's tests of reachability.
pub const CONTROL_MESSAGES: &str = "tunnelog_control_messages_total";
/// Records that became dead letters.
pub const UNREADABLE_RECORDS: &str = "tunnelog_unreadable_records_total";
/// Log lines of no known form.
pub const EVENTS_UNPARSED: &str = "tunnelog_events_unparsed_total";
/// Look-ups of connections that the inventory does not have.
pub const INVENTORY_MISSES: &str = "tunnelog_inventory_misses_total";
/// Items by what became of them.
pub const SINK_ITEMS: &str = "tunnelog_sink_items_total";
/// Bytes handed to a sink's far end.
pub const SINK_BYTES: &str = "tunnelog_sink_bytes_total";
/// Whether a sink takes events.
pub const SINK_UP: &str = "tunnelog_sink_up";
/// Lanes by state.
pub const LANES: &str = "tunnelog_lanes";
/// Returns of lanes to their checkpoints.
pub const LANE_REWINDS: &str = "tunnelog_lane_rewinds_total";
/// Times that lanes were parked.
pub const LANE_PARKS: &str = "tunnelog_lane_parks_total";
/// Age of the oldest record that a parked lane has not delivered.
pub const PARKED_AGE_SECONDS: &str = "tunnelog_parked_age_seconds";
/// What is left until the source deletes what a parked lane has not delivered.
pub const PARKED_LEFT_SECONDS: &str = "tunnelog_parked_retention_left_seconds";
/// Shards that should progress and do not.
pub const SHARDS_STALLED: &str = "tunnelog_shards_stalled";
/// Records that are read and not settled.
pub const LANE_OPEN_RECORDS: &str = "tunnelog_lane_open_records";
/// See [`CATALOGUE`].
pub const MEMORY_LIMIT_BYTES: &str = "tunnelog_memory_limit_bytes";
/// See [`CATALOGUE`].
pub const MEMORY_ANSWERS_BYTES: &str = "tunnelog_memory_answers_bytes";
/// See [`CATALOGUE`].
pub const MEMORY_WAITS: &str = "tunnelog_memory_waits_total";
/// See [`CATALOGUE`].
pub const SINK_ROOM_BYTES: &str = "tunnelog_sink_room_bytes";
/// See [`CATALOGUE`].
pub const SINK_HELD_BYTES: &str = "tunnelog_sink_held_bytes";
/// Commits of positions.
pub const CHECKPOINT_COMMITS: &str = "tunnelog_checkpoint_commits_total";
/// How long commits take.
pub const CHECKPOINT_COMMIT_SECONDS: &str = "tunnelog_checkpoint_commit_seconds";
/// Time since the latest commit.
pub const CHECKPOINT_AGE_SECONDS: &str = "tunnelog_checkpoint_age_seconds";
/// How far a source is behind its tip.
pub const SOURCE_LAG_SECONDS: &str = "tunnelog_source_lag_seconds";
/// How far a stream's slowest shard is behind its tip.
pub const STREAM_BEHIND_SECONDS: &str = "tunnelog_stream_behind_seconds";
/// How many records a stream's readers are behind, as an estimate.
pub const STREAM_BEHIND_RECORDS: &str = "tunnelog_stream_behind_records";
/// Reads that the service refused for their frequency or size.
pub const STREAM_THROTTLED: &str = "tunnelog_stream_throttled_total";
/// Bytes that polling brought, by the reader's role.
pub const STREAM_POLLED_BYTES: &str = "tunnelog_stream_polled_bytes_total";
/// Shards that are read by enhanced fan-out.
pub const STREAM_SUBSCRIPTIONS: &str = "tunnelog_stream_subscriptions";
/// Reloads by how they went.
pub const RELOADS: &str = "tunnelog_reloads_total";
/// Whether the latest reload succeeded.
pub const LAST_RELOAD_SUCCESSFUL: &str = "tunnelog_last_reload_successful";
/// When the latest successful reload was.
pub const LAST_RELOAD_TIMESTAMP_SECONDS: &str = "tunnelog_last_reload_timestamp_seconds";
/// Reads that failed.
pub const SOURCE_ERRORS: &str = "tunnelog_source_errors_total";
/// Ranges of records that are lost upstream.
pub const GAPS: &str = "tunnelog_gaps_total";
/// Age of the inventory.
pub const INVENTORY_AGE_SECONDS: &str = "tunnelog_inventory_age_seconds";
/// Connections in the inventory.
pub const INVENTORY_CONNECTIONS: &str = "tunnelog_inventory_connections";

/// Refreshes of an account's inventory that succeeded.
pub const INVENTORY_REFRESHES: &str = "tunnelog_inventory_refreshes_total";
/// Refreshes of an account's inventory that failed.
pub const INVENTORY_ERRORS: &str = "tunnelog_inventory_errors_total";
/// Age of an account's inventory.
pub const INVENTORY_ACCOUNT_AGE_SECONDS: &str = "tunnelog_inventory_account_age_seconds";
/// Connections of an account.
pub const INVENTORY_ACCOUNT_CONNECTIONS: &str = "tunnelog_inventory_account_connections";

/// The kind of a metric, as `# TYPE` says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Observations in buckets.
    Histogram,
}

/// One row of [`CATALOGUE`].
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: MetricKind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// `# HELP`.
    pub help: &'static str,
}

const fn row(name: &'static str, kind: MetricKind, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind, labels, help }
}

/// All metrics of tunnelog, in the order in which data passes. Those of the process are in
/// [`super::process`].
pub const CATALOGUE: &[Metric] = {
    use MetricKind::{Counter, Gauge, Histogram};
    &[
        row(BUILD_INFO, Gauge, &["version"], "The running version of tunnelog; the value is always 1."),
        row(RECORDS_READ, Counter, &["source"], "Records read, those read again after a rewind included."),
        row(RECORD_BYTES_READ, Counter, &["source"], "Bytes of the records read, as delivered (usually gzip)."),
        row(
            SOURCE_LAG_SECONDS,
            Gauge,
            &["source"],
            "Age of the record processed last: from its arrival in the stream until it was processed.",
        ),
        row(
            STREAM_BEHIND_SECONDS,
            Gauge,
            &["source"],
            "How far the slowest shard is behind its tip, as Kinesis says (MillisBehindLatest); 0 at the tip.",
        ),
        row(
            STREAM_BEHIND_RECORDS,
            Gauge,
            &["source"],
            "Estimate of the records not yet read: Kinesis tells no number, so the seconds behind are multiplied by \
             the rate at which the records read last had arrived; 0, which is exact, at the tip. What is read and \
             not settled is in tunnelog_lane_open_records.",
        ),
        row(
            STREAM_THROTTLED,
            Counter,
            &["source"],
            "Reads that Kinesis refused because the shard's limits are used up, by this or another program; each is \
             tried again more slowly.",
        ),
        row(
            STREAM_POLLED_BYTES,
            Counter,
            &["source", "role"],
            "Bytes of records that GetRecords brought: role tip is each shard's foremost reader, catch_up the others,              which read again for sinks that are behind.",
        ),
        row(STREAM_SUBSCRIPTIONS, Gauge, &["source"], "Shards that are read by enhanced fan-out now."),
        row(SOURCE_ERRORS, Counter, &["source"], "Failed reads; each is tried again after a pause."),
        row(GAPS, Counter, &["source"], "Ranges of records that had expired before they were read."),
        row(CONTROL_MESSAGES, Counter, &["source"], "Subscription control messages; they carry no events."),
        row(
            UNREADABLE_RECORDS,
            Counter,
            &["source", "reason"],
            "Records that could not be decoded and went to the dead letters.",
        ),
        row(EVENTS, Counter, &["kind"], "Events made from log lines."),
        row(EVENTS_UNPARSED, Counter, &[], "Log lines of no known form; they are passed on as they are."),
        row(INVENTORY_MISSES, Counter, &[], "Events of connections that the inventory does not have."),
        row(INVENTORY_CONNECTIONS, Gauge, &[], "VPN connections in the inventory."),
        row(INVENTORY_AGE_SECONDS, Gauge, &[], "Time since the inventory was last loaded without an error."),
        row(INVENTORY_REFRESHES, Counter, &["account"], "Refreshes by EC2, one an account and Region."),
        row(INVENTORY_ERRORS, Counter, &["account"], "Refreshes that failed; the last good answer stays in use."),
        row(INVENTORY_ACCOUNT_AGE_SECONDS, Gauge, &["account"], "Age of what is known of the account's oldest Region."),
        row(INVENTORY_ACCOUNT_CONNECTIONS, Gauge, &["account"], "VPN connections of the account."),
        row(
            SINK_ITEMS,
            Counter,
            &["sink", "outcome"],
            "Events by what became of them: delivered, filtered, or passed_unknown where a condition could not be \
             decided for want of inventory (those are delivered too).",
        ),
        row(SINK_BYTES, Counter, &["sink"], "Bytes of delivered events."),
        row(SINK_UP, Gauge, &["sink"], "1 while the sink takes events, 0 while it is down."),
        row(LANES, Gauge, &["state"], "Lanes (a sink's view of a shard) by state: open or parked."),
        row(LANE_PARKS, Counter, &["sink"], "Lanes that left their readers because the sink took nothing."),
        row(
            PARKED_AGE_SECONDS,
            Gauge,
            &["sink"],
            "Age of the oldest record that a parked lane of the sink has not delivered; 0: none is parked.",
        ),
        row(
            PARKED_LEFT_SECONDS,
            Gauge,
            &["sink"],
            "What is left until the stream's retention takes records that a parked lane of the sink has not delivered; \
             +Inf: nothing is parked, or nothing is deleted.",
        ),
        row(
            SHARDS_STALLED,
            Gauge,
            &[],
            "Shards that should progress and have not for 45 s: their reader does not answer, or a sink that others \
             wait for takes nothing.",
        ),
        row(LANE_OPEN_RECORDS, Gauge, &["sink"], "Records read and not yet settled by this sink."),
        row(MEMORY_LIMIT_BYTES, Gauge, &[], "What the process may take, resident: limits.memory."),
        row(MEMORY_ANSWERS_BYTES, Gauge, &[], "What answers of streams take that are being read or processed."),
        row(
            MEMORY_WAITS,
            Counter,
            &[],
            "Pieces of work that had to wait for room with a sink: backpressure, with or without an outage.",
        ),
        row(SINK_ROOM_BYTES, Gauge, &["sink"], "What the sink's batches may hold, those that wait for it included."),
        row(SINK_HELD_BYTES, Gauge, &["sink"], "What they hold."),
        row(LANE_REWINDS, Counter, &["sink"], "Returns to the checkpoint; what was in flight is read again."),
        row(
            RELOADS,
            Counter,
            &["result"],
            "Reloads: succeeded, or failed, after which the pipeline runs on as it was.",
        ),
        row(LAST_RELOAD_SUCCESSFUL, Gauge, &[], "0 after a reload that failed, until one succeeds; otherwise 1."),
        row(
            LAST_RELOAD_TIMESTAMP_SECONDS,
            Gauge,
            &[],
            "When the pipeline file in use was read, at the start or by a reload, as Unix time.",
        ),
        row(CHECKPOINT_COMMITS, Counter, &[], "Commits of positions."),
        row(CHECKPOINT_COMMIT_SECONDS, Histogram, &[], "How long a commit of positions takes."),
        row(CHECKPOINT_AGE_SECONDS, Gauge, &[], "Time since the latest commit: what a crash now would repeat."),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        for metric in CATALOGUE {
            let name = metric.name;
            assert!(name.starts_with("tunnelog_"), "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == MetricKind::Counter, "{name}");
            assert!(!name.contains("_ms") && !name.contains("milli"), "{name}: base units only");
            assert!(metric.help.ends_with('.') || metric.help.ends_with(")."), "{name}");
        }
    }

    #[test]
    fn each_name_stands_once_in_the_table() {
        let mut names: Vec<_> = CATALOGUE.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CATALOGUE.len());
    }

    #[test]
    fn every_const_of_this_file_is_in_the_table() {
        let consts =
            include_str!("name.rs").lines().filter(|line| line.starts_with("pub const") && line.contains("&str ="));
        assert_eq!(consts.count(), CATALOGUE.len());
    }
}
