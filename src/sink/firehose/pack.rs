//! From items to Firehose records, and from records to requests.
//!
//! Pure: it moves indexes and counts bytes; the bytes themselves stay in their batches until a request is sent.
//! Whatever the items are, a record holds at most [`RECORD_BYTES`], a request at most [`REQUEST_RECORDS`] records and
//! [`REQUEST_BYTES`], each item stands in exactly one record, and items keep their order.

use std::collections::VecDeque;

use crate::config::types::Compression;
use crate::sink::held::{Run, Ticket};

/// What a record may hold before base64: 1,000 KiB (the limit of `PutRecordBatch`).
pub(super) const RECORD_BYTES: usize = 1_000 * 1024;

/// What a compressed record may hold before: gzip adds 18 bytes and at most 5 for each 16 KiB that it cannot compress
/// (RFC 1951, 3.2.4), Zstandard less.
pub(super) fn record_bytes(compression: Compression) -> usize {
    if compression == Compression::None { RECORD_BYTES } else { RECORD_BYTES - 1024 }
}

/// Records that a request may have (likewise).
pub(super) const REQUEST_RECORDS: usize = 500;

/// What a request may weigh: 4 MiB (likewise). The documentation does not say whether it is counted before base64
/// or after, so [`wire_bytes`] counts what is sent: three full records still fit (3 × 1,365,348 bytes), and Firehose
/// has no price on a call.
pub(super) const REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// The rest of a request: braces, and the stream's name (64 characters at most).
const REQUEST_FRAME: usize = 128;

/// What a record adds to a request: base64 is 4/3, in whole groups of four, and `{"Data":""},` stands around it.
pub(super) fn wire_bytes(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4 + 12
}

/// One Firehose record.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Parcel {
    pub runs: Vec<Run>,
    /// Its bytes before base64.
    pub bytes: usize,
}

/// Gathers items into parcels, and parcels into requests.
#[derive(Debug)]
pub(super) struct Packer {
    /// Many items a record, or one.
    packed: bool,
    /// What a record holds at most.
    record_bytes: usize,
    /// The record that still takes items.
    open: Parcel,
    /// The last item was left out: the next one begins a run.
    cut: bool,
    ready: VecDeque<Parcel>,
}

impl Packer {
    pub(super) fn new(packed: bool, record_bytes: usize) -> Packer {
        Packer { packed, record_bytes, open: Parcel::default(), cut: false, ready: VecDeque::new() }
    }

    /// What a record holds at most, before it is compressed.
    pub(super) fn record_bytes(&self) -> usize {
        self.record_bytes
    }

    /// Adds an item of at most [`Packer::record_bytes`].
    pub(super) fn add(&mut self, ticket: Ticket, item: u32, bytes: usize) {
        debug_assert!(bytes <= self.record_bytes, "an item that no record can hold");
        if !self.packed || self.open.bytes + bytes > self.record_bytes {
            self.close_record();
        }
        let cut = std::mem::take(&mut self.cut);
        match self.open.runs.last_mut() {
            Some(run) if run.ticket == ticket && !cut => run.items.end = item + 1,
            _ => self.open.runs.push(Run { ticket, items: item..item + 1 }),
        }
        self.open.bytes += bytes;
    }

    /// An item is left out, so that the runs before and after it stay apart.
    pub(super) fn leave_out(&mut self) {
        self.cut = true;
    }

    /// Drops the runs that are not wanted any more.
    pub(super) fn retain(&mut self, wanted: impl Fn(Ticket) -> bool) {
        self.open.runs.retain(|run| wanted(run.ticket));
        if self.open.runs.is_empty() {
            self.open.bytes = 0;
        }
        for parcel in &mut self.ready {
            parcel.runs.retain(|run| wanted(run.ticket));
        }
        self.ready.retain(|parcel| !parcel.runs.is_empty());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.runs.is_empty() && self.ready.is_empty()
    }

    /// The next request: a full one, or with `all` whatever there is.
    pub(super) fn request(&mut self, all: bool) -> Option<Vec<Parcel>> {
        if all {
            self.close_record();
        }
        let mut weight = REQUEST_FRAME;
        let mut count = 0;
        for parcel in self.ready.iter().take(REQUEST_RECORDS) {
            if weight + wire_bytes(parcel.bytes) > REQUEST_BYTES {
                break;
            }
            weight += wire_bytes(parcel.bytes);
            count += 1;
        }
        let is_full = count == REQUEST_RECORDS || count < self.ready.len();
        (count > 0 && (is_full || all)).then(|| self.ready.drain(..count).collect())
    }

    fn close_record(&mut self) {
        if !self.open.runs.is_empty() {
            self.ready.push_back(std::mem::take(&mut self.open));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::compress::compress;
    use super::*;

    /// Packs items of these sizes, batch by batch, and takes requests as they fill.
    fn requests(packed: bool, batches: &[Vec<usize>]) -> Vec<Vec<Parcel>> {
        let mut packer = Packer::new(packed, RECORD_BYTES);
        let mut requests = Vec::new();
        for (ticket, items) in batches.iter().enumerate() {
            for (item, bytes) in items.iter().enumerate() {
                if *bytes > RECORD_BYTES {
                    packer.leave_out();
                    continue;
                }
                packer.add(Ticket(ticket as u64), item as u32, *bytes);
                requests.extend(packer.request(false));
            }
        }
        while let Some(request) = packer.request(true) {
            requests.push(request);
        }
        assert!(packer.is_empty());
        requests
    }

    fn check(packed: bool, batches: &[Vec<usize>]) -> Vec<Vec<Parcel>> {
        let requests = requests(packed, batches);
        for request in &requests {
            assert!(!request.is_empty() && request.len() <= REQUEST_RECORDS);
            let weight: usize = request.iter().map(|parcel| wire_bytes(parcel.bytes)).sum();
            assert!(weight + REQUEST_FRAME <= REQUEST_BYTES, "{weight}");
        }
        let mut seen = Vec::new();
        for parcel in requests.iter().flatten() {
            let items: Vec<(u64, u32)> =
                parcel.runs.iter().flat_map(|run| run.items.clone().map(|item| (run.ticket.0, item))).collect();
            let bytes: usize = items.iter().map(|(ticket, item)| batches[*ticket as usize][*item as usize]).sum();
            assert_eq!(bytes, parcel.bytes);
            assert!(bytes <= RECORD_BYTES && (packed || items.len() == 1));
            seen.extend(items);
        }
        let size = |(ticket, item): &(u64, u32)| batches[*ticket as usize][*item as usize];
        let all = batches
            .iter()
            .enumerate()
            .flat_map(|(ticket, items)| (0..items.len()).map(move |item| (ticket as u64, item as u32)));
        let wanted: Vec<(u64, u32)> = all.filter(|item| size(item) <= RECORD_BYTES).collect();
        assert_eq!(seen, wanted, "each item once, in order, but for those that no record can hold");
        requests
    }

    fn sizes() -> impl Strategy<Value = usize> {
        prop_oneof![
            8 => 1..3_000usize,
            2 => 1..RECORD_BYTES,
            1 => RECORD_BYTES - 2..RECORD_BYTES + 3,
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

        #[test]
        fn any_items_make_records_and_requests_within_the_limits(
            packed: bool,
            batches in prop::collection::vec(prop::collection::vec(sizes(), 0..40), 1..6),
        ) {
            check(packed, &batches);
        }
    }

    #[test]
    fn a_full_record_is_exactly_1000_kib() {
        let requests = check(true, &[vec![RECORD_BYTES - 10, 10, 1]]);
        assert_eq!(requests.concat().iter().map(|parcel| parcel.bytes).collect::<Vec<_>>(), [RECORD_BYTES, 1]);
    }

    #[test]
    fn three_full_records_make_a_request() {
        let requests = check(true, &[vec![RECORD_BYTES; 7]]);
        assert_eq!(requests.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 1]);
    }

    #[test]
    fn a_request_has_at_most_500_records() {
        let requests = check(false, &[vec![600; 1_203]]);
        assert_eq!(requests.iter().map(Vec::len).collect::<Vec<_>>(), [500, 500, 203]);
    }

    #[test]
    fn items_of_many_batches_share_a_record() {
        let requests = check(true, &[vec![600; 10], vec![700; 3]]);
        assert_eq!(requests.concat().len(), 1);
        assert_eq!(requests[0][0].runs.len(), 2, "a run a batch");
    }

    #[test]
    fn what_is_left_out_stands_in_no_run() {
        let requests = check(true, &[vec![10, RECORD_BYTES + 1, 10]]);
        let runs: Vec<_> = requests[0][0].runs.iter().map(|run| run.items.clone()).collect();
        assert_eq!(runs, [0..1, 2..3]);
    }

    /// Firehose bills a record as a multiple of this.
    const BILLED_BYTES: usize = 5 * 1024;

    /// The events of a fleet in our own JSON, record by record, with when the record arrived.
    fn hours(connections: u32, hours: u32) -> Vec<(i64, Vec<Vec<u8>>)> {
        use crate::core::{Core, From, Resume, Scratch, SinkPlan, Step};
        let config = crate::config::types::Simulate { connections, hours, ..Default::default() };
        let fleet = crate::source::simulate::Fleet::new(&config).unwrap();
        let format = crate::encode::Format::Json(crate::encode::JsonFormat::new(&Default::default()));
        let core = Core::new(64 << 20, vec![SinkPlan { format, filter: crate::route::Filter::default() }]);
        let shard = crate::source::ShardId {
            source: "main".into(),
            stream: "vpn".into(),
            stream_created: "".into(),
            shard: "0".into(),
        };
        let snapshot = fleet.snapshot();
        let mut scratch = Scratch::default();
        let events_of = |record: crate::source::simulate::SimulatedRecord| {
            let arrival = record.arrival;
            let record = crate::source::Record::new(record.position, Some(arrival), record.data);
            let mut out = core.output(&[crate::delivery::SinkId(0)]);
            let from = From { shard: &shard, region: None };
            let step = core.process(from, &record, Resume::default(), &snapshot, &mut scratch, &mut out);
            assert!(matches!(step, Step::Done));
            let lanes = core.piece(out).lanes;
            let events = lanes
                .iter()
                .flatten()
                .flat_map(|lane| (0..lane.encoded.items.len()).map(|item| lane.encoded.bytes_of(item).to_vec()));
            (arrival.0, events.collect())
        };
        fleet.records().map(events_of).collect()
    }

    /// What Firehose bills for these records, in units of 5 KiB.
    fn billed(
        compression: Compression,
        requests: impl IntoIterator<Item = Vec<Parcel>>,
        events: &[Vec<Vec<u8>>],
    ) -> usize {
        let unit = |parcel: Parcel| {
            let of_run =
                |run: &Run| events[run.ticket.0 as usize][run.items.start as usize..run.items.end as usize].concat();
            let record: Vec<u8> = parcel.runs.iter().flat_map(of_run).collect();
            compress(compression, &record).unwrap().len().div_ceil(BILLED_BYTES)
        };
        requests.into_iter().flatten().map(unit).sum()
    }

    /// Gathered in the fleet's own time, as the sink does it.
    fn packed(records: &[(i64, Vec<Vec<u8>>)], linger_s: i64, compression: Compression) -> usize {
        let events: Vec<Vec<Vec<u8>>> = records.iter().map(|(_, events)| events.clone()).collect();
        let (mut packer, mut due, mut units) = (Packer::new(true, record_bytes(compression)), None, 0);
        for (ticket, (arrival, items)) in records.iter().enumerate() {
            if due.is_some_and(|due| due <= *arrival) {
                due = None;
                units += billed(compression, std::iter::from_fn(|| packer.request(true)), &events);
            }
            for (item, event) in items.iter().enumerate() {
                due.get_or_insert(arrival + linger_s * 1000);
                packer.add(Ticket(ticket as u64), item as u32, event.len());
            }
        }
        units + billed(compression, std::iter::from_fn(|| packer.request(true)), &events)
    }

    /// A packed record without compression cannot save more than 5 KiB ÷ an event's size, since bytes are bytes; with
    /// compression the rest is what `linger` gathers. `--nocapture` prints the table.
    #[test]
    fn packed_and_compressed_records_bill_an_eighth_of_one_event_a_record() {
        for (connections, least) in [(25, 8.0), (100, 16.0)] {
            let records = hours(connections, 1);
            let events = records.iter().flat_map(|(_, events)| events);
            let (count, bytes) = events.clone().fold((0, 0), |(count, bytes), event| (count + 1, bytes + event.len()));
            let single: usize = events.map(|event| event.len().div_ceil(BILLED_BYTES)).sum();
            let ceiling = (single * BILLED_BYTES) as f64 / bytes as f64;
            let ratio = |linger_s, compression| single as f64 / packed(&records, linger_s, compression) as f64;
            let plain = [1, 10].map(|linger_s| ratio(linger_s, Compression::None));
            let gzip = [1, 10].map(|linger_s| ratio(linger_s, Compression::Gzip));
            println!(
                "{connections} connections, {count} events of {} bytes: fewer billed bytes with `linger` 1s and 10s: \
                 {plain:.1?} times, compressed {gzip:.1?} times; at most {ceiling:.1} times without compression",
                bytes / count
            );
            assert!(gzip[1] >= least, "{connections} connections: {gzip:.1?}");
            assert!(plain[1] > ceiling * 0.8 && plain[1] <= ceiling, "{connections} connections: {plain:.1?}");
        }
    }
}
