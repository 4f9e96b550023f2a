//! The folder of a run: what is in which file, written while it goes on and read to judge it.
//!
//! `meta.json`, `history.jsonl`, `watch-<client>.jsonl`, `informer-<client>.jsonl`,
//! `faults.jsonl`, `final.jsonl`, `verdict.json`, `node-<n>/`.

use super::{Clock, FaultRecord, FinalState, History, InformerRecord, Kind, Phase, Record, WatchRecord};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// What a run was: enough to begin it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    pub seed: u64,
    /// What was tested: `keelson`, `etcd`.
    pub target: String,
    /// What the program says of itself, and its commit where that is known.
    pub version: String,
    pub nodes: usize,
    pub time_s: u64,
    pub workloads: Vec<String>,
    pub faults: Vec<String>,
    /// The seeded bug, if there is one.
    pub bug: Option<String>,
    /// Every option and knob that the run was made with, by name.
    pub options: BTreeMap<String, Value>,
    /// When it began, RFC 3339.
    pub began: String,
}

/// The folder of a run.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes the folder, with its parents.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn create(path: &Path) -> io::Result<Folder> {
        std::fs::create_dir_all(path)?;
        Ok(Folder { path: path.to_owned() })
    }

    /// A folder that was made before.
    ///
    /// # Errors
    /// `NotFound`, when there is no `meta.json` in it.
    pub fn open(path: &Path) -> io::Result<Folder> {
        let folder = Folder { path: path.to_owned() };
        if !folder.file("meta.json").is_file() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("{} has no meta.json: it is not the folder of a run", path.display()),
            ));
        }
        Ok(folder)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a whole file of JSON.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write_json(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(value)?;
        text.push(b'\n');
        std::fs::write(self.file(name), text)
    }

    /// Reads a whole file of JSON.
    ///
    /// # Errors
    /// Those of the file system and of JSON; the latter name the file.
    pub fn read_json<T: DeserializeOwned>(&self, name: &str) -> io::Result<T> {
        let text = std::fs::read(self.file(name))?;
        serde_json::from_slice(&text).map_err(|e| broken(&self.file(name), None, &e))
    }

    /// Writes one JSON value a line.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write_lines<T: Serialize>(&self, name: &str, values: &[T]) -> io::Result<()> {
        let mut out = Lines::create(&self.file(name))?;
        for value in values {
            out.write(value)?;
        }
        out.flush()
    }

    /// Reads one JSON value a line; none when the file is missing. The last line may be cut off: a run may be killed.
    ///
    /// # Errors
    /// Those of the file system and of JSON; the latter name the line.
    pub fn read_lines<T: DeserializeOwned>(&self, name: &str) -> io::Result<Vec<T>> {
        let path = self.file(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        let mut reader = BufReader::new(file);
        let mut all = Vec::new();
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            match serde_json::from_slice(&line) {
                Ok(value) => all.push(value),
                Err(_) if line.last() != Some(&b'\n') => {}
                Err(e) => return Err(broken(&path, Some(all.len() + 1), &e)),
            }
            line.clear();
        }
        Ok(all)
    }

    /// # Errors
    /// Those of [`Folder::read_json`].
    pub fn meta(&self) -> io::Result<Meta> {
        self.read_json("meta.json")
    }

    /// # Errors
    /// Those of [`Folder::read_lines`], and `InvalidData` for lines that do not fit together.
    pub fn history(&self) -> io::Result<History> {
        let records: Vec<Record> = self.read_lines("history.jsonl")?;
        History::from_records(records).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
    }

    /// # Errors
    /// Those of [`Folder::read_lines`].
    pub fn faults(&self) -> io::Result<Vec<FaultRecord>> {
        self.read_lines("faults.jsonl")
    }

    /// # Errors
    /// Those of [`Folder::read_lines`].
    pub fn finals(&self) -> io::Result<Vec<FinalState>> {
        self.read_lines("final.jsonl")
    }

    /// What each watcher was sent, by the name of the client.
    ///
    /// # Errors
    /// Those of [`Folder::read_lines`].
    pub fn watches(&self) -> io::Result<BTreeMap<String, Vec<WatchRecord>>> {
        self.read_clients("watch-")
    }

    /// What each informer of the Kubernetes API was sent, by the name of the client.
    ///
    /// # Errors
    /// Those of [`Folder::read_lines`].
    pub fn informers(&self) -> io::Result<BTreeMap<String, Vec<InformerRecord>>> {
        self.read_clients("informer-")
    }

    /// Every file `<prefix><client>.jsonl`, by the name of the client.
    fn read_clients<T: DeserializeOwned>(&self, prefix: &str) -> io::Result<BTreeMap<String, Vec<T>>> {
        let mut all = BTreeMap::new();
        for entry in std::fs::read_dir(&self.path)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if let Some(client) = name.strip_prefix(prefix).and_then(|n| n.strip_suffix(".jsonl")) {
                all.insert(client.to_owned(), self.read_lines(&name)?);
            }
        }
        Ok(all)
    }
}

fn broken(path: &Path, line: Option<usize>, e: &serde_json::Error) -> io::Error {
    let place = line.map_or_else(String::new, |l| format!(":{l}"));
    io::Error::new(io::ErrorKind::InvalidData, format!("{}{place}: {e}", path.display()))
}

/// A file of one JSON value a line.
struct Lines {
    out: BufWriter<File>,
}

impl Lines {
    fn create(path: &Path) -> io::Result<Lines> {
        Ok(Lines {
            out: BufWriter::with_capacity(1 << 16, File::create(path)?),
        })
    }

    fn write(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, value)?;
        self.out.write_all(b"\n")
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Writes the files of a run while it goes on; shared by all clients. The time of a line is taken under the lock of
/// its file, so that lines are in the order of their times.
pub struct Recorder {
    clock: Clock,
    folder: Folder,
    history: Mutex<(u64, Lines)>,
    faults: Mutex<Lines>,
    /// Files of watchers and informers, by their names.
    watches: Mutex<BTreeMap<String, Lines>>,
    /// Faults that last, by number.
    lasting: Mutex<BTreeMap<u64, String>>,
    /// The first error of a write: a run that was not recorded whole is not judged.
    failed: Mutex<Option<io::Error>>,
}

impl Recorder {
    /// # Errors
    /// Those of the file system.
    pub fn create(folder: &Folder, clock: Clock) -> io::Result<Recorder> {
        Ok(Recorder {
            clock,
            folder: folder.clone(),
            history: Mutex::new((0, Lines::create(&folder.file("history.jsonl"))?)),
            faults: Mutex::new(Lines::create(&folder.file("faults.jsonl"))?),
            watches: Mutex::new(BTreeMap::new()),
            lasting: Mutex::new(BTreeMap::new()),
            failed: Mutex::new(None),
        })
    }

    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Writes a line of an operation; `index` and `time_ns` are set here. An `invoke` must be written before the
    /// request is sent, its end after the answer has come. Returns the line's time.
    pub fn op(&self, mut record: Record) -> u64 {
        let mut held = lock(&self.history);
        record.index = held.0;
        record.time_ns = self.clock.now_ns();
        held.0 += 1;
        let result = held.1.write(&record);
        self.note(result);
        record.time_ns
    }

    /// Operations' lines so far.
    pub fn lines(&self) -> u64 {
        lock(&self.history).0
    }

    /// Writes a line of a fault; `time_ns` is set here.
    pub fn fault(&self, mut record: FaultRecord) {
        match record.phase {
            Phase::Begin => {
                let shown = format!("{} {:?}", record.fault, record.nodes);
                lock(&self.lasting).insert(record.id, shown);
            }
            Phase::End => drop(lock(&self.lasting).remove(&record.id)),
            Phase::Once | Phase::Effect => {}
        }
        let mut held = lock(&self.faults);
        record.time_ns = self.clock.now_ns();
        let result = held.write(&record);
        self.note(result);
    }

    /// The faults that last at the moment, with their members, for progress.
    pub fn lasting(&self) -> Vec<String> {
        lock(&self.lasting).values().cloned().collect()
    }

    /// Writes a line of a watcher; `time_ns` is set here.
    pub fn watch(&self, client: &str, mut record: WatchRecord) {
        self.client_line(&format!("watch-{client}.jsonl"), |now| {
            record.time_ns = now;
            record
        });
    }

    /// Writes a line of an informer; `time_ns` is set here.
    pub fn informer(&self, client: &str, mut record: InformerRecord) {
        self.client_line(&format!("informer-{client}.jsonl"), |now| {
            record.time_ns = now;
            record
        });
    }

    fn client_line<T: Serialize>(&self, name: &str, record_at: impl FnOnce(u64) -> T) {
        let mut held = lock(&self.watches);
        let result = match held.entry(name.to_owned()) {
            std::collections::btree_map::Entry::Occupied(lines) => Ok(lines.into_mut()),
            std::collections::btree_map::Entry::Vacant(free) => {
                Lines::create(&self.folder.file(name)).map(|lines| free.insert(lines))
            }
        };
        let result = result.and_then(|lines| lines.write(&record_at(self.clock.now_ns())));
        self.note(result);
    }

    /// Brings everything to the files.
    ///
    /// # Errors
    /// The first error of any write since the beginning.
    pub fn finish(&self) -> io::Result<()> {
        let result = lock(&self.history).1.flush();
        self.note(result);
        let result = lock(&self.faults).flush();
        self.note(result);
        for lines in lock(&self.watches).values_mut() {
            let result = lines.flush();
            self.note(result);
        }
        lock(&self.failed).take().map_or(Ok(()), Err)
    }

    fn note(&self, result: io::Result<()>) {
        if let Err(e) = result {
            lock(&self.failed).get_or_insert(e);
        }
    }
}

/// A lock whose holder panicked is taken all the same: each line is written whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Record {
    /// A line without index and time, which [`Recorder::op`] sets.
    pub fn new(workload: &str, process: u64, node: usize, kind: Kind, f: &str) -> Record {
        Record {
            index: 0,
            process,
            node,
            workload: workload.to_owned(),
            kind,
            f: f.to_owned(),
            key: None,
            value: Value::Null,
            revision: None,
            time_ns: 0,
            error: None,
        }
    }
}
