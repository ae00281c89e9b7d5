//! JSON's small parts, appended to a buffer: strings, numbers, times, addresses, in the form that serde gives them.

use std::fmt::Display;
use std::io::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::event::{Dotted, Millis};

/// A string with its quotes.
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    escaped(out, text);
    out.push(b'"');
}

/// A text that needs no escape, with its quotes.
pub(super) fn word(out: &mut Vec<u8>, word: &str) {
    out.push(b'"');
    out.extend_from_slice(word.as_bytes());
    out.push(b'"');
}

/// Whether a byte cannot stand for itself in a string (RFC 8259 section 7).
fn is_special(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\'
}

/// Whether a text has anything to escape, which nearly none has. In steps of one length, and without a way out of a
/// step, so that each is compiled to a few wide instructions; the last ones overlap.
fn has_special(text: &[u8]) -> bool {
    fn any<const N: usize>(bytes: &[u8; N]) -> bool {
        bytes.iter().fold(false, |found, byte| found | is_special(*byte))
    }
    let (steps, _) = text.as_chunks::<16>();
    if let Some(last) = text.last_chunk::<16>() {
        return steps.iter().fold(any(last), |found, step| found | any(step));
    }
    match (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        (Some(first), Some(last)) => any(first) | any(last),
        _ => text.iter().any(|byte| is_special(*byte)),
    }
}

fn escaped(out: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    if has_special(rest) {
        while let Some(at) = rest.iter().position(|byte| is_special(*byte)) {
            let (before, after) = rest.split_at(at);
            out.extend_from_slice(before);
            if let Some((byte, after)) = after.split_first() {
                escape(out, *byte);
                rest = after;
            }
        }
    }
    out.extend_from_slice(rest);
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let letter = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x0c => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            out.extend_from_slice(b"\\u00");
            out.extend([byte >> 4, byte & 15].map(|digit| HEX.get(digit as usize).copied().unwrap_or_default()));
            return;
        }
    };
    out.extend_from_slice(&[b'\\', letter]);
}

/// An integer.
pub(super) fn number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// A value by its own form, which needs no escape, with its quotes.
fn displayed(out: &mut Vec<u8>, value: impl Display) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "\"{value}\"");
}

/// The first three members of an event.
pub(super) fn head(out: &mut Vec<u8>, schema: &str, id: u128, when: Millis) {
    out.extend_from_slice(br#","schema":""#);
    out.extend_from_slice(schema.as_bytes());
    let mut text = *br#"","id":"00000000000000000000000000000000","time":"0000-00-00T00:00:00.000Z""#;
    text[8..40].copy_from_slice(&hex(id));
    match digits(when) {
        Some(time) => {
            text[49..].copy_from_slice(&time);
            out.extend_from_slice(&text);
        }
        None => {
            out.extend_from_slice(&text[..49]);
            displayed(out, when);
        }
    }
}

/// 32 hex digits.
fn hex(value: u128) -> [u8; 32] {
    // `a` stands 39 places after the one that would follow `9`. Without a table: wide instructions.
    let digit = |nibble: u8| nibble + b'0' + if nibble > 9 { 39 } else { 0 };
    let mut text = [0; 32];
    let (pairs, _) = text.as_chunks_mut::<2>();
    for (pair, byte) in pairs.iter_mut().zip(value.to_be_bytes()) {
        *pair = [digit(byte >> 4), digit(byte & 15)];
    }
    text
}

/// RFC 3339 with milliseconds and `Z`, with its quotes.
pub(super) fn time(out: &mut Vec<u8>, time: Millis) {
    match digits(time) {
        Some(text) => out.extend_from_slice(&text),
        None => displayed(out, time),
    }
}

/// A plausible time with its quotes.
fn digits(time: Millis) -> Option<[u8; 26]> {
    if !time.is_plausible() {
        return None;
    }
    // Plausible times are after 1970 and before 2100, so nothing here is negative and years have four digits.
    let millis = time.0.unsigned_abs();
    // Lossless: days of less than two centuries, and milliseconds of one.
    let (days, of_day) = ((millis / 86_400_000) as u32, (millis % 86_400_000) as u32);
    let (year, month, day) = civil(days);
    let seconds = of_day / 1000;
    let mut text = *b"\"0000-00-00T00:00:00.000Z\"";
    let parts = [
        (1, year / 100),
        (3, year % 100),
        (6, month),
        (9, day),
        (12, seconds / 3600),
        (15, seconds / 60 % 60),
        (18, seconds % 60),
        (21, of_day % 1000 / 10),
    ];
    for (at, part) in parts {
        text[at..at + 2].copy_from_slice(&pair(part));
    }
    text[23] = b'0' + (of_day % 10) as u8;
    Some(text)
}

/// The digits of a number below 100.
fn pair(number: u32) -> [u8; 2] {
    [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8]
}

/// Year, month and day of a number of days since 1970-01-01. From "chrono-Compatible Low-Level Date Algorithms",
/// Howard Hinnant, `civil_from_days`: years begin with March, so that the leap day is the last one.
fn civil(days: u32) -> (u32, u32, u32) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u32::from(month <= 2), month, day)
}

/// An address with its quotes.
pub(super) fn ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            out.push(b'"');
            out.extend_from_slice(Dotted::of(ip).as_bytes());
            out.push(b'"');
        }
        IpAddr::V6(ip) => displayed(out, ip),
    }
}

/// A prefix with its quotes.
pub(super) fn prefix(out: &mut Vec<u8>, prefix: IpNet) {
    match prefix {
        IpNet::V4(prefix) => {
            out.push(b'"');
            out.extend_from_slice(Dotted::of(prefix.addr()).as_bytes());
            out.push(b'/');
            number(out, prefix.prefix_len().into());
            out.push(b'"');
        }
        IpNet::V6(prefix) => displayed(out, prefix),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;
    use serde::Serialize;

    fn check<T: Serialize>(write: impl Fn(&mut Vec<u8>), value: T) {
        let mut out = Vec::new();
        write(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(&value).unwrap());
    }

    #[test]
    fn every_character_is_written_as_serde_writes_it() {
        let text: String = (0..0x300).filter_map(char::from_u32).chain(['\u{2028}', '€', '🦀']).collect();
        check(|out| string(out, &text), &text);
        for c in text.chars() {
            let text = format!("plain {c}{c} text that is longer than one wide instruction {c}");
            check(|out| string(out, &text), &text);
        }
        check(|out| string(out, ""), "");
    }

    #[test]
    fn times_are_written_as_serde_writes_them() {
        let day = 86_400_000;
        // Every day of 2000..2100, at a different time of day, and the edges.
        for days in 10_957..47_483 {
            check(|out| time(out, Millis(days * day + days * 7919 % day)), Millis(days * day + days * 7919 % day));
        }
        for millis in
            [i64::MIN, -1, 0, 946_684_799_999, 946_684_800_000, 4_102_444_799_999, 4_102_444_800_000, i64::MAX]
        {
            check(|out| time(out, Millis(millis)), Millis(millis));
        }
    }

    #[test]
    fn addresses_and_numbers_are_written_as_serde_writes_them() {
        for text in ["0.0.0.0", "1.22.133.255", "10.0.0.9", "::", "2001:db8::1", "::ffff:1.2.3.4"] {
            let address: IpAddr = text.parse().unwrap();
            check(|out| ip(out, address), address);
            let net: IpNet = format!("{text}/{}", 17).parse().unwrap();
            check(|out| prefix(out, net), net);
        }
        for value in [0, 7, u64::MAX] {
            check(|out| number(out, value), value);
        }
        for value in [0, 0x0123_4567_89ab_cdef, u128::MAX] {
            check(|out| out.extend([b"\"", &hex(value)[..], b"\""].concat()), crate::event::EventId(value));
        }
    }
}
