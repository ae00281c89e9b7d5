//! What a stream's description says: whether it can be written to, where it delivers, and whether its records may hold
//! many events. The table and its reasons are in the documentation of the parent module.

use aws_sdk_firehose::types::{
    CompressionFormat, DeliveryStreamDescription, DeliveryStreamStatus, DeliveryStreamType, DestinationDescription,
    ExtendedS3DestinationDescription, ProcessingConfiguration, Processor, ProcessorParameterName, ProcessorType,
    S3DestinationDescription as S3,
};

/// Where a stream delivers, and how it wants its records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Destination {
    /// For example "S3 bucket `lake`".
    pub place: String,
    /// Why a record must hold one event only; none: it may hold many.
    pub one_event_because: Option<&'static str>,
    /// Why its records must not be compressed; none: they may be.
    pub plain_because: Option<&'static str>,
}

/// Reads the description; an error says why the stream cannot be written to and what to do.
pub(super) fn read(description: &DeliveryStreamDescription) -> Result<Destination, String> {
    can_be_written(description)?;
    let Some(destination) = description.destinations().first() else {
        return Ok(one_event("an unknown destination", UNKNOWN));
    };
    let (place, processing, fixed) = kind(destination);
    if has(processing, &ProcessorType::Decompression) {
        return Err(DECOMPRESSION.into());
    }
    let extended = destination.extended_s3_destination_description();
    let because = fixed.or_else(|| because_of_processing(processing, extended));
    Ok(Destination { place, one_event_because: because, plain_because: because_of_reading(destination, processing) })
}

/// What is said of a stream that takes records of CloudWatch Logs only.
pub(super) const DECOMPRESSION: &str = "it has the decompression of CloudWatch Logs switched on and takes records of \
    nobody else; switch it off (`Turn on decompression`, `aws firehose update-destination`), or make a stream of its \
    own for tunnelog";

const UNKNOWN: &str = "it is unknown whether its destination takes several in one";

fn one_event(place: impl Into<String>, because: &'static str) -> Destination {
    Destination { place: place.into(), one_event_because: Some(because), plain_because: Some(NOT_S3) }
}

fn can_be_written(description: &DeliveryStreamDescription) -> Result<(), String> {
    match description.delivery_stream_type() {
        DeliveryStreamType::DirectPut => {}
        DeliveryStreamType::KinesisStreamAsSource => {
            return Err("it reads from a Kinesis stream and takes nothing from elsewhere; make a stream whose source \
                is Direct PUT"
                .into());
        }
        other => {
            return Err(format!(
                "its source is {}, and it takes nothing from elsewhere; make a stream whose source is Direct PUT",
                other.as_str()
            ));
        }
    }
    match description.delivery_stream_status() {
        DeliveryStreamStatus::Active => Ok(()),
        DeliveryStreamStatus::Creating => Err("it is still being created; start again when it is ACTIVE".into()),
        DeliveryStreamStatus::Deleting => {
            Err("it is being deleted, and what it takes now may never be delivered; name another one".into())
        }
        other => Err(format!("it is {}; mend it until it is ACTIVE, or name another one", other.as_str())),
    }
}

/// A destination's name, what happens to its records on the way, and why they must hold one event where it is known
/// from the kind alone.
fn kind(of: &DestinationDescription) -> (String, Option<&ProcessingConfiguration>, Option<&'static str>) {
    const DOCUMENT: &str = "OpenSearch takes one JSON object a record";
    const ROW: &str = "each record becomes one row";
    if let Some(search) = of.amazonopensearchservice_destination_description() {
        let place = search.domain_arn().or(search.cluster_endpoint()).unwrap_or_default();
        return (named("OpenSearch", place), search.processing_configuration(), Some(DOCUMENT));
    }
    if let Some(search) = of.amazon_open_search_serverless_destination_description() {
        let place = search.collection_endpoint().unwrap_or_default();
        return (named("OpenSearch Serverless", place), search.processing_configuration(), Some(DOCUMENT));
    }
    if let Some(search) = of.elasticsearch_destination_description() {
        let place = search.domain_arn().or(search.cluster_endpoint()).unwrap_or_default();
        return (named("Elasticsearch", place), search.processing_configuration(), Some(DOCUMENT));
    }
    if let Some(splunk) = of.splunk_destination_description() {
        let because = "Splunk breaks records into events by the rules of its source type";
        let place = named("Splunk", splunk.hec_endpoint().unwrap_or_default());
        return (place, splunk.processing_configuration(), Some(because));
    }
    if let Some(http) = of.http_endpoint_destination_description() {
        let name = http.endpoint_configuration().and_then(|endpoint| endpoint.name()).unwrap_or_default();
        let because = "receivers at HTTP endpoints take a record for one event";
        return (named("HTTP endpoint", name), http.processing_configuration(), Some(because));
    }
    if let Some(snowflake) = of.snowflake_destination_description() {
        let place = named("Snowflake table", snowflake.table().unwrap_or_default());
        return (place, snowflake.processing_configuration(), Some(ROW));
    }
    if let Some(iceberg) = of.iceberg_destination_description() {
        return ("Iceberg tables".into(), iceberg.processing_configuration(), Some(ROW));
    }
    lines(of)
}

/// Destinations that take lines: S3, and Redshift, which loads them from S3.
fn lines(of: &DestinationDescription) -> (String, Option<&ProcessingConfiguration>, Option<&'static str>) {
    if let Some(redshift) = of.redshift_destination_description() {
        let table = redshift.copy_command().map_or("", |copy| copy.data_table_name());
        return (named("Redshift table", table), redshift.processing_configuration(), None);
    }
    if let Some(s3) = of.extended_s3_destination_description() {
        return (bucket(s3.bucket_arn()), s3.processing_configuration(), None);
    }
    match of.s3_destination_description() {
        Some(s3) => (bucket(s3.bucket_arn()), None, None),
        None => ("a destination that this version does not know".into(), None, Some(UNKNOWN)),
    }
}

fn named(kind: &str, name: &str) -> String {
    if name.is_empty() { kind.to_owned() } else { format!("{kind} `{name}`") }
}

fn bucket(arn: &str) -> String {
    named("S3 bucket", arn.rsplit(':').next().unwrap_or(arn))
}

fn because_of_processing(
    processing: Option<&ProcessingConfiguration>,
    s3: Option<&ExtendedS3DestinationDescription>,
) -> Option<&'static str> {
    if has(processing, &ProcessorType::Lambda) {
        return Some("its Lambda function may take each record for one event");
    }
    let partitions = s3.and_then(|s3| s3.dynamic_partitioning_configuration());
    let partitions = partitions.is_some_and(|partitions| partitions.enabled() == Some(true));
    if (partitions || has(processing, &ProcessorType::MetadataExtraction)) && !takes_lines_apart(processing) {
        return Some("its dynamic partitioning reads one event a record (switch on its deaggregation of JSON)");
    }
    None
}

const NOT_S3: &str = "only buckets take what is compressed already";

/// Why a stream has to be able to read its records. Compressed ones must reach the bucket as they are: a chain of gzip
/// members or Zstandard frames.
fn because_of_reading(
    of: &DestinationDescription,
    processing: Option<&ProcessingConfiguration>,
) -> Option<&'static str> {
    let s3 = of.extended_s3_destination_description();
    let Some(format) =
        s3.map(|s3| s3.compression_format()).or(of.s3_destination_description().map(S3::compression_format))
    else {
        return Some(NOT_S3);
    };
    if of.redshift_destination_description().is_some() {
        return Some(NOT_S3);
    }
    if *format != CompressionFormat::Uncompressed {
        return Some("it compresses its objects itself (set its compression to UNCOMPRESSED)");
    }
    if s3.and_then(|s3| s3.data_format_conversion_configuration()).is_some_and(|of| of.enabled() != Some(false)) {
        return Some("it converts its records and has to read them (switch off record format conversion)");
    }
    if !processors(processing).is_empty() {
        return Some("it processes its records and has to read them (switch off its processing)");
    }
    None
}

fn processors(processing: Option<&ProcessingConfiguration>) -> &[Processor] {
    match processing {
        Some(processing) if processing.enabled() != Some(false) => processing.processors(),
        _ => &[],
    }
}

fn has(processing: Option<&ProcessingConfiguration>, kind: &ProcessorType) -> bool {
    processors(processing).iter().any(|processor| processor.r#type() == kind)
}

/// Whether deaggregation finds newline-ended JSON objects in a record.
fn takes_lines_apart(processing: Option<&ProcessingConfiguration>) -> bool {
    let deaggregates = |processor: &&Processor| *processor.r#type() == ProcessorType::RecordDeAggregation;
    let Some(processor) = processors(processing).iter().find(deaggregates) else { return false };
    let value = |name: ProcessorParameterName| {
        let parameter = processor.parameters().iter().find(|parameter| *parameter.parameter_name() == name);
        parameter.map(|parameter| parameter.parameter_value())
    };
    match value(ProcessorParameterName::SubRecordType) {
        Some("JSON") => true,
        // The delimiter is base64; "XG4=" is what AWS's own examples have for a newline: a backslash and an n.
        Some("DELIMITED") => matches!(value(ProcessorParameterName::Delimiter), Some("\n" | "\\n" | "Cg==" | "XG4=")),
        _ => false,
    }
}

#[cfg(test)]
#[path = "destination_tests.rs"]
mod tests;
