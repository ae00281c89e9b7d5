//! Every sink of the contract suite with its far end, as somebody else sees it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use tunnelog::config::types::{Compression, FileSink};
use tunnelog::config::units::Size;
use tunnelog::delivery::{LaneKey, LaneState};
use tunnelog::sink::Sink;
use tunnelog::sink::file::{file, files_of};

use super::contract::Destination;
use super::support::test_sink::{Far, Manners, SharedFar, TestSink};
use super::support::{json_lines, text, unpacked};

/// All of them.
pub(crate) fn all() -> Vec<Box<dyn Destination>> {
    let mut all: Vec<Box<dyn Destination>> = Vec::new();
    for compression in super::files::COMPRESSIONS {
        all.push(Box::new(Files::new(compression)));
    }
    all.push(Box::new(Model::new(Manners { refuses: true, ..Manners::default() })));
    all.push(Box::new(Model::new(Manners { refuses: true, seals: true, ..Manners::default() })));
    all
}

/// The sink `file` in a folder of its own.
pub(crate) struct Files {
    folder: TempDir,
    pub(crate) config: FileSink,
}

impl Files {
    pub(crate) fn new(compression: Compression) -> Files {
        let folder = tempfile::tempdir().unwrap();
        let name = match compression {
            Compression::None => "events.ndjson",
            Compression::Gzip => "events.ndjson.gz",
            Compression::Zstd => "events.ndjson.zst",
        };
        let path = folder.path().join("out").join(name);
        Files { folder, config: FileSink { path, compression, rotate: Size(1 << 40) } }
    }

    pub(crate) fn rotated_at(self, bytes: u64) -> Files {
        Files { config: FileSink { rotate: Size(bytes), ..self.config }, folder: self.folder }
    }

    pub(crate) fn files(&self) -> Vec<PathBuf> {
        files_of(&self.config.path)
    }

    /// Where the next file will be.
    fn next(&self) -> PathBuf {
        let number = self.files().iter().filter(|file| file.is_file()).count();
        let name = self.config.path.file_name().unwrap().to_str().unwrap();
        self.config.path.with_file_name(name.replacen("events", &format!("events.{number}"), 1))
    }
}

/// What is whole at the beginning of a file that somebody else may be writing to.
fn whole_part(path: &Path) -> Vec<u8> {
    use std::io::Read as _;
    let bytes = std::fs::read(path).unwrap();
    let mut reader: Box<dyn std::io::Read> = match path.extension().and_then(|ending| ending.to_str()) {
        Some("gz") => Box::new(flate2::read::MultiGzDecoder::new(&bytes[..])),
        Some("zst") => Box::new(zstd::stream::read::Decoder::new(&bytes[..]).unwrap()),
        _ => Box::new(&bytes[..]),
    };
    let (mut plain, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    while let Ok(count) = reader.read(&mut buffer)
        && count > 0
    {
        plain.extend_from_slice(&buffer[..count]);
    }
    let end = plain.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    plain.truncate(end);
    plain
}

fn ids(lines: &[u8]) -> Vec<String> {
    json_lines(lines).iter().map(|line| text(line, "/id").to_owned()).collect()
}

impl Destination for Files {
    fn name(&self) -> String {
        format!("file with compression {:?}", self.config.compression)
    }

    fn open(&self) -> Result<Box<dyn Sink>, String> {
        Ok(Box::new(file(&self.config)?))
    }

    fn delivered(&self) -> Vec<String> {
        let files = self.files().into_iter().filter(|file| file.is_file());
        files.flat_map(|file| ids(&whole_part(&file))).collect()
    }

    fn keeps_order(&self) -> bool {
        true
    }

    fn seals(&self) -> bool {
        false
    }

    /// A folder stands where the next file has to be: that stops the superuser too.
    fn break_down(&self) {
        std::fs::create_dir(self.next()).unwrap();
    }

    fn mend(&self) {
        std::fs::remove_dir(self.next()).unwrap();
    }

    fn tear(&self) {
        let last = self.files().pop().unwrap();
        let bytes = std::fs::read(&last).unwrap();
        std::fs::write(&last, &bytes[..bytes.len() - 5]).unwrap();
    }

    fn check_whole(&self) {
        for file in self.files() {
            let plain = unpacked(&file);
            assert!(plain.ends_with(b"\n"), "{} ends within a line", file.display());
        }
    }

    fn remember(&self, _: &[(LaneKey, LaneState)]) {}
}

/// The test sink.
pub(crate) struct Model {
    far: SharedFar,
    manners: Manners,
}

impl Model {
    fn new(manners: Manners) -> Model {
        Model { far: SharedFar::default(), manners }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Far) -> T) -> T {
        act(&mut self.far.lock().unwrap())
    }
}

impl Destination for Model {
    fn name(&self) -> String {
        format!("test sink with {:?}", self.manners)
    }

    fn open(&self) -> Result<Box<dyn Sink>, String> {
        Ok(Box::new(TestSink::new(5, self.manners, &Arc::clone(&self.far))))
    }

    fn delivered(&self) -> Vec<String> {
        self.with(|far| ids(&far.items.concat()))
    }

    fn keeps_order(&self) -> bool {
        false
    }

    fn seals(&self) -> bool {
        self.manners.seals
    }

    fn break_down(&self) {
        self.with(|far| far.broken = true);
    }

    fn mend(&self) {
        self.with(|far| far.broken = false);
    }

    /// Forgets the last item that it took, as if it had never arrived.
    fn tear(&self) {
        if !self.manners.seals {
            self.with(|far| far.items.pop());
        }
    }

    fn check_whole(&self) {}

    fn remember(&self, states: &[(LaneKey, LaneState)]) {
        self.with(|far| far.remembered.extend(states.iter().cloned()));
    }
}
