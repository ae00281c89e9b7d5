//! From an item to a Kafka message: topic, key, headers, time.

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseRecord;

use super::client::Ticket;
use super::settings::Settings;
use crate::config::types::KafkaKey;
use crate::delivery::{Item, RecordInfo};

/// What one message borrows, rendered into buffers that are used again.
#[derive(Default)]
pub(super) struct Parts {
    topic: String,
    key: String,
    has_key: bool,
}

impl Parts {
    /// Renders topic and key of an item.
    pub(super) fn render(&mut self, settings: &Settings, item: &Item, record: Option<&RecordInfo>) {
        match settings.topic.fixed() {
            Some(topic) if topic == self.topic => {}
            Some(topic) => topic.clone_into(&mut self.topic),
            None => self.topic = topic_of(settings, item, record),
        }
        self.key.clear();
        self.has_key = record.is_some_and(|record| push_key(&mut self.key, settings.key, record));
    }

    /// The message.
    pub(super) fn message<'a>(
        &'a self,
        settings: &Settings,
        item: &Item,
        bytes: &'a [u8],
        ticket: Ticket,
    ) -> BaseRecord<'a, [u8], [u8], Box<Ticket>> {
        let id = item.id.to_string();
        let mut headers = OwnedHeaders::new_with_capacity(3)
            .insert(Header { key: "id", value: Some(id.as_str()) })
            .insert(Header { key: "kind", value: Some(item.kind.as_str()) });
        if let Some(schema) = settings.schema {
            headers = headers.insert(Header { key: "schema", value: Some(schema) });
        }
        let record = BaseRecord::with_opaque_to(&self.topic, Box::new(ticket))
            // The line break belongs to files, not to messages.
            .payload(bytes.strip_suffix(b"\n").unwrap_or(bytes))
            // No timestamp of the event's: a topic's retention counts from it, so a broker would delete history that
            // is replayed as soon as it has it. The event carries its time.
            .headers(headers);
        if self.has_key { record.key(self.key.as_bytes()) } else { record }
    }
}

/// The topic of an item.
pub(super) fn topic_of(settings: &Settings, item: &Item, record: Option<&RecordInfo>) -> String {
    let account = record.and_then(|record| record.account.as_deref());
    let region = record.and_then(|record| record.region.as_deref());
    settings.topic.render(item.kind.as_str(), account, region)
}

/// Where the chosen key is unknown the log stream keeps its order at least.
fn push_key(key: &mut String, choice: KafkaKey, record: &RecordInfo) -> bool {
    let chosen = match choice {
        KafkaKey::None => return false,
        KafkaKey::Connection => record.connection.as_deref().map(str::to_owned),
        KafkaKey::Account => record.account.as_deref().map(str::to_owned),
        KafkaKey::Tunnel => match (&record.connection, record.tunnel) {
            (Some(connection), Some(tunnel)) => Some(format!("{connection}/{tunnel}")),
            _ => None,
        },
    };
    match chosen.as_deref().or(record.log_stream.as_deref()) {
        Some(text) => key.push_str(text),
        None => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Position;

    fn record(connection: Option<&str>, tunnel: bool, log_stream: Option<&str>) -> RecordInfo {
        RecordInfo {
            position: Position::from(1),
            done: true,
            account: Some("111122223333".into()),
            connection: connection.map(Into::into),
            tunnel: tunnel.then_some(std::net::Ipv4Addr::new(203, 0, 113, 17).into()),
            log_stream: log_stream.map(Into::into),
            ..RecordInfo::default()
        }
    }

    fn check(choice: KafkaKey, record: &RecordInfo, expect: Option<&str>) {
        let mut key = String::new();
        let has_key = push_key(&mut key, choice, record);
        assert_eq!(has_key.then_some(key.as_str()), expect, "{choice:?} of {record:?}");
    }

    #[test]
    fn the_key_is_what_was_chosen_else_the_log_stream() {
        let full = record(Some("vpn-1"), true, Some("stream"));
        check(KafkaKey::Connection, &full, Some("vpn-1"));
        check(KafkaKey::Tunnel, &full, Some("vpn-1/203.0.113.17"));
        check(KafkaKey::Account, &full, Some("111122223333"));
        check(KafkaKey::None, &full, None);
        check(KafkaKey::Connection, &record(None, true, Some("stream")), Some("stream"));
        check(KafkaKey::Tunnel, &record(Some("vpn-1"), false, Some("stream")), Some("stream"));
        check(KafkaKey::Connection, &record(None, false, None), None);
    }
}
