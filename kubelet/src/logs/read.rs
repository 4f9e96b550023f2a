//! Reads a container's log for `kubectl logs`: tail, since, follow across rotation.
use super::line::{self, Line};
use super::tail;
use super::watch::Watch;
use bytes::Bytes;
use futures::future::BoxFuture;
use jiff::Timestamp;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;

/// Chunks on their way to one client.
const CHUNKS_MAX: usize = 16;
const CHUNK_BYTES: usize = 32 << 10;
/// A line longer than this is cut; the runtime cuts at 16 KiB already.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// How often a follower of a silent log asks whether its container still runs.
const ALIVE_EVERY: Duration = Duration::from_secs(1);
/// How often the file is looked at where the machine has no more watches to give.
const POLL_EVERY: Duration = Duration::from_millis(250);

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

/// Tells whether the log's container may still write.
pub type Alive = Box<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>;

/// The log's bytes as they come; ends when the log does, or when the receiver is dropped. The file is opened before
/// this returns, so that a missing one is an error to the client.
pub fn stream(
    path: PathBuf,
    alive: Alive,
    options: LogOptions,
) -> std::io::Result<mpsc::Receiver<std::io::Result<Bytes>>> {
    let file = File::open(&path)?;
    let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
    tokio::spawn(async move {
        let failed = sender.clone();
        let out = Output {
            left: options.limit_bytes,
            sender,
            pending: Vec::new(),
            line_begins: true,
        };
        let reader = LogReader {
            path,
            alive,
            options,
            out,
        };
        if let Err(e) = reader.run(file).await {
            let _ = failed.send(Err(e)).await;
        }
    });
    Ok(receiver)
}

struct LogReader {
    path: PathBuf,
    alive: Alive,
    options: LogOptions,
    out: Output,
}

/// The client has gone, or has all it wanted.
struct Enough;

/// What a look at the end of the file found.
enum Read1 {
    Enough,
    /// No more lines, for now.
    End,
}

impl LogReader {
    async fn run(mut self, mut file: File) -> std::io::Result<()> {
        if let Some(n) = self.options.tail {
            let at = tail::offset(&mut file, n)?;
            file.seek(SeekFrom::Start(at))?;
        }
        // Made before the first read: nothing that is written after it is missed.
        let watch = self.options.follow.then(|| Watch::new(&self.path));
        let mut inode = file.metadata()?.ino();
        let mut reader = BufReader::new(file);
        let mut raw = Vec::new();
        let mut alive = self.options.follow;
        let mut first = true;
        loop {
            if let Read1::Enough = self.lines(&mut reader, &mut raw).await? {
                return Ok(());
            }
            if let Some(next) = reopened(&self.path, inode).filter(|_| self.options.follow) {
                // What was written to the old file after the look above, and before it was put aside.
                if let Read1::Enough = self.lines(&mut reader, &mut raw).await? {
                    return Ok(());
                }
                inode = next.metadata()?.ino();
                reader = BufReader::new(next);
                raw.clear();
                continue;
            }
            if !alive {
                // The last line may lack its newline.
                let _ = self.line(&raw).await;
                let _ = self.out.send().await;
                return Ok(());
            }
            // One more look after the container's end: its last lines may have come since.
            alive = match std::mem::take(&mut first) {
                true => (self.alive)().await,
                false => self.wait(watch.as_ref()).await,
            };
            if self.out.sender.is_closed() {
                return Ok(());
            }
        }
    }

    /// Passes on all the lines there are; one that is half written stays in `raw`.
    async fn lines(&mut self, reader: &mut BufReader<File>, raw: &mut Vec<u8>) -> std::io::Result<Read1> {
        loop {
            let n = reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', raw)?;
            if raw.last() == Some(&b'\n') {
                if self.line(raw).await.is_err() {
                    return Ok(Read1::Enough);
                }
                raw.clear();
            } else if n > 0 && raw.len() as u64 >= LINE_BYTES_MAX {
                raw.clear();
            } else if n == 0 {
                return Ok(match self.out.send().await {
                    Ok(()) => Read1::End,
                    Err(Enough) => Read1::Enough,
                });
            }
        }
    }

    /// Waits for a change of the file; returns whether there may be more.
    async fn wait(&self, watch: Option<&std::io::Result<Watch>>) -> bool {
        let changed = async {
            match watch {
                Some(Ok(w)) if w.changed().await.is_ok() => {}
                _ => tokio::time::sleep(POLL_EVERY).await,
            }
        };
        tokio::select! {
            () = changed => true,
            () = self.out.sender.closed() => false,
            () = tokio::time::sleep(ALIVE_EVERY) => (self.alive)().await,
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
        let late = |since: &Timestamp| l.time.parse::<Timestamp>().is_ok_and(|t| t < *since);
        if !wanted || self.options.since.as_ref().is_some_and(late) {
            return Ok(());
        }
        self.out.line(&l, self.options.timestamps).await
    }
}

/// The client's side: whole chunks, no more bytes than it wants.
struct Output {
    /// Bytes the client still wants.
    left: Option<u64>,
    sender: mpsc::Sender<std::io::Result<Bytes>>,
    pending: Vec<u8>,
    /// The next piece begins a line of the container's.
    line_begins: bool,
}

impl Output {
    async fn line(&mut self, l: &Line<'_>, timestamps: bool) -> Result<(), Enough> {
        let before = self.pending.len();
        if timestamps && self.line_begins {
            self.pending.extend_from_slice(l.time.as_bytes());
            self.pending.push(b' ');
        }
        self.pending.extend_from_slice(l.content);
        if !l.partial {
            self.pending.push(b'\n');
        }
        self.line_begins = !l.partial;
        if let Some(left) = &mut self.left {
            let added = (self.pending.len() - before) as u64;
            let take = added.min(*left);
            self.pending.truncate(before + usize::try_from(take).unwrap_or(0));
            *left -= take;
        }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    const LOG: &str = "2024-01-01T00:00:00Z stdout F one\n\
        2024-01-01T00:00:01Z stderr F two\n\
        2024-01-01T00:00:02Z stdout P thr\n\
        2024-01-01T00:00:03Z stdout F ee\n";

    fn all() -> LogOptions {
        LogOptions {
            stdout: true,
            stderr: true,
            ..Default::default()
        }
    }

    fn follow() -> LogOptions {
        LogOptions { follow: true, ..all() }
    }

    fn running(is: bool) -> (Alive, Arc<AtomicBool>) {
        let flag = Arc::new(AtomicBool::new(is));
        let told = flag.clone();
        let alive: Alive = Box::new(move || {
            let told = told.clone();
            Box::pin(async move { told.load(Ordering::Relaxed) })
        });
        (alive, flag)
    }

    async fn read(options: LogOptions) -> String {
        let mut f = tempfile::NamedTempFile::new().unwrap();
        f.write_all(LOG.as_bytes()).unwrap();
        let mut r = stream(f.path().to_owned(), running(false).0, options).unwrap();
        let mut out = Vec::new();
        while let Some(chunk) = r.recv().await {
            out.extend_from_slice(&chunk.unwrap());
        }
        String::from_utf8(out).unwrap()
    }

    async fn next(r: &mut mpsc::Receiver<std::io::Result<Bytes>>) -> Option<String> {
        let got = tokio::time::timeout(Duration::from_secs(30), r.recv()).await.unwrap();
        got.map(|c| String::from_utf8(c.unwrap().to_vec()).unwrap())
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
        let stamped = LogOptions {
            timestamps: true,
            stderr: false,
            ..all()
        };
        assert_eq!(
            read(stamped).await,
            "2024-01-01T00:00:00Z one\n2024-01-01T00:00:02Z three\n",
            "one stamp a line of the container's"
        );
        assert!(stream("/nonexistent/log".into(), running(true).0, all()).is_err());
    }

    #[tokio::test]
    async fn follows_over_a_rotation_until_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, LOG).unwrap();
        let (alive, flag) = running(true);
        let mut r = stream(path.clone(), alive, follow()).unwrap();
        assert_eq!(next(&mut r).await.unwrap(), "one\ntwo\nthree\n");
        let aside = dir.path().join("0.log.1");
        std::fs::rename(&path, &aside).unwrap();
        // The runtime writes to the file it has, until it is told of the new one.
        let mut old = std::fs::OpenOptions::new().append(true).open(&aside).unwrap();
        old.write_all(b"2024-01-01T00:00:08Z stdout F late\n").unwrap();
        let mut new = File::create(&path).unwrap();
        new.write_all(b"2024-01-01T00:00:09Z stdout F ne").unwrap();
        assert_eq!(next(&mut r).await.unwrap(), "late\n");
        new.write_all(b"w\n").unwrap();
        assert_eq!(next(&mut r).await.unwrap(), "new\n");
        flag.store(false, Ordering::Relaxed);
        new.write_all(b"2024-01-01T00:00:10Z stdout F last\n").unwrap();
        assert_eq!(next(&mut r).await.unwrap(), "last\n");
        assert_eq!(next(&mut r).await, None, "the container has ended");
    }

    #[tokio::test]
    async fn a_dead_container_is_not_waited_for() {
        let mut f = tempfile::NamedTempFile::new().unwrap();
        f.write_all(LOG.as_bytes()).unwrap();
        f.write_all(b"2024-01-01T00:00:09Z stderr F no newline").unwrap();
        let mut r = stream(f.path().to_owned(), running(false).0, follow()).unwrap();
        assert_eq!(next(&mut r).await.unwrap(), "one\ntwo\nthree\n");
        assert_eq!(next(&mut r).await.unwrap(), "no newline\n");
        assert_eq!(next(&mut r).await, None);
    }
}
