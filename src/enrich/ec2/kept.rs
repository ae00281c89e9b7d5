//! The inventory on disk, so that a restart enriches at once: a folder beside the checkpoint.
//!
//! ```text
//! state/siem.inventory/123456789012/ap-northeast-2/answers.json   what EC2 said; its time is the file's
//!                     /accounts.json                              the organization's accounts
//!                     /.status.json                               how the latest tries went, for `inventory show`
//! ```
//!
//! It is in the form that `enrich.file` reads, so it may be copied and read elsewhere. Each file is replaced as a
//! whole; one that is damaged is left out, with a warning, and does no harm to the others. There are no secrets in
//! it: what is written was read by a table that does not name them.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::organization::Member;
use super::store::{Fetched, Place};
use crate::event::Millis;

/// The form of `.status.json`.
const VERSION: u32 = 1;
/// The largest file that is read back: four times the largest answer in XML becomes about a tenth of it.
const MAX_FILE_BYTES: u64 = 64 << 20;
/// The files.
const ANSWERS: &str = "answers.json";
const ACCOUNTS: &str = "accounts.json";
const STATUS: &str = ".status.json";

/// How the latest tries went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    version: u32,
    /// In the order of accounts and Regions.
    pub places: Vec<PlaceStatus>,
    /// Why the organization's accounts could not be listed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub organization_failure: Option<String>,
    /// Why the organizational units of its accounts are not known, or not as they are now.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub units_failure: Option<String>,
}

/// How the latest try of one account in one Region went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceStatus {
    /// 12 digits.
    pub account: String,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub account_name: Option<String>,
    /// The path of its organizational unit: `Root/Workloads/Prod`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub account_ou: Option<String>,
    /// For example `ap-northeast-2`.
    pub region: String,
    /// How many connections it has.
    pub connections: usize,
    /// When EC2 said so; absent: never.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub as_of: Option<Millis>,
    /// When it was last asked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tried: Option<Millis>,
    /// Why that failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<String>,
}

impl Status {
    pub(super) fn new(
        places: Vec<PlaceStatus>,
        organization_failure: Option<String>,
        units_failure: Option<String>,
    ) -> Status {
        Status { version: VERSION, places, organization_failure, units_failure }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Kept {
    folder: PathBuf,
}

impl Kept {
    /// What is kept in `folder`, which need not exist.
    pub fn new(folder: PathBuf) -> Kept {
        Kept { folder }
    }

    /// How the latest tries went; `None` where nothing (readable) is kept.
    pub fn status(&self) -> Option<Status> {
        let (bytes, _) = read(&self.folder.join(STATUS))?;
        let status: Option<Status> =
            serde_json::from_slice(&bytes).ok().filter(|status: &Status| status.version == VERSION);
        if status.is_none() {
            tracing::warn!(folder = %self.folder.display(), "the kept inventory's status is damaged or of another version; left out");
        }
        status
    }

    pub(super) fn write_status(&self, status: &Status) -> io::Result<()> {
        replace(&self.folder.join(STATUS), &serde_json::to_vec(status)?, None)
    }

    /// Writes what EC2 has said of a place at `as_of`.
    pub(super) fn write(&self, place: &Place, as_of: Option<Millis>, json: &str) -> io::Result<()> {
        let path = self.place(place).join(ANSWERS);
        let time = as_of
            .and_then(|as_of| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(u64::try_from(as_of.0).ok()?)));
        // Mostly it says the same: then only its time changes.
        if read(&path).is_some_and(|(bytes, _)| bytes == json.as_bytes()) {
            return fs::File::options().append(true).open(&path)?.set_modified(time.unwrap_or(SystemTime::UNIX_EPOCH));
        }
        replace(&path, json.as_bytes(), time)
    }

    /// What EC2 last said of a place.
    pub(super) fn read(&self, place: &Place, tags: &[String]) -> Option<Fetched> {
        let path = self.place(place).join(ANSWERS);
        let (bytes, as_of) = read(&path)?;
        match Fetched::read(place, as_of, &bytes, tags) {
            Ok(fetched) => Some(fetched),
            Err(problem) => {
                let path = path.display();
                tracing::warn!(%path, problem, "a part of the kept inventory cannot be read; it is asked for again");
                None
            }
        }
    }

    /// The answers of a place as they are kept.
    pub(super) fn bytes(&self, place: &Place) -> Option<(Vec<u8>, Option<Millis>)> {
        read(&self.place(place).join(ANSWERS))
    }

    pub(super) fn write_members(&self, members: &[Member]) -> io::Result<()> {
        replace(&self.folder.join(ACCOUNTS), &accounts_json(members), None)
    }

    /// The organization's accounts as they were last listed.
    pub(super) fn members(&self) -> Vec<Member> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Listed {
            accounts: Vec<Account>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Account {
            id: String,
            name: String,
            #[serde(default)]
            ou_path: Option<String>,
        }
        let Some((bytes, _)) = read(&self.folder.join(ACCOUNTS)) else { return Vec::new() };
        let listed: Option<Listed> = serde_json::from_slice(&bytes).ok();
        let accounts = listed.map(|listed| listed.accounts).unwrap_or_default();
        let members =
            accounts.into_iter().map(|Account { id, name, ou_path }| Member { id, name, ou: ou_path, parents: None });
        members.filter(|member| crate::enrich::is_account_id(&member.id)).collect()
    }

    fn place(&self, place: &Place) -> PathBuf {
        self.folder.join(place.account.as_ref()).join(place.region.as_ref())
    }
}

/// As `aws organizations list-accounts` prints it, with the path of each account's OU, which AWS has no word for.
pub(super) fn accounts_json(members: &[Member]) -> Vec<u8> {
    let account = |member: &Member| match &member.ou {
        Some(ou) => serde_json::json!({ "Id": member.id, "Name": member.name, "OuPath": ou }),
        None => serde_json::json!({ "Id": member.id, "Name": member.name }),
    };
    let accounts: Vec<_> = members.iter().map(account).collect();
    serde_json::json!({ "Accounts": accounts }).to_string().into_bytes()
}

/// A file with the time that its content is of; `None` if there is none that can be read.
fn read(path: &Path) -> Option<(Vec<u8>, Option<Millis>)> {
    let file = fs::File::open(path).ok()?;
    let modified = file.metadata().ok()?.modified().ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).ok()?;
    Some((bytes, i64::try_from(modified.as_millis()).ok().map(Millis)))
}

/// Writes a file beside its place and moves it there: a crash leaves the old one or the new one.
pub(super) fn replace(path: &Path, bytes: &[u8], modified: Option<SystemTime>) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.{}.tmp", std::process::id()));
    let mut file = fs::File::create(&temporary)?;
    file.write_all(bytes)?;
    if let Some(modified) = modified {
        file.set_modified(modified)?;
    }
    file.sync_all()?;
    fs::rename(&temporary, path)
}
