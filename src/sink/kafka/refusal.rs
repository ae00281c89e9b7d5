//! What an error of a message means, and what to do about it.

use rdkafka::types::RDKafkaErrorCode as Code;

/// What becomes of a message that was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    /// It is refused for what it is, and will be again: a dead letter with this reason.
    Reject(&'static str),
    /// Another try helps, perhaps once a person has done something.
    Retry,
    /// The producer has come to its end; a new one goes on.
    Fatal,
}

/// One decision for every error. Only the codes that name the message itself are refusals: whatever is not known is
/// tried again, since a loss is never success.
pub(super) fn classify(code: Code) -> Class {
    match code {
        Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::MessageBatchTooLarge => Class::Reject("too_large"),
        Code::InvalidRecord => Class::Reject("invalid_record"),
        Code::InvalidTimestamp => Class::Reject("invalid_timestamp"),
        Code::PolicyViolation => Class::Reject("policy_violation"),
        Code::Fatal
        | Code::GaplessGuarantee
        | Code::Fenced
        | Code::Inconsistent
        | Code::OutOfOrderSequenceNumber
        | Code::DuplicateSequenceNumber
        | Code::InvalidProducerEpoch
        | Code::InvalidProducerIdMapping
        | Code::UnknownProducerId
        | Code::ProducerFenced
        | Code::PurgeQueue
        | Code::PurgeInflight => Class::Fatal,
        _ => Class::Retry,
    }
}

/// What the message's dead letter says.
pub(super) fn detail(code: Code, topic: &str) -> String {
    let remedy = match code {
        Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::MessageBatchTooLarge => {
            "raise `message.max.bytes` under `librdkafka` and the topic's `max.message.bytes`, then replay it"
        }
        Code::InvalidTimestamp => {
            "its time is too far from the broker's: see the topic's `message.timestamp.after.max.ms` and \
             `message.timestamp.before.max.ms`"
        }
        Code::InvalidRecord => "a compacted topic needs keys (`key`), a broker-side schema a matching format",
        _ => "see the topic's policy",
    };
    format!("topic `{topic}` refuses it: {code}; {remedy}")
}

/// What is wrong with a topic, for a person.
pub(super) fn explain(code: Code, topic: &str, brokers: &str) -> String {
    let remedy = match code {
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition | Code::LeaderNotAvailable => {
            "create it, or correct `topic`"
        }
        Code::InvalidTopic => "correct `topic`",
        Code::TopicAuthorizationFailed => {
            "allow this user to describe and write it (ACL `Describe` and `Write`; on Amazon MSK with IAM \
             `kafka-cluster:DescribeTopic` and `kafka-cluster:WriteData`)"
        }
        Code::ClusterAuthorizationFailed => {
            "allow this user idempotent writes (ACL `IdempotentWrite` on the cluster; on Amazon MSK with IAM \
             `kafka-cluster:WriteDataIdempotently`)"
        }
        _ => "it is tried again",
    };
    format!("topic `{topic}` at {brokers}: {code}; {remedy}")
}

/// What to do about a failing connection.
pub(super) fn connection_remedy(code: Code) -> &'static str {
    match code {
        Code::SSL => {
            "check that the port speaks TLS, that `tls.ca` holds the authority that signed the broker's certificate, \
             and that the broker is addressed by a name in it"
        }
        Code::Authentication | Code::SaslAuthenticationFailed => {
            "check `sasl`: user name, password, mechanism, and with Amazon MSK the permission `kafka-cluster:Connect`"
        }
        Code::UnsupportedSASLMechanism => "choose a `sasl.mechanism` that this listener has",
        Code::Resolve => "check the brokers' names in `brokers` and the name resolution here",
        _ => {
            "check the addresses in `brokers`, the way there (firewall, security group), and whether the port wants \
             `tls` or `sasl`"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_names_the_message_is_a_refusal() {
        assert_eq!(classify(Code::MessageSizeTooLarge), Class::Reject("too_large"));
        assert_eq!(classify(Code::InvalidRecord), Class::Reject("invalid_record"));
        // A neighbour in its batch was: it is sent again.
        assert_eq!(classify(Code::InvalidDifferentRecord), Class::Retry);
        assert_eq!(classify(Code::TopicAuthorizationFailed), Class::Retry);
        assert_eq!(classify(Code::UnknownTopicOrPartition), Class::Retry);
        assert_eq!(classify(Code::OutOfOrderSequenceNumber), Class::Fatal);
        assert_eq!(classify(Code::Unknown), Class::Retry);
    }
}
