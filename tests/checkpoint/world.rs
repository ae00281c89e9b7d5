//! A table of its own in moto, reached through a proxy.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use tunnelog::checkpoint::{DynamoStore, ManagedStore, Patience, StoreError};
use tunnelog::config::types::DynamoDb;
use tunnelog::config::units;

use super::contract::Opens;
use super::proxy::Proxy;
use super::stack;

/// So long that no lease lapses while a test runs.
const LONG: Duration = Duration::from_secs(600);

pub(crate) struct World {
    pub(crate) table: String,
    pub(crate) proxy: Proxy,
}

impl World {
    pub(crate) fn new() -> World {
        World { table: stack::unique("checkpoint"), proxy: Proxy::new(&stack::moto().endpoint) }
    }

    pub(crate) fn config(&self, lease: Duration) -> DynamoDb {
        DynamoDb { table: self.table.clone(), create: true, lease: units::Duration(lease) }
    }

    /// As a process of its own would.
    pub(crate) async fn process(&self, lease: Duration, patience: Patience) -> Result<DynamoStore, StoreError> {
        let sdk = stack::aws(&self.proxy.endpoint, "any", "key");
        DynamoStore::open_with(&self.config(lease), &sdk, "siem", patience).await
    }

    pub(crate) async fn store(&self) -> DynamoStore {
        self.process(LONG, Patience::Wait).await.unwrap()
    }

    /// Past the proxy.
    pub(crate) fn client(&self) -> Client {
        Client::new(&stack::aws(&stack::moto().endpoint, "any", "key"))
    }

    /// The sort keys of all items that begin so.
    pub(crate) async fn items(&self, prefix: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut from = None;
        loop {
            let page = self.client().scan().table_name(&self.table).set_exclusive_start_key(from).send().await.unwrap();
            let sort = |item: &std::collections::HashMap<String, AttributeValue>| item["sk"].as_s().unwrap().clone();
            found.extend(page.items().iter().map(sort).filter(|key| key.starts_with(prefix)));
            from = page.last_evaluated_key;
            if from.is_none() {
                return found;
            }
        }
    }
}

#[async_trait]
impl Opens for World {
    async fn open(&self) -> Box<dyn ManagedStore> {
        Box::new(self.store().await)
    }
}
