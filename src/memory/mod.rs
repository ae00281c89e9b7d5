//! `limits.memory`: who may hold how much, so that the process as a whole stays inside it.
//!
//! [`Plan`] divides the limit among the parts of a pipeline before anything starts; what does not fit is an error of
//! the pipeline file. [`Memory`] is the running side:
//!
//! - [`Fetch`] lends the bytes of a source's answers, before they are read from the network.
//! - [`Slots`] are the inflate buffers: as many as may be at work at a time.
//! - [`Gate`] lets readers make pieces: a piece needs room with **every sink** that gets it, all at once. A sink's room
//!   is its own, so a sink that takes nothing can never use up what another needs.
//!
//! Nobody waits in a circle. A reader takes in this order: bytes of an answer, rooms (all of them or none), a slot. A
//! slot is held for no wait but that for a helper, who has one already. What a sink holds it gives back when its
//! destination takes it, or when a lane is parked or rewound, and never waits for memory to do so. Only a reader in
//! line for rooms, or one that nobody asks to read, holds bytes of an answer for long: it lets go of them when others
//! need them (they are read again). A reader that has let go takes its rooms first and then fetches, before all others.

mod fetch;
mod gate;
mod plan;
mod rooms;
mod slots;

pub use self::fetch::{Call, Fetch, Hurry, Pressure, Sizes as FetchSizes};
pub use self::gate::{Gate, Hold, Pass};
pub use self::plan::{Part, Plan, Shortfall, SinkShare};
pub use self::rooms::RoomSize;
pub use self::slots::{Slot, Slots};

use std::sync::Arc;

/// The memory that a running pipeline shares.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Bytes of answers.
    pub fetch: Arc<Fetch>,
    /// Rooms with the sinks.
    pub gate: Arc<Gate>,
    /// Inflate buffers.
    pub slots: Arc<Slots>,
    /// `limits.memory`, where there is one.
    pub limit_bytes: Option<u64>,
}

impl Memory {
    /// As planned; the sinks in their order, dead letters last.
    pub fn new(plan: &Plan) -> Memory {
        let rooms = plan.sinks.iter().map(|sink| sink.room).collect();
        Memory {
            fetch: Fetch::new(plan.fetch_bytes),
            gate: Gate::new(rooms),
            slots: Slots::new(plan.slots),
            limit_bytes: Some(plan.limit_bytes),
        }
    }

    /// The same room for each of so many sinks, for pipelines that are not made of a file.
    pub fn even(sinks: usize, room_bytes: u64) -> Memory {
        let room = RoomSize { bytes: room_bytes, ask_bytes: plan::ASK_BYTES.min(room_bytes), keeps_records: false };
        Memory {
            fetch: Fetch::new(plan::FETCH_BYTES),
            gate: Gate::new(vec![room; sinks]),
            slots: Slots::new(plan::cores()),
            limit_bytes: None,
        }
    }
}

/// Whether it is ready at once.
#[cfg(test)]
async fn now<F: Future + Unpin>(future: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        done = future => Some(done),
        () = std::future::ready(()) => None,
    }
}
