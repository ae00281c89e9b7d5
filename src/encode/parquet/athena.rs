//! Athena's table and the column reference, made from the published list.

use std::fmt::Write as _;

use super::columns::COLUMNS;

/// The table's `CREATE` statement, with partition projection by day: Athena finds a day's folder without a crawler.
pub fn athena_table() -> String {
    let columns: Vec<String> = COLUMNS
        .iter()
        .map(|column| format!("  `{}` {} COMMENT '{}'", column.name, column.athena_type(), comment(column.about)))
        .collect();
    format!(
        "-- The lake's table in Athena. Made from the published list of columns; edit the two places with `example-lake` and
-- the first day. The bucket and `vpn/` are the sink's `bucket` and `prefix`; days before the first one are not read.
-- Partition projection was not tried on AWS: it follows its documentation.
CREATE EXTERNAL TABLE IF NOT EXISTS `vpn_events_raw` (
{}
)
PARTITIONED BY (`dt` string COMMENT 'Day of the event in UTC, yyyy-MM-dd')
STORED AS PARQUET
LOCATION 's3://example-lake/vpn/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = '2025-11-01,NOW+1DAY',
  'projection.dt.interval' = '1',
  'projection.dt.interval.unit' = 'DAYS',
  'storage.location.template' = 's3://example-lake/vpn/dt=${{dt}}/'
);
",
        columns.join(",\n")
    )
}

fn comment(about: &str) -> String {
    about.replace('\'', "\\'")
}

/// The columns for people, in Markdown.
pub fn column_reference() -> String {
    let mut out = String::from(
        "# The columns of `format: parquet`\n\n\
         Made from the list that the files are written by. Every column is optional. Columns are only ever added, at \
         the end; none is renamed, removed or given another type. Numbers are 64 bits, times microseconds in UTC. \
         Beside these the table has `dt`, the event's day in UTC, from the folder.\n\n\
         An address is its text, and a value for range queries: `…_num` is an IPv4 address as a number, `…_hex` an \
         IPv6 address as 32 hex digits. A prefix has its first and last address in the same forms.\n\n\
         | column | type | event's field | meaning |\n|---|---|---|---|\n",
    );
    for column in COLUMNS {
        let (name, from, about) = (column.name, column.from, column.about.replace('|', "\\|"));
        // Writing to a string cannot fail.
        let _ = writeln!(out, "| `{name}` | `{}` | `{from}` | {about} |", column.athena_type());
    }
    out
}
