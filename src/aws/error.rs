//! What an SDK error means, and what to do about it.

use std::fmt;

use aws_sdk_sts::config::http::HttpResponse;
use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};

/// What kind of failure it is; decides whether another try helps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Too many calls or bytes: slow down.
    Throttled,
    /// The service or the way to it failed: try again.
    Unavailable,
    /// Credentials are missing, expired or wrong.
    Credentials,
    /// They are good and not allowed to do this.
    Denied,
    /// The thing is not there.
    Missing,
    /// The KMS key that protects it is disabled, missing or not allowed.
    Kms,
    /// The request is refused for what it says.
    Invalid,
}

impl Class {
    /// Whether it may pass by itself: in a running pipeline everything but a refused request may, once a person has
    /// mended it.
    pub fn passes(self) -> bool {
        self != Class::Invalid
    }
}

/// Where something is, for a message.
#[derive(Clone, Debug)]
pub struct Place {
    /// For example `stream`.
    pub what: &'static str,
    /// Its name or ARN.
    pub name: String,
    /// The Region.
    pub region: String,
    /// The configured endpoint.
    pub endpoint: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}` in {}", self.what, self.name, self.region)?;
        match &self.endpoint {
            Some(endpoint) => write!(f, " at {endpoint}"),
            None => Ok(()),
        }
    }
}

/// An error of an AWS call, for a person.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct AwsError {
    /// What kind.
    pub class: Class,
    /// The service's own code, for example `AccessDeniedException`.
    pub code: Option<String>,
    text: String,
}

impl AwsError {
    /// An answer that is not what the service's model promises.
    pub fn malformed(operation: &str, place: &Place, what: &str) -> AwsError {
        let text =
            format!("{operation} on {place} was answered strangely: {what}; check that its endpoint is the service");
        AwsError { class: Class::Unavailable, code: None, text }
    }

    /// An error that came inside a stream of events: the service's `code` and words, or what broke the stream.
    pub(crate) fn in_stream(operation: &str, place: &Place, code: Option<&str>, said: &str) -> AwsError {
        // Its status was 200 long ago: what has no code that is known is a failure of the service or of the way.
        let class = code.map_or(Class::Unavailable, |code| class_of(code, 500));
        let shown = shorten(said);
        let why = [code.unwrap_or_default(), &shown].into_iter().filter(|part| !part.is_empty());
        let why = why.collect::<Vec<_>>().join(": ");
        let remedy = remedy(class, operation, place);
        AwsError {
            class,
            code: code.map(str::to_owned),
            text: format!("{operation} on {place} broke off: {why}; {remedy}"),
        }
    }
}

/// Longest text of a service that is repeated: some answer with pages.
const LONGEST_TEXT: usize = 400;

fn shorten(said: &str) -> String {
    said.chars().filter(|character| !character.is_control()).take(LONGEST_TEXT).collect()
}

/// What went wrong with `operation` (as in an IAM policy: `kinesis:GetRecords`) on `place`.
pub fn explain<E>(error: &SdkError<E, HttpResponse>, operation: &str, place: &Place) -> AwsError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let (class, code, said) = match error {
        SdkError::ServiceError(service) => {
            let code = service.err().code().map(str::to_owned);
            let class = class_of(code.as_deref().unwrap_or_default(), service.raw().status().as_u16());
            (class, code, service.err().message().unwrap_or_default().to_owned())
        }
        // A proxy, a load balancer or another service says something that is none of this service's answers.
        SdkError::ResponseError(response) => {
            let status = response.raw().status();
            if status.is_success() {
                return AwsError::malformed(operation, place, &shorten(&causes(error)));
            }
            (class_of("", status.as_u16()), None, format!("HTTP status {}", status.as_u16()))
        }
        other => {
            // No credentials were found or a role could not be taken on: the request was never sent.
            let class = if is_about_credentials(other) { Class::Credentials } else { Class::Unavailable };
            (class, None, causes(other))
        }
    };
    let shown = shorten(&said);
    let code_shown = code.as_deref().unwrap_or_default();
    let why = [code_shown, &shown].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
    let remedy = remedy(class, operation, place);
    AwsError { class, code, text: format!("{operation} on {place} failed: {why}; {remedy}") }
}

/// What says nothing: layers of the SDK that name the next one.
const LAYERS: [&str; 9] = [
    "dispatch failure",
    "failed to construct request",
    "io error",
    "other",
    "request has timed out",
    "response error",
    "service error",
    "unhandled error",
    "an error occurred while loading credentials",
];

/// The SDK has no class for it: the words of its credentials' errors must do.
fn is_about_credentials(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(|cause| {
        let said = cause.to_string();
        said.contains("redential") || said.contains("identity")
    })
}

/// The causes of a request that got no answer, outermost first: what each layer says beyond the others.
pub(crate) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut cause = Some(error);
    while let Some(error) = cause {
        cause = error.source();
        let said = error.to_string();
        let is_layer = LAYERS.contains(&said.as_str()) || said.starts_with("client error (");
        // The innermost is kept whatever it is: some text is better than none.
        if (is_layer && (cause.is_some() || !parts.is_empty())) || parts.iter().any(|part| part.contains(&said)) {
            continue;
        }
        parts.retain(|part| !said.contains(part.as_str()));
        parts.push(said);
    }
    parts.join(": ")
}

/// Codes are stable words of the services' models; a status decides where a code is unknown.
pub(crate) fn class_of(code: &str, status: u16) -> Class {
    match code {
        "KMSThrottlingException" => Class::Throttled,
        _ if code.starts_with("KMS") || code.starts_with("KmsInvalid") || code == "InvalidKMSResourceException" => {
            Class::Kms
        }
        "ProvisionedThroughputExceededException" | "LimitExceededException" | "SlowDown" | "RequestLimitExceeded" => {
            Class::Throttled
        }
        // Of DynamoDB: two writers met at one item, which passes.
        "TransactionCanceledException" | "TransactionConflictException" | "TransactionInProgressException" => {
            Class::Throttled
        }
        _ if code.contains("Throttl") => Class::Throttled,
        "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" | "NotAuthorized" | "Forbidden" => {
            Class::Denied
        }
        "ExpiredToken"
        | "ExpiredTokenException"
        | "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "InvalidSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "RequestTimeTooSkewed"
        | "IncompleteSignature" => Class::Credentials,
        "ResourceNotFoundException"
        | "NoSuchBucket"
        | "NoSuchKey"
        | "NotFound"
        | "PermanentRedirect"
        | "AuthorizationHeaderMalformed" => Class::Missing,
        "RequestTimeout"
        | "InternalFailure"
        | "InternalError"
        | "ServiceUnavailable"
        | "ServiceUnavailableException" => Class::Unavailable,
        "InvalidArgumentException"
        | "InvalidSourceException"
        | "ValidationException"
        | "ValidationError"
        | "SerializationException"
        | "UnknownOperationException"
        | "InvalidAction" => Class::Invalid,
        _ if status == 429 => Class::Throttled,
        _ if status == 401 || status == 403 => Class::Denied,
        _ if status == 404 || status == 301 => Class::Missing,
        _ if status >= 500 => Class::Unavailable,
        _ => Class::Invalid,
    }
}

fn remedy(class: Class, operation: &str, place: &Place) -> String {
    match class {
        Class::Throttled => "others use up its limit too; it is tried again more slowly".into(),
        Class::Unavailable => match &place.endpoint {
            // The SDK does not say which of the three it took.
            Some(endpoint) => format!(
                "check that {endpoint} can be reached from here (set by `aws.endpoint`, `--endpoint` or AWS_ENDPOINT_URL)"
            ),
            None => "check the network, the proxy and the Region".into(),
        },
        Class::Credentials => {
            "check the credentials: environment variables, profile, the container's or the instance's role, and \
             `aws.assume_role` with its trust policy"
                .into()
        }
        Class::Denied => format!("allow `{operation}` on it for these credentials, also in its own policy"),
        Class::Missing => format!(
            "create it, or correct the name or the Region: here it was looked for in {}, where `aws.region` decides",
            place.region
        ),
        Class::Kms => "enable its KMS key and allow `kms:Decrypt` and `kms:GenerateDataKey` on the key".into(),
        Class::Invalid => "correct this part of the pipeline file".into(),
    }
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
