//! What comes out of an input: records, and what is none with the reason.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::encode::DeadLetter;
use crate::event::Millis;

/// Where something stands in the input.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Place {
    /// Line, from 1; 0 for binary data, which has none.
    pub line: u64,
    /// Byte, from 0.
    pub byte: u64,
    /// If line and byte are those of an unpacked gzip file: the byte at which that begins in the input.
    pub gzip_at: Option<u64>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "byte {}", self.byte)?,
            line => write!(f, "line {line}")?,
        }
        match self.gzip_at {
            Some(0) => f.write_str(" of the unpacked file"),
            Some(at) => write!(f, " of the gzip file at byte {at}"),
            None => Ok(()),
        }
    }
}

/// Why something is no record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// A line or JSON document above the cap.
    TooLarge,
    /// A line that is not UTF-8.
    InvalidUtf8,
    /// A JSON document that breaks off.
    BrokenJson,
    /// An entry of a list of records that has no data.
    NoData,
    /// Base64 that is none.
    BadBase64,
    /// Gzip or Zstandard data that is damaged or cut off.
    GzipDamaged,
    /// A packed file in a packed file.
    NestedGzip,
    /// A Zstandard file, and this build cannot unpack it.
    Zstd,
    /// A file in UTF-16: it is not read, since nothing can tell whether there are secrets in it.
    Utf16,
    /// An answer of EC2, which has pre-shared keys in it: refused.
    Ec2Inventory,
}

impl Reason {
    /// The stable word for metrics and dead letters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::TooLarge => "too_large",
            Reason::InvalidUtf8 => "invalid_utf8",
            Reason::BrokenJson => "broken_json",
            Reason::NoData => "no_data",
            Reason::BadBase64 => "bad_base64",
            Reason::GzipDamaged => "gzip_damaged",
            Reason::NestedGzip => "nested_gzip",
            Reason::Zstd => "zstd",
            Reason::Utf16 => "utf16",
            Reason::Ec2Inventory => "ec2_inventory",
        }
    }

    /// What a person can do about it.
    pub const fn hint(self) -> &'static str {
        match self {
            Reason::TooLarge => "a line or JSON document of more than 64 MiB is not read: split it",
            Reason::InvalidUtf8 => "not text and not gzip: is this the right file?",
            Reason::BrokenJson => "the JSON breaks off: was the file copied completely?",
            Reason::NoData => "an entry without `Data`: is this a list of Kinesis records?",
            Reason::BadBase64 => "looks like a record in base64, but is cut off or changed: copy it again",
            Reason::GzipDamaged => "the packed data is damaged or cut off: copy the file again",
            Reason::NestedGzip => "a packed file in a packed file: unpack it once, with `gunzip` or `zstd -d`",
            Reason::Zstd => "this build is without Zstandard: unpack the file with `zstd -d` first",
            Reason::Utf16 => {
                "UTF-16, as Windows PowerShell writes it with `>`: save it as UTF-8 with `| Out-File -Encoding utf8`, \
                 or run the command in another shell"
            }
            Reason::Ec2Inventory => "an answer of `aws ec2 describe-*` with secrets in it: give it with `--inventory`",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.hint())
    }
}

/// One thing that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Item {
    /// A record for the core.
    Record(FoundRecord),
    /// What is no record.
    Unreadable(Unreadable),
}

/// A record: packed or plain, as the core takes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundRecord {
    /// Ordinal among all items of the input, from 0.
    pub number: u64,
    /// Where it begins.
    pub place: Place,
    /// Its bytes.
    pub data: Bytes,
    /// When it arrived in its stream, where the input tells.
    pub arrival: Option<Millis>,
    /// Its sequence number in its shard, where the input tells.
    pub sequence: Option<String>,
    /// It is no record but an item that a sink refused: its dead letter, with the same bytes.
    pub rejected: Option<Arc<DeadLetter>>,
}

/// What is no record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unreadable {
    /// Ordinal among all items of the input, from 0.
    pub number: u64,
    /// Where it begins.
    pub place: Place,
    /// Why.
    pub reason: Reason,
    /// The original bytes, unless they are too many or secret.
    pub bytes: Option<Bytes>,
}
