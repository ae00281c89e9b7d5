//! Lines of the `text` output format, and JSON that is broken.
//!
//! The layout of text lines is documented nowhere, so nothing is assumed of it: known keys with `=` or `:`
//! behind them, the documented words and messages, a time at the start. What none of that is in stays
//! unread, and the line itself is kept either way.

use std::borrow::Cow;

use super::line::{Key, Line, Scalar};
use super::words::words;
use crate::event::Millis;

/// No line has more keys than this; a megabyte of `status=` is not worth more work.
const MAX_KEYS: usize = 64;
/// No more of a line than this is searched: a documented line has less than 1 KiB.
const MAX_BYTES: usize = 16 * 1024;
/// The keys whose values may have spaces.
const LONG: &[&str] = &["details", "timestamp", "event_timestamp", "asPath", "as_path"];
/// How the documented messages begin.
const MESSAGE_STARTS: &[&str] = &[
    "AWS-side peer",
    "AWS tunnel",
    "AWS: Traffic Selector",
    "Peer is not responsive",
    "No Proposal Match Found",
    "DENIED due to",
];

/// What can be recognised in the text.
pub(crate) fn read(text: &str) -> Line<'_> {
    let text = text.get(..text.floor_char_boundary(MAX_BYTES)).unwrap_or(text);
    let mut line = Line::default();
    let keys = keys(text);
    for (number, (key, _, value_start)) in keys.iter().enumerate() {
        let end = keys.get(number + 1).map_or(text.len(), |(_, start, _)| *start);
        let value = text.get(*value_start..end).map(|value| trim_value(key, value)).unwrap_or_default();
        if let Some(slot) = Key::named(key).and_then(|key| line.slot(key))
            && !slot.is_present()
            && !value.is_empty()
            && value != "null"
        {
            *slot = Scalar::Text(Cow::Borrowed(value));
        }
    }
    fill_from_words(&mut line, text);
    line
}

/// The known keys in the text: name, where it begins, where its value begins.
fn keys(text: &str) -> Vec<(&'static str, usize, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
        let (start, end) = (at, at + word.len());
        // The separator is one character of any length.
        at = end + text.get(end..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
        let Some(key) = Line::KEYS.iter().find(|key| key.eq_ignore_ascii_case(word)) else { continue };
        let rest = text.get(end..).unwrap_or_default();
        let value = rest.trim_start_matches(['"', '\'', '\\', ' ']);
        if let Some(value) = value.strip_prefix(['=', ':']) {
            found.push((*key, start, text.len() - value.len()));
        }
        if found.len() == MAX_KEYS {
            break;
        }
    }
    found
}

/// A value without its quotes, and without what belongs to the next key.
fn trim_value<'a>(key: &str, value: &'a str) -> &'a str {
    let value = value.trim_start_matches([' ', '\t', '\\']);
    if let Some(quoted) = value.strip_prefix('"') {
        let end = quoted.find('"').unwrap_or(quoted.len());
        return quoted.get(..end).unwrap_or_default().trim_end_matches('\\').trim();
    }
    let value = if LONG.contains(&key) {
        value
    } else {
        value.split(|c: char| c.is_whitespace() || ",;|".contains(c)).next().unwrap_or_default()
    };
    value.trim_matches(|c: char| c.is_whitespace() || ",;|\"'\\{[]".contains(c)).trim_end_matches('}')
}

/// What stands in the text without a key.
fn fill_from_words<'a>(line: &mut Line<'a>, text: &'a str) {
    let empty = |value: &Scalar<'_>| !value.is_present();
    if empty(&line.details) {
        line.details = message(text).map_or(Scalar::Absent, |details| Scalar::Text(Cow::Borrowed(details)));
    }
    if empty(&line.log_type) {
        let known = ["BGPStatus", "RouteStatus", "BFDStatus"];
        line.log_type = word_of(text, &known);
    }
    if empty(&line.status) {
        // Upper case only: "up" is an English word.
        let before_message = message(text).and_then(|message| text.get(..text.len() - message.len())).unwrap_or(text);
        let known = ["UP", "DOWN", "ADVERTISED", "UPDATED", "WITHDRAWN"];
        line.status = word_of(before_message, &known);
    }
    if empty(&line.resource_id) && empty(&line.resource_arn) {
        let mut tokens = text.split(|c: char| c.is_whitespace() || ",;\"'[]()".contains(c));
        if let Some(token) = tokens.clone().find(|token| token.starts_with("vpn-")) {
            line.resource_id = Scalar::Text(Cow::Borrowed(token));
        } else if let Some(token) = tokens.find(|token| token.starts_with("arn:") && token.contains("route-server")) {
            line.resource_arn = Scalar::Text(Cow::Borrowed(token));
        }
    }
    if empty(&line.timestamp) && empty(&line.event_timestamp) {
        line.timestamp = leading_time(text);
    }
}

/// The documented message in the text, to its end.
fn message(text: &str) -> Option<&str> {
    MESSAGE_STARTS.iter().find_map(|start| {
        let bytes = text.as_bytes();
        let at = bytes.windows(start.len()).position(|window| window.eq_ignore_ascii_case(start.as_bytes()))?;
        text.get(at..).map(|message| message.trim_end_matches(['"', '}', ' ', '\\']))
    })
}

fn word_of<'a>(text: &'a str, known: &[&str]) -> Scalar<'a> {
    words(text).find(|word| known.contains(word)).map_or(Scalar::Absent, |word| Scalar::Text(Cow::Borrowed(word)))
}

/// A time in the first or the first two words.
fn leading_time(text: &str) -> Scalar<'_> {
    let text = text.trim_start_matches(['[', ' ', '"']);
    let mut ends = text.match_indices([' ', ']', ',', '\t', '"']).map(|(at, _)| at).chain([text.len()]);
    let candidates = [ends.next(), ends.next()];
    let found = candidates
        .into_iter()
        .flatten()
        .filter_map(|end| text.get(..end))
        .find(|candidate| Millis::parse(candidate).is_some());
    found.map_or(Scalar::Absent, |time| Scalar::Text(Cow::Borrowed(time)))
}
