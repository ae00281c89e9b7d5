//! The checkpoint: one store, a table that is spelled like a table, times that hold together.

use super::{Check, Feature};
use crate::config::tree::Path;
use crate::config::types::DynamoDb;
use crate::config::units::Duration;

/// Shortest time between two commits: each is a sync of the disk.
const SHORTEST_INTERVAL: Duration = Duration(std::time::Duration::from_millis(100));
/// Longest time between two commits: half of what `/healthz` allows the engine to be silent.
const LONGEST_INTERVAL: Duration = Duration::from_secs(30);
/// A lease is renewed thrice in its time, and one try takes up to 5 s.
const SHORTEST_LEASE: Duration = Duration::from_secs(10);
/// So long nothing is delivered after a crash.
const LONGEST_LEASE: Duration = Duration::from_secs(600);

impl Check<'_, '_, '_> {
    pub(super) fn checkpoint(&mut self) {
        let checkpoint = &self.loaded.pipeline.checkpoint;
        let path = Path::of(&["checkpoint"]);
        if checkpoint.interval > LONGEST_INTERVAL {
            let notes = ["at most 30s: `/healthz` and a shutdown depend on it"];
            self.error(&path.key("interval"), "commits would be too far apart", &notes);
        }
        if checkpoint.interval < SHORTEST_INTERVAL {
            let notes = [&*format!("at least {SHORTEST_INTERVAL}: each commit is a sync of the disk")];
            self.error(&path.key("interval"), "commits would follow without a pause", &notes);
        }
        let Some(dynamodb) = &checkpoint.dynamodb else {
            return self.aws_unused(&path, checkpoint.aws.as_ref(), "`dynamodb`");
        };
        if checkpoint.file.is_some() {
            let message = "`file` and `dynamodb` are two checkpoints";
            self.error(&path.key("file"), message, &["keep one of the two"]);
        }
        self.dynamodb(&path.key("dynamodb"), dynamodb);
        self.aws(&path, checkpoint.aws.as_ref(), None);
    }

    fn dynamodb(&mut self, path: &Path, dynamodb: &DynamoDb) {
        self.built(path, Feature::Aws, "checkpoint `dynamodb`");
        let table = path.key("table");
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if dynamodb.table.starts_with("arn:") {
            let notes = ["give the name alone: what stands after `table/`; its Region is `aws.region`"];
            self.error(&table, "an ARN, not the name of a DynamoDB table", &notes);
        } else if !dynamodb.table.bytes().all(allowed) {
            let notes = ["3 to 255 letters, digits, `_`, `.` and `-`"];
            self.error(&table, "not the name of a DynamoDB table", &notes);
        }
        if dynamodb.lease < SHORTEST_LEASE {
            let notes =
                [&*format!("at least {SHORTEST_LEASE}: a slow network must not cost a running process its lease")];
            self.error(&path.key("lease"), "the lease would lapse by itself", &notes);
        }
        if dynamodb.lease > LONGEST_LEASE {
            let notes = [&*format!("at most {LONGEST_LEASE}: after a crash the next process waits for so long")];
            self.error(&path.key("lease"), "after a crash nothing would go on for long", &notes);
        }
    }
}
