//! The calls to Firehose, and what their answers mean.
//!
//! One try a call: when to try again is the sink's business, since an answer may be good for some records and not
//! for others.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_firehose::Client;
use aws_sdk_firehose::operation::put_record_batch::PutRecordBatchOutput;
use aws_sdk_firehose::primitives::Blob;
use aws_sdk_firehose::types::{PutRecordBatchResponseEntry, Record};

use super::destination::{self, Destination};
use crate::aws::{AwsError, Class, Place, class_of, explain};
use crate::sink::trouble::Failed;

/// A connection that takes longer is none.
const CONNECT: Duration = Duration::from_secs(5);

/// 4 MiB in this time is 1.1 Mbit/s; an answer that takes longer counts as lost.
const ANSWER: Duration = Duration::from_secs(30);

/// One try of what is asked at the start, so that an address where nobody answers is named soon.
const ANSWER_AT_START: Duration = Duration::from_secs(10);

/// What became of one record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Firehose has it.
    Accepted,
    /// Not now; the text says why.
    Again(String),
    /// Never; the text says why.
    Refused(String),
}

/// Why a whole request failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub class: Class,
    /// The service's own code.
    pub code: Option<String>,
    /// What a person is told.
    pub text: String,
    /// Another try of the same may help; else a part of the request is to blame.
    pub passes: bool,
    /// It passes only when a person has done something.
    pub needs_a_person: bool,
}

impl Failure {
    /// As a try that took nothing.
    pub(super) fn failed(self) -> Failed<(Class, Option<String>)> {
        let Failure { class, code, text, passes, needs_a_person } = self;
        Failed { what: (class, code), text, passes, needs_a_person }
    }
}

/// A delivery stream and the way to it.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    client: Client,
    name: String,
    pub place: Place,
}

impl Stream {
    pub(super) fn new(name: &str, aws: &SdkConfig) -> Stream {
        let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(ANSWER).build();
        let config = aws_sdk_firehose::config::Builder::from(aws)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            .build();
        let place = Place {
            what: "delivery stream",
            name: name.to_owned(),
            region: aws.region().map_or_else(|| "no Region".to_owned(), ToString::to_string),
            endpoint: aws.endpoint_url().map(str::to_owned),
        };
        Stream { client: Client::from_conf(config), name: name.to_owned(), place }
    }

    /// What the stream says of itself.
    pub(super) async fn describe(&self) -> Result<Result<Destination, String>, AwsError> {
        let asked = self.client.describe_delivery_stream().delivery_stream_name(&self.name);
        let answer = asked.customize().config_override(patient()).send().await;
        let answer = answer.map_err(|error| explain(&error, "firehose:DescribeDeliveryStream", &self.place))?;
        match answer.delivery_stream_description() {
            Some(description) => {
                Ok(destination::read(description).map_err(|reason| format!("{}: {reason}", self.place)))
            }
            None => Ok(Err(format!("{}: its description is empty", self.place))),
        }
    }

    /// Whether records would be taken, by a request without any: it cannot be obeyed, so nothing is written, but who is
    /// not allowed to write, or a stream that is not there, is told so. (That AWS looks at permissions before it looks at
    /// the request is not documented; where it does not, the first records tell.)
    pub(super) async fn knock(&self) -> Result<(), Failure> {
        let asked = self.client.put_record_batch().delivery_stream_name(&self.name).set_records(Some(Vec::new()));
        match asked.customize().config_override(patient()).send().await {
            Ok(_) => Ok(()),
            Err(error) => {
                let failure = self.failure(explain(&error, PUT, &self.place));
                // A refusal of the empty request is what was asked for; a throttle passes.
                if failure.needs_a_person { Err(failure) } else { Ok(()) }
            }
        }
    }

    /// Puts records. One verdict a record, in order.
    pub(super) async fn put(&self, records: Vec<Vec<u8>>) -> Result<Vec<Verdict>, Failure> {
        let count = records.len();
        let records = records.into_iter().map(|data| Record::builder().data(Blob::new(data)).build());
        // Only `data` is required, and it is there.
        let records: Vec<Record> = records.filter_map(Result::ok).collect();
        let asked = self.client.put_record_batch().delivery_stream_name(&self.name).set_records(Some(records));
        match asked.send().await {
            Ok(answer) => Ok(verdicts(&answer, count)),
            Err(error) => Err(self.failure(explain(&error, PUT, &self.place))),
        }
    }

    /// Nothing was sent, for a reason of this process.
    pub(super) fn not_sent(&self, error: &std::io::Error) -> Failure {
        let text = format!("a record for {} cannot be compressed: {error}; it is tried again", self.place);
        Failure { class: Class::Unavailable, code: None, text, passes: true, needs_a_person: false }
    }

    fn failure(&self, error: AwsError) -> Failure {
        let is_source = error.code.as_deref() == Some("InvalidSourceException");
        let text =
            if is_source { format!("{}: {}", self.place, destination::DECOMPRESSION) } else { error.to_string() };
        let needs_a_person = is_source
            || match error.class {
                Class::Credentials | Class::Denied | Class::Missing | Class::Kms => true,
                Class::Throttled | Class::Unavailable | Class::Invalid => false,
            };
        Failure {
            class: error.class,
            // Only Firehose's own answer may blame records: a proxy's page on the way passes.
            passes: is_source || error.class.passes() || error.code.is_none(),
            needs_a_person,
            text,
            code: error.code,
        }
    }
}

const PUT: &str = "firehose:PutRecordBatch";

/// At the start the SDK tries again by itself.
fn patient() -> aws_sdk_firehose::config::Builder {
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(ANSWER_AT_START).build();
    aws_sdk_firehose::Config::builder().retry_config(RetryConfig::standard()).timeout_config(timeouts)
}

/// One verdict a record. An answer that does not fit its request is as good as lost: everything is sent again.
fn verdicts(answer: &PutRecordBatchOutput, count: usize) -> Vec<Verdict> {
    let entries = answer.request_responses();
    let verdicts: Vec<Verdict> = entries.iter().map(verdict).collect();
    let failed = verdicts.iter().filter(|verdict| **verdict != Verdict::Accepted).count();
    let said = usize::try_from(answer.failed_put_count()).unwrap_or(usize::MAX);
    if verdicts.len() == count && said <= failed {
        return verdicts;
    }
    let found = entries.len();
    vec![Verdict::Again(format!("an answer of {found} records, {said} of them failed, to a request of {count}")); count]
}

fn verdict(entry: &PutRecordBatchResponseEntry) -> Verdict {
    let Some(code) = entry.error_code().filter(|code| !code.is_empty()) else {
        return match entry.record_id() {
            Some(id) if !id.is_empty() => Verdict::Accepted,
            _ => Verdict::Again("an answer that neither accepts nor refuses the record".into()),
        };
    };
    let text = format!("{code}: {}", entry.error_message().unwrap_or_default());
    // A status of 500, so that a code that nobody knows is tried again.
    if class_of(code, 500).passes() { Verdict::Again(text) } else { Verdict::Refused(text) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]
    use super::*;

    fn answer(failed: i32, entries: &[(&str, &str)]) -> PutRecordBatchOutput {
        let entry = |(id, code): &(&str, &str)| {
            let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            PutRecordBatchResponseEntry::builder().set_record_id(text(id)).set_error_code(text(code)).build()
        };
        let entries = entries.iter().map(entry).collect();
        PutRecordBatchOutput::builder().failed_put_count(failed).set_request_responses(Some(entries)).build().unwrap()
    }

    fn check(failed: i32, entries: &[(&str, &str)], count: usize, expect: &str) {
        let letter = |verdict: &Verdict| match verdict {
            Verdict::Accepted => 'A',
            Verdict::Again(_) => 'g',
            Verdict::Refused(_) => 'R',
        };
        let got: String = verdicts(&answer(failed, entries), count).iter().map(letter).collect();
        assert_eq!(got, expect, "{entries:?}");
    }

    #[test]
    fn each_record_has_its_own_verdict_in_order() {
        check(0, &[("1", ""), ("2", "")], 2, "AA");
        let slow = ("", "ServiceUnavailableException");
        check(2, &[slow, ("2", ""), ("", "InternalFailure")], 3, "gAg");
        check(1, &[("1", ""), ("", "SomethingNew")], 2, "Ag");
        check(1, &[("1", ""), ("", "InvalidArgumentException")], 2, "AR");
        check(1, &[("1", ""), ("", "ThrottlingException")], 2, "Ag");
    }

    #[test]
    fn an_answer_that_does_not_fit_is_as_good_as_lost() {
        check(0, &[("1", "")], 2, "gg");
        check(0, &[], 1, "g");
        check(2, &[("1", ""), ("", "InternalFailure")], 2, "gg");
        check(-1, &[("1", "")], 1, "g");
        check(0, &[("", "")], 1, "g");
    }
}
