//! What a pipeline's traffic will cost at AWS: an estimate with its assumptions, from the pipeline file alone.
//!
//! Pure, and no quote: nothing is asked, so what the file does not say (how much traffic, how many shards, where a
//! Firehose stream delivers) is assumed and said. What cannot be estimated is named rather than left out.

mod prices;

pub use self::prices::{OF, Prices, SOURCES};
use crate::config::types::{Compression, FirehoseSink, Format, Kinesis, Pack, Pipeline, RawOption, S3Sink, Sink};

/// Bytes of a GB, as AWS bills.
const GB: f64 = (1_u64 << 30) as f64;
const HOURS: f64 = 24.0;
const DAY_S: f64 = 86_400.0;

/// A log line in CloudWatch Logs, in bytes: what a simulated fleet's have (a test compares).
pub const LINE_BYTES: f64 = 302.0;
/// Log lines that CloudWatch Logs puts into one Kinesis record, likewise.
pub const LINES_A_RECORD: f64 = 2.4;
/// A Kinesis record, compressed, in bytes, likewise.
pub const RECORD_BYTES: f64 = 540.0;
/// An event in our JSON with what the inventory adds, in bytes, likewise.
pub const EVENT_BYTES: f64 = 1_350.0;
/// How many times smaller gzip makes many events, likewise.
pub const GZIP: f64 = 12.0;

/// Firehose bills a record as a multiple of this.
const FIREHOSE_UNIT: f64 = 5_120.0;
/// What a packed record holds at most.
const FIREHOSE_RECORD: f64 = 1_024_000.0;
/// Firehose writes an object to S3 this often, by its default.
const FIREHOSE_BUFFER_S: f64 = 300.0;
/// A PUT payload unit.
const PUT_UNIT: f64 = 25.0 * 1024.0;
/// An object of the sink `s3` is a multipart upload: begun, one part, completed.
const REQUESTS_AN_OBJECT: f64 = 3.0;
/// A sink's state of a shard in the checkpoint's table, in bytes: with a seal up to three times as much.
const STATE_BYTES: f64 = 350.0;
/// What a write request unit holds.
const WRITE_UNIT: f64 = 1_024.0;

/// What is assumed of the traffic.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    /// Events a day.
    pub events_a_day: f64,
    /// Shards of each Kinesis stream.
    pub shards: f64,
}

impl Default for Traffic {
    /// A million events a day are twelve a second: one shard has room for a hundred times as many.
    fn default() -> Traffic {
        Traffic { events_a_day: 1e6, shards: 1.0 }
    }
}

/// One item of the bill.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// US dollars for a million events.
    pub usd: f64,
    /// For what.
    pub what: String,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Estimate {
    /// The bill.
    pub lines: Vec<Line>,
    /// What stands behind it, beside [`Traffic`].
    pub assumptions: Vec<String>,
    /// What costs something, and is not in it.
    pub missing: Vec<String>,
}

impl Estimate {
    /// US dollars for a million events.
    pub fn usd(&self) -> f64 {
        self.lines.iter().map(|line| line.usd).sum()
    }
}

struct Estimator<'a> {
    traffic: Traffic,
    prices: &'a Prices,
    estimate: Estimate,
}

/// What a million events will cost with this pipeline.
pub fn estimate(pipeline: &Pipeline, traffic: Traffic, prices: &Prices) -> Estimate {
    let mut estimator = Estimator { traffic, prices, estimate: Estimate::default() };
    for (name, source) in &pipeline.sources {
        if let Some(kinesis) = &source.kinesis {
            estimator.kinesis(name, kinesis);
        }
    }
    for (name, sink) in &pipeline.sinks {
        estimator.sink(name, sink);
    }
    let states = pipeline.sinks.len() as f64 + 1.0;
    if pipeline.checkpoint.dynamodb.is_some() {
        estimator.dynamodb(states, pipeline.checkpoint.interval.0.as_secs_f64());
    }
    estimator.estimate
}

impl Estimator<'_> {
    /// A day's cost, said as that of a million events.
    fn add(&mut self, usd_a_day: f64, what: String) {
        self.estimate.lines.push(Line { usd: usd_a_day * 1e6 / self.traffic.events_a_day, what });
    }

    fn assume(&mut self, what: impl Into<String>) {
        let what = what.into();
        if !self.estimate.assumptions.contains(&what) {
            self.estimate.assumptions.push(what);
        }
    }

    fn kinesis(&mut self, name: &str, kinesis: &Kinesis) {
        let Traffic { events_a_day, shards } = self.traffic;
        let records = events_a_day / LINES_A_RECORD;
        let units = records * (RECORD_BYTES / PUT_UNIT).ceil();
        let line_gb = events_a_day * LINE_BYTES / GB;
        self.add(line_gb * self.prices.cloudwatch_vended_gb, format!("{name}: CloudWatch Logs takes the lines in"));
        self.add(shards * HOURS * self.prices.kinesis_shard_hour, format!("{name}: Kinesis, {shards} shard(s)"));
        let puts = units / 1e6 * self.prices.kinesis_million_put_units;
        self.add(puts, format!("{name}: Kinesis, PUT payload units"));
        if let Some(consumer) = &kinesis.consumer {
            let hours = shards * HOURS * self.prices.kinesis_consumer_shard_hour;
            let bytes = records * RECORD_BYTES / GB * self.prices.kinesis_consumer_gb;
            self.add(hours + bytes, format!("{name}: enhanced fan-out by `{}`", consumer.enhanced_fan_out));
        }
        self.assume(format!(
            "a log line has {LINE_BYTES} bytes, and {LINES_A_RECORD} of them share a Kinesis record of {RECORD_BYTES} \
             bytes, as those of a simulated fleet"
        ));
        self.assume("VPN logs are billed as vended logs; a stream of provisioned shards that nobody else pays for");
    }

    fn sink(&mut self, name: &str, sink: &Sink) {
        let bytes = EVENT_BYTES + if keeps_raw(sink) { LINE_BYTES } else { 0.0 };
        if let Some(firehose) = &sink.firehose {
            self.firehose(name, firehose, bytes);
        } else if let Some(s3) = &sink.s3 {
            self.s3(name, s3, bytes);
        } else if sink.kafka.is_some() {
            self.estimate.missing.push(format!("{name}: Kafka; MSK bills brokers by the hour"));
            return;
        } else if sink.splunk_hec.is_some() {
            self.estimate.missing.push(format!("{name}: Splunk, whose licence counts what it indexes"));
            return;
        } else {
            return;
        }
        self.assume(format!("an event has {bytes} bytes, as in our JSON, and many of them {GZIP} times less as gzip"));
        if sink.only.is_some() || sink.except.is_some() {
            self.assume(format!("{name}: its filter lets every event pass"));
        }
    }

    fn firehose(&mut self, name: &str, firehose: &FirehoseSink, bytes: f64) {
        let events = self.traffic.events_a_day;
        let single = events * (bytes / FIREHOSE_UNIT).ceil();
        let units = match firehose.pack {
            Pack::Never => single,
            Pack::Auto | Pack::Always => {
                let gathered = events / DAY_S * firehose.linger.0.as_secs_f64().max(1.0);
                let together = gathered.clamp(1.0, FIREHOSE_RECORD / bytes);
                let record = together * bytes / shrinks(firehose.compression);
                events / together * (record / FIREHOSE_UNIT).ceil()
            }
        };
        if firehose.pack == Pack::Auto {
            self.assume(format!("{name}: the Firehose stream delivers to S3, so that events share records"));
        }
        let usd = units * FIREHOSE_UNIT / GB * self.prices.firehose_gb;
        let times = single / units;
        self.add(usd, format!("{name}: Firehose, billed {times:.1} times less than one event a record"));
        let objects = (DAY_S / FIREHOSE_BUFFER_S).min(events);
        let puts = objects / 1e3 * self.prices.s3_thousand_puts;
        self.add(puts, format!("{name}: S3, the objects that Firehose writes"));
        self.storage(name, bytes);
        self.assume(format!("Firehose writes an object every {FIREHOSE_BUFFER_S} s, compressed"));
    }

    fn s3(&mut self, name: &str, s3: &S3Sink, bytes: f64) {
        let Traffic { events_a_day, shards } = self.traffic;
        let records = events_a_day / LINES_A_RECORD;
        let by_time = shards * DAY_S / s3.window.0.as_secs_f64().max(1.0);
        let by_size = records * RECORD_BYTES / s3.chunk.0 as f64;
        let objects = by_time.max(by_size).min(records);
        let usd = objects * REQUESTS_AN_OBJECT / 1e3 * self.prices.s3_thousand_puts;
        self.add(usd, format!("{name}: S3, requests for {objects:.0} object(s) a day"));
        self.storage(name, bytes);
        if s3.prefix.contains('{') {
            self.assume(format!(
                "{name}: the events of one window share one object; each further partition is another"
            ));
        }
        if s3.compression == Compression::None {
            self.estimate.missing.push(format!("{name}: what is not compressed takes {GZIP} times the storage"));
        }
    }

    fn storage(&mut self, name: &str, bytes: f64) {
        let gb = self.traffic.events_a_day * bytes / GZIP / GB;
        self.add(gb * self.prices.s3_gb_month, format!("{name}: S3, a month's storage"));
    }

    fn dynamodb(&mut self, states: f64, interval_s: f64) {
        let commits = (DAY_S / interval_s.max(1.0)).min(self.traffic.events_a_day);
        // Two units for each KB of each item, since commits are transactions; the lease is one item of them.
        let item = (states * STATE_BYTES / WRITE_UNIT).ceil();
        let units = commits * 2.0 * (1.0 + self.traffic.shards * item);
        let usd = units / 1e6 * self.prices.dynamodb_million_write_units;
        self.add(usd, "checkpoint: DynamoDB on demand".into());
        self.assume("something is delivered in every `checkpoint.interval`; a longer one costs less");
    }
}

fn shrinks(compression: Compression) -> f64 {
    if compression == Compression::None { 1.0 } else { GZIP }
}

fn keeps_raw(sink: &Sink) -> bool {
    let Some(Format::Options(options)) = &sink.format else { return false };
    let all = [&options.json, &options.ocsf, &options.ecs, &options.splunk];
    all.into_iter().flatten().any(|options| options.raw == RawOption::Always)
}

#[cfg(test)]
mod tests;
