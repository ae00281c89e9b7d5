//! `tunnelog check --connect`: can the accounts and Regions be asked? At most [`MAX_PLACES`] of them are, so that a
//! check of a thousand accounts ends as soon as one of ten.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::describe::Failure;
use super::limit::RateLimit;
use super::store::{Fetched, Place};
use super::{Context, Ec2Inventory, millis_now, sdk_config};
use crate::config::types::Ec2;

/// Accounts and Regions that are asked: each account in one Region first.
const MAX_PLACES: usize = 64;
/// At the same time: with a second for each, all are asked in four.
const AT_ONCE: usize = 16;

/// Asks the accounts and Regions, as `tunnelog check --connect` does, and ends within this time. What works, in one
/// line.
///
/// # Errors
/// A line for each account and Region that cannot be asked, and for an organization that cannot be listed.
pub async fn probe(config: &Ec2, within: Duration) -> Result<String, String> {
    let sdk = sdk_config(config).await?;
    probe_with(config, &sdk, within).await
}

/// [`probe`] with these settings.
///
/// # Errors
/// As [`probe`].
pub async fn probe_with(config: &Ec2, sdk: &SdkConfig, within: Duration) -> Result<String, String> {
    let nowhere = tempdir()?;
    let context = Context { folder: nowhere.clone(), ..Context::default() };
    let outcome = ask(config, context, sdk, within).await;
    // Left over, it would hold nothing but names.
    let _ = std::fs::remove_dir_all(nowhere);
    outcome
}

/// A folder for a probe, which keeps nothing.
fn tempdir() -> Result<PathBuf, String> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| format!("no random number: {error}"))?;
    Ok(std::env::temp_dir().join(format!("tunnelog-probe-{:016x}", u64::from_ne_bytes(random))))
}

async fn ask(config: &Ec2, context: Context, sdk: &SdkConfig, within: Duration) -> Result<String, String> {
    let ends = Instant::now() + within;
    // Who is asked last has some time too.
    let begins_until = ends - within * 2 / 5;
    let late = |what: &str| format!("{what}: no answer within {} s; check the network and the proxy", within.as_secs());
    let opening = async {
        let mut inventory = Ec2Inventory::open(config, context, sdk).await?;
        inventory.allow_all();
        let are_all = inventory.list_for_a_probe().await;
        Ok::<_, String>((inventory, are_all))
    };
    let (inventory, are_all) = tokio::time::timeout_at(ends, opening).await.map_err(|_| late("the accounts"))??;
    let all: Vec<Place> = inventory.store.places.keys().cloned().collect();
    let mut waiting = in_turn(&all).into_iter().take(MAX_PLACES);
    let (mut found, mut running) = (Found::default(), JoinSet::new());
    found.failures.extend(inventory.organization_failure.clone());
    loop {
        while running.len() < AT_ONCE && Instant::now() < begins_until {
            let Some(place) = waiting.next() else { break };
            found.asked.push(place.clone());
            let (client, limit) = (Arc::clone(&inventory.client), RateLimit::new(inventory.calls_per_second));
            running.spawn(async move {
                let answer = client.place(&place.account, &place.region, &limit).await;
                (place, answer)
            });
        }
        match tokio::time::timeout_at(ends, running.join_next()).await {
            Ok(Some(Ok((place, answer)))) => found.answered(place, answer),
            Ok(Some(Err(error))) => found.failures.push(format!("its task ended abnormally ({error})")),
            Ok(None) => break,
            Err(_) => {
                let unanswered = found.asked.iter().filter(|place| !found.answered.contains(place));
                let lines = unanswered.map(|place| late(&format!("account {} in {}", place.account, place.region)));
                found.failures.extend(lines.collect::<Vec<_>>());
                break;
            }
        }
    }
    found.verdict(&inventory, are_all)
}

/// Every account once, then once more, and so on through the Regions: what differs most is asked first.
fn in_turn(all: &[Place]) -> Vec<Place> {
    let mut turns: Vec<(usize, Place)> = Vec::with_capacity(all.len());
    for place in all {
        let turn = match turns.last() {
            Some((turn, before)) if before.account == place.account => turn + 1,
            _ => 0,
        };
        turns.push((turn, place.clone()));
    }
    turns.sort_by_key(|(turn, _)| *turn);
    turns.into_iter().map(|(_, place)| place).collect()
}

#[derive(Default)]
struct Found {
    asked: Vec<Place>,
    answered: Vec<Place>,
    connections: usize,
    failures: Vec<String>,
}

impl Found {
    fn answered(&mut self, place: Place, answer: Result<String, Failure>) {
        let read = answer.map_err(|failure| failure.text).and_then(|json| {
            let fetched = Fetched::read(&place, Some(millis_now()), json.as_bytes(), &[]);
            fetched.map_err(|problem| format!("the answers cannot be read: {problem}; please report this"))
        });
        match read {
            Ok(fetched) => self.connections += fetched.connections.len(),
            Err(line) => self.failures.push(line),
        }
        self.answered.push(place);
    }

    /// What was found, with how many were not asked.
    fn verdict(mut self, inventory: &Ec2Inventory, are_all: bool) -> Result<String, String> {
        let (asked, all) = (self.asked.len(), inventory.store.places.len());
        let rest = (asked < all || !are_all).then(|| {
            let more = if are_all { "" } else { "more than " };
            format!(
                "{asked} of {more}{all} accounts and Regions were asked; `tunnelog inventory show --refresh` asks all"
            )
        });
        if !self.failures.is_empty() {
            self.failures.sort();
            self.failures.extend(rest);
            return Err(self.failures.join("\n"));
        }
        let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
        let first = if are_all { "" } else { "the organization's first " };
        let accounts = format!("{first}{}", count(inventory.active.len(), "account"));
        let regions = count(inventory.regions.len(), "Region");
        let found = format!("{}, {accounts}, {regions}", count(self.connections, "VPN connection"));
        // They are a comfort; without them everything else works.
        let units = inventory.units_failure.as_ref().map(|text| format!("organizational units stay unknown: {text}"));
        Ok([Some(found), rest, units].into_iter().flatten().collect::<Vec<_>>().join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_account_is_asked_before_any_is_asked_twice() {
        let place = |text: &str| {
            let (account, region) = text.split_at(1);
            Place { account: account.into(), region: region.into() }
        };
        let all = ["1a", "1b", "1c", "2a", "2b", "3a"].map(place);
        let turns: Vec<_> = in_turn(&all).iter().map(|place| format!("{}{}", place.account, place.region)).collect();
        assert_eq!(turns, ["1a", "2a", "3a", "1b", "2b", "1c"]);
    }
}
