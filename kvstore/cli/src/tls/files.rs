//! Files that are read again when they have changed.

use crate::fail::io_text;
use crate::logs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Largest file of certificates, keys or revocations, bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// What tells one content of a file from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: (i64, i64),
    bytes: u64,
    inode: u64,
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some(Stamp {
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        bytes: metadata.len(),
        inode: metadata.ino(),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |e: std::io::Error| format!("open {}: {}", path.display(), io_text(&e));
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(format!(
            "open {}: {bytes} bytes are more than the {FILE_BYTES_MAX} allowed",
            path.display()
        ));
    }
    std::fs::read(path).map_err(failed)
}

type Parse<T> = Box<dyn Fn(&[Vec<u8>]) -> Result<T, String> + Send + Sync>;

struct State<T> {
    stamps: Vec<Option<Stamp>>,
    value: Result<Arc<T>, String>,
    last_good: Arc<T>,
}

/// What files say, as of now.
pub struct Watched<T> {
    paths: Vec<PathBuf>,
    parse: Parse<T>,
    state: Mutex<State<T>>,
}

impl<T> Watched<T> {
    /// The first reading has to succeed.
    pub fn open(
        paths: Vec<PathBuf>,
        parse: impl Fn(&[Vec<u8>]) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Watched<T>, String> {
        // Before the reading: what changes meanwhile is seen the next time.
        let stamps = paths.iter().map(|p| stamp(p)).collect();
        let value = Arc::new(load(&paths, &parse)?);
        Ok(Watched {
            paths,
            parse: Box::new(parse),
            state: Mutex::new(State {
                stamps,
                value: Ok(value.clone()),
                last_good: value,
            }),
        })
    }

    fn refreshed<R>(&self, take: impl FnOnce(&State<T>) -> R) -> R {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps: Vec<Option<Stamp>> = self.paths.iter().map(|p| stamp(p)).collect();
        if stamps != state.stamps {
            state.stamps = stamps;
            state.value = load(&self.paths, &self.parse).map(Arc::new);
            match &state.value {
                Ok(value) => state.last_good = value.clone(),
                Err(error) => {
                    let files: Vec<String> = self.paths.iter().map(|p| p.display().to_string()).collect();
                    let notice = logs::warn("failed to reload TLS files");
                    notice.with("files", files).with("error", error.as_str()).log();
                }
            }
        }
        take(&state)
    }

    /// The newest content that could be read.
    pub fn latest(&self) -> Arc<T> {
        self.refreshed(|state| state.last_good.clone())
    }

    /// The content as it is, or why it cannot be read.
    pub fn strict(&self) -> Result<Arc<T>, String> {
        self.refreshed(|state| state.value.clone())
    }
}

fn load<T>(paths: &[PathBuf], parse: &impl Fn(&[Vec<u8>]) -> Result<T, String>) -> Result<T, String> {
    let contents = paths.iter().map(|p| read(p)).collect::<Result<Vec<_>, _>>()?;
    parse(&contents)
}

impl<T> std::fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").field("paths", &self.paths).finish()
    }
}
