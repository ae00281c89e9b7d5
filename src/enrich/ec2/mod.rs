//! The inventory from EC2 itself: many accounts and Regions, asked again and again.
//!
//! ```text
//! schedule ─► describe (roles, client, xml) ─► store ─► snapshot ─► Inventory
//!    ▲                                           └─► kept (a folder beside the checkpoint)
//!    └── misses: connections that events name and the snapshot does not have
//! ```
//!
//! The four calls go over EC2's Query protocol with the SDK's parts, without `aws-sdk-ec2` (ARCHITECTURE.md has the
//! numbers). What an inventory cannot know makes no pipeline unready: events go out with what the log itself tells,
//! `vpn.inventory.state` says how much to believe, and failures are logged, counted and shown by
//! `tunnelog inventory show`.

mod client;
mod describe;
mod endpoint;
mod error;
mod export;
mod kept;
mod limit;
mod organization;
mod probe;
mod refresh;
mod roles;
mod schedule;
mod store;
mod told;
mod xml;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use tokio::time::Instant;

use self::describe::Client;
pub use self::describe::{HUB_ACTIONS, MEMBER_ACTIONS};
use self::endpoint::partition_of;
pub use self::kept::{Kept, PlaceStatus, Status};
use self::limit::RateLimit;
pub use self::organization::ORGANIZATION_ACTIONS;
use self::organization::{MAX_CALLS, Member, Organization};
pub use self::probe::{probe, probe_with};
use self::roles::Roles;
use self::schedule::Schedule;
pub use self::store::Place;
use self::store::Store;
use self::told::Told;
use super::file::FileInventory;
use super::{Account, Snapshot};
use crate::config::Loaded;
use crate::config::types::{Accounts, AccountsOf, Aws, Ec2};
use crate::event::Millis;
use crate::telemetry::metrics::AccountMetrics;

/// Pages of accounts that a probe lists, of 20 each, and its calls for their OUs: with these it stays within the first
/// seconds of Organizations' limit.
const PROBE_PAGES: usize = 4;
const PROBE_CALLS: usize = 8;

/// What an inventory is opened with, beside `enrich.ec2` itself.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The folder where it is kept.
    pub folder: PathBuf,
    /// `enrich.tags`.
    pub tags: Vec<String>,
    /// `enrich.overlay`.
    pub overlay: Option<PathBuf>,
}

impl Context {
    /// What a pipeline file says.
    pub fn of(loaded: &Loaded) -> Context {
        let tags = loaded.pipeline.enrich.tags.clone();
        Context { folder: loaded.inventory_folder(), tags, overlay: loaded.overlay() }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Ec2Inventory {
    client: Arc<Client>,
    organization: Arc<Organization>,
    accounts: Option<Accounts>,
    allow: BTreeSet<String>,
    regions: Vec<Arc<str>>,
    /// The accounts that are asked now.
    active: BTreeSet<String>,
    store: Store,
    schedule: Schedule,
    kept: Kept,
    tags: Arc<[String]>,
    overlay: Option<Arc<FileInventory>>,
    limits: HashMap<Place, Arc<RateLimit>>,
    refresh: Duration,
    concurrency: usize,
    calls_per_second: u32,
    /// When the organization is listed next; `None` where it is not asked.
    organization_due: Option<Instant>,
    organization_failure: Option<String>,
    /// Its accounts as they were last listed.
    members: Vec<Member>,
    /// The accounts were listed, and their OUs were not asked for since.
    units_due: bool,
    units_failure: Option<String>,
    told: Told,
    metrics: Metrics,
}

/// What is counted, by account: as many as are configured.
#[derive(Debug, Default)]
struct Metrics(BTreeMap<Arc<str>, AccountMetrics>);

impl Metrics {
    fn of(&mut self, account: &Arc<str>) -> &AccountMetrics {
        self.0.entry(Arc::clone(account)).or_insert_with(|| AccountMetrics::new(account))
    }

    fn answered(&mut self, account: &Arc<str>) {
        self.of(account).refreshes.increment(1);
    }

    fn failed(&mut self, account: &Arc<str>) {
        self.of(account).errors.increment(1);
    }
}

/// The SDK's settings for `enrich.ec2`.
async fn sdk_config(config: &Ec2) -> Result<SdkConfig, String> {
    let aws = Aws { endpoint: config.endpoint.clone(), region: config.regions.first().cloned(), ..Aws::default() };
    crate::aws::sdk_config(Some(&aws), None)
        .await
        .map_err(|error| error.replace("`aws.region` here", "`enrich.ec2.regions`"))
}

impl Ec2Inventory {
    /// Opens the inventory with the environment's credentials.
    ///
    /// # Errors
    /// No Region, an overlay that cannot be read, or credentials that do not tell their account where that is asked
    /// for. That EC2 cannot be reached is no error: what is kept is used.
    pub async fn connect(config: &Ec2, context: Context) -> Result<Ec2Inventory, String> {
        let sdk = sdk_config(config).await?;
        Ec2Inventory::open(config, context, &sdk).await
    }

    /// Opens the inventory with these settings.
    ///
    /// # Errors
    /// As [`Ec2Inventory::connect`].
    pub async fn open(config: &Ec2, context: Context, sdk: &SdkConfig) -> Result<Ec2Inventory, String> {
        let environment = sdk.region().map(ToString::to_string);
        let regions: Vec<Arc<str>> = match config.regions.as_slice() {
            [] => environment.iter().map(|region| region.as_str().into()).collect(),
            regions => regions.iter().map(|region| region.as_str().into()).collect(),
        };
        let home = regions.first().ok_or("no Region: set `enrich.ec2.regions`, or AWS_REGION in the environment")?;
        if let Some(other) = regions.iter().find(|region| partition_of(region) != partition_of(home)) {
            return Err(format!(
                "`{home}` and `{other}` are in two partitions, which share no account: make two pipelines"
            ));
        }
        let roles = Arc::new(Roles::new(config, home, sdk));
        let organization = Organization::new(Arc::clone(&roles), home, config.organization_role.clone(), sdk);
        let overlay = context.overlay.map(|path| Arc::new(FileInventory::new(None, Some(path), Vec::new())));
        let lists = matches!(config.accounts, Some(Accounts::Listed(AccountsOf::Organization)));
        let mut inventory = Ec2Inventory {
            client: Arc::new(Client::new(roles, sdk)),
            organization: Arc::new(organization),
            accounts: config.accounts.clone(),
            allow: config.allow.iter().cloned().collect(),
            regions,
            active: BTreeSet::new(),
            store: Store::default(),
            schedule: Schedule::new(config.refresh.0),
            kept: Kept::new(context.folder),
            tags: context.tags.into(),
            overlay,
            limits: HashMap::new(),
            refresh: config.refresh.0,
            concurrency: config.concurrency as usize,
            calls_per_second: config.calls_per_second,
            organization_due: (lists || config.account_names == Some(true)).then(Instant::now),
            organization_failure: None,
            members: Vec::new(),
            units_due: false,
            units_failure: None,
            told: Told::default(),
            metrics: Metrics::default(),
        };
        inventory.begin(config).await?;
        Ok(inventory)
    }

    /// What is known before anybody is asked: the kept accounts and answers, and the overlay.
    async fn begin(&mut self, config: &Ec2) -> Result<(), String> {
        if let Some(overlay) = &self.overlay {
            self.store.overlay = overlay.load().map_err(|error| error.to_string())?.overlay;
        }
        let members = self.kept.members();
        match &config.accounts {
            Some(Accounts::Ids(ids)) => self.activate(&ids.iter().cloned().collect()),
            // Those that were seen before are seen again, in all likelihood.
            Some(Accounts::Listed(AccountsOf::Seen)) => {
                let before = self.kept.status().map(|status| status.places).unwrap_or_default();
                let before = before.into_iter().map(|place| place.account).collect::<BTreeSet<_>>();
                self.activate(&before.intersection(&self.allow).cloned().collect());
            }
            Some(Accounts::Listed(AccountsOf::Organization)) => {}
            None => {
                let named = config.assume_role.as_deref().and_then(|role| role.split(':').nth(4)).map(str::to_owned);
                let own = match named {
                    Some(account) => BTreeSet::from([account]),
                    None => self.own_account().await?,
                };
                self.activate(&own);
            }
        }
        if self.organization_due.is_some() {
            self.set_members(members);
        }
        Ok(())
    }

    /// The account of the credentials; where STS cannot be asked, the one that is kept, so that a restart needs no
    /// STS.
    async fn own_account(&self) -> Result<BTreeSet<String>, String> {
        let problem = match self.client.own_account().await {
            Ok(account) => return Ok(BTreeSet::from([account])),
            Err(problem) => problem,
        };
        let kept = self.kept.status().map(|status| status.places).unwrap_or_default();
        let kept: BTreeSet<String> = kept.into_iter().map(|place| place.account).collect();
        if kept.len() != 1 {
            return Err(problem);
        }
        tracing::warn!(problem, "the credentials do not tell their account; the kept one is used");
        Ok(kept)
    }

    /// With `seen`: asks every allowed account, since here are no logs to name them.
    pub fn allow_all(&mut self) {
        if matches!(self.accounts, Some(Accounts::Listed(AccountsOf::Seen))) {
            self.activate(&self.allow.clone());
        }
    }

    /// The snapshot before the first refresh.
    pub fn snapshot(&mut self) -> Snapshot {
        self.store.snapshot()
    }

    /// How the latest tries went.
    pub fn status(&self) -> Status {
        let account = |place: &Place| self.store.accounts.get(place.account.as_ref());
        let places = self.store.places.iter().map(|(place, known)| PlaceStatus {
            account: place.account.to_string(),
            account_name: account(place).and_then(|account| account.name.clone()),
            account_ou: account(place).and_then(|account| account.ou.clone()),
            region: place.region.to_string(),
            connections: known.fetched.connections.len(),
            as_of: known.fetched.as_of,
            tried: known.tried,
            failure: known.failure.clone(),
        });
        Status::new(places.collect(), self.organization_failure.clone(), self.units_failure.clone())
    }

    /// The organization has these accounts. The OU of one that was known stays until it is asked for again.
    fn set_members(&mut self, mut members: Vec<Member>) {
        let before: HashMap<&str, &Member> = self.members.iter().map(|member| (member.id.as_str(), member)).collect();
        for member in members.iter_mut().filter(|member| member.ou.is_none()) {
            member.ou = before.get(member.id.as_str()).and_then(|before| before.ou.clone());
        }
        self.members = members;
        self.name_accounts();
        if matches!(self.accounts, Some(Accounts::Listed(AccountsOf::Organization))) {
            let allowed = |member: &&Member| self.allow.is_empty() || self.allow.contains(&member.id);
            self.activate(&self.members.iter().filter(allowed).map(|member| member.id.clone()).collect());
        }
    }

    fn name_accounts(&mut self) {
        let account = |member: &Member| Account {
            name: Some(member.name.clone()).filter(|name| !name.is_empty()),
            ou: member.ou.clone(),
        };
        self.store.accounts = self.members.iter().map(|member| (member.id.clone(), account(member))).collect();
    }

    /// Lists the first accounts where that is wanted, and asks for the OUs of a few; how it went is in the status.
    /// Whether these are all accounts.
    async fn list_for_a_probe(&mut self) -> bool {
        if self.organization_due.is_none() {
            return true;
        }
        match self.organization.first_members(PROBE_PAGES).await {
            Ok((members, is_all)) => {
                self.units_failure = self.organization.paths(&members, PROBE_CALLS).await.failure.map(|it| it.text);
                self.set_members(members);
                is_all
            }
            Err(failure) => {
                self.organization_failure = Some(failure.text);
                true
            }
        }
    }

    /// A log names this account. Only one that is allowed is ever asked.
    fn saw(&mut self, account: &str) {
        let by_logs = matches!(self.accounts, Some(Accounts::Listed(AccountsOf::Seen)));
        if by_logs && !self.active.contains(account) && self.allow.contains(account) {
            tracing::info!(account, "logs of this account arrive; its VPN connections are asked for");
            let mut accounts = self.active.clone();
            accounts.insert(account.to_owned());
            self.activate(&accounts);
        }
    }

    /// These accounts are asked, in every Region, and no others.
    fn activate(&mut self, accounts: &BTreeSet<String>) {
        if *accounts == self.active {
            return;
        }
        let mut places = BTreeSet::new();
        for account in accounts {
            let account: Arc<str> = account.as_str().into();
            places.extend(self.regions.iter().map(|region| Place { account: account.clone(), region: region.clone() }));
        }
        self.store.places.retain(|place, _| places.contains(place));
        self.limits.retain(|place, _| places.contains(place));
        for place in &places {
            if !self.store.places.contains_key(place) {
                let fetched = self.kept.read(place, &self.tags).unwrap_or_default();
                let tried = fetched.as_of;
                let known = store::Known { fetched, is_fresh: false, failure: None, tried };
                self.store.places.insert(place.clone(), known);
            }
        }
        self.schedule.set(&places, Instant::now());
        self.active = accounts.clone();
    }

    fn is_wanted(&self, place: &Place) -> bool {
        self.active.contains(place.account.as_ref())
    }

    /// Brings the gauges up to date: an account is as old as its oldest Region.
    fn show(&mut self) {
        let now = millis_now().0;
        let mut by_account: BTreeMap<&Arc<str>, (usize, i64)> = BTreeMap::new();
        for (place, known) in &self.store.places {
            let (connections, oldest) = by_account.entry(&place.account).or_insert((0, now));
            *connections += known.fetched.connections.len();
            *oldest = (*oldest).min(known.fetched.as_of.map_or(0, |as_of| as_of.0));
        }
        for (account, (connections, oldest)) in by_account {
            let metrics = self.metrics.of(account);
            metrics.connections.set(connections as f64);
            // Never asked: no age, rather than one of half a century.
            metrics.age_seconds.set(if oldest == 0 { f64::NAN } else { (now - oldest).max(0) as f64 / 1000.0 });
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "`as_of` is when EC2 was asked; no event's identity depends on it")]
fn millis_now() -> Millis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
