//! Codes to classes, and the texts that a person reads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

use std::io::{Read as _, Write as _};

use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_firehose::config::{Credentials, SharedCredentialsProvider};

use super::*;

const CODES: &[(Class, &[&str])] = &[
    (
        Class::Throttled,
        &[
            "ProvisionedThroughputExceededException",
            "LimitExceededException",
            "ThrottlingException",
            "Throttling",
            "RequestLimitExceeded",
            "SlowDown",
            "KMSThrottlingException",
        ],
    ),
    (
        Class::Unavailable,
        &["InternalFailure", "InternalError", "ServiceUnavailable", "ServiceUnavailableException", "RequestTimeout"],
    ),
    (
        Class::Credentials,
        &[
            "ExpiredToken",
            "ExpiredTokenException",
            "InvalidClientTokenId",
            "UnrecognizedClientException",
            "InvalidAccessKeyId",
            "SignatureDoesNotMatch",
            "InvalidSignatureException",
            "MissingAuthenticationTokenException",
            "RequestTimeTooSkewed",
        ],
    ),
    (Class::Denied, &["AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "NotAuthorized"]),
    (Class::Missing, &["ResourceNotFoundException", "NoSuchBucket", "NoSuchKey", "PermanentRedirect"]),
    (
        Class::Kms,
        &[
            "KMSAccessDeniedException",
            "KMSDisabledException",
            "KMSInvalidStateException",
            "KMSNotFoundException",
            "KMSOptInRequired",
            "InvalidKMSResourceException",
        ],
    ),
    (
        Class::Invalid,
        &["InvalidArgumentException", "ValidationException", "SerializationException", "InvalidSourceException"],
    ),
];

#[test]
fn codes_have_their_class_whatever_the_status() {
    for (class, codes) in CODES {
        for code in *codes {
            for status in [200, 400, 500] {
                assert_eq!(class_of(code, status), *class, "{code} with {status}");
            }
        }
    }
}

#[test]
fn a_status_decides_where_the_code_is_unknown() {
    let cases = [
        (400, Class::Invalid),
        (401, Class::Denied),
        (403, Class::Denied),
        (404, Class::Missing),
        (429, Class::Throttled),
        (500, Class::Unavailable),
        (503, Class::Unavailable),
    ];
    for (status, class) in cases {
        assert_eq!(class_of("SomethingNew", status), class, "{status}");
        assert_eq!(class_of("", status), class, "{status}");
    }
}

const SECRET: &str = "NEVER-SHOW-THIS-KEY";

fn config(endpoint: &str) -> aws_sdk_firehose::config::Builder {
    let credentials = Credentials::new("any", SECRET, Some(SECRET.into()), None, "test");
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("eu-west-1"))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build();
    aws_sdk_firehose::config::Builder::from(&config).retry_config(RetryConfig::disabled())
}

/// The text of a failed call, with `ENDPOINT` in its place.
async fn explained(config: aws_sdk_firehose::config::Builder, endpoint: &str) -> (Class, String) {
    let client = aws_sdk_firehose::Client::from_conf(config.build());
    let error = client.describe_delivery_stream().delivery_stream_name("vpn").send().await.unwrap_err();
    let place = Place {
        what: "delivery stream",
        name: "vpn".into(),
        region: "eu-west-1".into(),
        endpoint: Some(endpoint.into()),
    };
    let error = explain(&error, "firehose:DescribeDeliveryStream", &place);
    let text = error.to_string();
    assert!(!text.contains(SECRET) && !format!("{error:?}").contains(SECRET), "a secret: {text}");
    (error.class, text.replace(endpoint, "ENDPOINT"))
}

/// Answers one connection with these bytes, and ends.
fn answering(answer: String) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::Builder::new()
        .spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let _ = connection.read(&mut request).unwrap();
            connection.write_all(answer.as_bytes()).unwrap();
        })
        .unwrap();
    endpoint
}

async fn answered(status: u16, body: &str) -> (Class, String) {
    let endpoint = answering(format!(
        "HTTP/1.1 {status} Answer\r\nContent-Type: application/x-amz-json-1.1\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    explained(config(&endpoint), &endpoint).await
}

const SET_BY: &str = "(set by `aws.endpoint`, `--endpoint` or AWS_ENDPOINT_URL)";

const AT: &str = "firehose:DescribeDeliveryStream on delivery stream `vpn` in eu-west-1 at ENDPOINT";

#[tokio::test]
async fn an_answer_is_told_with_what_to_do() {
    let (class, text) = answered(400, r#"{"__type":"ResourceNotFoundException","message":"vpn is not there"}"#).await;
    let remedy = "create it, or correct the name or the Region: here it was looked for in eu-west-1, where \
                  `aws.region` decides";
    assert_eq!(text, format!("{AT} failed: ResourceNotFoundException: vpn is not there; {remedy}"));
    assert_eq!(class, Class::Missing);
    let (class, text) = answered(400, r#"{"__type":"AccessDeniedException","message":"no"}"#).await;
    let remedy = "allow `firehose:DescribeDeliveryStream` on it for these credentials, also in its own policy";
    assert_eq!(text, format!("{AT} failed: AccessDeniedException: no; {remedy}"));
    assert_eq!(class, Class::Denied);
    let (class, text) = answered(503, "").await;
    assert_eq!(class, Class::Unavailable);
    assert!(
        text.starts_with(&format!(
            "{AT} failed: HTTP status 503; check that ENDPOINT can be reached from here {SET_BY}"
        )),
        "{text}"
    );
    let (class, text) = answered(403, "<html>proxy</html>").await;
    assert_eq!(class, Class::Denied);
    assert!(text.starts_with(&format!("{AT} failed: HTTP status 403; allow")), "{text}");
}

#[tokio::test]
async fn a_page_for_an_answer_is_no_service() {
    let (class, text) = answered(200, "<html>hello</html>").await;
    assert!(text.starts_with(&format!("{AT} was answered strangely: ")), "{text}");
    assert!(text.ends_with("; check that its endpoint is the service") && text.len() < 400, "{text}");
    assert_eq!(class, Class::Unavailable);
}

#[tokio::test]
async fn long_answers_are_cut_and_stay_in_one_line() {
    let long = format!(r#"{{"__type":"ValidationException","message":"one\ntwo{}"}}"#, "x".repeat(9_000));
    let (_, text) = answered(400, &long).await;
    assert!(text.contains("onetwoxxx") && !text.contains('\n') && text.len() < 800, "{text}");
}

#[tokio::test]
async fn a_closed_port_is_told_in_a_line() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = format!("http://{closed}");
    let (class, text) = explained(config(&endpoint), &endpoint).await;
    let why = "tcp connect error: Connection refused (os error 111)";
    assert_eq!(text, format!("{AT} failed: {why}; check that ENDPOINT can be reached from here {SET_BY}"));
    assert_eq!(class, Class::Unavailable);
}

#[tokio::test]
async fn a_connection_that_ends_without_an_answer_is_told_in_a_line() {
    let endpoint = answering(String::new());
    let (class, text) = explained(config(&endpoint), &endpoint).await;
    assert!(text.contains("connection") && text.len() < 300, "{text}");
    assert_eq!(class, Class::Unavailable);
}

#[tokio::test]
async fn missing_credentials_are_told_in_a_line() {
    // A profile that no machine has.
    let provider =
        aws_config::profile::ProfileFileCredentialsProvider::builder().profile_name("tunnelog-test-nobody").build();
    let endpoint = "http://127.0.0.1:9";
    let config = config(endpoint).credentials_provider(SharedCredentialsProvider::new(provider));
    let (class, text) = explained(config, endpoint).await;
    assert_eq!(class, Class::Credentials);
    let remedy = "check the credentials: environment variables, profile, the container's or the instance's role, and \
                  `aws.assume_role` with its trust policy";
    assert!(text.starts_with(&format!("{AT} failed: ")) && text.ends_with(remedy), "{text}");
    assert!(text.len() < 600 && !text.contains("DispatchFailure"), "{text}");
}
