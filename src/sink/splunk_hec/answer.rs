//! What an event collector's answer means. Pure.
//!
//! Codes are Splunk's ("Troubleshoot HTTP Event Collector", possible error codes). What answers without one is something
//! on the way: a load balancer, a proxy, a web server.

use serde::Deserialize;
use serde_json::Value;

/// What is wrong, by what can be done about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    /// Nobody answers, or the answer is lost on the way.
    Unreachable,
    /// The other side's certificate is not to be trusted, or it does not speak TLS.
    Tls,
    /// It is busy, its queues are full, it starts or stops.
    Busy,
    /// The token is unknown, disabled or missing.
    Login,
    /// It wants a channel, or another one.
    Channel,
    /// The token has no acknowledgement.
    AckDisabled,
    /// It takes events and acknowledges none.
    Unacknowledged,
    /// An index is missing, or not the token's.
    Index,
    /// An event, or the request as a whole, is not to its taste.
    Event,
    /// The request is too large.
    TooLarge,
    /// No event collector answers there.
    Foreign,
}

/// The answer to a request that was not taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    pub(super) class: Class,
    pub(super) status: u16,
    /// Splunk's own code.
    pub(super) code: Option<u16>,
    /// What it says, for a person.
    pub(super) said: String,
    /// Which event of the request is to blame, from 0.
    pub(super) event: Option<usize>,
}

/// Letters of an answer that are repeated to a person.
const MOST_SAID: usize = 200;

#[derive(Default, Deserialize)]
struct Body {
    text: Option<String>,
    code: Option<u16>,
    #[serde(rename = "invalid-event-number")]
    event: Option<Value>,
    #[serde(rename = "ackId")]
    ack_id: Option<Value>,
}

/// The answer to events: the id under which they will be acknowledged, if the token has acknowledgement.
pub(super) fn taken(status: u16, body: &[u8]) -> Result<Option<u64>, Refusal> {
    let answer: Option<Body> = serde_json::from_slice(body).ok();
    match answer {
        Some(Body { code: Some(0) | None, ack_id, text: Some(_), .. }) if status == 200 => {
            Ok(ack_id.as_ref().and_then(number))
        }
        answer => Err(refusal(status, answer.unwrap_or_default(), body)),
    }
}

/// The answer to a question for acknowledgements: those that are.
pub(super) fn acknowledged(status: u16, body: &[u8]) -> Result<Vec<u64>, Refusal> {
    #[derive(Deserialize)]
    struct Acks {
        acks: std::collections::BTreeMap<String, Value>,
    }
    match serde_json::from_slice::<Acks>(body) {
        Ok(Acks { acks }) if status == 200 => {
            let yes = acks.into_iter().filter(|(_, value)| *value == Value::Bool(true));
            Ok(yes.filter_map(|(id, _)| id.parse().ok()).collect())
        }
        _ => Err(refused(status, body)),
    }
}

/// Any other answer than the one that was hoped for.
pub(super) fn refused(status: u16, body: &[u8]) -> Refusal {
    refusal(status, serde_json::from_slice(body).unwrap_or_default(), body)
}

fn refusal(status: u16, answer: Body, body: &[u8]) -> Refusal {
    let said = answer.text.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    let said: String = said.chars().filter(|letter| !letter.is_control()).take(MOST_SAID).collect();
    let event = answer.event.as_ref().and_then(number).and_then(|event| usize::try_from(event).ok());
    Refusal { class: classify(status, answer.code), status, code: answer.code, said, event }
}

/// A number, or a text that is one.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// Splunk's code decides; where it says nothing that is known, the HTTP status.
fn classify(status: u16, code: Option<u16>) -> Class {
    match (code, status) {
        // 1 token disabled, 2 token is required, 3 invalid authorization, 4 invalid token,
        // 16 query string authorization is not enabled, 21 and 22 likewise at the health address.
        (Some(1..=4 | 16 | 21 | 22), _) => Class::Login,
        // 7 incorrect index.
        (Some(7), _) => Class::Index,
        // 5 no data, 6 invalid data format, 12 event field is required, 13 event field cannot be blank,
        // 15 error in handling indexed fields.
        (Some(5 | 6 | 12 | 13 | 15), _) => Class::Event,
        // 10 data channel is missing, 11 invalid data channel.
        (Some(10 | 11), _) => Class::Channel,
        // 14 ACK is disabled.
        (Some(14), _) => Class::AckDisabled,
        (_, 413) => Class::TooLarge,
        // 8 internal server error, 9 server is busy, 18 to 20 queues full or acknowledgement away, 23 shutting down.
        (Some(8 | 9 | 18..=20 | 23), _) | (_, 408 | 429 | 500..=599) => Class::Busy,
        (_, 401 | 403) => Class::Login,
        (Some(_), 400..=499) => Class::Event,
        _ => Class::Foreign,
    }
}

impl Refusal {
    /// Whether it is certain that nothing was taken: an event collector says so with a code, and a 4xx is said before
    /// anything is read. A gateway's 502 may stand for an answer that was lost behind it.
    pub(super) fn is_fate_known(&self) -> bool {
        self.code.is_some_and(|code| code != 0) || (400..500).contains(&self.status)
    }

    /// What is wrong and what to do, without the address.
    pub(super) fn in_words(&self) -> String {
        let Refusal { status, code, said, .. } = self;
        let code = code.map(|code| format!(", code {code}")).unwrap_or_default();
        format!("{} (HTTP {status}{code}: {said})", remedy(self.class, self.code))
    }
}

/// Where tokens are in Splunk.
macro_rules! inputs {
    () => {
        "Settings > Data inputs > HTTP Event Collector"
    };
}

fn remedy(class: Class, code: Option<u16>) -> &'static str {
    match (class, code) {
        (Class::Login, Some(1 | 22)) => concat!("the token is disabled; enable it in ", inputs!()),
        (Class::Login, Some(4 | 21)) => concat!(
            "Splunk does not know the token; compare `token` or `token_file` with ",
            inputs!(),
            ", where every indexer behind this address must have it"
        ),
        (Class::Login, _) => "Splunk does not take the login; check `token` or `token_file`, and what stands between",
        (Class::Channel, Some(10)) => {
            "the token has indexer acknowledgement switched on; leave out `acknowledgement: false`"
        }
        (Class::Channel, _) => {
            "Splunk does not take the channel; what is not acknowledged is sent again on another one"
        }
        (Class::AckDisabled, _) => concat!(
            "the token has no indexer acknowledgement; switch it on in ",
            inputs!(),
            " (Edit), or set `acknowledgement: false`, with which events count as delivered before they are indexed"
        ),
        (Class::Index, _) => concat!(
            "an index is missing, or the token may not write to it; create it, add it to the token's allowed indexes in ",
            inputs!(),
            ", or correct `index`"
        ),
        (Class::Event, _) => "Splunk does not take an event",
        (Class::TooLarge, _) => {
            "the request is too large for Splunk or a proxy before it; raise `max_content_length` in its limits.conf"
        }
        (Class::Busy, _) => "Splunk is busy, or its queues are full; it is tried again",
        (Class::Foreign, _) => {
            "no HTTP Event Collector answers there; check the address and the port (8088, at Splunk Cloud 443), and that \
             the collector is enabled in its global settings"
        }
        (Class::Unreachable, _) => "it cannot be reached; check the address, the port, the network and its firewalls",
        (Class::Tls, _) => {
            "its TLS is not to be trusted, or is none; name the certificate's authority in `tls.ca`, and in `endpoints` a \
             host that the certificate is for"
        }
        (Class::Unacknowledged, _) => {
            "Splunk takes events but has acknowledged none of them; look at the indexers' queues and disks, and give a load \
             balancer sticky sessions"
        }
    }
}

/// What to do about something that no answer has said.
pub(super) fn advice(class: Class) -> &'static str {
    remedy(class, None)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may panic")]
    use super::*;

    #[test]
    fn every_code_has_its_class() {
        let check = |status: u16, code: u16, expect: Class| {
            let body = format!("{{\"text\":\"said\",\"code\":{code}}}");
            let refusal = taken(status, body.as_bytes()).unwrap_err();
            assert_eq!((refusal.class, refusal.code), (expect, Some(code)), "{status} {code}");
            assert!(refusal.is_fate_known() && refusal.in_words().contains("said"));
        };
        for (status, codes, expect) in [
            (403, &[1, 4][..], Class::Login),
            (401, &[2, 3], Class::Login),
            (400, &[16], Class::Login),
            (400, &[5, 6, 12, 13, 15, 99], Class::Event),
            (400, &[7], Class::Index),
            (500, &[8], Class::Busy),
            (503, &[9, 18, 19, 20, 23], Class::Busy),
            (429, &[26], Class::Busy),
            (413, &[27], Class::TooLarge),
            (400, &[10, 11], Class::Channel),
            (400, &[14], Class::AckDisabled),
        ] {
            codes.iter().for_each(|code| check(status, *code, expect));
        }
    }

    #[test]
    fn an_answer_of_something_else_goes_by_its_status() {
        for (status, expect, known) in [
            (503, Class::Busy, false),
            (502, Class::Busy, false),
            (429, Class::Busy, true),
            (413, Class::TooLarge, true),
            (404, Class::Foreign, true),
            (401, Class::Login, true),
            (302, Class::Foreign, false),
            (200, Class::Foreign, false),
        ] {
            let refusal = taken(status, b"<html>\x01 no").unwrap_err();
            assert_eq!((refusal.class, refusal.is_fate_known()), (expect, known), "{status}");
            assert_eq!(refusal.said, "<html> no");
        }
    }

    #[test]
    fn what_is_taken_has_an_id_where_it_will_be_acknowledged() {
        assert_eq!(taken(200, br#"{"text":"Success","code":0,"ackId":7}"#), Ok(Some(7)));
        assert_eq!(taken(200, br#"{"text":"Success","code":0,"ackId":"500123"}"#), Ok(Some(500_123)));
        assert_eq!(taken(200, br#"{"text":"Success","code":0}"#), Ok(None));
        assert!(taken(200, br#"{"text":"?","code":6}"#).is_err());
        assert!(taken(503, br#"{"text":"Success","code":0,"ackId":7}"#).is_err());
        assert!(taken(200, b"{}").is_err(), "somebody else's JSON");
    }

    #[test]
    fn the_event_that_is_to_blame_is_named() {
        let answer = br#"{"text":"Invalid data format","code":6,"invalid-event-number":12}"#;
        assert_eq!(taken(400, answer).unwrap_err().event, Some(12));
        assert_eq!(taken(400, br#"{"text":"x","code":6,"invalid-event-number":-1}"#).unwrap_err().event, None);
    }

    #[test]
    fn only_what_is_true_is_acknowledged() {
        assert_eq!(acknowledged(200, br#"{"acks":{"0":true,"1":false,"12":true,"x":true,"3":1}}"#), Ok(vec![0, 12]));
        assert_eq!(
            acknowledged(400, br#"{"text":"ACK is disabled","code":14}"#).unwrap_err().class,
            Class::AckDisabled
        );
        assert_eq!(acknowledged(200, b"ok").unwrap_err().class, Class::Foreign);
    }
}
