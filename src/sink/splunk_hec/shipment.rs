//! From items to requests. Pure: it moves indexes and counts bytes; the bytes stay in their batches until they are sent.

use std::collections::VecDeque;

use crate::sink::held::{Bounds, Held, Run, Ticket};

/// What may be held, sent and unsent: what is not acknowledged within some seconds bounds the speed of catching up.
pub(super) const HELD: Bounds = Bounds { bytes: 32 * 1024 * 1024, batches: 8192 };

/// What a request holds before compression. Splunk Cloud wants at most 1 MB, to spread the load over its indexers.
pub(super) const REQUEST_BYTES: usize = 1_000_000;

/// One item of a batch.
pub(super) type Place = (Ticket, u32);

/// A request on its way, not acknowledged yet, or to be sent again.
#[derive(Clone, Debug, Default)]
pub(super) struct Shipment {
    pub(super) runs: Vec<Run>,
    /// It, or what it is a part of, was refused when this many requests had been taken.
    pub(super) refused_at: Option<u64>,
    /// How often it was refused as it is.
    pub(super) refusals: u32,
    /// What was said at the last refusal.
    pub(super) why: String,
}

impl Shipment {
    pub(super) fn of(runs: Vec<Run>) -> Shipment {
        Shipment { runs, ..Shipment::default() }
    }

    /// Leaves out what was rewound meanwhile.
    pub(super) fn prune(&mut self, held: &Held) {
        self.runs.retain(|run| held.has(run.ticket));
    }

    /// Its items, in the order in which they are sent.
    pub(super) fn places(&self, held: &Held) -> Vec<Place> {
        let of_run = |run: &Run| {
            let own = held.get(run.ticket).map(|batch| run.own(batch));
            let ticket = run.ticket;
            own.into_iter().flatten().map(move |item| (ticket, item)).collect::<Vec<Place>>()
        };
        self.runs.iter().flat_map(of_run).collect()
    }
}

/// What a refused request is taken apart into.
#[derive(Debug)]
pub(super) enum Apart {
    /// One of these parts is to blame.
    Parts(Vec<Shipment>),
    /// This item is, which is alone; and what was sent with it.
    Culprit(Shipment, Vec<Shipment>),
}

/// Takes a request apart that was sent with these items. `named`: the item that is to blame by the answer.
pub(super) fn apart(shipment: Shipment, sent: &[Place], named: Option<usize>) -> Apart {
    let refused_at = shipment.refused_at;
    let part = |places: &[Place]| Shipment { refused_at, ..Shipment::of(runs_of(places)) };
    let parts = |parts: [&[Place]; 2]| parts.into_iter().filter(|places| !places.is_empty()).map(part).collect();
    match named.filter(|named| *named < sent.len()) {
        _ if sent.len() < 2 => Apart::Culprit(shipment, Vec::new()),
        Some(named) => {
            let (before, rest) = sent.split_at(named);
            let (culprit, after) = rest.split_at(1);
            Apart::Culprit(part(culprit), parts([before, after]))
        }
        None => {
            let (first, second) = sent.split_at(sent.len() / 2);
            Apart::Parts(parts([first, second]))
        }
    }
}

fn runs_of(places: &[Place]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (ticket, item) in places {
        match runs.last_mut() {
            Some(run) if run.ticket == *ticket && run.items.end == *item => run.items.end = item + 1,
            _ => runs.push(Run { ticket: *ticket, items: *item..item + 1 }),
        }
    }
    runs
}

/// Gathers items into requests.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    open: Vec<Run>,
    open_bytes: usize,
    ready: VecDeque<Shipment>,
}

impl Gathering {
    /// Adds an item of so many bytes, its envelope included. One that is larger than a request is a request of its own.
    pub(super) fn add(&mut self, (ticket, item): Place, bytes: usize) {
        if self.open_bytes + bytes > REQUEST_BYTES {
            self.close();
        }
        match self.open.last_mut() {
            Some(run) if run.ticket == ticket && run.items.end == item => run.items.end = item + 1,
            _ => self.open.push(Run { ticket, items: item..item + 1 }),
        }
        self.open_bytes += bytes;
    }

    /// Drops the runs that are not wanted any more.
    pub(super) fn retain(&mut self, wanted: impl Fn(Ticket) -> bool) {
        self.open.retain(|run| wanted(run.ticket));
        if self.open.is_empty() {
            self.open_bytes = 0;
        }
        for shipment in &mut self.ready {
            shipment.runs.retain(|run| wanted(run.ticket));
        }
        self.ready.retain(|shipment| !shipment.runs.is_empty());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.ready.is_empty()
    }

    /// The next request: a full one, or with `all` whatever there is.
    pub(super) fn next(&mut self, all: bool) -> Option<Shipment> {
        if all {
            self.close();
        }
        self.ready.pop_front()
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.ready.push_back(Shipment::of(std::mem::take(&mut self.open)));
        }
        self.open_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, reason = "tests may panic")]
    use super::*;

    fn places(shipment: &Shipment) -> Vec<Place> {
        shipment.runs.iter().flat_map(|run| run.items.clone().map(|item| (run.ticket, item))).collect()
    }

    #[test]
    fn a_request_holds_a_megabyte_and_each_item_stands_in_one() {
        let mut gathering = Gathering::default();
        let sizes = [400_000, 600_000, 1, 3_000_000, 999_999, 2];
        for (item, bytes) in sizes.into_iter().enumerate() {
            gathering.add((Ticket(1), item as u32), bytes);
        }
        let mut requests: Vec<Vec<u32>> = Vec::new();
        while let Some(shipment) = gathering.next(requests.len() > 3) {
            requests.push(places(&shipment).into_iter().map(|(_, item)| item).collect());
        }
        assert_eq!(requests, [vec![0, 1], vec![2], vec![3], vec![4], vec![5]]);
        assert!(gathering.is_empty());
    }

    #[test]
    fn an_item_that_is_named_is_taken_out_and_its_neighbours_stay_together() {
        let sent: Vec<Place> = [(1, 0), (1, 2), (2, 5), (2, 6)].map(|(ticket, item)| (Ticket(ticket), item)).to_vec();
        let shipment = Shipment { refused_at: Some(3), ..Shipment::of(runs_of(&sent)) };
        assert_eq!(places(&shipment), sent);
        let Apart::Culprit(culprit, rest) = apart(shipment.clone(), &sent, Some(2)) else { panic!("it is named") };
        assert_eq!((places(&culprit), culprit.refused_at), (vec![(Ticket(2), 5)], Some(3)));
        assert_eq!(rest.iter().map(places).collect::<Vec<_>>(), [sent[..2].to_vec(), sent[3..].to_vec()]);
        let Apart::Culprit(_, rest) = apart(shipment.clone(), &sent, Some(0)) else { panic!("it is named") };
        assert_eq!(rest.len(), 1, "nothing stands before the first");
        // A number beyond the end names nobody.
        for named in [None, Some(4)] {
            let Apart::Parts(halves) = apart(shipment.clone(), &sent, named) else { panic!("nobody is named") };
            assert_eq!(halves.iter().map(places).collect::<Vec<_>>(), [sent[..2].to_vec(), sent[2..].to_vec()]);
        }
    }

    #[test]
    fn an_item_that_is_alone_is_the_culprit_and_keeps_what_is_known_of_it() {
        let sent = [(Ticket(1), 0)];
        let shipment = Shipment { refusals: 2, ..Shipment::of(runs_of(&sent)) };
        let Apart::Culprit(culprit, rest) = apart(shipment, &sent, None) else { panic!("it is alone") };
        assert_eq!((culprit.refusals, rest.len()), (2, 0));
    }
}
