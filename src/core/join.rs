//! Joins what was made of records that follow one another, so that several cores can work at one piece.

use super::{Core, Counts, MAX_MISSES, Output};
use crate::delivery::Item;

impl Core {
    /// Adds what was made of the records that follow: as if `out` had taken all of them.
    pub fn append(&self, out: &mut Output, next: Output) {
        let records = out.records.len() as u32;
        out.records.extend(next.records);
        let mut before = Vec::with_capacity(out.buffers.len());
        for (buffer, more) in out.buffers.iter_mut().zip(next.buffers) {
            before.push(buffer.items.len());
            // Lossless: joined outputs stay far below 4 GiB, see `Output::push`.
            let bytes = buffer.bytes.len() as u32;
            buffer.bytes.extend_from_slice(&more.bytes);
            let moved = |item: Item| Item { end: item.end + bytes, record: item.record + records, ..item };
            buffer.items.extend(more.items.into_iter().map(moved));
        }
        for ((own, more), (format, _)) in out.own.iter_mut().zip(next.own).zip(&self.sinks) {
            let first = before.get(*format).copied().unwrap_or(0);
            own.grow(first + more.len());
            own.extend(more.ones().map(|item| first + item));
        }
        for (filtered, more) in out.filtered.iter_mut().zip(next.filtered) {
            *filtered += more;
        }
        for miss in next.misses {
            if out.misses.len() < MAX_MISSES && !out.misses.iter().any(|known| known.connection == miss.connection) {
                out.misses.push(miss);
            }
        }
        out.counts.add(next.counts);
    }
}

impl Counts {
    fn add(&mut self, more: Counts) {
        let Counts { records, record_bytes, control, unreadable, events, misses, passed_unknown } = more;
        self.records += records;
        self.record_bytes += record_bytes;
        self.control += control;
        self.unreadable.extend(unreadable);
        self.misses += misses;
        let both = self.events.iter_mut().zip(events).chain(self.passed_unknown.iter_mut().zip(passed_unknown));
        both.for_each(|(count, more)| *count += more);
    }
}
