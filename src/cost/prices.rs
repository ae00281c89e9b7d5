//! List prices, and where they are from. They are defaults: `tunnelog check --prices FILE` overrules each.
//!
//! US East (N. Virginia), first tier of each, without free tiers, discounts and taxes, as public tables quoted them in
//! November 2026. AWS's own pages ([`SOURCES`]) render their numbers by script: look there before you budget.

use serde::Deserialize;

/// The Region and the month that the defaults are of.
pub const OF: &str = "US East (N. Virginia), November 2026";

/// Where AWS publishes them.
pub const SOURCES: &[&str] = &[
    "https://aws.amazon.com/kinesis/data-streams/pricing/",
    "https://aws.amazon.com/firehose/pricing/",
    "https://aws.amazon.com/s3/pricing/",
    "https://aws.amazon.com/dynamodb/pricing/on-demand/",
    "https://aws.amazon.com/cloudwatch/pricing/",
];

/// What AWS charges, in US dollars. A GB is 2^30 bytes.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Prices {
    /// A shard of a provisioned stream, an hour.
    pub kinesis_shard_hour: f64,
    /// A million PUT payload units: records, each rounded up to 25 KB.
    pub kinesis_million_put_units: f64,
    /// Enhanced fan-out: a consumer's shard, an hour.
    pub kinesis_consumer_shard_hour: f64,
    /// Enhanced fan-out: a GB that a consumer retrieves.
    pub kinesis_consumer_gb: f64,
    /// A GB that a Firehose stream takes by PutRecordBatch, each record rounded up to 5 KiB.
    pub firehose_gb: f64,
    /// A thousand PUT, COPY, POST and LIST requests; parts and completions of multipart uploads too.
    pub s3_thousand_puts: f64,
    /// A GB in S3 Standard for a month.
    pub s3_gb_month: f64,
    /// A million write request units on demand: a write of up to 1 KB is one, in a transaction two.
    pub dynamodb_million_write_units: f64,
    /// A GB of vended logs that a service delivers to CloudWatch Logs.
    pub cloudwatch_vended_gb: f64,
}

impl Default for Prices {
    fn default() -> Prices {
        Prices {
            kinesis_shard_hour: 0.015,
            kinesis_million_put_units: 0.014,
            kinesis_consumer_shard_hour: 0.015,
            kinesis_consumer_gb: 0.013,
            firehose_gb: 0.029,
            s3_thousand_puts: 0.005,
            s3_gb_month: 0.023,
            dynamodb_million_write_units: 0.625,
            cloudwatch_vended_gb: 0.50,
        }
    }
}

impl Prices {
    /// From JSON: an object with those of the fields that differ.
    ///
    /// # Errors
    /// What is no such object, and which fields there are.
    pub fn parse(json: &[u8]) -> Result<Prices, String> {
        let prices: Prices = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let Prices { kinesis_shard_hour, kinesis_million_put_units, kinesis_consumer_shard_hour, .. } = prices;
        let Prices { kinesis_consumer_gb, firehose_gb, s3_thousand_puts, s3_gb_month, .. } = prices;
        let all = [
            kinesis_shard_hour,
            kinesis_million_put_units,
            kinesis_consumer_shard_hour,
            kinesis_consumer_gb,
            firehose_gb,
            s3_thousand_puts,
            s3_gb_month,
            prices.dynamodb_million_write_units,
            prices.cloudwatch_vended_gb,
        ];
        match all.iter().find(|price| **price < 0.0) {
            Some(price) => Err(format!("a price cannot be negative: {price}")),
            None => Ok(prices),
        }
    }
}
