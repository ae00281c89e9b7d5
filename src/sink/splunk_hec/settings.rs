//! From the pipeline file to what the sink needs. The token ends here, in a header that says of itself that it is not to
//! be shown.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Certificate;
use reqwest::header::HeaderValue;

use crate::config::splunk::{Template, problems};
use crate::config::types::{SplunkCompression, SplunkHecSink};

/// The longest token, and the longest file with one, in bytes: Splunk's are 36.
const LONGEST_TOKEN: usize = 4096;

/// The token, as the header `Authorization`.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) header: HeaderValue,
    secret: Arc<str>,
}

impl Token {
    fn new(token: &str) -> Result<Token, String> {
        let wrong = || "the token is empty or has letters that no token has; copy it from Splunk".to_owned();
        if token.is_empty() || token.chars().any(|letter| !letter.is_ascii_graphic()) {
            return Err(wrong());
        }
        let mut header = HeaderValue::from_str(&format!("Splunk {token}")).map_err(|_| wrong())?;
        header.set_sensitive(true);
        Ok(Token { header, secret: token.into() })
    }

    /// Somebody else's text, without the token: a proxy may repeat a request's headers.
    pub(super) fn hidden_in(&self, text: &str) -> String {
        text.replace(&*self.secret, "[hidden]")
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token([hidden])")
    }
}

/// The texts of an envelope.
#[derive(Clone, Debug)]
pub(super) struct Texts {
    pub(super) host: Template,
    pub(super) source: Template,
    pub(super) sourcetype: Template,
    pub(super) index: Option<Template>,
    pub(super) fields: Vec<(String, Template)>,
}

/// Everything about the destination.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// Without a final slash.
    pub(super) endpoints: Vec<Arc<str>>,
    pub(super) token: Token,
    /// How long an acknowledgement may take; none: nobody waits for one.
    pub(super) ack_timeout: Option<Duration>,
    pub(super) texts: Texts,
    pub(super) compression: SplunkCompression,
    /// Trusted in place of the system's authorities.
    pub(super) authorities: Option<Vec<Certificate>>,
}

impl Settings {
    /// Reads the files that the part names. The error says what is wrong and what to do.
    pub(super) fn new(folder: &Path, config: &SplunkHecSink) -> Result<Settings, String> {
        let wrong: Vec<String> =
            problems(config).into_iter().map(|(field, text)| format!("`splunk_hec.{field}`: {text}")).collect();
        if !wrong.is_empty() {
            return Err(wrong.join("; "));
        }
        let texts = Texts {
            host: Template::parse(&config.host)?,
            source: Template::parse(&config.source)?,
            sourcetype: Template::parse(&config.sourcetype)?,
            index: config.index.as_deref().map(Template::parse).transpose()?,
            fields: fields(config)?,
        };
        let ca = config.tls.as_ref().and_then(|tls| tls.ca.as_ref());
        Ok(Settings {
            endpoints: config.endpoints.iter().map(|endpoint| endpoint.trim_end_matches('/').into()).collect(),
            token: token(folder, config)?,
            ack_timeout: config.acknowledgement.then_some(config.ack_timeout.0),
            texts,
            compression: config.compression,
            authorities: ca.map(|ca| authorities(&folder.join(ca))).transpose()?,
        })
    }

    /// Whether all events go to one index: then a wrong one is nobody's fault but the pipeline file's.
    pub(super) fn has_one_index(&self) -> bool {
        self.texts.index.as_ref().is_none_or(Template::is_fixed)
    }
}

fn fields(config: &SplunkHecSink) -> Result<Vec<(String, Template)>, String> {
    config.fields.iter().map(|(name, text)| Ok((name.clone(), Template::parse(text)?))).collect()
}

fn token(folder: &Path, config: &SplunkHecSink) -> Result<Token, String> {
    match (&config.token_file, &config.token) {
        (Some(file), _) => {
            let path = folder.join(file);
            let failed = |what: &dyn fmt::Display| {
                format!("`splunk_hec.token_file`: `{}` {what}: put the token alone into it", path.display())
            };
            let bytes = std::fs::read(&path).map_err(|error| failed(&format!("cannot be read ({error})")))?;
            let text = std::str::from_utf8(&bytes).ok().filter(|text| text.len() <= LONGEST_TOKEN);
            let text = text.ok_or_else(|| failed(&"is not a token"))?;
            Token::new(text.trim_end_matches(['\n', '\r'])).map_err(|reason| failed(&format!("is no good ({reason})")))
        }
        (None, Some(token)) => Token::new(token).map_err(|reason| format!("`splunk_hec.token`: {reason}")),
        (None, None) => Err("`splunk_hec`: set `token` to a variable, or `token_file`".into()),
    }
}

fn authorities(path: &Path) -> Result<Vec<Certificate>, String> {
    let failed =
        |what: String| format!("`splunk_hec.tls.ca`: `{}` {what}: it must hold certificates in PEM", path.display());
    let bytes = std::fs::read(path).map_err(|error| failed(format!("cannot be read ({error})")))?;
    match Certificate::from_pem_bundle(&bytes) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(failed("has no certificate".into())),
        Err(_) => Err(failed("is not PEM".into())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may panic")]
    use super::*;

    fn check(config: serde_json::Value, folder: &Path) -> Result<Settings, String> {
        Settings::new(folder, &serde_json::from_value(config).unwrap())
    }

    #[test]
    fn a_token_comes_from_a_file_and_is_shown_by_nobody() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "SECRET-1\r\n").unwrap();
        let config = serde_json::json!({ "endpoints": ["https://hec:8088/"], "token_file": "token" });
        let settings = check(config, folder.path()).unwrap();
        assert_eq!(settings.token.header, "Splunk SECRET-1");
        assert_eq!(&*settings.endpoints[0], "https://hec:8088");
        assert!(!format!("{settings:?}").contains("SECRET"), "{settings:?}");
        assert_eq!(settings.token.hidden_in("you said Splunk SECRET-1!"), "you said Splunk [hidden]!");
    }

    #[test]
    fn a_token_that_is_none_is_named_without_showing_it() {
        let folder = tempfile::tempdir().unwrap();
        for (bytes, part) in [(&b"SECRET 1"[..], "no good"), (b"", "no good"), (b"\xff\xfe", "not a token")] {
            std::fs::write(folder.path().join("token"), bytes).unwrap();
            let config = serde_json::json!({ "endpoints": ["https://hec:8088"], "token_file": "token" });
            let error = check(config, folder.path()).unwrap_err();
            assert!(error.contains(part) && !error.contains("SECRET"), "{error}");
        }
        let missing = serde_json::json!({ "endpoints": ["https://hec:8088"], "token_file": "nowhere" });
        assert!(check(missing, folder.path()).unwrap_err().contains("cannot be read"));
    }

    #[test]
    fn authorities_are_certificates() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), "no certificate").unwrap();
        let config = serde_json::json!({ "endpoints": ["https://hec:8088"], "token": "T", "tls": { "ca": "ca.pem" } });
        let error = check(config, folder.path()).unwrap_err();
        assert!(error.contains("splunk_hec.tls.ca"), "{error}");
    }
}
