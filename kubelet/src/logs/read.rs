//! Reads a container's log for `kubectl logs`: tail, since, follow across rotation.
use super::line;
use crate::cri::Cri;
use bytes::Bytes;
use jiff::Timestamp;
use rustix::fs::inotify;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

/// Chunks on their way to one client.
const CHUNKS_MAX: usize = 16;
const CHUNK_BYTES: usize = 32 << 10;
/// A line longer than this is cut; the runtime cuts at 16 KiB already.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// How often a follower of a silent log asks whether its container still runs.
const ALIVE_EVERY: Duration = Duration::from_secs(1);
const TAIL_BLOCK: u64 = 64 << 10;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    pub follow: bool,
    pub timestamps: bool,
    pub tail: Option<u64>,
    pub since: Option<Timestamp>,
    pub limit_bytes: Option<u64>,
    pub stdout: bool,
    pub stderr: bool,
}

/// The log's bytes as they come; ends when the log does, or when the receiver is dropped. The file is opened before
/// this returns, so that a missing one is an error to the client.
pub fn stream(
    path: PathBuf,
    container_id: String,
    cri: Cri,
    options: LogOptions,
) -> std::io::Result<mpsc::Receiver<std::io::Result<Bytes>>> {
    let file = File::open(&path)?;
    let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
    tokio::spawn(async move {
        let reader = LogReader {
            path,
            container_id,
            cri,
            left: options.limit_bytes,
            options,
            sender: sender.clone(),
            pending: Vec::new(),
        };
        if let Err(e) = reader.run(file).await {
            let _ = sender.send(Err(e)).await;
        }
    });
    Ok(receiver)
}

struct LogReader {
    path: PathBuf,
    container_id: String,
    cri: Cri,
    options: LogOptions,
    /// Bytes the client still wants.
    left: Option<u64>,
    sender: mpsc::Sender<std::io::Result<Bytes>>,
    pending: Vec<u8>,
}

/// The client has gone, or has all it wanted.
struct Enough;

impl LogReader {
    async fn run(mut self, mut file: File) -> std::io::Result<()> {
        if let Some(n) = self.options.tail {
            let at = tail_offset(&mut file, n)?;
            file.seek(SeekFrom::Start(at))?;
        }
        let mut inode = file.metadata()?.ino();
        let watch = if self.options.follow {
            Some(Watch::new(&self.path)?)
        } else {
            None
        };
        let mut reader = BufReader::new(file);
        let mut raw = Vec::new();
        let mut alive = true;
        loop {
            let n = (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut raw)?;
            if raw.last() == Some(&b'\n') {
                if self.line(&raw).await.is_err() {
                    return Ok(());
                }
                raw.clear();
                continue;
            }
            if n > 0 && raw.len() as u64 >= LINE_BYTES_MAX {
                raw.clear();
                continue;
            }
            // The end, for now; a line half written stays in `raw`.
            if self.send().await.is_err() {
                return Ok(());
            }
            let Some(watch) = &watch else {
                let _ = self.line(&raw).await;
                let _ = self.send().await;
                return Ok(());
            };
            if let Some(next) = reopened(&self.path, inode) {
                inode = next.metadata()?.ino();
                reader = BufReader::new(next);
                raw.clear();
                continue;
            }
            if !alive {
                return Ok(());
            }
            // One more look after the container's end: its last lines may have come since.
            alive = self.wait(watch).await.is_ok_and(|a| a);
            if self.sender.is_closed() {
                return Ok(());
            }
        }
    }

    /// Waits for a change of the file; returns whether there may be more.
    async fn wait(&self, watch: &Watch) -> std::io::Result<bool> {
        tokio::select! {
            r = watch.changed() => return r.map(|()| true),
            () = self.sender.closed() => return Ok(false),
            () = tokio::time::sleep(ALIVE_EVERY) => {}
        }
        match self.cri.container_status(&self.container_id).await {
            Ok(s) => Ok(s.state == keelson_proto::cri::ContainerState::ContainerRunning as i32
                || s.state == keelson_proto::cri::ContainerState::ContainerCreated as i32),
            Err(_) => Ok(false),
        }
    }

    async fn line(&mut self, raw: &[u8]) -> Result<(), Enough> {
        let bare = raw.strip_suffix(b"\n").unwrap_or(raw);
        let Some(l) = line::parse(bare) else { return Ok(()) };
        let wanted = if l.stderr {
            self.options.stderr
        } else {
            self.options.stdout
        };
        if !wanted {
            return Ok(());
        }
        if let Some(since) = self.options.since
            && l.time.parse::<Timestamp>().is_ok_and(|t| t < since)
        {
            return Ok(());
        }
        let mut out = std::mem::take(&mut self.pending);
        let before = out.len();
        if self.options.timestamps {
            out.extend_from_slice(l.time.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(l.content);
        if !l.partial {
            out.push(b'\n');
        }
        if let Some(left) = &mut self.left {
            let added = (out.len() - before) as u64;
            let take = added.min(*left);
            out.truncate(before + usize::try_from(take).unwrap_or(0));
            *left -= take;
        }
        self.pending = out;
        let full = self.left == Some(0);
        if self.pending.len() >= CHUNK_BYTES || full {
            self.send().await?;
        }
        if full { Err(Enough) } else { Ok(()) }
    }

    async fn send(&mut self) -> Result<(), Enough> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let chunk = Bytes::from(std::mem::take(&mut self.pending));
        self.sender.send(Ok(chunk)).await.map_err(|_| Enough)
    }
}

/// The file that has taken the path's place, after a rotation.
fn reopened(path: &Path, inode: u64) -> Option<File> {
    let file = File::open(path).ok()?;
    (file.metadata().ok()?.ino() != inode).then_some(file)
}

/// Where the last `lines` lines begin.
fn tail_offset(file: &mut File, lines: u64) -> std::io::Result<u64> {
    let length = file.metadata()?.len();
    if lines == 0 {
        return Ok(length);
    }
    let mut end = length;
    let mut newlines = 0;
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(TAIL_BLOCK);
        file.seek(SeekFrom::Start(start))?;
        block.clear();
        file.take(end - start).read_to_end(&mut block)?;
        for (i, b) in block.iter().enumerate().rev() {
            let at = start + i as u64;
            // The newline that ends the file begins no line.
            if *b == b'\n' && at + 1 < length {
                newlines += 1;
                if newlines == lines {
                    return Ok(at + 1);
                }
            }
        }
        end = start;
    }
    Ok(0)
}

/// Tells when the log's directory or file changes.
struct Watch {
    fd: AsyncFd<OwnedFd>,
}

impl Watch {
    fn new(path: &Path) -> std::io::Result<Self> {
        let fd = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
        let dir = path.parent().unwrap_or(path);
        inotify::add_watch(
            &fd,
            dir,
            inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO,
        )?;
        // SAFETY: the descriptor is owned by the AsyncFd, always the same one, and closed only when that is dropped.
        Ok(Watch {
            fd: unsafe { AsyncFd::register(fd)? },
        })
    }

    async fn changed(&self) -> std::io::Result<()> {
        let mut guard = self.fd.readable().await?;
        let mut buffer = [0u8; 4096];
        loop {
            match rustix::io::read(guard.get_inner(), &mut buffer) {
                Ok(n) if n > 0 => {}
                Ok(_) => break,
                Err(rustix::io::Errno::AGAIN) => {
                    guard.clear_ready();
                    break;
                }
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write;

    const LOG: &str = "2024-01-01T00:00:00Z stdout F one\n\
        2024-01-01T00:00:01Z stderr F two\n\
        2024-01-01T00:00:02Z stdout P thr\n\
        2024-01-01T00:00:02Z stdout F ee\n";

    fn all() -> LogOptions {
        LogOptions {
            stdout: true,
            stderr: true,
            ..Default::default()
        }
    }

    async fn read(options: LogOptions) -> String {
        let mut f = tempfile::NamedTempFile::new().unwrap();
        f.write_all(LOG.as_bytes()).unwrap();
        let cri = Cri::new("/nonexistent").unwrap();
        let mut r = stream(f.path().to_owned(), "x".into(), cri, options).unwrap();
        let mut out = Vec::new();
        while let Some(chunk) = r.recv().await {
            out.extend_from_slice(&chunk.unwrap());
        }
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn options() {
        assert_eq!(read(all()).await, "one\ntwo\nthree\n");
        assert_eq!(read(LogOptions { tail: Some(2), ..all() }).await, "three\n");
        assert_eq!(read(LogOptions { tail: Some(0), ..all() }).await, "");
        assert_eq!(
            read(LogOptions {
                tail: Some(99),
                ..all()
            })
            .await,
            "one\ntwo\nthree\n"
        );
        assert_eq!(read(LogOptions { stdout: false, ..all() }).await, "two\n");
        assert_eq!(
            read(LogOptions {
                limit_bytes: Some(5),
                ..all()
            })
            .await,
            "one\nt"
        );
        let since = "2024-01-01T00:00:02Z".parse().ok();
        assert_eq!(read(LogOptions { since, ..all() }).await, "three\n");
        let stamped = read(LogOptions {
            timestamps: true,
            tail: Some(4),
            ..all()
        })
        .await;
        assert!(stamped.starts_with("2024-01-01T00:00:00Z one\n"), "{stamped}");
    }

    #[tokio::test]
    async fn follows_over_a_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, LOG).unwrap();
        let cri = Cri::new("/nonexistent").unwrap();
        let options = LogOptions { follow: true, ..all() };
        let mut r = stream(path.clone(), "x".into(), cri, options).unwrap();
        assert_eq!(r.recv().await.unwrap().unwrap(), "one\ntwo\nthree\n");
        std::fs::rename(&path, dir.path().join("0.log.1")).unwrap();
        std::fs::write(&path, "2024-01-01T00:00:09Z stdout F new\n").unwrap();
        assert_eq!(r.recv().await.unwrap().unwrap(), "new\n");
    }
}
