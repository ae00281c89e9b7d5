//! What is said at the start and by `check --connect`: each trouble in words that say what to do.

use serde_json::json;
use tunnelog::sink::ConnectError;

use super::collector::{Fault, TOKEN};
use super::destination::Splunk;

#[track_caller]
fn check(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is missing in: {text}");
    }
    assert!(text.len() < 500 && !text.contains('\n') && !text.contains("SECRET"), "{text}");
}

async fn standing(splunk: &Splunk) -> String {
    let probed = splunk.probe().await;
    match splunk.connect().await.err() {
        Some(ConnectError::Standing(text)) => {
            assert_eq!(probed, Err(ConnectError::Standing(text.clone())), "`check` says the same");
            text
        }
        other => panic!("not standing: {other:?}"),
    }
}

async fn passing(splunk: &Splunk) -> String {
    match splunk.connect().await.err() {
        Some(ConnectError::Passing(text)) => text,
        other => panic!("not passing: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_well_is_said_to_be_and_gets_no_event() {
    let splunk = Splunk::with(json!({"index": "vpn"}));
    let text = splunk.probe().await.unwrap();
    check(&text, &[&splunk.collector.address, "with indexer acknowledgement", "index `vpn`"]);
    let splunk = Splunk::with(json!({"acknowledgement": false}));
    check(&splunk.probe().await.unwrap(), &["received, not indexed", "the token's own index"]);
    assert!(splunk.collector.state().requests.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_named_and_not_shown() {
    for acknowledgement in [true, false] {
        let mut splunk = Splunk::with(json!({"acknowledgement": acknowledgement}));
        splunk.config.token = Some(format!("{TOKEN}-old"));
        check(&standing(&splunk).await, &["does not know the token", "code 4: Invalid token"]);
        let splunk = Splunk::with(json!({"acknowledgement": acknowledgement}));
        splunk.collector.state().disabled = true;
        check(&standing(&splunk).await, &["the token is disabled; enable it in Settings", "code 1"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_with_the_other_acknowledgement_is_named() {
    let splunk = Splunk::new();
    splunk.collector.state().no_acknowledgement = true;
    check(&standing(&splunk).await, &["has no indexer acknowledgement; switch it on", "code 14"]);
    let splunk = Splunk::with(json!({"acknowledgement": false}));
    splunk.collector.state().no_acknowledgement = false;
    check(&standing(&splunk).await, &["leave out `acknowledgement: false`", "code 10"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_no_collector_is_named() {
    let mut splunk = Splunk::new();
    splunk.config.endpoints[0] += "/elsewhere";
    check(&standing(&splunk).await, &["no HTTP Event Collector answers there", "HTTP 404"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_or_unwell_may_come_back() {
    let mut splunk = Splunk::new();
    splunk.collector.state().health = Some((503, 18));
    check(&passing(&splunk).await, &["queues are full", "code 18"]);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    splunk.config.endpoints[0] = format!("http://{closed}");
    check(&passing(&splunk).await, &[&closed.to_string(), "Connection refused"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_endpoint_that_is_there_is_enough_to_start() {
    let mut splunk = Splunk::new();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    splunk.config.endpoints.push(format!("http://{closed}"));
    assert!(splunk.connect().await.is_ok());
    assert!(matches!(splunk.probe().await, Err(ConnectError::Passing(_))), "but `check` names it");
}

/// What repeats a request's headers on the way must not bring the token into a log.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_shows_the_token_is_not_repeated() {
    let splunk = Splunk::new();
    let page: &'static str = Box::leak(format!("denied: Authorization: Splunk {TOKEN}").into_boxed_str());
    splunk.collector.state().next_question.push_back(Fault::Answer(407, 0, page));
    let text = splunk.connect().await.err().unwrap().to_string();
    check(&text, &["denied: Authorization: Splunk [hidden]"]);
}
