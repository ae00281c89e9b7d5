//! What `tunnelog check` says of a pipeline's cost: an estimate, its assumptions, and that it is one.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use crate::config::Loaded;
use crate::cost::{Estimate, OF, Prices, SOURCES, Traffic, estimate};

/// What the estimate is of.
#[derive(Debug, clap::Args)]
pub(super) struct CostArgs {
    /// The estimate of costs is for so many events a day
    #[arg(long, default_value_t = 1_000_000, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000_000))]
    events_per_day: u64,
    /// The estimate of costs is for so many shards of each stream
    #[arg(long, default_value_t = 1, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    shards: u32,
    /// A JSON file with prices of another Region, or with a discount: {"firehose_gb": 0.036, ...}
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
}

/// The estimate of every pipeline that is checked.
pub(super) struct Costs {
    traffic: Traffic,
    prices: Prices,
    /// Where the prices are from, in words.
    of: String,
}

impl CostArgs {
    pub(super) fn costs(&self) -> anyhow::Result<Costs> {
        let traffic = Traffic { events_a_day: self.events_per_day as f64, shards: f64::from(self.shards) };
        let (prices, of) = match &self.prices {
            None => (Prices::default(), format!("list prices of {OF}")),
            Some(path) => (read(path)?, format!("prices of {}, and list prices of {OF}", path.display())),
        };
        Ok(Costs { traffic, prices, of })
    }
}

fn read(path: &Path) -> anyhow::Result<Prices> {
    let json = std::fs::read(path).with_context(|| format!("cannot read the prices in `{}`", path.display()))?;
    let wrong = |why| anyhow!("the prices in `{}` cannot be used: {why}", path.display());
    Prices::parse(&json).map_err(wrong)
}

impl Costs {
    /// Nothing where nothing is billed.
    pub(super) fn text(&self, loaded: &Loaded) -> String {
        let estimate = estimate(&loaded.pipeline, self.traffic, &self.prices);
        if estimate == Estimate::default() {
            return String::new();
        }
        let Traffic { events_a_day, .. } = self.traffic;
        let mut text = String::new();
        let usd = estimate.usd();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  estimate: ${usd:.2} for a million events, at {events_a_day:.0} a day ({})", self.of);
        for line in &estimate.lines {
            let _ = writeln!(text, "    ${:>7.4}  {}", line.usd, line.what);
        }
        for missing in &estimate.missing {
            let _ = writeln!(text, "    not in it {missing}");
        }
        let _ = writeln!(
            text,
            "    not in it data transfer, keys, storage of CloudWatch Logs, the machine that tunnelog runs on"
        );
        for assumption in &estimate.assumptions {
            let _ = writeln!(text, "    assumed   {assumption}");
        }
        let _ = writeln!(
            text,
            "    an estimate, no quote; --events-per-day, --shards and --prices change it, and prices do too:"
        );
        let _ = writeln!(text, "    {}", SOURCES.join(" "));
        text
    }
}
