//! Runs `vpn.vrl` over the lines of files, as Vector's `remap` would: what the program makes of a line is written as one
//! event a line. What `enrich.vrl` does in Vector by an enrichment table is a look-up in a map here.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};

use vrl::compiler::runtime::Runtime;
use vrl::compiler::{TargetValue, TimeZone, compile};
use vrl::value::{KeyString, Secrets, Value};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("usage: compare-vrl PROGRAM CONNECTIONS.csv OUTPUT INPUT...");
    let (program, table, output) = (std::fs::read_to_string(next()?)?, next()?, next()?);
    let compiled = compile(&program, &vrl::stdlib::all()).map_err(|wrong| format!("{wrong:?}"))?;
    let connections = connections(&table)?;
    let (mut runtime, zone) = (Runtime::default(), TimeZone::default());
    let mut out = BufWriter::new(File::create(output)?);
    for input in arguments {
        for line in BufReader::new(File::open(input)?).lines() {
            let event = BTreeMap::from([(KeyString::from("message"), Value::from(line?))]);
            let mut target = TargetValue {
                value: Value::Object(event),
                metadata: Value::Object(BTreeMap::new()),
                secrets: Secrets::new(),
            };
            // A line that the program aborts on is dropped, as `drop_on_error` would.
            let ran = runtime.resolve(&mut target, &compiled.program, &zone);
            runtime.clear();
            if ran.is_err() {
                continue;
            }
            let Value::Array(events) = target.value else { continue };
            for mut event in events {
                enrich(&mut event, &connections);
                writeln!(out, "{event}")?;
            }
        }
    }
    Ok(out.flush()?)
}

type Connections = HashMap<String, BTreeMap<KeyString, Value>>;

fn connections(path: &str) -> Result<Connections, Box<dyn Error>> {
    let mut reader = csv::Reader::from_path(path)?;
    let names = reader.headers()?.clone();
    let mut found = Connections::new();
    for row in reader.records() {
        let row = row?;
        let fields = names.iter().zip(&row).skip(1);
        let fields = fields.map(|(name, value)| (KeyString::from(name), Value::from(value))).collect();
        found.insert(row[0].to_owned(), fields);
    }
    Ok(found)
}

fn enrich(event: &mut Value, connections: &Connections) {
    let Value::Object(event) = event else { return };
    let Some(Value::Object(vpn)) = event.get_mut("vpn") else { return };
    let Some(id) = vpn.get("connection_id").and_then(Value::to_str_lossy) else { return };
    if let Some(known) = connections.get(id.as_ref()) {
        vpn.extend(known.clone());
    }
}
