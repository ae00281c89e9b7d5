//! Counting and rendering: the recorder of this process, and typed handles for what callers count.
//!
//! Handles are made once per source or sink and cost an atomic addition a call; without a recorder they do
//! nothing. They bind to the recorder that is installed when they are made, so [`Metrics::install`] comes
//! first. There is no listener here: `server` renders on request. The recorder is the process's: pipelines
//! that run side by side (tests do) share it and add up; a test that wants its own uses
//! [`Metrics::local`].

use std::sync::{Arc, Mutex, PoisonError};

use metrics::{Counter, Gauge, Histogram, SharedString, counter, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::name::{self, MetricKind};
use super::process;
use crate::event::Kind;

/// Upper bounds of the buckets of [`name::CHECKPOINT_COMMIT_SECONDS`]: an embedded commit syncs a disk once
/// (1–20 ms on flash, 10–100 ms on a loaded volume), DynamoDB answers in 5–50 ms, throttling takes seconds.
const COMMIT_BUCKETS_SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Why there is no recorder.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// Another part of the process has installed one, and it is not ours.
    #[error("another metrics recorder is already installed in this process")]
    Foreign,
    /// The recorder cannot be built.
    #[error("metrics recorder: {0}")]
    Build(#[from] BuildError),
}

/// The metrics of this process, ready to be rendered. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    handle: PrometheusHandle,
    /// Labels, as they are rendered, whose series are not shown.
    hidden: Arc<Mutex<Vec<String>>>,
}

impl Metrics {
    /// Installs the recorder of this process; called again, it returns the one that is there.
    pub fn install() -> Result<Metrics, MetricsError> {
        static INSTALLED: Mutex<Option<Metrics>> = Mutex::new(None);
        let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(metrics) = installed.as_ref() {
            return Ok(metrics.clone());
        }
        let (recorder, metrics) = Metrics::local()?;
        metrics::set_global_recorder(recorder).map_err(|_| MetricsError::Foreign)?;
        Ok(installed.insert(metrics).clone())
    }

    /// A recorder that is not installed, for `metrics::with_local_recorder`.
    pub fn local() -> Result<(PrometheusRecorder, Metrics), MetricsError> {
        let commit_seconds = Matcher::Full(name::CHECKPOINT_COMMIT_SECONDS.into());
        let recorder =
            PrometheusBuilder::new().set_buckets_for_metric(commit_seconds, &COMMIT_BUCKETS_SECONDS)?.build_recorder();
        metrics::with_local_recorder(&recorder, || {
            describe();
            gauge!(name::BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        });
        let metrics = Metrics { handle: recorder.handle(), hidden: Arc::default() };
        Ok((recorder, metrics))
    }

    /// All metrics in the Prometheus text format 0.0.4, those of the process at the end.
    pub fn render(&self) -> String {
        let mut text = self.handle.render();
        let hidden = self.hidden.lock().unwrap_or_else(PoisonError::into_inner);
        if !hidden.is_empty() {
            let is_shown = |line: &&str| line.starts_with('#') || !hidden.iter().any(|label| line.contains(label));
            text = text.lines().filter(is_shown).fold(String::new(), |text, line| text + line + "\n");
        }
        process::render(&mut text);
        text
    }

    /// Shows no series of these, each a label and its value, until it is called again: parts that are in the pipeline
    /// file no more would keep their last numbers for ever, and a recorder cannot forget.
    pub fn hide<'a>(&self, gone: impl IntoIterator<Item = (&'static str, &'a str)>) {
        let labels = gone.into_iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        *self.hidden.lock().unwrap_or_else(PoisonError::into_inner) = labels;
    }

    /// Moves observations of histograms into their buckets. To be called every few seconds: without it they
    /// pile up in memory for as long as nobody renders.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

fn describe() {
    for metric in name::CATALOGUE {
        match metric.kind {
            MetricKind::Counter => metrics::describe_counter!(metric.name, metric.help),
            MetricKind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
            MetricKind::Histogram => metrics::describe_histogram!(metric.name, metric.help),
        }
    }
}

/// What is counted per source.
#[derive(Clone, Debug)]
pub struct SourceMetrics {
    source: SharedString,
    /// [`name::RECORDS_READ`].
    pub records_read: Counter,
    /// [`name::RECORD_BYTES_READ`].
    pub record_bytes_read: Counter,
    /// [`name::CONTROL_MESSAGES`].
    pub control_messages: Counter,
    /// [`name::SOURCE_ERRORS`].
    pub errors: Counter,
    /// [`name::GAPS`].
    pub gaps: Counter,
    /// [`name::SOURCE_LAG_SECONDS`].
    pub lag_seconds: Gauge,
}

impl SourceMetrics {
    /// The handles of the source of this name in the pipeline file.
    pub fn new(source: &Arc<str>) -> Self {
        let source = SharedString::from_shared(Arc::clone(source));
        SourceMetrics {
            records_read: counter!(name::RECORDS_READ, "source" => source.clone()),
            record_bytes_read: counter!(name::RECORD_BYTES_READ, "source" => source.clone()),
            control_messages: counter!(name::CONTROL_MESSAGES, "source" => source.clone()),
            errors: counter!(name::SOURCE_ERRORS, "source" => source.clone()),
            gaps: counter!(name::GAPS, "source" => source.clone()),
            lag_seconds: gauge!(name::SOURCE_LAG_SECONDS, "source" => source.clone()),
            source,
        }
    }

    /// Counts a record that could not be decoded. Reasons are words from a closed list, hence `'static`.
    pub fn unreadable(&self, reason: &'static str) {
        counter!(name::UNREADABLE_RECORDS, "source" => self.source.clone(), "reason" => reason).increment(1);
    }
}

/// What is counted per source that reads a stream.
#[derive(Clone, Debug)]
pub struct StreamMetrics {
    /// [`name::STREAM_BEHIND_SECONDS`].
    pub behind_seconds: Gauge,
    /// [`name::STREAM_BEHIND_RECORDS`].
    pub behind_records: Gauge,
    /// [`name::STREAM_THROTTLED`].
    pub throttled: Counter,
    /// [`name::STREAM_POLLED_BYTES`] of the foremost readers.
    pub tip_bytes: Counter,
    /// [`name::STREAM_POLLED_BYTES`] of the others.
    pub catch_up_bytes: Counter,
    /// [`name::STREAM_SUBSCRIPTIONS`].
    pub subscriptions: Gauge,
}

impl StreamMetrics {
    /// The handles of the source of this name in the pipeline file.
    pub fn new(source: &Arc<str>) -> Self {
        let source = SharedString::from_shared(Arc::clone(source));
        StreamMetrics {
            behind_seconds: gauge!(name::STREAM_BEHIND_SECONDS, "source" => source.clone()),
            behind_records: gauge!(name::STREAM_BEHIND_RECORDS, "source" => source.clone()),
            throttled: counter!(name::STREAM_THROTTLED, "source" => source.clone()),
            tip_bytes: counter!(name::STREAM_POLLED_BYTES, "source" => source.clone(), "role" => "tip"),
            catch_up_bytes: counter!(name::STREAM_POLLED_BYTES, "source" => source.clone(), "role" => "catch_up"),
            subscriptions: gauge!(name::STREAM_SUBSCRIPTIONS, "source" => source),
        }
    }
}

/// What is counted per sink.
#[derive(Clone, Debug)]
pub struct SinkMetrics {
    /// [`name::SINK_ITEMS`] that the far end has accepted.
    pub delivered: Counter,
    /// [`name::SINK_ITEMS`] that the far end refused for good: they are dead letters.
    pub rejected: Counter,
    /// [`name::SINK_ITEMS`] that `only` or `except` kept out.
    pub filtered: Counter,
    /// [`name::SINK_ITEMS`] that passed because the inventory could not decide.
    pub passed_unknown: Counter,
    /// [`name::SINK_BYTES`].
    pub bytes: Counter,
    /// [`name::SINK_UP`]: 1 or 0.
    pub up: Gauge,
    /// [`name::LANE_REWINDS`].
    pub rewinds: Counter,
    /// [`name::LANE_PARKS`].
    pub parks: Counter,
    /// [`name::PARKED_AGE_SECONDS`].
    pub parked_age_seconds: Gauge,
    /// [`name::PARKED_LEFT_SECONDS`].
    pub parked_left_seconds: Gauge,
    /// [`name::LANE_OPEN_RECORDS`].
    pub open_records: Gauge,
    /// [`name::SINK_ROOM_BYTES`].
    pub room_bytes: Gauge,
    /// [`name::SINK_HELD_BYTES`].
    pub held_bytes: Gauge,
}

impl SinkMetrics {
    /// The handles of the sink of this name in the pipeline file. It begins as up.
    pub fn new(sink: &Arc<str>) -> Self {
        let sink = SharedString::from_shared(Arc::clone(sink));
        let items = |outcome| counter!(name::SINK_ITEMS, "sink" => sink.clone(), "outcome" => outcome);
        let handles = SinkMetrics {
            delivered: items("delivered"),
            rejected: items("rejected"),
            filtered: items("filtered"),
            passed_unknown: items("passed_unknown"),
            bytes: counter!(name::SINK_BYTES, "sink" => sink.clone()),
            up: gauge!(name::SINK_UP, "sink" => sink.clone()),
            rewinds: counter!(name::LANE_REWINDS, "sink" => sink.clone()),
            parks: counter!(name::LANE_PARKS, "sink" => sink.clone()),
            parked_age_seconds: gauge!(name::PARKED_AGE_SECONDS, "sink" => sink.clone()),
            parked_left_seconds: gauge!(name::PARKED_LEFT_SECONDS, "sink" => sink.clone()),
            open_records: gauge!(name::LANE_OPEN_RECORDS, "sink" => sink.clone()),
            room_bytes: gauge!(name::SINK_ROOM_BYTES, "sink" => sink.clone()),
            held_bytes: gauge!(name::SINK_HELD_BYTES, "sink" => sink.clone()),
        };
        handles.up.set(1.0);
        handles.parked_left_seconds.set(f64::INFINITY);
        handles
    }
}

/// What is counted per account of an EC2 inventory.
#[derive(Clone, Debug)]
pub struct AccountMetrics {
    /// [`name::INVENTORY_REFRESHES`].
    pub refreshes: Counter,
    /// [`name::INVENTORY_ERRORS`].
    pub errors: Counter,
    /// [`name::INVENTORY_ACCOUNT_AGE_SECONDS`].
    pub age_seconds: Gauge,
    /// [`name::INVENTORY_ACCOUNT_CONNECTIONS`].
    pub connections: Gauge,
}

impl AccountMetrics {
    /// The handles of an account that is configured, allowed or listed by Organizations: never one from a log.
    pub fn new(account: &Arc<str>) -> Self {
        let account = SharedString::from_shared(Arc::clone(account));
        AccountMetrics {
            refreshes: counter!(name::INVENTORY_REFRESHES, "account" => account.clone()),
            errors: counter!(name::INVENTORY_ERRORS, "account" => account.clone()),
            age_seconds: gauge!(name::INVENTORY_ACCOUNT_AGE_SECONDS, "account" => account.clone()),
            connections: gauge!(name::INVENTORY_ACCOUNT_CONNECTIONS, "account" => account),
        }
    }
}

/// What is counted once a process.
#[derive(Clone, Debug)]
pub struct CoreMetrics {
    events: [Counter; Kind::ALL.len()],
    /// [`name::EVENTS_UNPARSED`].
    pub unparsed: Counter,
    /// [`name::INVENTORY_MISSES`].
    pub inventory_misses: Counter,
    /// [`name::INVENTORY_CONNECTIONS`].
    pub inventory_connections: Gauge,
    /// [`name::INVENTORY_AGE_SECONDS`].
    pub inventory_age_seconds: Gauge,
    /// [`name::SHARDS_STALLED`].
    pub shards_stalled: Gauge,
    /// [`name::MEMORY_LIMIT_BYTES`].
    pub memory_limit_bytes: Gauge,
    /// [`name::MEMORY_ANSWERS_BYTES`].
    pub memory_answers_bytes: Gauge,
    /// [`name::MEMORY_WAITS`].
    pub memory_waits: Counter,
    /// [`name::CHECKPOINT_COMMITS`].
    pub checkpoint_commits: Counter,
    /// [`name::CHECKPOINT_COMMIT_SECONDS`]: one observation a commit, in seconds.
    pub checkpoint_commit_seconds: Histogram,
    /// [`name::CHECKPOINT_AGE_SECONDS`].
    pub checkpoint_age_seconds: Gauge,
}

impl Default for CoreMetrics {
    fn default() -> Self {
        CoreMetrics::new()
    }
}

impl CoreMetrics {
    /// The handles.
    pub fn new() -> Self {
        CoreMetrics {
            events: std::array::from_fn(|index| counter!(name::EVENTS, "kind" => Kind::ALL[index].as_str())),
            unparsed: counter!(name::EVENTS_UNPARSED),
            inventory_misses: counter!(name::INVENTORY_MISSES),
            inventory_connections: gauge!(name::INVENTORY_CONNECTIONS),
            inventory_age_seconds: gauge!(name::INVENTORY_AGE_SECONDS),
            shards_stalled: gauge!(name::SHARDS_STALLED),
            memory_limit_bytes: gauge!(name::MEMORY_LIMIT_BYTES),
            memory_answers_bytes: gauge!(name::MEMORY_ANSWERS_BYTES),
            memory_waits: counter!(name::MEMORY_WAITS),
            checkpoint_commits: counter!(name::CHECKPOINT_COMMITS),
            checkpoint_commit_seconds: histogram!(name::CHECKPOINT_COMMIT_SECONDS),
            checkpoint_age_seconds: gauge!(name::CHECKPOINT_AGE_SECONDS),
        }
    }

    /// Counts `count` events of a kind.
    pub fn events(&self, kind: Kind, count: u64) {
        if let Some((_, counter)) = Kind::ALL.iter().zip(&self.events).find(|(known, _)| **known == kind) {
            counter.increment(count);
        }
    }
}

/// What is counted of reloads.
#[derive(Clone, Debug)]
pub struct ReloadMetrics {
    succeeded: Counter,
    failed: Counter,
    last_successful: Gauge,
    last_timestamp_seconds: Gauge,
}

impl ReloadMetrics {
    /// The handles; the pipeline file was read `now`, as Unix time in seconds.
    pub fn new(now: f64) -> Self {
        let reloads = |result| counter!(name::RELOADS, "result" => result);
        let handles = ReloadMetrics {
            succeeded: reloads("succeeded"),
            failed: reloads("failed"),
            last_successful: gauge!(name::LAST_RELOAD_SUCCESSFUL),
            last_timestamp_seconds: gauge!(name::LAST_RELOAD_TIMESTAMP_SECONDS),
        };
        handles.last_successful.set(1.0);
        handles.last_timestamp_seconds.set(now);
        handles
    }

    /// A reload succeeded at this Unix time in seconds.
    pub fn succeeded(&self, now: f64) {
        self.succeeded.increment(1);
        self.last_successful.set(1.0);
        self.last_timestamp_seconds.set(now);
    }

    /// A reload failed.
    pub fn failed(&self) {
        self.failed.increment(1);
        self.last_successful.set(0.0);
    }
}

/// [`name::LANES`] in a state; states are words from a closed list, hence `'static`.
pub fn lanes(state: &'static str) -> Gauge {
    gauge!(name::LANES, "state" => state)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may panic")]

    use super::*;

    /// Runs `count` with a recorder of its own and returns what it renders.
    fn rendered(count: impl FnOnce()) -> String {
        let (recorder, metrics) = Metrics::local().unwrap();
        metrics::with_local_recorder(&recorder, count);
        metrics.render()
    }

    fn check(count: impl FnOnce(), expect: &[&str]) {
        let text = rendered(count);
        for line in expect {
            assert!(text.lines().any(|found| found == *line), "`{line}` is missing in\n{text}");
        }
    }

    #[test]
    fn a_source_counts_under_its_name() {
        let count = || {
            let source = SourceMetrics::new(&"main".into());
            source.records_read.increment(3);
            source.record_bytes_read.increment(700);
            source.lag_seconds.set(1.5);
            source.unreadable("not_gzip");
        };
        check(
            count,
            &[
                "# TYPE tunnelog_records_read_total counter",
                "tunnelog_records_read_total{source=\"main\"} 3",
                "tunnelog_record_bytes_read_total{source=\"main\"} 700",
                "tunnelog_source_lag_seconds{source=\"main\"} 1.5",
                "tunnelog_source_errors_total{source=\"main\"} 0",
                "tunnelog_unreadable_records_total{source=\"main\",reason=\"not_gzip\"} 1",
            ],
        );
    }

    #[test]
    fn a_sink_shows_zeros_from_the_start() {
        check(
            || drop(SinkMetrics::new(&"siem".into())),
            &[
                "tunnelog_sink_items_total{sink=\"siem\",outcome=\"delivered\"} 0",
                "tunnelog_sink_items_total{sink=\"siem\",outcome=\"passed_unknown\"} 0",
                "tunnelog_sink_up{sink=\"siem\"} 1",
            ],
        );
    }

    #[test]
    fn every_kind_of_event_has_its_series() {
        let text = rendered(|| {
            let core = CoreMetrics::new();
            for (count, kind) in (1..).zip(Kind::ALL) {
                core.events(*kind, count);
            }
        });
        for (count, kind) in (1..).zip(Kind::ALL) {
            assert!(text.contains(&format!("{{kind=\"{}\"}} {count}\n", kind.as_str())), "{text}");
        }
    }

    #[test]
    fn commits_fall_into_buckets_of_seconds() {
        let count = || CoreMetrics::new().checkpoint_commit_seconds.record(0.004);
        check(
            count,
            &[
                "# TYPE tunnelog_checkpoint_commit_seconds histogram",
                "tunnelog_checkpoint_commit_seconds_bucket{le=\"0.0025\"} 0",
                "tunnelog_checkpoint_commit_seconds_bucket{le=\"0.005\"} 1",
                "tunnelog_checkpoint_commit_seconds_count 1",
            ],
        );
    }

    #[test]
    fn every_metric_of_the_table_is_rendered_with_its_help_kind_and_labels() {
        let text = rendered(|| {
            SourceMetrics::new(&"main".into()).unreadable("not_gzip");
            drop((SinkMetrics::new(&"siem".into()), CoreMetrics::new(), StreamMetrics::new(&"main".into())));
            drop(AccountMetrics::new(&"111122223333".into()));
            ReloadMetrics::new(1.7e9).failed();
            lanes("running").set(2.0);
        });
        for metric in name::CATALOGUE {
            let (name, kind) = (metric.name, format!("{:?}", metric.kind).to_lowercase());
            assert!(text.contains(&format!("# HELP {name} {}\n# TYPE {name} {kind}\n", metric.help)), "{name}\n{text}");
            for label in metric.labels {
                let with_label = |line: &str| line.starts_with(name) && line.contains(&format!("{label}=\""));
                assert!(text.lines().any(with_label), "{name} has no label {label}");
            }
        }
    }

    #[test]
    fn without_a_recorder_counting_does_nothing() {
        // A recorder that another test installs for the process does no harm either.
        SourceMetrics::new(&"nobody".into()).records_read.increment(1);
    }

    #[test]
    fn instances_do_not_see_each_other() {
        let one = || SourceMetrics::new(&"main".into()).records_read.increment(1);
        assert!(rendered(one).contains("tunnelog_records_read_total{source=\"main\"} 1\n"));
        assert!(rendered(one).contains("tunnelog_records_read_total{source=\"main\"} 1\n"));
        assert!(rendered(|| ()).contains("tunnelog_build_info{version="));
    }

    #[test]
    fn a_part_that_is_gone_is_shown_no_more_and_counts_on_when_it_is_back() {
        let (recorder, metrics) = Metrics::local().unwrap();
        let count = |sink: &str| {
            metrics::with_local_recorder(&recorder, || SinkMetrics::new(&sink.into()).delivered.increment(2));
        };
        count("siem");
        count("siem-2");
        metrics.hide([("sink", "siem")]);
        let text = metrics.render();
        assert!(!text.contains("sink=\"siem\"") && text.contains("sink=\"siem-2\""), "{text}");
        metrics.hide([]);
        count("siem");
        assert!(metrics.render().contains("tunnelog_sink_items_total{sink=\"siem\",outcome=\"delivered\"} 4\n"));
    }

    #[test]
    fn installing_twice_gives_the_same_recorder() {
        let (first, second) = (Metrics::install().unwrap(), Metrics::install().unwrap());
        lanes("installed twice").set(7.0);
        for metrics in [first, second] {
            assert!(metrics.render().contains("tunnelog_lanes{state=\"installed twice\"} 7\n"));
        }
    }
}
