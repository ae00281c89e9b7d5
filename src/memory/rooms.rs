//! Rooms: how much each sink's batches hold, and who may bring the next piece. Pure: no clock, no task.
//!
//! A reader asks for room with all the sinks that its piece is for, and gets all of it at once or waits in one line.
//! Nobody overtakes somebody who waits for one of the same sinks, so who waits for sinks that give back anything is
//! served in the end. Three exceptions, each bounded:
//!
//! - A reader **within a record** goes before those who would begin one: what it finishes, a sink can settle. A sink
//!   that keeps whole records (S3) cannot give back the beginning of one; where its room is used up, the reserve of
//!   all these sinks is lent, to one reader at a time, until that record's end, and to the next when that is paid back.
//! - A sink's **first** reader (see [`Rooms::set_first`]) may go beyond the sink's room: it brings what the sink needs
//!   before it can settle anything else.
//! - A piece may turn out larger than what was asked for, by its last record: the room is in debt, and nobody gets any
//!   before the debt is paid.

use std::collections::{BTreeMap, VecDeque};

use crate::delivery::{ReaderId, SinkId};

/// How large a sink's room is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RoomSize {
    /// Bytes that batches may hold: those that the sink has admitted and those that wait for it.
    pub bytes: u64,
    /// Bytes that are asked for before a piece is made: what one may have, but for a huge last item.
    pub ask_bytes: u64,
    /// The sink holds all pieces of a record until it has the last one.
    pub keeps_records: bool,
}

#[derive(Debug)]
struct Room {
    size: RoomSize,
    used: u64,
    /// Who may go beyond it.
    first: Option<ReaderId>,
    /// What readers have brought of records that may not be whole yet, where those are kept.
    begun: BTreeMap<ReaderId, u64>,
}

impl Room {
    fn is_free(&self) -> bool {
        // An empty room takes any piece: one must always be able to go on.
        self.used == 0 || self.used + self.size.ask_bytes <= self.size.bytes
    }

    /// Whether all is paid back that was lent before; or nothing is held but records that are not whole, and which the
    /// sink cannot give back by itself.
    fn is_at_rest(&self) -> bool {
        self.used <= self.size.bytes || self.used <= self.begun.values().sum()
    }
}

#[derive(Debug)]
struct Ask {
    ticket: u64,
    reader: ReaderId,
    sinks: Vec<SinkId>,
    within_record: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Rooms {
    rooms: Vec<Room>,
    line: VecDeque<Ask>,
    tickets: u64,
    /// Who has the reserve.
    lent_to: Option<ReaderId>,
    /// Sinks that a reader's piece is not for any more, though it was asked for with them.
    forgone: BTreeMap<ReaderId, Vec<SinkId>>,
}

/// Somebody's turn has come: the room is taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub ticket: u64,
    pub reader: ReaderId,
    pub taken: Vec<(SinkId, u64)>,
}

impl Rooms {
    pub(super) fn new(sizes: Vec<RoomSize>) -> Rooms {
        let room = |size| Room { size, used: 0, first: None, begun: BTreeMap::new() };
        Rooms {
            rooms: sizes.into_iter().map(room).collect(),
            line: VecDeque::new(),
            tickets: 0,
            lent_to: None,
            forgone: BTreeMap::new(),
        }
    }

    /// Gets in line. A reader that begins a record gives back reserves that it had for the one before.
    pub(super) fn ask(&mut self, reader: ReaderId, sinks: &[SinkId], within_record: bool) -> u64 {
        if !within_record {
            self.leave(reader);
        }
        self.tickets += 1;
        let forgone = self.forgone.get(&reader);
        let still = |sink: &&SinkId| forgone.is_none_or(|forgone| !forgone.contains(sink));
        let sinks = sinks.iter().filter(still).copied().collect();
        self.line.push_back(Ask { ticket: self.tickets, reader, sinks, within_record });
        self.tickets
    }

    /// Those whose turn has come, in the order of the line.
    pub(super) fn serve(&mut self) -> Vec<Turn> {
        let mut turns = Vec::new();
        let mut kept_for_others = vec![false; self.rooms.len()];
        let mut place = 0;
        while let Some(ask) = self.line.get(place) {
            if !ask.sinks.iter().all(|sink| self.admits(ask, *sink, &kept_for_others)) {
                for sink in &ask.sinks {
                    if let Some(kept) = kept_for_others.get_mut(sink.0 as usize) {
                        *kept = true;
                    }
                }
                place += 1;
                continue;
            }
            if let Some(ask) = self.line.remove(place) {
                turns.push(self.take(ask));
            }
        }
        turns
    }

    fn admits(&self, ask: &Ask, sink: SinkId, kept_for_others: &[bool]) -> bool {
        let index = sink.0 as usize;
        let Some(room) = self.rooms.get(index) else { return true };
        let in_turn = ask.within_record || kept_for_others.get(index) != Some(&true);
        (room.is_free() && in_turn)
            || room.first == Some(ask.reader)
            || (ask.within_record && self.lends(room, ask.reader))
    }

    fn lends(&self, room: &Room, reader: ReaderId) -> bool {
        let is_free = self.lent_to.is_none() && room.is_at_rest();
        room.size.keeps_records && (self.lent_to == Some(reader) || is_free)
    }

    fn take(&mut self, ask: Ask) -> Turn {
        let mut taken = Vec::new();
        for sink in ask.sinks {
            let Some(room) = self.rooms.get_mut(sink.0 as usize) else { continue };
            if ask.within_record && room.size.keeps_records && !room.is_free() && room.first != Some(ask.reader) {
                self.lent_to = Some(ask.reader);
            }
            room.used += room.size.ask_bytes;
            if room.size.keeps_records {
                *room.begun.entry(ask.reader).or_default() += room.size.ask_bytes;
            }
            taken.push((sink, room.size.ask_bytes));
        }
        Turn { ticket: ask.ticket, reader: ask.reader, taken }
    }

    /// A piece is made: it takes more or less than was asked for.
    pub(super) fn made(&mut self, sink: SinkId, reader: ReaderId, from: u64, to: u64) {
        if let Some(room) = self.rooms.get_mut(sink.0 as usize) {
            room.used = (room.used + to).saturating_sub(from);
            if let Some(begun) = room.begun.get_mut(&reader) {
                *begun = (*begun + to).saturating_sub(from);
            }
        }
    }

    /// So much is free again.
    pub(super) fn give_back(&mut self, sink: SinkId, bytes: u64) {
        if let Some(room) = self.rooms.get_mut(sink.0 as usize) {
            room.used = room.used.saturating_sub(bytes);
        }
    }

    /// Whoever waits with this ticket does not want it any more.
    pub(super) fn withdraw(&mut self, ticket: u64) {
        self.line.retain(|ask| ask.ticket != ticket);
    }

    /// A reader is asked for its next piece, or for none any more.
    pub(super) fn asked(&mut self, reader: ReaderId) {
        self.forgone.remove(&reader);
    }

    /// A lane has left its reader: the piece that was asked for is not for its sink any more, whether the reader is in
    /// line already or still fetches.
    pub(super) fn forgo(&mut self, reader: ReaderId, sink: SinkId) {
        self.forgone.entry(reader).or_default().push(sink);
        for ask in self.line.iter_mut().filter(|ask| ask.reader == reader) {
            ask.sinks.retain(|other| *other != sink);
        }
        if let Some(room) = self.rooms.get_mut(sink.0 as usize) {
            room.begun.remove(&reader);
        }
    }

    /// A reader's record is whole, or the reader has ended: it needs its reserves no longer.
    pub(super) fn leave(&mut self, reader: ReaderId) {
        self.lent_to.take_if(|lent_to| *lent_to == reader);
        for room in &mut self.rooms {
            room.begun.remove(&reader);
        }
    }

    /// The reader whose lane the sink needs before it can settle anything else.
    pub(super) fn set_first(&mut self, sink: SinkId, reader: Option<ReaderId>) {
        if let Some(room) = self.rooms.get_mut(sink.0 as usize) {
            room.first = reader;
        }
    }

    /// Who waits, and for which sinks: those whose room is used up.
    pub(super) fn waiting(&self) -> Vec<(ReaderId, Vec<SinkId>)> {
        let is_full = |sink: &SinkId| self.rooms.get(sink.0 as usize).is_some_and(|room| !room.is_free());
        self.line.iter().map(|ask| (ask.reader, ask.sinks.iter().copied().filter(is_full).collect())).collect()
    }

    /// Bytes held, by sink.
    pub(super) fn used(&self) -> Vec<u64> {
        self.rooms.iter().map(|room| room.used).collect()
    }

    /// Bytes there are, by sink.
    pub(super) fn sizes(&self) -> Vec<u64> {
        self.rooms.iter().map(|room| room.size.bytes).collect()
    }
}

#[cfg(test)]
#[path = "rooms_tests.rs"]
mod tests;
