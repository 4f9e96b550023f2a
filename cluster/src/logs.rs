//! Logging: to standard error, or to a file that is rotated by size.

use crate::fail::{Context, Result};
use parking_lot::Mutex;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Size at which the log file is set aside, bytes; one older file is kept.
const LOG_BYTES_MAX: u64 = 10 << 20;

struct Rotating {
    path: PathBuf,
    file: File,
    written_bytes: u64,
}

impl Rotating {
    fn open(path: &Path) -> std::io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        let written_bytes = file.metadata()?.len();
        Ok(Rotating {
            path: path.to_owned(),
            file,
            written_bytes,
        })
    }
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if self.written_bytes > LOG_BYTES_MAX {
            let mut old = self.path.as_os_str().to_owned();
            old.push(".1");
            std::fs::rename(&self.path, old)?;
            *self = Rotating::open(&self.path)?;
        }
        self.written_bytes += bytes.len() as u64;
        self.file.write_all(bytes)
    }
}

#[derive(Clone)]
struct Sink(Arc<Mutex<Rotating>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().write(bytes).map(|()| bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Sink;
    fn make_writer(&'a self) -> Sink {
        self.clone()
    }
}

fn filter() -> EnvFilter {
    EnvFilter::try_from_env("KEELSON_LOG").unwrap_or_else(|_| EnvFilter::new("info,openraft=warn,hyper=warn,h2=warn"))
}

/// `None`: standard error. The level comes from `KEELSON_LOG` (default `info`).
pub fn init(file: Option<&Path>) -> Result<()> {
    let builder = tracing_subscriber::fmt().with_env_filter(filter()).with_ansi(false);
    match file {
        None => builder.with_writer(std::io::stderr).init(),
        Some(path) => {
            let r = Rotating::open(path).context(|| format!("open {}", path.display()))?;
            builder.with_writer(Sink(Arc::new(Mutex::new(r)))).init();
        }
    }
    Ok(())
}
