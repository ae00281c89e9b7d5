//! `tunnelog simulate --to kinesis:NAME`: the day into a real stream, at a chosen rate.
//!
//! Order: records of one partition key stay in their order, also when some of a call's records fail, since a call
//! never carries two of one key: the later one waits until the earlier is written. A call whose answer is lost is
//! sent again, so that a record may be written twice, as CloudWatch does it too.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use anyhow::{Context, bail};
use aws_config::SdkConfig;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, PutRecordsResultEntry};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{SimulateArgs, summary};
use crate::aws::{AwsError, Class, Place, explain};
use crate::backoff::Backoff;
use crate::cli::interrupt;
use crate::config::types::Aws;
use crate::source::simulate::{Counts, Fleet, Records, SimulatedRecord};

/// Records in one call: what the service allows.
const CALL_RECORDS: usize = 500;

/// Bytes in one call, keys included: 5 MiB, what the service has always allowed.
const CALL_BYTES: usize = 5 << 20;

/// Records that wait for their turn, at most: enough to fill a call from many log streams, a few MiB.
const WAITING: usize = 2_000;

/// Calls in a row of which nothing was taken: with pauses of up to 30 s, about 6 minutes.
const FRUITLESS: u32 = 20;

/// What was written.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    records: u64,
    events: u64,
    bytes: u64,
    /// Records that the service refused for the moment.
    again: u64,
}

/// Runs the command on the stream of this name or ARN.
///
/// # Errors
/// No way to the stream; the text says what to do.
pub(super) fn run(fleet: &Fleet, args: &SimulateArgs, stream: &str) -> anyhow::Result<Counts> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    runtime.block_on(async {
        let aws = Aws { region: args.region.clone(), endpoint: args.endpoint.clone(), ..Aws::default() };
        let region = crate::source::kinesis::region_of(stream);
        let sdk = crate::aws::sdk_config(Some(&aws), region).await.map_err(anyhow::Error::msg)?;
        let shutdown = CancellationToken::new();
        let writer = Writer::new(&sdk, stream, fleet.records(), args.rate);
        tokio::select! {
            counts = writer.run(shutdown.clone()) => counts,
            failed = interrupt::watch(shutdown) => {
                failed?;
                bail!("signals cannot be watched")
            }
        }
    })
}

struct Writer {
    client: Client,
    name: Option<String>,
    arn: Option<String>,
    place: Place,
    records: Records,
    rate: Option<u32>,
    begun: Instant,
    /// Records made so far.
    made: u64,
    ended: bool,
    waiting: VecDeque<SimulatedRecord>,
    written: Written,
}

impl Writer {
    fn new(sdk: &SdkConfig, stream: &str, records: Records, rate: Option<u32>) -> Writer {
        let arn = stream.starts_with("arn:").then(|| stream.to_owned());
        Writer {
            client: Client::new(sdk),
            name: arn.is_none().then(|| stream.to_owned()),
            arn,
            place: Place {
                what: "stream",
                name: stream.into(),
                region: sdk.region().map(ToString::to_string).unwrap_or_default(),
                endpoint: sdk.endpoint_url().map(str::to_owned),
            },
            records,
            rate,
            begun: Instant::now(),
            made: 0,
            ended: false,
            waiting: VecDeque::new(),
            written: Written::default(),
        }
    }

    async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<Counts> {
        let mut backoff = Backoff::new(self.made);
        let mut fruitless = 0;
        while !shutdown.is_cancelled() {
            self.fill();
            if self.waiting.is_empty() {
                if self.ended {
                    break;
                }
                self.pause(self.due(), &shutdown).await;
                continue;
            }
            // Not dropped by a signal: what was written is told.
            let refused = self.call().await?;
            let Refused { count, taken, reason } = refused;
            self.written.again += count;
            if count == 0 {
                (fruitless, backoff) = (0, Backoff::new(self.made));
                continue;
            }
            fruitless = if taken > 0 { 0 } else { fruitless + 1 };
            if fruitless >= FRUITLESS {
                bail!("{} takes nothing: {reason}; give it more shards, or choose a lower --rate", self.place);
            }
            self.pause(Instant::now() + backoff.next(), &shutdown).await;
        }
        let counts = self.records.counts();
        eprint!("{}{}", summary(&counts, std::path::Path::new("-")), self.said(shutdown.is_cancelled()));
        Ok(counts)
    }

    async fn pause(&self, until: Instant, shutdown: &CancellationToken) {
        tokio::select! {
            () = sleep_until(until) => {}
            () = shutdown.cancelled() => {}
        }
    }

    /// When the next record is due.
    fn due(&self) -> Instant {
        let seconds = |rate| (self.made + 1) as f64 / f64::from(rate);
        self.begun + self.rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(seconds(rate)))
    }

    /// Makes the records that are due.
    fn fill(&mut self) {
        while !self.ended && self.waiting.len() < WAITING && self.due() <= Instant::now() {
            match self.records.next() {
                Some(record) => {
                    self.waiting.push_back(record);
                    self.made += 1;
                }
                None => self.ended = true,
            }
        }
    }

    /// Sends one call of what waits; what the service does not take waits on, in its place.
    async fn call(&mut self) -> anyhow::Result<Refused> {
        let chosen = choose(&self.waiting);
        let entries: Vec<PutRecordsRequestEntry> = chosen
            .iter()
            .filter_map(|index| self.waiting.get(*index))
            .map(|record| {
                let entry = PutRecordsRequestEntry::builder().partition_key(&record.partition_key);
                entry.data(Blob::new(record.data.to_vec())).build()
            })
            .collect::<Result<_, _>>()?;
        let call = self.client.put_records().set_stream_name(self.name.clone()).set_stream_arn(self.arn.clone());
        let answer = call.set_records(Some(entries)).send().await;
        let answers = match answer.map_err(|error| explain(&error, "kinesis:PutRecords", &self.place)) {
            Ok(answer) => answer.records,
            Err(error) if error.class == Class::Throttled => {
                return Ok(Refused { count: chosen.len() as u64, taken: 0, reason: error.to_string() });
            }
            Err(error) => return Err(error.into()),
        };
        if answers.len() != chosen.len() {
            let what = format!("{} records were sent and {} answered", chosen.len(), answers.len());
            return Err(AwsError::malformed("kinesis:PutRecords", &self.place, &what).into());
        }
        Ok(self.settle(&chosen, &answers))
    }

    /// Takes out what was written.
    fn settle(&mut self, chosen: &[usize], answers: &[PutRecordsResultEntry]) -> Refused {
        let mut refused = Refused::default();
        // From the end, so that the places of those before stay what they are.
        for (index, answer) in chosen.iter().zip(answers).rev() {
            if let Some(code) = &answer.error_code {
                refused.count += 1;
                refused.reason = format!("{code}: {}", answer.error_message.as_deref().unwrap_or_default());
            } else if let Some(record) = self.waiting.remove(*index) {
                refused.taken += 1;
                self.written.records += 1;
                self.written.events += u64::from(record.events);
                self.written.bytes += record.data.len() as u64;
            }
        }
        refused
    }

    fn said(&self, interrupted: bool) -> String {
        let Written { records, events, bytes, again } = self.written;
        let seconds = self.begun.elapsed().as_secs_f64();
        let mut text = format!(
            "{}wrote {records} records with {events} events ({bytes} bytes) to {} in {seconds:.1} s",
            if interrupted { "interrupted: " } else { "" },
            self.place
        );
        if again > 0 {
            text.push_str(&format!("; {again} were refused for the moment and sent again"));
        }
        text.push('\n');
        text
    }
}

/// What became of a call.
#[derive(Debug, Default)]
struct Refused {
    count: u64,
    taken: u64,
    reason: String,
}

/// The places of what goes into the next call: from the front, one record of each key at most.
fn choose(waiting: &VecDeque<SimulatedRecord>) -> Vec<usize> {
    let (mut chosen, mut keys, mut bytes) = (Vec::new(), HashSet::new(), 0);
    for (index, record) in waiting.iter().enumerate() {
        if chosen.len() == CALL_RECORDS {
            break;
        }
        // A key whose record does not fit is taken too: the one after it must not overtake.
        if !keys.insert(record.partition_key.as_str()) {
            continue;
        }
        let size = record.data.len() + record.partition_key.len();
        if chosen.is_empty() || bytes + size <= CALL_BYTES {
            bytes += size;
            chosen.push(index);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::event::Millis;
    use crate::source::Position;

    fn record(key: &str, bytes: usize) -> SimulatedRecord {
        SimulatedRecord {
            arrival: Millis(0),
            shard: 0,
            position: Position::default(),
            partition_key: key.into(),
            data: Bytes::from(vec![0; bytes]),
            events: 1,
            duplicate: false,
            control: false,
            damaged: false,
        }
    }

    fn check(waiting: &[(&str, usize)], expect: &[usize]) {
        let waiting = waiting.iter().map(|(key, bytes)| record(key, *bytes)).collect();
        assert_eq!(choose(&waiting), expect);
    }

    #[test]
    fn a_call_carries_one_record_of_a_key_and_stays_within_the_limits() {
        check(&[("a", 1), ("b", 1), ("a", 1), ("c", 1)], &[0, 1, 3]);
        check(&[("a", 3 << 20), ("b", 3 << 20), ("b", 1), ("c", 1)], &[0, 3]);
        check(&[("a", 6 << 20), ("b", 1)], &[0]);
        let many: VecDeque<SimulatedRecord> = (0..600).map(|key| record(&key.to_string(), 1)).collect();
        assert_eq!(choose(&many).len(), CALL_RECORDS);
    }
}
