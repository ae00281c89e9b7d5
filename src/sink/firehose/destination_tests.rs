//! The table of the parent module's documentation, from descriptions as Firehose gives them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

use aws_sdk_firehose::types::*;

use super::*;

fn stream(destination: DestinationDescription) -> DeliveryStreamDescription {
    DeliveryStreamDescription::builder()
        .delivery_stream_name("vpn")
        .delivery_stream_arn("arn:aws:firehose:eu-west-1:123456789012:deliverystream/vpn")
        .delivery_stream_status(DeliveryStreamStatus::Active)
        .delivery_stream_type(DeliveryStreamType::DirectPut)
        .version_id("1")
        .destinations(destination)
        .has_more_destinations(false)
        .build()
        .unwrap()
}

fn to() -> builders::DestinationDescriptionBuilder {
    DestinationDescription::builder().destination_id("destinationId-000000000001")
}

fn backup() -> S3DestinationDescription {
    S3DestinationDescription::builder()
        .role_arn("arn:aws:iam::123456789012:role/r")
        .bucket_arn("arn:aws:s3:::lake")
        .compression_format(CompressionFormat::Gzip)
        .build()
        .unwrap()
}

fn s3() -> builders::ExtendedS3DestinationDescriptionBuilder {
    ExtendedS3DestinationDescription::builder()
        .role_arn("arn:aws:iam::123456789012:role/r")
        .bucket_arn("arn:aws:s3:::lake")
        .compression_format(CompressionFormat::Gzip)
}

fn processing(processors: &[(ProcessorType, &[(ProcessorParameterName, &str)])]) -> ProcessingConfiguration {
    let processor = |(kind, parameters): &(ProcessorType, &[(ProcessorParameterName, &str)])| {
        let parameters = parameters.iter().map(|(name, value)| {
            ProcessorParameter::builder().parameter_name(name.clone()).parameter_value(*value).build().unwrap()
        });
        Processor::builder().r#type(kind.clone()).set_parameters(Some(parameters.collect())).build().unwrap()
    };
    let processors = processors.iter().map(processor).collect();
    ProcessingConfiguration::builder().enabled(true).set_processors(Some(processors)).build()
}

/// `because` is a part of the reason; none: packed.
#[track_caller]
fn check(destination: builders::DestinationDescriptionBuilder, place: &str, because: Option<&str>) {
    let found = read(&stream(destination.build().unwrap())).unwrap();
    assert_eq!(found.place, place);
    match (found.one_event_because, because) {
        (None, None) => {}
        (Some(found), Some(because)) => assert!(found.contains(because), "{found}"),
        (found, because) => panic!("{place}: {found:?} in place of {because:?}"),
    }
}

#[track_caller]
fn check_s3(s3: builders::ExtendedS3DestinationDescriptionBuilder, because: Option<&str>) {
    // AWS describes a bucket in both forms.
    let to = to().s3_destination_description(backup()).extended_s3_destination_description(s3.build().unwrap());
    check(to, "S3 bucket `lake`", because);
}

fn partitioned() -> builders::ExtendedS3DestinationDescriptionBuilder {
    let partitions = DynamicPartitioningConfiguration::builder().enabled(true).build();
    s3().dynamic_partitioning_configuration(partitions)
}

#[test]
fn a_bucket_takes_many_events_a_record() {
    check_s3(s3(), None);
    check(to().s3_destination_description(backup()), "S3 bucket `lake`", None);
    let parquet = DataFormatConversionConfiguration::builder().enabled(true).build();
    check_s3(s3().data_format_conversion_configuration(parquet), None);
    check_s3(s3().processing_configuration(processing(&[(ProcessorType::AppendDelimiterToRecord, &[])])), None);
}

#[test]
fn a_function_gets_one_event_a_record() {
    let lambda = processing(&[(ProcessorType::Lambda, &[(ProcessorParameterName::LambdaArn, "arn")])]);
    check_s3(s3().processing_configuration(lambda.clone()), Some("Lambda"));
    let off = ProcessingConfiguration::builder().enabled(false).set_processors(lambda.processors).build();
    check_s3(s3().processing_configuration(off), None);
}

#[test]
fn dynamic_partitioning_takes_one_event_unless_it_takes_records_apart() {
    use ProcessorParameterName::{Delimiter, JsonParsingEngine, SubRecordType};
    let query = (ProcessorType::MetadataExtraction, &[(JsonParsingEngine, "JQ-1.6")][..]);
    fn apart(parameters: &[(ProcessorParameterName, &str)]) -> ProcessingConfiguration {
        let query = &[(ProcessorParameterName::JsonParsingEngine, "JQ-1.6")][..];
        processing(&[(ProcessorType::MetadataExtraction, query), (ProcessorType::RecordDeAggregation, parameters)])
    }
    check_s3(partitioned(), Some("dynamic partitioning"));
    check_s3(partitioned().processing_configuration(processing(&[query])), Some("dynamic partitioning"));
    check_s3(partitioned().processing_configuration(apart(&[(SubRecordType, "JSON")])), None);
    for newline in ["\n", "\\n", "Cg==", "XG4="] {
        let parameters = [(SubRecordType, "DELIMITED"), (Delimiter, newline)];
        check_s3(partitioned().processing_configuration(apart(&parameters)), None);
    }
    let by_bars = apart(&[(SubRecordType, "DELIMITED"), (Delimiter, "fA==")]);
    check_s3(partitioned().processing_configuration(by_bars), Some("dynamic partitioning"));
    let both =
        processing(&[(ProcessorType::RecordDeAggregation, &[(SubRecordType, "JSON")]), (ProcessorType::Lambda, &[])]);
    check_s3(partitioned().processing_configuration(both), Some("Lambda"));
}

#[test]
fn redshift_loads_lines() {
    let copy = CopyCommand::builder().data_table_name("vpn_events").build().unwrap();
    let redshift = RedshiftDestinationDescription::builder()
        .role_arn("arn:aws:iam::123456789012:role/r")
        .cluster_jdbcurl("jdbc:redshift://x")
        .copy_command(copy)
        .s3_destination_description(backup())
        .build()
        .unwrap();
    check(to().redshift_destination_description(redshift), "Redshift table `vpn_events`", None);
}

#[test]
fn what_makes_a_record_one_thing_gets_one_event() {
    // A backup bucket does not make it a bucket.
    let search = AmazonopensearchserviceDestinationDescription::builder()
        .domain_arn("arn:aws:es:eu-west-1:123456789012:domain/siem")
        .s3_destination_description(backup())
        .build();
    let place = "OpenSearch `arn:aws:es:eu-west-1:123456789012:domain/siem`";
    check(to().amazonopensearchservice_destination_description(search), place, Some("one JSON object"));
    let serverless =
        AmazonOpenSearchServerlessDestinationDescription::builder().collection_endpoint("https://c").build();
    let serverless = to().amazon_open_search_serverless_destination_description(serverless);
    check(serverless, "OpenSearch Serverless `https://c`", Some("one JSON object"));
    let elastic = ElasticsearchDestinationDescription::builder().build();
    check(to().elasticsearch_destination_description(elastic), "Elasticsearch", Some("one JSON object"));
    for kind in [HecEndpointType::Raw, HecEndpointType::Event] {
        let splunk = SplunkDestinationDescription::builder().hec_endpoint("https://s").hec_endpoint_type(kind).build();
        check(to().splunk_destination_description(splunk), "Splunk `https://s`", Some("source type"));
    }
    let http = HttpEndpointDestinationDescription::builder()
        .endpoint_configuration(HttpEndpointDescription::builder().name("siem").build())
        .build();
    check(to().http_endpoint_destination_description(http), "HTTP endpoint `siem`", Some("one event"));
    let snowflake = SnowflakeDestinationDescription::builder().table("EVENTS").build();
    check(to().snowflake_destination_description(snowflake), "Snowflake table `EVENTS`", Some("one row"));
    let iceberg = IcebergDestinationDescription::builder().build();
    check(to().iceberg_destination_description(iceberg), "Iceberg tables", Some("one row"));
    check(to(), "a destination that this version does not know", Some("unknown"));
}
