//! The model bucket: multipart uploads that become visible when they are completed, and only then.

use std::collections::BTreeMap;

use super::checker::EventRef;
use super::world::World;
use crate::delivery::LaneKey;

/// One upload.
#[derive(Clone, Debug)]
struct Upload {
    lane: LaneKey,
    key: String,
    items: Vec<EventRef>,
    completed: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    /// By sink and key: the upload that made it, and what it holds.
    objects: BTreeMap<(String, String), (String, Vec<EventRef>)>,
    uploads: BTreeMap<String, Upload>,
    counts: BTreeMap<(String, EventRef), u32>,
    next: u64,
}

impl Bucket {
    /// In how many objects of a sink an event is.
    pub(super) fn count(&self, sink: &str, event: EventRef) -> u32 {
        self.counts.get(&(sink.to_owned(), event)).copied().unwrap_or(0)
    }

    pub(super) fn begin(&mut self, lane: &LaneKey, key: &str, items: Vec<EventRef>) -> String {
        self.next += 1;
        let id = format!("upload-{}", self.next);
        self.uploads.insert(id.clone(), Upload { lane: lane.clone(), key: key.to_owned(), items, completed: false });
        id
    }

    /// What is completed stays.
    pub(super) fn abort(&mut self, id: &str) {
        if self.uploads.get(id).is_some_and(|upload| !upload.completed) {
            self.uploads.remove(id);
        }
    }

    pub(super) fn is_there(&self, sink: &str, key: &str) -> bool {
        self.objects.contains_key(&(sink.to_owned(), key.to_owned()))
    }

    pub(super) fn delete(&mut self, sink: &str, key: &str) {
        if let Some((_, items)) = self.objects.remove(&(sink.to_owned(), key.to_owned())) {
            for event in items {
                if let Some(count) = self.counts.get_mut(&(sink.to_owned(), event)) {
                    *count -= 1;
                }
            }
        }
    }
}

impl World {
    /// Makes an upload visible. False: somebody has aborted it.
    pub(super) fn complete(&mut self, process: usize, id: &str) -> bool {
        let Some(upload) = self.bucket.uploads.get(id).cloned() else {
            self.note(format_args!("p{process} finds {id} gone"));
            self.count("aborted uploads");
            return false;
        };
        if upload.completed {
            return true;
        }
        let sink = upload.lane.sink.to_string();
        let sealed = self.store.lanes.get(&upload.lane).and_then(|state| state.seal.as_ref());
        let remembered = sealed
            .is_some_and(|seal| seal.upload_ids.iter().any(|sealed| sealed == id) && seal.keys.contains(&upload.key));
        if !remembered {
            self.fail(format!("`{sink}` publishes {} before its seal is remembered", upload.key));
        }
        self.note(format_args!("p{process} publishes {sink} {} with {} events", upload.key, upload.items.len()));
        self.count("published");
        self.bucket.delete(&sink, &upload.key);
        for event in &upload.items {
            *self.bucket.counts.entry((sink.clone(), *event)).or_default() += 1;
        }
        self.bucket.objects.insert((sink, upload.key.clone()), (id.to_owned(), upload.items.clone()));
        if let Some(upload) = self.bucket.uploads.get_mut(id) {
            upload.completed = true;
        }
        true
    }
}
