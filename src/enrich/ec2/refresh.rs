//! Keeps the inventory fresh: asks what is due, takes what comes, publishes snapshots.
//!
//! Invariants: at most `concurrency` places are asked at a time, each on its own: a place that fails, hangs or
//! throttles leaves the others as they are, and its last good answer in use. A snapshot is published at most every
//! [`PUBLISH_EVERY`]. Nothing here waits for the pipeline, and the pipeline never waits for this.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::describe::Failure;
use super::limit::RateLimit;
use super::organization::{Member, Paths};
use super::schedule::Ended;
use super::store::{Fetched, Place};
use super::{Ec2Inventory, MAX_CALLS, millis_now};
use crate::enrich::file::Look;
use crate::enrich::{Inventory, Miss, Snapshot};

/// Answers that come in a row make one snapshot.
const PUBLISH_EVERY: Duration = Duration::from_millis(500);
/// How often ages are shown and the overlay is looked at.
const UPKEEP: Duration = Duration::from_secs(5);

/// What is under way.
#[derive(Default)]
struct Running {
    tasks: JoinSet<Done>,
    places: HashMap<Id, Place>,
    organization: bool,
    units: bool,
}

enum Done {
    Place(Place, Result<Fetched, Failure>),
    Members(Result<Vec<Member>, Failure>),
    Units(Paths),
}

impl Ec2Inventory {
    /// Refreshes until `ending`.
    pub async fn keep_fresh(mut self, inventory: Arc<Inventory>, ending: CancellationToken) {
        inventory.misses.listen();
        let mut running = Running::default();
        let mut upkeep = tokio::time::interval(UPKEEP);
        upkeep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut publish_at: Option<Instant> = None;
        loop {
            self.start_due(&mut running);
            let next = self.next_due(&running);
            tokio::select! {
                () = ending.cancelled() => return,
                Some(done) = running.tasks.join_next_with_id() => {
                    self.done(done, &mut running);
                    publish_at.get_or_insert_with(|| Instant::now() + PUBLISH_EVERY);
                }
                // Not while an answer waits to be published: what was missed may be in it.
                misses = inventory.misses.take(), if publish_at.is_none() => self.missed(misses, &inventory.snapshot()),
                () = until(publish_at) => {
                    publish_at = None;
                    self.publish(&inventory).await;
                }
                () = until(next) => {}
                _ = upkeep.tick() => {
                    if self.overlay_changed().await {
                        publish_at.get_or_insert_with(Instant::now);
                    }
                    self.show();
                }
            }
        }
    }

    /// Asks every place once, and ends. For commands that run beside no pipeline.
    pub async fn refresh_once(&mut self) {
        let mut running = Running::default();
        loop {
            self.start_due(&mut running);
            match running.tasks.join_next_with_id().await {
                Some(done) => self.done(done, &mut running),
                None => break,
            }
        }
        self.keep_status().await;
    }

    /// Starts what is due, within `concurrency`.
    fn start_due(&mut self, running: &mut Running) {
        let now = Instant::now();
        if self.organization_due.is_some_and(|due| due <= now) && !running.organization {
            running.organization = true;
            let organization = Arc::clone(&self.organization);
            running.tasks.spawn(async move { Done::Members(organization.members().await) });
        }
        if self.units_due && !running.units {
            (self.units_due, running.units) = (false, true);
            let (organization, members) = (Arc::clone(&self.organization), self.members.clone());
            running.tasks.spawn(async move { Done::Units(organization.paths(&members, MAX_CALLS).await) });
        }
        while running.places.len() < self.concurrency {
            let Some(place) = self.schedule.start(now) else { break };
            let limit = Arc::clone(
                self.limits.entry(place.clone()).or_insert_with(|| Arc::new(RateLimit::new(self.calls_per_second))),
            );
            let (client, kept, tags) = (Arc::clone(&self.client), self.kept.clone(), Arc::clone(&self.tags));
            let task = place.clone();
            let handle = running.tasks.spawn(async move {
                let asked = client.place(&task.account, &task.region, &limit).await;
                let read = match asked {
                    Ok(json) => read(task.clone(), json, kept, tags).await,
                    Err(failure) => Err(failure),
                };
                Done::Place(task, read)
            });
            running.places.insert(handle.id(), place);
        }
    }

    fn next_due(&self, running: &Running) -> Option<Instant> {
        let place = self.schedule.next().filter(|_| running.places.len() < self.concurrency);
        let organization = self.organization_due.filter(|_| !running.organization);
        place.into_iter().chain(organization).min()
    }

    fn done(&mut self, done: Result<(Id, Done), tokio::task::JoinError>, running: &mut Running) {
        match done {
            Ok((id, Done::Place(place, outcome))) => {
                running.places.remove(&id);
                self.place_done(&place, outcome);
            }
            Ok((_, Done::Members(outcome))) => {
                running.organization = false;
                self.members_done(outcome);
            }
            Ok((_, Done::Units(paths))) => {
                running.units = false;
                self.units_done(paths);
            }
            Err(error) => {
                let text = format!("its task ended abnormally ({error}); please report this");
                let failure = Failure { text, kind: "abnormal".into(), passes: true };
                match running.places.remove(&error.id()) {
                    Some(place) => self.place_done(&place, Err(failure)),
                    // Which of the two is not known; both are begun again.
                    None => {
                        (running.organization, running.units) = (false, false);
                        self.members_done(Err(failure));
                    }
                }
            }
        }
    }

    fn place_done(&mut self, place: &Place, outcome: Result<Fetched, Failure>) {
        // It may have left the configuration's accounts meanwhile.
        let ended = match outcome {
            _ if !self.is_wanted(place) => Ended::Answered,
            Ok(fetched) => {
                self.metrics.answered(&place.account);
                self.store.answered(place, fetched);
                self.told.recovered(place, &self.store);
                Ended::Answered
            }
            Err(failure) => {
                self.metrics.failed(&place.account);
                self.told.failed(place, &failure);
                let ended = if failure.passes { Ended::FailedForNow } else { Ended::Failed };
                self.store.failed(place, failure.text, Some(millis_now()));
                ended
            }
        };
        self.schedule.ended(place, ended, Instant::now());
    }

    fn members_done(&mut self, outcome: Result<Vec<Member>, Failure>) {
        let mut pause = self.refresh;
        match outcome {
            Ok(members) => {
                self.organization_failure = None;
                self.set_members(members);
                self.units_due = true;
                self.keep_members();
            }
            Err(failure) => {
                if self.organization_failure.as_ref() != Some(&failure.text) {
                    tracing::warn!(
                        problem = failure.text,
                        "the organization's accounts are not listed; the last list is used"
                    );
                }
                if failure.passes {
                    pause = pause.min(Duration::from_secs(30));
                }
                self.organization_failure = Some(failure.text);
            }
        }
        self.organization_due = Some(Instant::now() + pause);
    }

    /// The OUs of some accounts, or of all; what could not be asked stays as it was.
    fn units_done(&mut self, mut paths: Paths) {
        let mut changed = false;
        for member in &mut self.members {
            if let Some(path) = paths.known.remove(&member.id).filter(|path| member.ou.as_ref() != Some(path)) {
                (member.ou, changed) = (Some(path), true);
            }
        }
        if changed {
            self.name_accounts();
            self.keep_members();
        }
        let failure = paths.failure.map(|failure| failure.text);
        if let Some(problem) = failure.as_ref().filter(|text| self.units_failure.as_ref() != Some(*text)) {
            tracing::warn!(
                problem,
                "the organizational units of the accounts are not asked for; names and connections are not concerned"
            );
        }
        self.units_failure = failure;
    }

    fn keep_members(&self) {
        if let Err(error) = self.kept.write_members(&self.members) {
            tracing::warn!(%error, "the organization's accounts cannot be kept; a restart lists them again");
        }
    }

    fn missed(&mut self, misses: BTreeSet<Miss>, snapshot: &Snapshot) {
        let now = Instant::now();
        for miss in misses {
            if snapshot.connections.contains_key(miss.connection.as_str()) {
                continue;
            }
            if let Some(account) = &miss.account {
                self.saw(account);
            }
            self.schedule.missed(&miss.connection, miss.account.as_deref(), miss.region.as_deref(), now);
        }
    }

    async fn publish(&mut self, inventory: &Inventory) {
        let snapshot = self.store.snapshot();
        tracing::debug!(
            connections = snapshot.connections.len(),
            stale = snapshot.stale_places.len(),
            "inventory published"
        );
        inventory.swap(snapshot);
        self.show();
        self.keep_status().await;
    }

    /// Reads the overlay again if it has changed; a broken one changes nothing.
    async fn overlay_changed(&mut self) -> bool {
        let Some(overlay) = self.overlay.clone() else { return false };
        match tokio::task::spawn_blocking(move || overlay.look()).await {
            Ok(Look::Loaded(snapshot)) => {
                self.store.overlay = snapshot.overlay;
                true
            }
            Ok(Look::Failed { error, news: true }) => {
                let (path, problem) = (error.path.display(), &error.problem);
                tracing::warn!(%path, %problem, "overlay not loaded; the last good one is used");
                false
            }
            _ => false,
        }
    }

    async fn keep_status(&self) {
        let (kept, status) = (self.kept.clone(), self.status());
        let written = tokio::task::spawn_blocking(move || kept.write_status(&status)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(%error, "the inventory's status cannot be kept; `tunnelog inventory show` shows an older one");
        }
    }
}

/// Makes connections of the answers and keeps them; both take time and the disk.
async fn read(place: Place, json: String, kept: super::Kept, tags: Arc<[String]>) -> Result<Fetched, Failure> {
    let abnormal = |text: String| Failure { text, kind: "damaged".into(), passes: true };
    let reading = tokio::task::spawn_blocking(move || {
        let as_of = Some(millis_now());
        let fetched = Fetched::read(&place, as_of, json.as_bytes(), &tags)?;
        if let Err(error) = kept.write(&place, as_of, &json) {
            tracing::warn!(account = %place.account, region = %place.region, %error,
                "what EC2 said cannot be kept; a restart begins without it: make the state folder writable");
        }
        Ok::<_, String>(fetched)
    });
    match reading.await {
        Ok(read) => {
            read.map_err(|problem| abnormal(format!("the answers cannot be read: {problem}; please report this")))
        }
        Err(error) => Err(abnormal(format!("the answers' reading ended abnormally ({error}); please report this"))),
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
