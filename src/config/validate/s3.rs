//! The S3 part: buckets, prefixes and the bounds of a chunk; and that no two parts write the same prefix.

use super::aws::Arn;
use super::{Check, Feature};
use crate::config::Level;
use crate::config::problem::nearest;
use crate::config::tree::Path;
use crate::config::types::{Aws, S3Sink};
use crate::config::units::{Duration, Size};

/// What a prefix may have in braces.
const PLACEHOLDERS: [&str; 8] = ["yyyy", "mm", "dd", "hh", "account", "region", "connection", "kind"];
/// A key has at most 1,024 bytes: this leaves 512 for the values of placeholders and the object's own name.
const LONGEST_PREFIX: usize = 512;
/// Below this every few records would be objects of their own.
const SMALLEST_CHUNK: Size = Size(64 * 1024);
/// A chunk is read again after a crash, and waits for its end until then.
const LARGEST_CHUNK: Size = Size::mib(1024);
/// An object every few seconds for each partition is the most that a lake bears.
const SHORTEST_WINDOW: Duration = Duration::from_secs(10);
/// The shortest retention of a stream: what is not published within it is gone.
const LONGEST_WINDOW: Duration = Duration::from_secs(24 * 3600);

impl Check<'_, '_, '_> {
    /// The part at `part.s3`.
    pub(super) fn s3(&mut self, part: &Path, config: &S3Sink, aws: Option<&Aws>) {
        let path = part.key("s3");
        self.built(&path, Feature::Aws, "sink `s3`");
        self.bucket(&path.key("bucket"), &config.bucket);
        self.prefix(&path.key("prefix"), &config.prefix);
        self.compression(&path.key("compression"), config.compression);
        if config.chunk < SMALLEST_CHUNK || config.chunk > LARGEST_CHUNK {
            let note = format!("{SMALLEST_CHUNK} to {LARGEST_CHUNK}");
            self.error(&path.key("chunk"), "objects too small or too large", &[&note]);
        }
        if config.window < SHORTEST_WINDOW || config.window > LONGEST_WINDOW {
            let notes = ["10s to 24h: a stream may forget what is older"];
            self.error(&path.key("window"), "objects too often or too seldom", &notes);
        }
        if config.kms_key.as_deref().is_some_and(|key| key.starts_with("arn:") && !is_key(key)) {
            let notes = ["the form is arn:aws:kms:REGION:ACCOUNT:key/ID, or alias/NAME in place of key/ID"];
            self.error(&path.key("kms_key"), "not the ARN of a KMS key", &notes);
        }
        self.aws(part, aws, None);
    }

    fn bucket(&mut self, path: &Path, bucket: &str) {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
        let ends = bucket.starts_with(['.', '-']) || bucket.ends_with(['.', '-']);
        let is_address = bucket.parse::<std::net::Ipv4Addr>().is_ok();
        if bucket.starts_with("s3://") || bucket.starts_with("arn:") {
            let notes = ["give its name alone; what objects begin with is `prefix`"];
            self.error(path, "not the name of a bucket", &notes);
        } else if !bucket.bytes().all(allowed) || ends || bucket.contains("..") || is_address {
            let notes = ["a-z, 0-9, `-` and `.`; it begins and ends with a letter or a digit"];
            self.error(path, "not the name of a bucket", &notes);
        }
    }

    fn prefix(&mut self, path: &Path, prefix: &str) {
        let list = format!("allowed: {}", PLACEHOLDERS.map(|name| format!("{{{name}}}")).join(", "));
        match wrong_prefix(prefix) {
            None => {}
            Some(WrongPrefix::Placeholder(name)) => {
                let mut notes = Vec::new();
                // What a variable held is not repeated.
                let near = nearest(name, PLACEHOLDERS).filter(|_| !self.loaded.expanded.contains(&path.to_string()));
                let near = near.map(|near| format!("did you mean `{{{near}}}`?"));
                notes.extend(near.as_deref());
                notes.push(&list);
                self.error(path, "a placeholder that objects do not have", &notes);
            }
            Some(WrongPrefix::Other(message, remedy)) => self.error(path, message, &[remedy]),
        }
    }

    /// The format `parquet` of the sink at `sink`.
    pub(super) fn parquet(&mut self, sink: &Path, config: Option<&S3Sink>) {
        let format = sink.key("format");
        self.built(&format, Feature::Parquet, "format `parquet`");
        let Some(config) = config else {
            let notes = ["a Parquet file is an object of many events: use it with `s3`, or `json` here"];
            return self.error(&format, "`parquet` is a format for the sink `s3` only", &notes);
        };
        let compression = sink.key("s3").key("compression");
        if self.tree.written(&compression).is_some() {
            let notes = ["columns are compressed within the file (zstd): leave `compression` out"];
            self.error(&compression, "a Parquet file is not compressed as a whole", &notes);
        }
        let prefix = sink.key("s3").key("prefix");
        if let Some(name) = PLACEHOLDERS.into_iter().find(|name| is_column(name) && has(&config.prefix, name)) {
            let message = format!("a Parquet lake is divided by date only, not by `{{{name}}}`");
            let why = "each combination makes files of its own, too small to be read fast";
            let instead = "it is a column, and rows are sorted by connection: readers skip what they do not look for";
            self.error(&prefix, message, &[why, instead, "write it as `vpn/dt={yyyy}-{mm}-{dd}/`"]);
        } else if !has(&config.prefix, "dd") {
            let notes = ["end it with `dt={yyyy}-{mm}-{dd}/`, as the table in deploy/athena/ expects it"];
            self.add(Level::Warning, &prefix, "queries cannot pick a day: they read the whole lake".into(), &notes);
        }
    }

    /// Objects of two parts would mix, and nobody could tell them apart.
    pub(super) fn prefixes_differ(&mut self) {
        let pipeline = &self.loaded.pipeline;
        let sinks = pipeline
            .sinks
            .iter()
            .filter_map(|(name, sink)| Some((Path::of(&["sinks", name, "s3"]), sink.s3.as_ref()?, sink.aws.as_ref())));
        let letters = pipeline
            .dead_letters
            .as_ref()
            .and_then(|letters| Some((Path::of(&["dead_letters", "s3"]), letters.s3.as_ref()?, letters.aws.as_ref())));
        let places = sinks.chain(letters).map(|(path, s3, aws)| {
            let endpoint = aws.and_then(|aws| aws.endpoint.clone());
            (path, (endpoint, s3.bucket.clone(), s3.prefix.trim_end_matches('/').to_owned()))
        });
        self.differ(
            places.collect(),
            Level::Error,
            "objects go to the same place as those of",
            &["give each a prefix of its own"],
        );
    }
}

/// Whether a placeholder is no date: a Parquet file has a column for it.
fn is_column(placeholder: &str) -> bool {
    !["yyyy", "mm", "dd", "hh"].contains(&placeholder)
}

fn has(prefix: &str, placeholder: &str) -> bool {
    prefix.contains(&format!("{{{placeholder}}}"))
}

enum WrongPrefix<'a> {
    Placeholder(&'a str),
    Other(&'static str, &'static str),
}

fn wrong_prefix(prefix: &str) -> Option<WrongPrefix<'_>> {
    if prefix.starts_with('/') {
        return Some(WrongPrefix::Other("keys do not begin with `/`", "leave the first `/` out"));
    }
    if prefix.contains("//") || prefix.split('/').any(|folder| folder == "." || folder == "..") {
        return Some(WrongPrefix::Other("a folder without a name", "write folders as `a/b/`"));
    }
    if prefix.len() > LONGEST_PREFIX || prefix.chars().any(char::is_control) {
        return Some(WrongPrefix::Other("not the beginning of a key", "at most 512 bytes, without control characters"));
    }
    let mut rest = prefix;
    while let Some((literal, tail)) = rest.split_once('{') {
        if literal.contains('}') {
            break;
        }
        let Some((name, tail)) = tail.split_once('}') else { break };
        if !PLACEHOLDERS.contains(&name) {
            return Some(WrongPrefix::Placeholder(name));
        }
        rest = tail;
    }
    rest.contains(['{', '}'])
        .then_some(WrongPrefix::Other("braces that do not close or open", "a placeholder is written `{yyyy}`"))
}

fn is_key(arn: &str) -> bool {
    Arn::parse(arn).is_some_and(|arn| {
        let of_a_key = arn.resource.starts_with("key/") || arn.resource.starts_with("alias/");
        arn.service == "kms" && of_a_key
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_has_known_placeholders_and_closed_braces() {
        let check = |prefix: &str, good: bool| assert_eq!(wrong_prefix(prefix).is_none(), good, "{prefix}");
        check("", true);
        check("vpn/dt={yyyy}-{mm}-{dd}/{account}/{region}/{connection}/{kind}/{hh}", true);
        for wrong in ["/vpn", "a//b", "a/../b", "{shard}", "{yyyy", "yyyy}", "{{yyyy}}", "a\nb"] {
            check(wrong, false);
        }
        check(&"x".repeat(513), false);
    }
}
