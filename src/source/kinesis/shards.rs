//! Which shards there are: listings in, announcements out. Pure.
//!
//! Parents come before children. A shard is gone when two complete listings in a row miss it; a stream that was
//! deleted and created again has other shards, though they have the same names.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::api::Shard;

/// What a listing changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Change {
    /// A shard that was not there before; `first`: it is of the first listing.
    New { created: Arc<str>, shard: Arc<str>, parents: Vec<Arc<str>>, first: bool },
    /// A shard that is no more.
    Gone { created: Arc<str>, shard: Arc<str> },
    /// All that is left of the stream has been told.
    Complete,
}

/// One known shard.
#[derive(Debug)]
struct Known {
    parents: Vec<Arc<str>>,
    /// Listings in a row that missed it.
    missed: u32,
}

/// Listings in a row that must miss a shard: one alone may have met the service at a bad moment, and what is given
/// up is not read.
const MISSED: u32 = 2;

/// What was announced.
#[derive(Debug, Default)]
pub(super) struct Shards {
    created: Option<Arc<str>>,
    shards: BTreeMap<Arc<str>, Known>,
    /// A first listing is behind us.
    begun: bool,
    /// Listings of this stream, up to [`MISSED`].
    listings: u32,
}

impl Shards {
    /// Takes a complete listing of the stream that was created at `created`.
    pub(super) fn listed(&mut self, created: &Arc<str>, listing: Vec<Shard>) -> Vec<Change> {
        let mut changes = Vec::new();
        if let Some(before) = self.created.replace(Arc::clone(created))
            && before != *created
        {
            self.listings = 0;
            let gone = std::mem::take(&mut self.shards).into_keys();
            changes.extend(gone.map(|shard| Change::Gone { created: Arc::clone(&before), shard }));
        }
        let listed: BTreeSet<Arc<str>> = listing.iter().map(|shard| Arc::clone(&shard.id)).collect();
        self.shards.retain(|id, known| {
            known.missed = if listed.contains(id) { 0 } else { known.missed + 1 };
            let stays = known.missed < MISSED;
            if !stays {
                changes.push(Change::Gone { created: Arc::clone(created), shard: Arc::clone(id) });
            }
            stays
        });
        for Shard { id, parents, .. } in parents_first(listing) {
            if self.shards.contains_key(&id) {
                continue;
            }
            self.shards.insert(Arc::clone(&id), Known { parents: parents.clone(), missed: 0 });
            changes.push(Change::New { created: Arc::clone(created), shard: id, parents, first: !self.begun });
        }
        self.begun = true;
        // One listing alone may have overlooked a shard.
        if self.listings < MISSED {
            self.listings += 1;
            changes.extend((self.listings == MISSED).then_some(Change::Complete));
        }
        changes
    }

    /// Whether a shard that was read to its end must have a child that was not listed yet. A closed shard has one.
    pub(super) fn lacks_child(&self, shard: &Arc<str>) -> bool {
        self.shards.contains_key(shard) && !self.shards.values().any(|known| known.parents.contains(shard))
    }
}

/// The same shards, each after those of its parents that are listed too.
fn parents_first(listing: Vec<Shard>) -> Vec<Shard> {
    let index: HashMap<Arc<str>, usize> =
        listing.iter().enumerate().map(|(place, shard)| (Arc::clone(&shard.id), place)).collect();
    let mut waits_for: Vec<usize> = vec![0; listing.len()];
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); listing.len()];
    for (place, shard) in listing.iter().enumerate() {
        for parent in shard.parents.iter().filter_map(|parent| index.get(parent)) {
            waits_for[place] += 1;
            children[*parent].push(place);
        }
    }
    let mut ready: VecDeque<usize> = (0..listing.len()).filter(|place| waits_for[*place] == 0).collect();
    let mut order = Vec::with_capacity(listing.len());
    while let Some(place) = ready.pop_front() {
        order.push(place);
        for child in &children[place] {
            waits_for[*child] -= 1;
            if waits_for[*child] == 0 {
                ready.push_back(*child);
            }
        }
    }
    // Shards in a circle cannot be; but a shard that is listed is never left out.
    order.extend((0..listing.len()).filter(|place| waits_for[*place] > 0));
    let mut shards: Vec<Option<Shard>> = listing.into_iter().map(Some).collect();
    order.into_iter().filter_map(|place| shards[place].take()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(id: &str, parents: &[&str]) -> Shard {
        Shard { id: id.into(), parents: parents.iter().map(|parent| Arc::from(*parent)).collect(), closed: false }
    }

    fn told(changes: Vec<Change>) -> Vec<String> {
        let tell = |change| match change {
            Change::New { created, shard, parents, first } => {
                format!("{created} new {shard} of {parents:?}{}", if first { " first" } else { "" })
            }
            Change::Gone { created, shard } => format!("{created} gone {shard}"),
            Change::Complete => "complete".into(),
        };
        changes.into_iter().map(tell).collect()
    }

    fn check(order: &[(&str, &[&str])], expect: &[&str]) {
        let listing = order.iter().map(|(id, parents)| shard(id, parents)).collect();
        let found: Vec<Arc<str>> = parents_first(listing).into_iter().map(|shard| shard.id).collect();
        assert_eq!(found.iter().map(|id| &**id).collect::<Vec<_>>(), expect);
    }

    #[test]
    fn parents_come_before_children_in_whatever_order_they_are_listed() {
        check(&[("0", &[]), ("1", &[])], &["0", "1"]);
        check(
            &[("merged", &["left", "right"]), ("right", &["old"]), ("left", &["old"]), ("old", &[])],
            &["old", "right", "left", "merged"],
        );
        check(&[("child", &["expired"])], &["child"]);
        check(&[("a", &["b"]), ("b", &["a"]), ("c", &[])], &["c", "a", "b"]);
        check(&[("twice", &["p", "p"]), ("p", &[])], &["p", "twice"]);
    }

    #[test]
    fn a_shard_is_announced_once_and_only_the_first_listing_is_first() {
        let (mut shards, created) = (Shards::default(), Arc::from("1"));
        let first = shards.listed(&created, vec![shard("p", &[])]);
        assert_eq!(told(first), ["1 new p of [] first"]);
        assert!(shards.lacks_child(&"p".into()));
        let later = shards.listed(&created, vec![shard("c", &["p"]), shard("p", &[])]);
        assert_eq!(told(later), ["1 new c of [\"p\"]", "complete"], "after two listings nothing can be overlooked");
        assert!(!shards.lacks_child(&"p".into()));
        assert!(!shards.lacks_child(&"unknown".into()), "nobody waits for the children of what is not listed");
    }

    #[test]
    fn a_shard_is_gone_when_two_listings_in_a_row_miss_it() {
        let (mut shards, created) = (Shards::default(), Arc::from("1"));
        let both = || vec![shard("a", &[]), shard("b", &["a"])];
        shards.listed(&created, both());
        assert_eq!(told(shards.listed(&created, vec![shard("b", &["a"])])), ["complete"]);
        assert!(told(shards.listed(&created, both())).is_empty(), "it was only overlooked");
        assert!(told(shards.listed(&created, vec![shard("b", &["a"])])).is_empty());
        assert_eq!(told(shards.listed(&created, vec![shard("b", &["a"])])), ["1 gone a"]);
        assert!(told(shards.listed(&created, vec![shard("b", &["a"])])).is_empty(), "it is said once");
    }

    #[test]
    fn a_stream_that_was_created_again_has_other_shards_of_the_same_names() {
        let mut shards = Shards::default();
        shards.listed(&"1".into(), vec![shard("a", &[])]);
        let changes = shards.listed(&"2".into(), vec![shard("a", &[])]);
        assert_eq!(told(changes), ["1 gone a", "2 new a of []"]);
        assert_eq!(told(shards.listed(&"2".into(), vec![shard("a", &[])])), ["complete"]);
    }
}
