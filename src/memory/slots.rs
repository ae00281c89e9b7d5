//! Slots: the inflate buffers, as many as may be at work at a time.
//!
//! A slot keeps the buffer of the reader that used it last, so that a reader within a record mostly finds its record
//! still inflated; another reader that needs the slot takes it over, and the record is inflated once more.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::core::Scratch;
use crate::delivery::ReaderId;

/// See the module.
#[derive(Debug)]
pub struct Slots {
    count: usize,
    free: Arc<Semaphore>,
    /// As many as there are free slots; the one that was used last is the last one.
    idle: Mutex<Vec<(Option<ReaderId>, Scratch)>>,
}

/// One slot at work.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    reader: Option<ReaderId>,
    /// The buffers.
    pub scratch: Scratch,
    /// The reader will go on with the record that is inflated here.
    pub is_within_record: bool,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Slots {
    /// So many slots, at least one.
    pub fn new(count: usize) -> Arc<Slots> {
        let idle = (0..count.max(1)).map(|_| (None, Scratch::default())).collect();
        Arc::new(Slots { count: count.max(1), free: Arc::new(Semaphore::new(count.max(1))), idle: Mutex::new(idle) })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Waits for a slot, in the order of asking. It is not to be held over a wait, but for helpers, who wait for nothing.
    pub async fn take(self: &Arc<Self>, reader: ReaderId) -> Slot {
        // The semaphore is never closed.
        let permit = Arc::clone(&self.free).acquire_owned().await.ok();
        self.with(Some(reader), permit)
    }

    /// A slot that nobody uses, for somebody who helps a reader.
    pub fn try_take(self: &Arc<Self>) -> Option<Slot> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(self.with(None, Some(permit)))
    }

    /// How many of those that are free now have been used.
    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).iter().filter(|(_, scratch)| scratch.is_used()).count()
    }

    fn with(self: &Arc<Self>, reader: Option<ReaderId>, permit: Option<OwnedSemaphorePermit>) -> Slot {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let own = reader.and_then(|reader| idle.iter().position(|(owner, _)| *owner == Some(reader)));
        let unused = || idle.iter().position(|(owner, _)| owner.is_none());
        let index = own.or_else(unused).unwrap_or(0);
        let mut scratch = if index < idle.len() { idle.remove(index).1 } else { Scratch::default() };
        if own.is_none() {
            scratch.forget();
        }
        Slot { slots: Arc::clone(self), reader, scratch, is_within_record: false, _permit: permit }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let scratch = std::mem::take(&mut self.scratch);
        let owner = self.reader.filter(|_| self.is_within_record);
        self.slots.idle.lock().unwrap_or_else(PoisonError::into_inner).push((owner, scratch));
    }
}

#[cfg(test)]
mod tests {
    use super::super::now;
    use super::*;

    #[tokio::test]
    async fn as_many_readers_inflate_at_a_time_as_there_are_slots() {
        let slots = Slots::new(2);
        let (first, second) = (slots.take(ReaderId(1)).await, slots.take(ReaderId(2)).await);
        let mut third = Box::pin(slots.take(ReaderId(3)));
        assert!(now(&mut third).await.is_none());
        drop(first);
        assert!(now(&mut third).await.is_some());
        drop(second);
    }

    #[tokio::test]
    async fn a_reader_within_a_record_gets_its_own_buffers_back_and_others_take_them_last() {
        let slots = Slots::new(2);
        let mut slot = slots.take(ReaderId(1)).await;
        slot.is_within_record = true;
        drop(slot);
        let other = slots.take(ReaderId(2)).await;
        let owners: Vec<Option<ReaderId>> = slots.idle.lock().unwrap().iter().map(|(owner, _)| *owner).collect();
        assert_eq!(owners, [Some(ReaderId(1))]);
        drop(slots.take(ReaderId(1)).await);
        drop(other);
    }
}
