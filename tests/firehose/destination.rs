//! The sink `firehose` with its far end, for the contract.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use tempfile::TempDir;
use tunnelog::config::types::{Compression, FirehoseSink, Pack};
use tunnelog::config::units;
use tunnelog::delivery::{LaneKey, LaneState};
use tunnelog::sink::rejects::MemoryRejects;
use tunnelog::sink::{Context, Sink, firehose};

use super::contract::Destination;
use super::server::{Fault, Server};
use super::stack;
use super::support::{json_lines, text};

/// Reads back what a stream has delivered.
type ReadBack = Box<dyn Fn() -> Vec<u8>>;

/// The sink before a server of ours.
pub(crate) struct Firehose {
    pub(crate) server: Server,
    pub(crate) rejects: Arc<MemoryRejects>,
    pub(crate) config: FirehoseSink,
    folder: TempDir,
    read_back: Option<ReadBack>,
    /// What was read back before: (bytes, ids). Records are only ever added.
    read: Mutex<(usize, Vec<String>)>,
}

/// The lines in what arrived, compressed or not.
pub(crate) fn plain(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match bytes {
        [0x1f, 0x8b, ..] => std::io::copy(&mut MultiGzDecoder::new(bytes), &mut plain).map(drop).unwrap(),
        _ => plain.extend_from_slice(bytes),
    }
    plain
}

impl Firehose {
    pub(crate) fn new(pack: Pack) -> Firehose {
        Firehose::before(Server::start(), "vpn", pack)
    }

    pub(crate) fn before(server: Server, stream: &str, pack: Pack) -> Firehose {
        Firehose {
            server,
            rejects: Arc::default(),
            config: FirehoseSink {
                stream: stream.to_owned(),
                pack,
                compression: Compression::None,
                linger: units::Duration::from_secs(1),
            },
            folder: tempfile::tempdir().unwrap(),
            read_back: None,
            read: Mutex::default(),
        }
    }

    pub(crate) fn compressing(mut self) -> Firehose {
        self.config.compression = Compression::Gzip;
        self
    }

    pub(crate) fn reading_back(self, read_back: ReadBack) -> Firehose {
        Firehose { read_back: Some(read_back), ..self }
    }

    fn context(&self) -> Context {
        Context {
            pipeline: "bench".into(),
            name: "sink".into(),
            folder: self.folder.path().to_owned(),
            store: "store".into(),
            rejects: Arc::clone(&self.rejects) as _,
            own_bytes: tunnelog::sink::OWN_BYTES,
        }
    }

    fn lines(&self) -> Vec<u8> {
        match &self.read_back {
            Some(read_back) => read_back(),
            None => self.server.state().stored.iter().flat_map(|record| plain(record)).collect(),
        }
    }

    /// The ids of what went to the dead letters.
    pub(crate) fn dead_letters(&self) -> Vec<String> {
        let ids = |bytes: &[u8]| text(&json_lines(bytes)[0], "/id").to_owned();
        self.rejects.letters().iter().map(|letter| ids(&letter.data)).collect()
    }
}

impl Destination for Firehose {
    fn name(&self) -> String {
        format!("firehose, pack {:?}, compression {:?}", self.config.pack, self.config.compression)
    }

    fn open(&self) -> Result<Box<dyn Sink>, String> {
        let aws = stack::aws(&self.server.endpoint, "any", "key");
        let open = firehose::open(self.context(), &self.config, &aws);
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(open))
            .map_err(|error| error.to_string())
    }

    fn delivered(&self) -> Vec<String> {
        let lines = tokio::task::block_in_place(|| self.lines());
        let (length, ids) = &mut *self.read.lock().unwrap();
        if self.read_back.is_some() {
            // Objects are not listed in the order of their making.
            (*length, *ids) = (0, Vec::new());
        }
        for line in json_lines(&lines[*length..]) {
            ids.push(text(&line, "/id").to_owned());
        }
        *length = lines.len();
        ids.clone()
    }

    fn rejected(&self) -> usize {
        self.rejects.letters().len()
    }

    fn keeps_order(&self) -> bool {
        false
    }

    fn seals(&self) -> bool {
        false
    }

    fn break_down(&self) {
        self.server.state().standing = Some(Fault::Answer(503, "ServiceUnavailableException", "Slow down."));
    }

    fn mend(&self) {
        self.server.state().standing = None;
    }

    /// What Firehose has, a crash here cannot cut.
    fn tear(&self) {}

    fn check_whole(&self) {
        assert_eq!(self.server.state().violations, Vec::<String>::new());
    }

    fn remember(&self, _: &[(LaneKey, LaneState)]) {}

    /// More than the longest pause between tries.
    fn silence(&self) -> Duration {
        Duration::from_secs(12)
    }
}
