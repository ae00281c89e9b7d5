//! The overlay: a CSV file of what other books know about a connection (site, circuit, owner).
//!
//! One column, at any place, is `connection_id`; the others become tags. A file with a mistake is refused
//! as a whole, with the line. Messages never quote the file: somebody may have named the wrong one.

use std::collections::{BTreeMap, HashMap};

/// Tags by connection id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overlay {
    pub(super) connections: HashMap<String, BTreeMap<String, String>>,
}

/// What is wrong with an overlay, and where. Lines count from 1, the header's line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct OverlayError {
    line: u64,
    problem: String,
}

impl Overlay {
    /// Reads CSV with a header. A UTF-8 byte order mark, spaces around cells and rows of nothing but empty
    /// cells are tolerated; an empty cell is no tag.
    ///
    /// # Errors
    /// No `connection_id` column, columns of one name, a row of another length, a row without an id, an id
    /// for the second time, damaged text.
    pub fn parse(bytes: &[u8]) -> Result<Overlay, OverlayError> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(bytes);
        let header = reader.headers().map_err(|error| damage(&error, bytes))?.clone();
        let id_column = id_column(&header)?;
        let mut connections = HashMap::new();
        let mut rows: HashMap<String, u64> = HashMap::new();
        for row in reader.records() {
            let row = row.map_err(|error| damage(&error, bytes))?;
            if row.iter().all(str::is_empty) {
                continue;
            }
            let start = row.position().map_or(0, csv::Position::byte);
            let refuse = |problem| OverlayError { line: line_of(bytes, start), problem };
            let id = row_id(&row, &header, id_column).map_err(refuse)?;
            if let Some(first) = rows.insert(id.to_owned(), start) {
                let first = line_of(bytes, first);
                return Err(refuse(format!("the connection of line {first} again; keep one row a connection")));
            }
            connections.insert(id.to_owned(), tags(&row, &header, id_column));
        }
        Ok(Overlay { connections })
    }

    /// How many connections it names.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether it names none.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }
}

fn id_column(header: &csv::StringRecord) -> Result<usize, OverlayError> {
    let refuse = |problem: String| Err(OverlayError { line: 1, problem });
    for (number, name) in header.iter().enumerate() {
        if let Some(first) = header.iter().take(number).position(|other| other == name && !name.is_empty()) {
            return refuse(format!("columns {} and {} have the same name; rename one", first + 1, number + 1));
        }
    }
    match header.iter().position(|name| name == "connection_id") {
        Some(column) => Ok(column),
        None => refuse("the header has no column `connection_id`; add it, and separate columns by commas".into()),
    }
}

fn row_id<'r>(row: &'r csv::StringRecord, header: &csv::StringRecord, id_column: usize) -> Result<&'r str, String> {
    if row.len() != header.len() {
        let (found, wanted) = (row.len(), header.len());
        return Err(format!("{found} cells where the header has {wanted}; put cells that contain commas in quotes"));
    }
    match row.get(id_column) {
        Some(id) if !id.is_empty() => Ok(id),
        _ => Err("no `connection_id`; fill it in or delete the row".into()),
    }
}

fn tags(row: &csv::StringRecord, header: &csv::StringRecord, id_column: usize) -> BTreeMap<String, String> {
    let cells = header.iter().zip(row.iter()).enumerate();
    cells
        .filter(|(column, (name, value))| *column != id_column && !name.is_empty() && !value.is_empty())
        .map(|(_, (name, value))| (name.to_owned(), value.to_owned()))
        .collect()
}

fn damage(error: &csv::Error, bytes: &[u8]) -> OverlayError {
    let problem = match error.kind() {
        csv::ErrorKind::Utf8 { .. } => "not UTF-8; save the file as `CSV UTF-8`",
        _ => "not CSV; save the file as comma-separated values",
    };
    OverlayError { line: line_of(bytes, error.position().map_or(0, csv::Position::byte)), problem: problem.into() }
}

/// The line of the row whose reading began at `start`. The reader's own line numbers do not count blank lines
/// and the second half of `\r\n` that lie before the row.
fn line_of(bytes: &[u8], start: u64) -> u64 {
    let start = usize::try_from(start).unwrap_or(usize::MAX).min(bytes.len());
    let (before, rest) = bytes.split_at(start);
    let blank = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
    1 + before.iter().chain(blank).filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]
    use super::*;

    #[track_caller]
    fn check(csv: &str, expect: &str) {
        let got = match Overlay::parse(csv.as_bytes()) {
            Ok(overlay) => {
                let sorted: BTreeMap<_, _> = overlay.connections.into_iter().collect();
                serde_json::to_string(&sorted).unwrap()
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expect, "{csv}");
    }

    #[test]
    fn columns_become_tags_and_empty_cells_do_not() {
        check(
            "connection_id,site,owner\nvpn-1,seoul,noc\nvpn-2,,\"a, b\"\n",
            r#"{"vpn-1":{"owner":"noc","site":"seoul"},"vpn-2":{"owner":"a, b"}}"#,
        );
        check("site, connection_id \r\n seoul , vpn-1\r\n,\r\n", r#"{"vpn-1":{"site":"seoul"}}"#);
        check("\u{feff}connection_id,site\nvpn-1,seoul", r#"{"vpn-1":{"site":"seoul"}}"#);
    }

    #[test]
    fn mistakes_are_located_and_not_quoted() {
        check(
            "site\nseoul\n",
            "line 1: the header has no column `connection_id`; add it, and separate columns by commas",
        );
        check("", "line 1: the header has no column `connection_id`; add it, and separate columns by commas");
        check("connection_id,a,a\n", "line 1: columns 2 and 3 have the same name; rename one");
        check(
            "connection_id,a\nvpn-1,x\n\nvpn-1,y\n",
            "line 4: the connection of line 2 again; keep one row a connection",
        );
        check(
            "connection_id,a\nvpn-1,SECRET,z\n",
            "line 2: 3 cells where the header has 2; put cells that contain commas in quotes",
        );
        check("connection_id,a\n,x\n", "line 2: no `connection_id`; fill it in or delete the row");
    }

    #[test]
    fn lines_are_counted_as_an_editor_counts_them() {
        check("connection_id,a\r\nvpn-1,x\r\n\r\n,y\r\n", "line 4: no `connection_id`; fill it in or delete the row");
        check("connection_id,a\nvpn-1,\"x\ny\"\n,y\n", "line 4: no `connection_id`; fill it in or delete the row");
    }

    #[test]
    fn text_that_is_not_utf8_is_refused_with_its_line() {
        let error = Overlay::parse(b"connection_id,a\nvpn-1,x\nvpn-2,\xff\n").unwrap_err();
        assert_eq!(error.to_string(), "line 3: not UTF-8; save the file as `CSV UTF-8`");
    }
}
