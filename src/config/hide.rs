//! Secrets that stand in a pipeline file, although they must not: problems quote the file's lines, so these values are
//! covered with asterisks first.
//!
//! Works on the text, since a file that is not even YAML is quoted too. What looks like the value of a password is
//! covered up to the end of the line rather than shown in part.

use std::borrow::Cow;

/// Words that a secret's key has in it, slips of the pen included.
const WORDS: [&str; 8] = ["passw", "pasw", "paswd", "pwd", "passphrase", "secret", "jaas", "token"];
/// Endings of keys that name where a secret is.
const PLACES: [&str; 2] = ["_file", ".location"];

/// The lines as they may be shown: as long as before, character by character.
pub(super) fn hide<'t>(lines: &[&'t str]) -> Vec<Cow<'t, str>> {
    // The indentation of a secret's key whose value goes on below it.
    let mut within: Option<usize> = None;
    let mut shown = Vec::with_capacity(lines.len());
    for &line in lines {
        let indent = line.len() - line.trim_start().len();
        if within.is_some_and(|key| line.trim().is_empty() || indent > key) {
            shown.push(Cow::Owned(cover(line, indent..line.len())));
            continue;
        }
        within = None;
        shown.push(match value(line) {
            Some(value) => {
                let text = line.get(value.clone()).unwrap_or_default();
                within = (!is_variable(text)).then_some(indent);
                if is_variable(text) || text.starts_with(['|', '>']) {
                    Cow::Borrowed(line)
                } else {
                    Cow::Owned(cover(line, value))
                }
            }
            None => match user_of_address(line) {
                Some(user) => Cow::Owned(cover(line, user)),
                None => Cow::Borrowed(line),
            },
        });
    }
    shown
}

fn cover(line: &str, range: std::ops::Range<usize>) -> String {
    let covered = |(at, letter): (usize, char)| if range.contains(&at) { '*' } else { letter };
    line.char_indices().map(covered).collect()
}

/// Where the value of a secret's key stands in this line; empty if it begins below.
fn value(line: &str) -> Option<std::ops::Range<usize>> {
    let colons = line.match_indices(':').map(|(at, _)| at);
    let key = colons.into_iter().find(|at| line.get(..*at).is_some_and(ends_with_secret))?;
    let rest = line.get(key + 1..)?;
    let start = key + 1 + (rest.len() - rest.trim_start().len());
    let text = line.get(start..)?;
    // A variable ends with its brace, so that what stands behind it in a mapping can be read.
    let quotes = text.len() - text.trim_start_matches(['"', '\'']).len();
    let length = match text.get(quotes..).filter(|text| text.starts_with("${")).and_then(|text| text.find('}')) {
        Some(brace) if is_variable(text.get(quotes..=quotes + brace)?) => quotes + brace + 1,
        _ => text.trim_end().len(),
    };
    Some(start..start + length)
}

/// What stands between `://` and `@`: a user's name, and perhaps a password.
fn user_of_address(line: &str) -> Option<std::ops::Range<usize>> {
    let start = line.find("://")? + 3;
    let rest = line.get(start..)?;
    let end = rest.find(|letter: char| letter.is_whitespace() || "/,\"'".contains(letter)).unwrap_or(rest.len());
    rest.get(..end)?.rfind('@').map(|at| start..start + at)
}

fn ends_with_secret(before_colon: &str) -> bool {
    let text = before_colon.trim_end_matches(['"', '\'', ' ']);
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
    let key = text.rsplit(|letter: char| !is_part(letter)).next().unwrap_or_default().to_ascii_lowercase();
    WORDS.iter().any(|word| key.contains(word)) && !PLACES.iter().any(|place| key.ends_with(place))
}

/// `${NAME}` alone: what a variable holds is not in the file.
fn is_variable(text: &str) -> bool {
    let text = text.trim_matches(['"', '\'']);
    let name = text.strip_prefix("${").and_then(|text| text.strip_suffix('}'));
    name.is_some_and(|name| name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        let lines: Vec<&str> = text.split('\n').collect();
        assert_eq!(hide(&lines).join("\n"), expect);
    }

    #[test]
    fn values_of_secrets_are_covered() {
        check("password: hunter2", "password: *******");
        check("  \"password\" : \"hunter2\" # mine", "  \"password\" : ****************");
        check("sasl: { mechanism: plain, password: hun,ter2 }", "sasl: { mechanism: plain, password: **********");
        check("pasword: x", "pasword: *");
        check("splunk_hec: { token: 12-34 }", "splunk_hec: { token: *******");
        check("sasl.oauthbearer.client.secret: geheim", "sasl.oauthbearer.client.secret: ******");
        check("key_password: ${X:-hunter2}", "key_password: *************");
        check("password: é", "password: *");
        check("endpoint: \"https://me:hunter2@x\" # a@b", "endpoint: \"https://**********@x\" # a@b");
    }

    #[test]
    fn a_value_below_its_key_is_covered_to_its_end() {
        check("password: >-\n  hunter2\n\n  more\nname: x", "password: >-\n  *******\n\n  ****\nname: x");
        check("password:\n  hunter2\nname: x", "password:\n  *******\nname: x");
        check("password: \"hun\n  ter2\"\nname: x", "password: ****\n  *****\nname: x");
    }

    #[test]
    fn what_is_no_secret_is_shown() {
        for text in [
            "password: ${KAFKA_PASSWORD}",
            "sasl: { password: \"${P}\", username: \"a\" }",
            "password_file: secrets/kafka",
            "token_file: secrets/hec",
            "token: ${SPLUNK_HEC_TOKEN}",
            "ssl.keystore.location: a",
            "name: secret-service",
            "# a password: is a word",
        ] {
            let covered = hide(&[text]).join("");
            assert!(covered == text || text.starts_with('#'), "{covered}");
        }
    }
}
