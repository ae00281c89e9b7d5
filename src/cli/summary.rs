//! The closing table of a run: what was read, what each sink got, where it is, what to do next.

use std::fmt::Write;
use std::path::Path;

use super::place::{self, Place};
use crate::checkpoint::Location;
use crate::config::Loaded;
use crate::config::types::FileSink;
use crate::event::Kind;
use crate::pipeline::{DEAD_LETTERS, Inputs, Report};
use crate::sink::file::files_of;

/// Prints the table on standard error: standard output belongs to console sinks.
pub(super) fn say(loaded: &Loaded, inputs: &Inputs, report: &Report) {
    // A terminal that was closed is no failure of the run.
    let _ = std::io::Write::write_all(&mut anstream::stderr(), table(loaded, inputs, report).as_bytes());
}

fn table(loaded: &Loaded, inputs: &Inputs, report: &Report) -> String {
    let mut text = String::new();
    let bold = anstyle::Style::new().bold();
    let checkpoint = inputs.checkpoint(loaded);
    // Writing to a String cannot fail.
    let _ = match (report.finished, report.totals.records) {
        (true, 0) => {
            writeln!(text, "\n{bold}{}: nothing left to do{bold:#}, all of it is delivered already", loaded.name)
        }
        (true, _) => writeln!(text, "\n{bold}{}: finished{bold:#}", loaded.name),
        (false, _) => writeln!(text, "\n{bold}{}: stopped{bold:#}; run it again to go on from here", loaded.name),
    };
    if report.totals.records > 0 {
        read(&mut text, report);
        sinks(&mut text, loaded, report);
    }
    let _ = writeln!(text, "\n  remembered in  {checkpoint}");
    if report.finished {
        let letters_in_s3 = loaded.pipeline.dead_letters.as_ref().is_some_and(|letters| letters.s3.is_some());
        let advice = if letters_in_s3 || loaded.pipeline.sinks.values().any(|sink| sink.s3.is_some()) {
            "and choose a new `prefix`: the old one belongs to this checkpoint"
        } else {
            "files that are there already keep their events and get them again"
        };
        let command = match &checkpoint {
            Location::File(path) => format!("rm {}", path.display()),
            Location::DynamoDb { .. } => {
                let replay = if matches!(inputs, Inputs::Files { .. }) { " --replay" } else { "" };
                format!("tunnelog checkpoint reset {}{replay}", loaded.path.display())
            }
        };
        let _ = writeln!(text, "  to start over  {command}   ({advice})");
    }
    text
}

fn read(text: &mut String, report: &Report) {
    let totals = &report.totals;
    let events: u64 = totals.events.iter().sum();
    let _ = writeln!(
        text,
        "\n  read           {} records ({}), {} of them control messages",
        grouped(totals.records),
        bytes(totals.record_bytes),
        grouped(totals.control)
    );
    let kinds = Kind::ALL.iter().zip(totals.events).filter(|(_, count)| *count > 0);
    let kinds: Vec<String> = kinds.map(|(kind, count)| format!("{} {kind}", grouped(count))).collect();
    let _ = writeln!(text, "  events         {}: {}", grouped(events), kinds.join(", "));
    if !totals.unreadable.is_empty() {
        let reasons: Vec<String> =
            totals.unreadable.iter().map(|(reason, count)| format!("{} {reason}", grouped(*count))).collect();
        let _ = writeln!(text, "  unreadable     {}", reasons.join(", "));
    }
    if totals.gaps > 0 {
        let _ =
            writeln!(text, "  gaps           {}: records were gone before they could be read", grouped(totals.gaps));
    }
}

fn sinks(text: &mut String, loaded: &Loaded, report: &Report) {
    let width = report.sinks.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let rejected: u64 = report.sinks.iter().map(|(_, account)| account.rejected).sum();
    // The column is for what hardly ever happens.
    let column = |cell: &str| if rejected > 0 { format!(" {cell:>10}") } else { String::new() };
    let _ = writeln!(
        text,
        "\n  {:<width$} {:>12} {:>12}{} {:>10}  where",
        "sink",
        "delivered",
        "filtered",
        column("rejected"),
        "repeated"
    );
    for (name, account) in &report.sinks {
        let _ = writeln!(
            text,
            "  {:<width$} {:>12} {:>12}{} {:>10}  {}",
            name,
            grouped(account.settled),
            grouped(account.filtered),
            column(&grouped(account.rejected)),
            grouped(account.abandoned),
            where_of(loaded, name)
        );
    }
    if rejected > 0 {
        let place = place::of_rejects(loaded);
        let _ = writeln!(
            text,
            "\n  rejected       {} events that their sink refused, kept in {}; `tunnelog replay` gives them to it again",
            grouped(rejected),
            shown(&place)
        );
    }
}

fn where_of(loaded: &Loaded, sink: &str) -> String {
    shown(&if sink == DEAD_LETTERS { place::of_dead_letters(loaded) } else { place::of_sink(loaded, sink) })
}

fn shown(place: &Place) -> String {
    match place {
        Place::Files(sink) => files(sink),
        Place::Elsewhere(text) => text.clone(),
    }
}

fn files(sink: &FileSink) -> String {
    let files = files_of(&sink.path);
    let size: u64 = files.iter().filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum();
    let first: &Path = files.first().map_or(&sink.path, |file| file);
    match files.len() {
        0 | 1 => format!("{} ({})", first.display(), bytes(size)),
        count => format!("{} and {} more ({})", first.display(), count - 1, bytes(size)),
    }
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in the largest unit that leaves at least 1.
fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]
    use super::*;
    use crate::delivery::Account;

    #[test]
    fn what_was_refused_has_a_column_only_where_there_is_some() {
        let text = "sources: { fleet: { simulate: {} } }\nsinks: { siem: { console: {} } }\n";
        let Ok(loaded) = crate::config::load_str("p.yaml", text, &|_| None) else { panic!("a pipeline file") };
        let shown = |rejected| {
            let account = Account { settled: 1234, filtered: 5, rejected, ..Account::default() };
            let mut report = Report { sinks: vec![("siem".into(), account)], ..Report::default() };
            report.totals.records = 1;
            table(&loaded, &Inputs::Configured, &report)
        };
        let none = shown(0);
        assert!(!none.contains("rejected"), "{none}");
        assert!(none.contains("siem        1,234            5          0  standard output"), "{none}");
        let some = shown(1000);
        assert!(some.contains("sink    delivered     filtered   rejected   repeated  where"), "{some}");
        assert!(some.contains("siem        1,234            5      1,000          0  standard output"), "{some}");
        assert!(
            some.contains("1,000 events that their sink refused, kept in state/p.dead-letters.rejected.ndjson"),
            "{some}"
        );
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let check = |number, expected: &str| assert_eq!(grouped(number), expected);
        check(0, "0");
        check(999, "999");
        check(1000, "1,000");
        check(1_234_567, "1,234,567");
    }
}
