//! `tunnelog inventory`: what a pipeline knows of the VPN connections, how old that is, and what failed.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;

use super::age::{now, short};
use super::check::load_and_say;
use super::{Outcome, print_all};
use crate::config::Loaded;
use crate::config::types::Ec2;
use crate::enrich::ec2::{Context, Ec2Inventory, Kept, PlaceStatus, Status};
use crate::event::Millis;

const SHOW_HELP: &str = "\
Shows what the pipeline keeps in its state folder, whether it runs or not. With `--refresh` everything is asked for
once now, with the credentials of this shell; if an account or a Region then fails, or the organization cannot be
listed, the table says which and why, and the exit code is 1. (Unknown organizational units are no failure.)

Examples:
  tunnelog inventory show pipelines/multi-account.yaml
  tunnelog inventory show pipelines/multi-account.yaml --account 111122223333 --json | jq '.places[].failure'";

const EXPORT_HELP: &str = "\
Writes DIR/{account}/{region}/describe-*.json and DIR/accounts.json, which `enrich.file: DIR` and
`tunnelog decode --inventory DIR` read. There are no pre-shared keys in them.

Example:
  tunnelog inventory export pipelines/multi-account.yaml inventory/";

/// Show or export what a pipeline with `enrich.ec2` knows of the VPN connections
#[derive(Debug, clap::Args)]
pub(super) struct InventoryArgs {
    #[command(subcommand)]
    command: InventoryCommand,
}

#[derive(Debug, clap::Subcommand)]
enum InventoryCommand {
    /// What is known, how old it is, and which accounts failed and why
    #[command(after_help = SHOW_HELP)]
    Show {
        #[command(flatten)]
        which: Which,
        /// One JSON object in place of the table
        #[arg(long)]
        json: bool,
    },
    /// Write it in the form that `enrich.file` reads
    #[command(after_help = EXPORT_HELP)]
    Export {
        #[command(flatten)]
        which: Which,
        /// The folder; it is made, and files of the same names are replaced
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The pipeline file
    #[arg(value_name = "PIPELINE")]
    pipeline: PathBuf,
    /// Only these accounts
    #[arg(long, value_name = "ACCOUNT", value_parser = super::run::account)]
    account: Vec<String>,
    /// Ask EC2 once before
    #[arg(long)]
    refresh: bool,
}

impl Which {
    fn wants(&self, account: &str) -> bool {
        self.account.is_empty() || self.account.iter().any(|wanted| wanted == account)
    }
}

pub(super) fn run(arguments: &InventoryArgs) -> anyhow::Result<Outcome> {
    let (InventoryCommand::Show { which, .. } | InventoryCommand::Export { which, .. }) = &arguments.command;
    let Some(loaded) = load_and_say(&which.pipeline) else { return Ok(Outcome::Misused) };
    let Some(ec2) = &loaded.pipeline.enrich.ec2 else {
        super::say_error(&format!("{} has no `enrich.ec2`, so there is nothing to show", loaded.path.display()));
        return Ok(Outcome::Misused);
    };
    let mut failed = Vec::new();
    if which.refresh {
        failed = refresh(ec2, &loaded, which)?;
    }
    let kept = Kept::new(loaded.inventory_folder());
    match &arguments.command {
        InventoryCommand::Show { which, json } => show(&kept, ec2, which, *json)?,
        InventoryCommand::Export { which, folder } => {
            let written = kept.export(folder, &|account| which.wants(account)).map_err(anyhow::Error::msg)?;
            anstream::eprintln!("{written} accounts and Regions written to {}", folder.display());
        }
    }
    if failed.is_empty() {
        return Ok(Outcome::Finished);
    }
    super::say_error(&format!("not refreshed: {}", failed.join(", ")));
    Ok(Outcome::Failed)
}

/// Asks everybody once; returns what failed of that which is wanted.
fn refresh(ec2: &Ec2, loaded: &Loaded, which: &Which) -> anyhow::Result<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    runtime.block_on(async {
        let mut inventory = Ec2Inventory::connect(ec2, Context::of(loaded)).await.map_err(anyhow::Error::msg)?;
        inventory.allow_all();
        inventory.refresh_once().await;
        let status = inventory.status();
        let organization = status.organization_failure.map(|_| "the organization's accounts".to_owned());
        let failed = status.places.into_iter().filter(|place| place.failure.is_some() && which.wants(&place.account));
        let failed = failed.map(|place| format!("{} in {}", place.account, place.region));
        Ok(organization.into_iter().chain(failed).collect())
    })
}

fn show(kept: &Kept, ec2: &Ec2, which: &Which, json: bool) -> anyhow::Result<()> {
    let nothing = "nothing is known yet: run the pipeline, or use `--refresh`";
    let mut status = kept.status().context(nothing)?;
    status.places.retain(|place| which.wants(&place.account));
    let now = now();
    let text = if json { as_json(&status, ec2, now)? } else { table(&status, ec2, now) };
    print_all(text.as_bytes())?;
    Ok(())
}

/// How much to believe: `fresh`, `stale` or `missing`, as events say it.
fn state(place: &PlaceStatus, ec2: &Ec2, now: Millis) -> &'static str {
    let Some(age) = age(place, now) else { return "missing" };
    // Two refreshes: nobody refreshes it any more.
    if place.failure.is_some() || age > ec2.refresh.0 * 2 { "stale" } else { "fresh" }
}

fn age(place: &PlaceStatus, now: Millis) -> Option<Duration> {
    Some(Duration::from_millis(u64::try_from(now.0 - place.as_of?.0).unwrap_or(0)))
}

fn as_json(status: &Status, ec2: &Ec2, now: Millis) -> anyhow::Result<String> {
    let mut value = serde_json::to_value(status)?;
    let places = value.get_mut("places").and_then(serde_json::Value::as_array_mut).into_iter().flatten();
    for (shown, place) in places.zip(&status.places) {
        shown["state"] = state(place, ec2, now).into();
        shown["age_seconds"] = age(place, now).map(|age| age.as_secs()).into();
    }
    Ok(format!("{value:#}\n"))
}

fn table(status: &Status, ec2: &Ec2, now: Millis) -> String {
    let mut text = String::new();
    let account = |place: &PlaceStatus| match &place.account_name {
        Some(name) => format!("{} {name}", place.account),
        None => place.account.clone(),
    };
    let ou = |place: &PlaceStatus| place.account_ou.clone().unwrap_or_default();
    let widest =
        |text: &dyn Fn(&PlaceStatus) -> String| status.places.iter().map(|place| text(place).chars().count()).max();
    let width = widest(&account).unwrap_or(0).max(12);
    // No column where nobody has an organizational unit.
    let ous = widest(&ou).filter(|width| *width > 0).map(|width| width.max(19));
    let ou_column = |text: &str| ous.map_or_else(String::new, |width| format!("{text:<width$}  "));
    // Writing to a String cannot fail.
    let title = ou_column("organizational unit");
    let _ = writeln!(text, "{:<width$}  {title}{:<16} {:>11}  {:>8}  state", "account", "Region", "connections", "age");
    for place in &status.places {
        let age = age(place, now).map_or_else(|| "never".to_owned(), short);
        let (account, region, connections) = (account(place), &place.region, place.connections);
        let (ou, state) = (ou_column(&ou(place)), state(place, ec2, now));
        let _ = writeln!(text, "{account:<width$}  {ou}{region:<16} {connections:>11}  {age:>8}  {state}");
    }
    let failures = status.places.iter().filter_map(|place| place.failure.as_ref());
    let failures: Vec<&String> = status.organization_failure.iter().chain(failures).collect();
    if !failures.is_empty() {
        let _ = writeln!(text, "\nwhat failed:");
        for failure in failures {
            let _ = writeln!(text, "  {failure}");
        }
    }
    if let Some(failure) = &status.units_failure {
        let _ = writeln!(text, "\norganizational units may be missing or old:\n  {failure}");
    }
    text
}
