//! A subscription of the model of Kinesis: its events, in the frames that the service would send (`frames`).

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::frames::{self, Sender};
use super::model::Model;

const LIFE: Duration = Duration::from_secs(5 * 60);
/// Between two events of a subscription.
const BEAT: Duration = Duration::from_secs(1);
/// Records in one event.
const EVENT_RECORDS: usize = 3;

/// What becomes of a subscription.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    /// After so many events, an error of the service among them.
    Error(usize, &'static str),
    /// After so many events, nothing more, and no end.
    Silence(usize),
    /// After so many events the connection breaks, in the middle of one.
    Break(usize),
    /// After so many events it is closed, as after five minutes.
    End(usize),
}

/// One subscription as the service has it.
pub(crate) struct Served {
    pub(crate) model: Model,
    pub(crate) shard: String,
    pub(crate) subscription: u64,
    pub(crate) from: u64,
    pub(crate) fate: Option<Fate>,
}

impl Served {
    pub(crate) async fn serve(mut self, sender: Sender) -> Option<()> {
        let (start, mut events) = (Instant::now(), 0);
        sender.send(Ok(frames::initial())).await.ok()?;
        while start.elapsed() < LIFE {
            match self.fate {
                Some(Fate::Error(after, code)) if after == events => {
                    return sender.send(Ok(frames::exception(code))).await.ok();
                }
                Some(Fate::Silence(after)) if after == events => {
                    sender.closed().await;
                    return None;
                }
                Some(Fate::Break(after)) if after == events => {
                    return frames::break_off(&sender).await;
                }
                Some(Fate::End(after)) if after == events => return None,
                _ => {}
            }
            let (event, ended) = self.event()?;
            sender.send(Ok(frames::event(&event))).await.ok()?;
            self.model.state().events += 1;
            events += 1;
            if ended {
                return None;
            }
            sleep(BEAT).await;
        }
        None
    }

    /// The next event; whether it is the last. `None`: another subscription has taken its place, or the shard is gone.
    fn event(&mut self) -> Option<(Value, bool)> {
        let state = self.model.state();
        let (records, next, behind_ms, ended) = state.some(&self.shard, self.from, EVENT_RECORDS)?;
        if state.shards[&self.shard].subscription != self.subscription || state.consumer.is_none() {
            return None;
        }
        self.from = next;
        let mut event = json!({"Records": records, "MillisBehindLatest": behind_ms});
        if ended {
            let child = state.shards.iter().find(|(_, shard)| shard.parents.contains(&self.shard)).unwrap().0;
            event["ChildShards"] = json!([{"ShardId": child, "ParentShards": [self.shard],
                "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "1"}}]);
        } else {
            // As far as it has looked: no record's own number.
            event["ContinuationSequenceNumber"] = next.to_string().into();
        }
        Some((event, ended))
    }
}
