//! Where a pipeline remembers: which store, and how it is opened or looked at.

use std::fmt;
use std::path::PathBuf;

use super::{ManagedStore, Peek, RedbStore, Remembered, StoreName};
use crate::config::Loaded;
use crate::config::types::{Aws, DynamoDb};

/// What to do while another process has the right to write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Patience {
    /// Wait until it ends or dies, where the store can tell (a file is refused at once).
    Wait,
    /// Refuse as soon as it shows that it is alive.
    Refuse,
}

/// Which store, and what of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Location {
    /// An embedded database.
    File(PathBuf),
    /// A pipeline in a table of DynamoDB.
    DynamoDb {
        /// The table and its lease.
        table: DynamoDb,
        /// How it is reached.
        aws: Option<Aws>,
        /// The pipeline's name in the table; of a replay one that no pipeline can have.
        name: String,
    },
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::File(path) => path.display().fmt(f),
            Location::DynamoDb { table, name, .. } => write!(f, "DynamoDB table {} (as {name})", table.table),
        }
    }
}

/// What can be told of a store without taking it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Presence {
    /// It is there, and free.
    Free(StoreName),
    /// It is there and was not closed: its process was killed.
    Unclosed,
    /// There is none yet: it is made at the first start.
    Absent,
    /// Another process has it, or died with it; its name is known where the store can tell.
    Held {
        /// The store's name.
        name: Option<StoreName>,
        /// Who has it, for a person.
        holder: Option<String>,
    },
}

/// What a store has, for a person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contents {
    /// Whether there is a store, and who has it.
    pub presence: Presence,
    /// Its lanes.
    pub lanes: Vec<Remembered>,
}

impl Location {
    /// Where a pipeline remembers; a replay of it has a store of its own and never touches the live one.
    pub fn of(loaded: &Loaded, replay: bool) -> Location {
        let checkpoint = &loaded.pipeline.checkpoint;
        match &checkpoint.dynamodb {
            Some(table) => Location::DynamoDb {
                table: table.clone(),
                aws: checkpoint.aws.clone(),
                name: if replay { format!("{}.replay", loaded.name) } else { loaded.name.clone() },
            },
            None if replay => Location::File(loaded.checkpoint_file().with_extension("replay.redb")),
            None => Location::File(loaded.checkpoint_file()),
        }
    }

    /// Opens the store, made if there is none, and takes the right to write.
    ///
    /// # Errors
    /// Who has it, or what is wrong with it, and what to do.
    #[cfg_attr(
        not(feature = "aws"),
        expect(unused_variables, clippy::unused_async, reason = "the same shape as with it")
    )]
    pub async fn open(&self, patience: Patience) -> Result<Box<dyn ManagedStore>, String> {
        match self {
            Location::File(path) => Ok(Box::new(RedbStore::open(path).map_err(|error| error.to_string())?)),
            #[cfg(feature = "aws")]
            Location::DynamoDb { table, aws, name } => {
                let store = super::DynamoStore::open(table, aws.as_ref(), name, patience).await;
                store.map(|store| Box::new(store) as Box<dyn ManagedStore>).map_err(told)
            }
            #[cfg(not(feature = "aws"))]
            Location::DynamoDb { .. } => Err("this build has no checkpoint `dynamodb`".into()),
        }
    }

    /// Looks without writing, making or taking anything.
    ///
    /// # Errors
    /// Why [`open`](Self::open) would fail.
    #[cfg_attr(not(feature = "aws"), expect(clippy::unused_async, reason = "the same shape as with it"))]
    pub async fn presence(&self) -> Result<Presence, String> {
        match self {
            Location::File(path) => Ok(match RedbStore::peek(path).map_err(|error| error.to_string())? {
                Peek::Name(name) => Presence::Free(name),
                Peek::Absent => Presence::Absent,
                Peek::InUse => Presence::Held { name: None, holder: None },
                Peek::Unclosed => Presence::Unclosed,
            }),
            #[cfg(feature = "aws")]
            Location::DynamoDb { table, aws, name } => {
                super::dynamodb::glance(table, aws.as_ref(), name).await.map(presence)
            }
            #[cfg(not(feature = "aws"))]
            Location::DynamoDb { .. } => Err("this build has no checkpoint `dynamodb`".into()),
        }
    }

    /// Everything that is remembered. A file that a running process has is closed to everybody else; one that a killed
    /// process left is repaired, as the next start would.
    ///
    /// # Errors
    /// What is in the way, and what to do.
    pub async fn look(&self) -> Result<Contents, String> {
        #[cfg(feature = "aws")]
        if let Location::DynamoDb { table, aws, name } = self {
            let (glance, lanes) = super::dynamodb::look(table, aws.as_ref(), name).await?;
            return Ok(Contents { presence: presence(glance), lanes });
        }
        let presence = self.presence().await?;
        if presence == Presence::Absent {
            return Ok(Contents { presence, lanes: Vec::new() });
        }
        let mut store = self.open(Patience::Refuse).await?;
        let lanes = store.list().await.map_err(told)?;
        Ok(Contents { presence: Presence::Free(store.name().clone()), lanes })
    }
}

#[cfg(feature = "aws")]
fn presence(glance: super::dynamodb::Glance) -> Presence {
    match glance {
        super::dynamodb::Glance { table: false, .. } => Presence::Absent,
        super::dynamodb::Glance { name, holder: Some(holder), .. } => Presence::Held { name, holder: Some(holder) },
        super::dynamodb::Glance { name: Some(name), .. } => Presence::Free(name),
        super::dynamodb::Glance { name: None, .. } => Presence::Absent,
    }
}

fn told(error: impl fmt::Display) -> String {
    error.to_string()
}
