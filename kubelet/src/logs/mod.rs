//! Container logs in the format that CRI fixes: written by the runtime, read and rotated here.
mod line;
pub mod read;
pub mod rotate;
mod tail;
mod watch;

use crate::cri::ContainerView;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// As upstream: a message of one container, and what is taken of the log instead.
const MESSAGE_BYTES_MAX: usize = 4096;
const FALLBACK_LINES_MAX: usize = 80;
const FALLBACK_BYTES_MAX: u64 = 2048;

/// What a dead container wanted to say (terminationMessagePath and terminationMessagePolicy).
pub fn termination_message(c: &ContainerView) -> String {
    let said = c
        .termination_message_file
        .as_ref()
        .map(|f| head(Path::new(f)))
        .unwrap_or_default();
    if !said.is_empty() || c.exit_code == 0 || c.termination_message_policy != "FallbackToLogsOnError" {
        return said;
    }
    let lines = tail_bytes(Path::new(&c.log_path));
    let mut out = Vec::new();
    for raw in lines.split(|b| *b == b'\n') {
        if let Some(l) = line::parse(raw) {
            out.push(String::from_utf8_lossy(l.content).into_owned());
        }
    }
    let from = out.len().saturating_sub(FALLBACK_LINES_MAX);
    let mut text = out.get(from..).unwrap_or_default().join("\n");
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

fn head(path: &Path) -> String {
    let Ok(file) = File::open(path) else {
        return String::new();
    };
    let mut bytes = Vec::new();
    let read = file.take(MESSAGE_BYTES_MAX as u64).read_to_end(&mut bytes);
    if let Err(e) = read {
        return format!("Error on reading termination log {}: {e}", path.display());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The end of the file, from the start of a line.
fn tail_bytes(path: &Path) -> Vec<u8> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let from = length.saturating_sub(FALLBACK_BYTES_MAX);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(FALLBACK_BYTES_MAX).read_to_end(&mut bytes)?;
        if from > 0
            && let Some(at) = bytes.iter().position(|b| *b == b'\n')
        {
            bytes.drain(..=at);
        }
        Ok(bytes)
    };
    read().unwrap_or_default()
}

/// Removes a container's log and what was rotated away from it.
pub fn remove(log_path: &str) {
    let path = Path::new(log_path);
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return;
    };
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for e in entries.flatten() {
        let ours = e
            .file_name()
            .to_str()
            .is_some_and(|n| n == name || n.starts_with(&format!("{name}.")));
        if ours && let Err(error) = std::fs::remove_file(e.path()) {
            tracing::debug!(path = %e.path().display(), %error, "remove a log");
        }
    }
}
