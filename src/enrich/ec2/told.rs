//! Which failures are in the log already: an account that is denied in 20 Regions is one line, not 20 every refresh.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::describe::Failure;
use super::store::{Place, Store};

/// Bounded by the accounts that are configured and the kinds of failure that an account has at a time.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeSet<(Arc<str>, String)>);

/// Kinds of failure of one account that get lines of their own.
const MAX_KINDS: usize = 8;

impl Told {
    /// Logs a failure unless one of its kind is in the log already.
    pub(super) fn failed(&mut self, place: &Place, failure: &Failure) {
        let kinds = self.0.iter().filter(|(account, _)| *account == place.account).count();
        if kinds < MAX_KINDS && self.0.insert((Arc::clone(&place.account), failure.kind.clone())) {
            let (account, region) = (&place.account, &place.region);
            tracing::warn!(%account, %region, problem = failure.text,
                "the account's inventory is not refreshed; its last good answer is used, marked stale");
        }
    }

    /// Logs that an account is well again, once all of its Regions are.
    pub(super) fn recovered(&mut self, place: &Place, store: &Store) {
        let account = &place.account;
        let fails = store.places.iter().any(|(other, known)| other.account == *account && known.failure.is_some());
        if !fails && self.0.iter().any(|(known, _)| known == account) {
            self.0.retain(|(known, _)| known != account);
            tracing::info!(%account, "the account's inventory is refreshed again");
        }
    }
}
