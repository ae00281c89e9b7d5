//! What differs between two versions of a pipeline file: what a reload changes, and what it cannot change.

use std::collections::BTreeMap;

use crate::config::Loaded;
use crate::config::types::{Checkpoint, Status};

/// What a reload changes. Lanes are matched by the names of their sinks.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) sinks: Named,
    pub(super) sources: Named,
    /// Other parts of the file that are not as they were.
    pub(super) others: Vec<&'static str>,
}

/// What became of parts, by their names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) added: Vec<String>,
    pub(super) removed: Vec<String>,
    pub(super) changed: Vec<String>,
}

impl Named {
    fn between<T: PartialEq>(old: &BTreeMap<String, T>, new: &BTreeMap<String, T>) -> Named {
        let names = |from: &BTreeMap<String, T>, is_meant: &dyn Fn(&String, &T) -> bool| {
            from.iter().filter(|(name, part)| is_meant(name, part)).map(|(name, _)| name.clone()).collect()
        };
        Named {
            added: names(new, &|name, _| !old.contains_key(name)),
            removed: names(old, &|name, _| !new.contains_key(name)),
            changed: names(new, &|name, part| old.get(name).is_some_and(|before| before != part)),
        }
    }
}

impl Changes {
    pub(super) fn between(old: &Loaded, new: &Loaded) -> Changes {
        let (old, new) = (&old.pipeline, &new.pipeline);
        let others = [
            ("enrich", old.enrich != new.enrich),
            ("dead_letters", old.dead_letters != new.dead_letters),
            ("checkpoint.interval", old.checkpoint.interval != new.checkpoint.interval),
            ("limits", old.limits != new.limits),
        ];
        Changes {
            sinks: Named::between(&old.sinks, &new.sinks),
            sources: Named::between(&old.sources, &new.sources),
            others: others.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect(),
        }
    }

    /// In one line; `nothing in the file` where only the files that it names may have changed.
    pub(super) fn in_words(&self) -> String {
        let mut words = Vec::new();
        for (what, named) in [("sinks", &self.sinks), ("sources", &self.sources)] {
            for (how, names) in [("added", &named.added), ("removed", &named.removed), ("changed", &named.changed)] {
                if !names.is_empty() {
                    words.push(format!("{what} {how}: {}", names.join(", ")));
                }
            }
        }
        if !self.others.is_empty() {
            words.push(format!("changed: {}", self.others.join(", ")));
        }
        if words.is_empty() { "nothing in the file".into() } else { words.join("; ") }
    }
}

/// What only a restart can change, each in words that say so.
pub(super) fn impossible(old: &Loaded, new: &Loaded) -> Vec<String> {
    let mut problems = Vec::new();
    if old.name != new.name {
        problems.push(format!(
            "the pipeline's name cannot change from `{}` to `{}` while it runs, since it is part of every place that is \
             remembered: restart to begin as another pipeline, or write `name: {}`",
            old.name, new.name, old.name
        ));
    } else if store_of(old) != store_of(new) || old.checkpoint_file() != new.checkpoint_file() {
        problems.push(
            "`checkpoint` names another store, which a running pipeline cannot change: restart, or put the old one back"
                .into(),
        );
    }
    if listens(old) != listens(new) {
        problems
            .push("`status` cannot change while the status page is served: restart, or put the old one back".into());
    }
    problems
}

/// Which store; how often it is written is free.
fn store_of(loaded: &Loaded) -> Checkpoint {
    Checkpoint { interval: Checkpoint::default().interval, ..loaded.pipeline.checkpoint.clone() }
}

fn listens(loaded: &Loaded) -> Option<&Status> {
    loaded.pipeline.status.as_ref()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests may panic")]
    use super::*;

    const OLD: &str = "\
sources: { fleet: { simulate: { rate: 5 } } }
sinks: { all: { file: { path: out/all.ndjson } }, tty: { console: {} } }
";

    fn loaded(text: &str) -> Loaded {
        let Ok(loaded) = crate::config::load_str("p.yaml", text, &|_| None) else { panic!("no pipeline file: {text}") };
        loaded
    }

    #[track_caller]
    fn check(new: &str, expected: &str) {
        assert_eq!(Changes::between(&loaded(OLD), &loaded(new)).in_words(), expected);
    }

    #[test]
    fn changes_are_told_by_name() {
        check(OLD, "nothing in the file");
        check(&OLD.replace("rate: 5", "rate: 6"), "sources changed: fleet");
        check(&OLD.replace("tty:", "screen:"), "sinks added: screen; sinks removed: tty");
        check(&OLD.replace("{} }", "{}, only: { kind: [ike] } }"), "sinks changed: tty");
        check(
            &format!("{OLD}limits: {{ open_records: 2000 }}\ncheckpoint: {{ interval: 9s }}\n"),
            "changed: checkpoint.interval, limits",
        );
    }

    #[track_caller]
    fn refuse(new: &str, expected: &str) {
        let problems = impossible(&loaded(OLD), &loaded(new));
        assert!(problems.len() == 1 && problems[0].contains(expected), "{problems:?}");
    }

    #[test]
    fn what_a_running_pipeline_cannot_change_is_refused_in_words() {
        refuse(&format!("name: other\n{OLD}"), "cannot change from `p` to `other`");
        refuse(&format!("{OLD}checkpoint: {{ file: other.redb }}\n"), "`checkpoint` names another store");
        refuse(&format!("{OLD}status: {{ listen: 127.0.0.1:1 }}\n"), "`status` cannot change");
        assert!(impossible(&loaded(OLD), &loaded(&OLD.replace("all", "some"))).is_empty());
        assert!(impossible(&loaded(OLD), &loaded(&format!("{OLD}checkpoint: {{ interval: 9s }}\n"))).is_empty());
    }
}
