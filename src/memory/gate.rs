//! The gate: [`Rooms`] for tasks. Who may pass gets a [`Pass`], and of it a [`Hold`] for each batch.
//!
//! Fair and repeatable: one line, first come, first served; what is dropped gives back by itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::rooms::{RoomSize, Rooms};
use crate::delivery::{ReaderId, SinkId};

/// See the module.
#[derive(Debug)]
pub struct Gate {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rooms: Rooms,
    /// Who waits, by ticket: those with records in hand and those that have let go of them, one a reader.
    callers: Vec<(u64, oneshot::Sender<Pass>)>,
    /// How often somebody had to wait.
    waits: u64,
}

/// Leave to make one piece, with room for it. Gives the room back when it is dropped.
#[derive(Debug)]
pub struct Pass {
    holds: Vec<Hold>,
}

/// Room that a batch has with its sink. Gives it back when it is dropped.
#[derive(Debug)]
pub struct Hold {
    gate: Arc<Gate>,
    sink: SinkId,
    reader: ReaderId,
    bytes: u64,
}

impl Gate {
    /// Rooms of these sizes, in the order of the sinks.
    pub fn new(sizes: Vec<RoomSize>) -> Arc<Gate> {
        let state = State { rooms: Rooms::new(sizes), callers: Vec::new(), waits: 0 };
        Arc::new(Gate { state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing here panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is room with all of these sinks. Cancel-safe: who is dropped has left the line.
    pub async fn pass(self: &Arc<Self>, reader: ReaderId, sinks: &[SinkId], within_record: bool) -> Pass {
        let (caller, mut turn) = oneshot::channel();
        let ticket = {
            let mut state = self.lock();
            let ticket = state.rooms.ask(reader, sinks, within_record);
            state.callers.push((ticket, caller));
            ticket
        };
        // Leaves the line, whatever happens.
        let in_line = InLine { gate: Arc::clone(self), ticket };
        self.serve();
        if let Ok(pass) = turn.try_recv() {
            return pass;
        }
        self.lock().waits += 1;
        let pass = turn.await;
        drop(in_line);
        // The sender is in the line until it is served.
        pass.unwrap_or(Pass { holds: Vec::new() })
    }

    /// Lets those pass whose turn has come. A pass that nobody takes any more gives its room to the next.
    fn serve(self: &Arc<Self>) {
        loop {
            let (turns, mut callers) = {
                let mut state = self.lock();
                let turns = state.rooms.serve();
                if turns.is_empty() {
                    return;
                }
                let is_served = |ticket: u64| turns.iter().any(|turn| turn.ticket == ticket);
                let callers: Vec<_> = state.callers.extract_if(.., |(ticket, _)| is_served(*ticket)).collect();
                (turns, callers)
            };
            for turn in turns {
                let hold = |(sink, bytes)| Hold { gate: Arc::clone(self), sink, reader: turn.reader, bytes };
                let pass = Pass { holds: turn.taken.into_iter().map(hold).collect() };
                if let Some(index) = callers.iter().position(|(ticket, _)| *ticket == turn.ticket) {
                    // Who has gone meanwhile leaves it here, and it is dropped.
                    let _ = callers.swap_remove(index).1.send(pass);
                }
            }
        }
    }

    /// A reader is asked for its next piece, or for none any more.
    pub fn asked(&self, reader: ReaderId) {
        self.lock().rooms.asked(reader);
    }

    /// A lane has left its reader: the piece that was asked for is not for its sink any more.
    pub fn forgo(self: &Arc<Self>, reader: ReaderId, sink: SinkId) {
        self.lock().rooms.forgo(reader, sink);
        self.serve();
    }

    /// A reader's record is whole, or the reader has ended: what it was lent is for others.
    pub fn leave(self: &Arc<Self>, reader: ReaderId) {
        self.lock().rooms.leave(reader);
        self.serve();
    }

    /// By sink: the reader whose lane it needs before it can settle anything else.
    pub fn set_first(self: &Arc<Self>, first: &[Option<ReaderId>]) {
        {
            let mut state = self.lock();
            for (sink, reader) in first.iter().enumerate() {
                state.rooms.set_first(SinkId(sink as u32), *reader);
            }
        }
        self.serve();
    }

    /// Who waits, and for which sinks.
    pub fn waiting(&self) -> Vec<(ReaderId, Vec<SinkId>)> {
        self.lock().rooms.waiting()
    }

    /// Bytes held by each sink's batches.
    pub fn used(&self) -> Vec<u64> {
        self.lock().rooms.used()
    }

    /// Bytes that each sink's batches may hold.
    pub fn sizes(&self) -> Vec<u64> {
        self.lock().rooms.sizes()
    }

    /// How often a reader had to wait since this was asked last.
    pub fn take_waits(&self) -> u64 {
        std::mem::take(&mut self.lock().waits)
    }
}

struct InLine {
    gate: Arc<Gate>,
    ticket: u64,
}

impl Drop for InLine {
    fn drop(&mut self) {
        let gone = {
            let mut state = self.gate.lock();
            let waiting = state.callers.len();
            state.callers.retain(|(ticket, _)| *ticket != self.ticket);
            state.rooms.withdraw(self.ticket);
            state.callers.len() < waiting
        };
        // Those behind it may pass now.
        if gone {
            self.gate.serve();
        }
    }
}

impl Pass {
    /// The room with one sink, for a batch of so many bytes; what was asked for too much is given back.
    pub fn hold(&mut self, sink: SinkId, bytes: u64) -> Option<Hold> {
        let index = self.holds.iter().position(|hold| hold.sink == sink)?;
        let mut hold = self.holds.swap_remove(index);
        let before = std::mem::replace(&mut hold.bytes, bytes);
        hold.gate.lock().rooms.made(sink, hold.reader, before, bytes);
        hold.gate.serve();
        Some(hold)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        // What no batch uses is as if it had not been taken.
        for mut hold in self.holds.drain(..) {
            let unused = std::mem::take(&mut hold.bytes);
            hold.gate.lock().rooms.made(hold.sink, hold.reader, unused, 0);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.gate.lock().rooms.give_back(self.sink, self.bytes);
        self.gate.serve();
    }
}
