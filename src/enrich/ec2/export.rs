//! Writes what is kept in the form that a person would have saved with the AWS CLI, for `enrich.file`.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::kept::{Kept, accounts_json, replace};
use super::store::Place;

/// What a list of the kept answers is called as a file.
const FILES: [(&str, &str); 4] = [
    ("VpnConnections", "describe-vpn-connections.json"),
    ("CustomerGateways", "describe-customer-gateways.json"),
    ("VpnGateways", "describe-vpn-gateways.json"),
    ("TransitGateways", "describe-transit-gateways.json"),
];

impl Kept {
    /// Writes `{account}/{region}/describe-*.json` and `accounts.json` below `folder`; each file has the time at which
    /// EC2 said so. Returns how many accounts and Regions were written.
    ///
    /// # Errors
    /// The file that cannot be written, and why; or that nothing is kept.
    pub fn export(&self, folder: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<usize, String> {
        let nothing = "nothing is known yet: run the pipeline, or use `--refresh`";
        let status = self.status().ok_or(nothing)?;
        let mut written = 0;
        for known in status.places.iter().filter(|place| wanted(&place.account)) {
            let place = Place { account: Arc::from(known.account.as_str()), region: Arc::from(known.region.as_str()) };
            let Some((bytes, as_of)) = self.bytes(&place) else { continue };
            let time = as_of.and_then(|as_of| Some(Duration::from_millis(u64::try_from(as_of.0).ok()?)));
            let time = time.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since));
            let broken = || format!("what is kept of {}/{} is damaged; use `--refresh`", known.account, known.region);
            let mut answers: Value = serde_json::from_slice(&bytes).map_err(|_| broken())?;
            for (list, file) in FILES {
                let list = serde_json::json!({ list: answers.get_mut(list).map(Value::take).unwrap_or_default() });
                let path = folder.join(&known.account).join(&known.region).join(file);
                write(&path, format!("{list:#}\n").as_bytes(), time)?;
            }
            written += 1;
        }
        let mut members = self.members();
        members.retain(|member| wanted(&member.id));
        if !members.is_empty() {
            write(&folder.join("accounts.json"), &accounts_json(&members), None)?;
        }
        if written == 0 { Err(nothing.into()) } else { Ok(written) }
    }
}

fn write(path: &Path, bytes: &[u8], time: Option<SystemTime>) -> Result<(), String> {
    replace(path, bytes, time).map_err(|error| format!("cannot write {}: {error}", path.display()))
}
