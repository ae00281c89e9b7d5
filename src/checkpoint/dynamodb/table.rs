//! The table: made on request, reached with bounded patience, spoken of in words that help.

use std::collections::HashMap;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Builder;
use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TableStatus,
};

use super::items::{BUCKETS, Item, PARTITION, SORT, key, text};
use crate::aws::{AwsError, Class, Place, explain};
use crate::checkpoint::StoreError;
use crate::config::types::{Aws, DynamoDb};

/// To connect.
const CONNECT: Duration = Duration::from_secs(3);
/// For one answer: DynamoDB answers within milliseconds, and the shortest lease (10 s) must survive one that is lost.
const ANSWER: Duration = Duration::from_secs(5);
/// Tries of one call, by the SDK, and the first pause between two.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);
/// A table is made within some seconds.
const MAKING: Duration = Duration::from_secs(300);
/// Between two looks at a table that is being made.
const LOOK: Duration = Duration::from_secs(1);

/// What of the table is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Absent,
    Coming,
    Ready,
}

/// The table, and how it is reached.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) client: Client,
    pub(super) name: String,
    pub(super) place: Place,
}

impl Table {
    pub(super) async fn connect(config: &DynamoDb, aws: Option<&Aws>) -> Result<Table, String> {
        Ok(Table::new(config, &crate::aws::sdk_config(aws, None).await?))
    }

    pub(super) fn new(config: &DynamoDb, sdk: &SdkConfig) -> Table {
        let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(ANSWER);
        let retry = RetryConfig::standard().with_max_attempts(TRIES).with_initial_backoff(PAUSE);
        let client = Client::from_conf(Builder::from(sdk).timeout_config(timeouts.build()).retry_config(retry).build());
        let place = Place {
            what: "table",
            name: config.table.clone(),
            region: sdk.region().map(ToString::to_string).unwrap_or_default(),
            endpoint: sdk.endpoint_url().map(str::to_owned),
        };
        Table { client, name: config.table.clone(), place }
    }

    pub(super) fn explained<E>(&self, error: &SdkError<E, HttpResponse>, operation: &str) -> AwsError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        explain(error, operation, &self.place)
    }

    /// Whether the table is there, and is one of ours.
    pub(super) async fn state(&self) -> Result<State, String> {
        let described = match self.client.describe_table().table_name(&self.name).send().await {
            Ok(described) => described,
            Err(error) => {
                let error = self.explained(&error, "dynamodb:DescribeTable");
                return if error.class == Class::Missing { Ok(State::Absent) } else { Err(error.to_string()) };
            }
        };
        let Some(table) = described.table else { return Ok(State::Absent) };
        let keys: Vec<(&str, &KeyType)> =
            table.key_schema().iter().map(|key| (key.attribute_name(), key.key_type())).collect();
        let is_text = |name: &str| {
            let mut attributes = table.attribute_definitions().iter();
            attributes.any(|found| found.attribute_name() == name && *found.attribute_type() == ScalarAttributeType::S)
        };
        if keys != [(PARTITION, &KeyType::Hash), (SORT, &KeyType::Range)] || !is_text(PARTITION) || !is_text(SORT) {
            return Err(format!(
                "{} has other keys than a checkpoint's (partition key `pk` and sort key `sk`, both text): choose \
                 another `table`",
                self.place
            ));
        }
        let ready = matches!(table.table_status(), Some(TableStatus::Active | TableStatus::Updating));
        Ok(if ready { State::Ready } else { State::Coming })
    }

    /// Waits until the table can be used; makes it if that is wanted.
    pub(super) async fn ready(&self, create: bool) -> Result<(), String> {
        let begun = tokio::time::Instant::now();
        let mut made = false;
        loop {
            match self.state().await? {
                State::Ready => return Ok(()),
                State::Absent if !create => return Err(self.absent()),
                State::Absent if !made => {
                    self.make().await?;
                    made = true;
                }
                // What is made, or deleted, shows after a while.
                State::Absent | State::Coming => tokio::time::sleep(LOOK).await,
            }
            if begun.elapsed() > MAKING {
                return Err(format!(
                    "{} has not become active within {MAKING:?}: look at it and start again",
                    self.place
                ));
            }
        }
    }

    /// What to do about a table that is not there.
    pub(super) fn absent(&self) -> String {
        let endpoint = self.place.endpoint.as_ref().map(|url| format!(" --endpoint-url {url}")).unwrap_or_default();
        format!(
            "{} does not exist: set `create: true`, or make it with `aws dynamodb create-table --table-name {} \
             --region {}{endpoint} --billing-mode PAY_PER_REQUEST --attribute-definitions \
             AttributeName=pk,AttributeType=S AttributeName=sk,AttributeType=S --key-schema \
             AttributeName=pk,KeyType=HASH AttributeName=sk,KeyType=RANGE`",
            self.place, self.name, self.place.region
        )
    }

    async fn make(&self) -> Result<(), String> {
        let built = |error: aws_sdk_dynamodb::error::BuildError| error.to_string();
        let attribute =
            |name| AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build();
        let key = |name, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
        let call = self.client.create_table().table_name(&self.name).billing_mode(BillingMode::PayPerRequest);
        let call = call.attribute_definitions(attribute(PARTITION).map_err(built)?);
        let call = call.attribute_definitions(attribute(SORT).map_err(built)?);
        let call = call.key_schema(key(PARTITION, KeyType::Hash).map_err(built)?);
        let call = call.key_schema(key(SORT, KeyType::Range).map_err(built)?);
        match call.send().await {
            Ok(_) => {
                tracing::info!(table = self.name, region = self.place.region, "made the checkpoint's table");
                Ok(())
            }
            Err(error) => {
                let error = self.explained(&error, "dynamodb:CreateTable");
                // Another process, or a lost answer's try, was first.
                if error.code.as_deref() == Some("ResourceInUseException") { Ok(()) } else { Err(error.to_string()) }
            }
        }
    }

    /// An item as it is now.
    pub(super) async fn get(&self, key: Item) -> Result<Option<Item>, StoreError> {
        let call = self.client.get_item().table_name(&self.name).set_key(Some(key)).consistent_read(true);
        let answer = call.send().await.map_err(|error| failed(&self.explained(&error, "dynamodb:GetItem")))?;
        Ok(answer.item)
    }

    /// All items of a pipeline but its lease, as they are now.
    pub(super) async fn query(&self, name: &str) -> Result<Vec<Item>, StoreError> {
        let mut items = Vec::new();
        for bucket in BUCKETS.chars() {
            let mut from: Option<HashMap<_, _>> = None;
            loop {
                let call = self.client.query().table_name(&self.name).consistent_read(true);
                let call = call.key_condition_expression("#pk = :pk").expression_attribute_names("#pk", PARTITION);
                let call = call.expression_attribute_values(":pk", text(&format!("{name}/{bucket}")));
                let answer = call.set_exclusive_start_key(from.take()).send().await;
                let answer = answer.map_err(|error| failed(&self.explained(&error, "dynamodb:Query")))?;
                items.extend(answer.items.unwrap_or_default());
                from = answer.last_evaluated_key.filter(|key| !key.is_empty());
                if from.is_none() {
                    break;
                }
            }
        }
        Ok(items)
    }

    /// Writes a part of a state that no item names yet.
    pub(super) async fn put_part(&self, mut item: Item, part: &str) -> Result<(), StoreError> {
        item.insert("text".into(), text(part));
        let call = self.client.put_item().table_name(&self.name).set_item(Some(item));
        call.send().await.map(drop).map_err(|error| failed(&self.explained(&error, "dynamodb:PutItem")))
    }

    /// Removes parts that no item names. What stays is found at the next start.
    pub(super) async fn discard(&self, keys: impl IntoIterator<Item = Item>) {
        for key in keys {
            let call = self.client.delete_item().table_name(&self.name).set_key(Some(key));
            if let Err(error) = call.send().await {
                let error = self.explained(&error, "dynamodb:DeleteItem");
                return tracing::debug!(%error, "an old part of a state stays until the next start");
            }
        }
    }

    /// Where the pipeline's lease lies.
    pub(super) fn lease_key(name: &str) -> Item {
        key(name, "lease")
    }
}

/// What passes is tried again; what is refused for what it says is not.
pub(super) fn failed(error: &AwsError) -> StoreError {
    if error.class.passes() { StoreError::Retry(error.to_string()) } else { StoreError::Fenced(error.to_string()) }
}
