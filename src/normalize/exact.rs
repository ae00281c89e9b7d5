//! Messages as AWS writes them, to the letter: nearly all are, and then a few comparisons find their row.
//!
//! A row's documented message is cut at its values. What is written otherwise, with another dash or in another case, is
//! found word by word (`pattern`), which is the meaning; a test compares the two.

use super::table::Row;
use super::words::{after, token_after};

/// What stands for a value in the documented messages.
const VALUES: &[&str] = &["IP", "N", "xxx", "xxxx", "{retry_count}"];
/// The one message that ends in a list of them.
const LIST: &str = "N N N";

/// A table's messages.
#[derive(Debug)]
pub(super) struct Exact(Vec<Message>);

/// What a message that is written exactly as documented says beside its row; the words would say the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'t> {
    pub(super) row: &'static Row,
    /// The value behind `neighbor`.
    pub(super) neighbor: Option<&'t str>,
    /// A session's states before and after.
    pub(super) states: Option<[&'static str; 2]>,
}

impl From<&'static Row> for Found<'_> {
    fn from(row: &'static Row) -> Self {
        Found { row, neighbor: None, states: None }
    }
}

/// A message's pieces, a value between each and the next.
#[derive(Debug)]
struct Message {
    first: String,
    /// Where in `first` the bytes stand by which it is told from the others, and these.
    mark: (usize, Mark),
    others: Vec<&'static str>,
    /// The last value is a list of them, with spaces between.
    ends_in_list: bool,
    /// Which of the values is the peer's address.
    neighbor: Option<usize>,
    states: Option<[&'static str; 2]>,
    row: &'static Row,
}

/// So much is compared in one step.
type Mark = [u8; 8];

impl Exact {
    /// The messages of these rows, `start` in front of each.
    pub(super) fn of(start: &str, rows: &'static [Row]) -> Exact {
        let is_one_message = |row: &&Row| !row.message.contains(", any other");
        let mut rows: Vec<&'static Row> = rows.iter().filter(is_one_message).collect();
        // Routine comes most often.
        rows.sort_by_key(|row| row.severity);
        let first = |row: &&'static Row| format!("{start}{}", pieces(row.message).first().unwrap_or(&""));
        let firsts: Vec<String> = rows.iter().map(first).collect();
        Exact(rows.into_iter().zip(&firsts).filter_map(|(row, first)| Message::of(row, first, &firsts)).collect())
    }

    /// What a message says that is written exactly so.
    pub(super) fn find<'t>(&self, text: &'t str) -> Option<Found<'t>> {
        self.0.iter().find_map(|message| message.find(text))
    }
}

impl Message {
    /// The message of a row, which begins with `first`; `firsts` are those of all.
    fn of(row: &'static Row, first: &str, firsts: &[String]) -> Option<Message> {
        let all = pieces(row.message);
        let states = after(row.message, "changed from").unwrap_or_default();
        Some(Message {
            first: first.to_owned(),
            mark: rarest_mark(first, firsts)?,
            neighbor: all.iter().position(|piece| piece.ends_with("neighbor ")),
            states: token_after(row.message, "changed from").zip(token_after(states, "to")).map(Into::into),
            others: all.into_iter().skip(1).collect(),
            ends_in_list: row.message.ends_with(LIST),
            row,
        })
    }

    fn find<'t>(&self, text: &'t str) -> Option<Found<'t>> {
        let (at, mark) = &self.mark;
        if mark_at(text, *at) != Some(mark) {
            return None;
        }
        let mut rest = text.strip_prefix(&*self.first)?;
        let mut neighbor = None;
        for (number, piece) in self.others.iter().enumerate() {
            let is_list = self.ends_in_list && number + 1 == self.others.len();
            let (value, behind) =
                rest.split_at_checked(value_bytes(rest, is_list)).filter(|(value, _)| !value.is_empty())?;
            rest = behind.strip_prefix(piece)?;
            if self.neighbor == Some(number) {
                neighbor = Some(value);
            }
        }
        rest.is_empty().then_some(Found { row: self.row, neighbor, states: self.states })
    }
}

fn mark_at(text: &str, at: usize) -> Option<&Mark> {
    text.as_bytes().get(at..)?.first_chunk()
}

/// The place in a text, and what stands there, that the fewest of `all` have in common with it. Nothing in a text that
/// is too short.
fn rarest_mark(text: &str, all: &[String]) -> Option<(usize, Mark)> {
    let marks = (0..text.len()).filter_map(|at| Some((at, *mark_at(text, at)?)));
    marks.min_by_key(|(at, mark)| all.iter().filter(|other| mark_at(other, *at) == Some(mark)).count())
}

/// The length of the value at the start of a text: a number or an address, or a list of several with spaces between.
fn value_bytes(text: &str, is_list: bool) -> usize {
    let is_of_value =
        |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':' | b'x') || (byte == b' ' && is_list);
    let run = text.bytes().take_while(|byte| is_of_value(*byte)).count();
    text.get(..run).map_or(0, |run| run.trim_ascii_end().len())
}

fn pieces(message: &'static str) -> Vec<&'static str> {
    if let Some(first) = message.strip_suffix(LIST) {
        return [pieces(first), vec![""]].concat();
    }
    let mut pieces = Vec::new();
    let (mut from, mut at) = (0, 0);
    for word in message.split([' ', '=', ')', '-', ',']) {
        if VALUES.contains(&word) {
            pieces.push(message.get(from..at).unwrap_or_default());
            from = at + word.len();
        }
        // What the words are split at is one byte each.
        at += word.len() + 1;
    }
    pieces.push(message.get(from..).unwrap_or_default());
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normalize::table::{IKE, SESSION};

    #[test]
    fn a_message_is_cut_at_its_values() {
        for (message, cut) in [
            ("AWS tunnel is sending request (id=xxx) for X", &["AWS tunnel is sending request (id=", ") for X"][..]),
            ("from neighbor IP- remote AS is N, expected N", &["from neighbor ", "- remote AS is ", ", expected ", ""]),
            ("attributes from neighbor IP- AS path: N N N", &["attributes from neighbor ", "- AS path: ", ""]),
            ("Peer is not responsive - Declaring peer dead", &["Peer is not responsive - Declaring peer dead"]),
        ] {
            assert_eq!(pieces(message), cut);
        }
    }

    #[test]
    fn nearly_every_documented_message_is_found_so() {
        let (session, ike) = (Exact::of("", SESSION), Exact::of("", IKE));
        let (mut found, mut all) = (0, 0);
        for (exact, row) in SESSION.iter().map(|row| (&session, row)).chain(IKE.iter().map(|row| (&ike, row))) {
            let text = pieces(row.message).join("169.254.10.1");
            let is = exact.find(&text).map(|found| found.row.message);
            assert!(is.is_none_or(|message| message == row.message), "{text}");
            (found, all) = (found + usize::from(is.is_some()), all + 1);
        }
        assert!(all - found <= 6, "{found} of {all}");
    }
}
