//! The Splunk part: addresses, texts, files, and that the token is not in the file. The rules are in
//! [`crate::config::splunk`]; here they get their places.

use super::{Check, Feature};
use crate::config::Level;
use crate::config::splunk;
use crate::config::tree::Path;
use crate::config::types::SplunkHecSink;

impl Check<'_, '_, '_> {
    /// The part at `path`.
    pub(super) fn splunk_hec(&mut self, path: &Path, config: &SplunkHecSink) {
        self.built(path, Feature::Splunk, "sink `splunk_hec`");
        // The secret first: where it stands in the file, nothing else about that field matters.
        if config.token.is_some() {
            let other = Some("or set `token_file`");
            self.in_a_variable(&path.key("token"), "token: ${SPLUNK_HEC_TOKEN}", other);
        }
        let token = [("token", config.token.is_some()), ("token_file", config.token_file.is_some())];
        self.exactly_one(path, "the login", &token);
        let ca = config.tls.as_ref().and_then(|tls| tls.ca.as_ref());
        for (path, file) in [(path.key("token_file"), config.token_file.as_ref()), (path.key("tls").key("ca"), ca)] {
            if let Some(file) = file {
                self.must_exist(&path, &self.loaded.directory.join(file));
            }
        }
        for (field, text) in splunk::problems(config) {
            self.splunk_problem(path, &field, &text);
        }
        if !config.acknowledgement {
            let notes = [
                "events count as delivered when Splunk has received them: if it crashes before they are indexed, they \
                    are lost",
                "switch on indexer acknowledgement for the token and leave this out; Splunk Cloud has none for this",
            ];
            let message = "without acknowledgement delivery is not certain".to_owned();
            self.add(Level::Warning, &path.key("acknowledgement"), message, &notes);
        }
    }

    /// A problem of a field within the part; its remedy stands after the colon.
    fn splunk_problem(&mut self, path: &Path, field: &str, text: &str) {
        let path = match field.split_once('.') {
            Some(("endpoints", index)) => path.key("endpoints").index(index.parse().unwrap_or_default()),
            // The field's own name may have dots.
            Some((parent, name)) => path.key(parent).key(name),
            None => path.key(field),
        };
        // The texts name rules, never a value: one may have come out of a variable.
        match text.split_once(": ") {
            Some((message, remedy)) => self.error(&path, message, &[remedy]),
            None => self.error(&path, text, &[]),
        }
    }
}
