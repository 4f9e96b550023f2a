//! The disk under the log: real files in a folder in memory, whose unsynced bytes a crash loses or tears.
//!
//! The log's writer runs in steps of this disk ([`SimDisk::work`]), late as the seed says. Writes go to the files at
//! once, so that the log reads them back, and are remembered until a sync; a crash takes them back sector by sector.

use keelson_wal::{Disk, InlineWriter, Step};
use parking_lot::Mutex;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::Notify;

use crate::rng::Rng;

/// What a disk writes in one piece, bytes.
const SECTOR_BYTES: usize = 512;
/// Unsynced writes that a lying disk remembers.
const UNSYNCED_MAX: usize = 4096;

/// How a disk lies: for tests that prove that the simulator would see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lie {
    #[default]
    None,
    /// Every sync says that it is done, and nothing is durable.
    NoSync,
    /// Votes are not durable until something else is written.
    NoVotes,
}

struct Unsynced {
    file: File,
    inode: u64,
    offset: u64,
    before: Vec<u8>,
    after: Vec<u8>,
}

#[derive(Default)]
struct State {
    writer: Option<InlineWriter>,
    unsynced: Vec<Unsynced>,
}

/// One member's disk, for one life of it.
pub struct SimDisk {
    state: Mutex<State>,
    work: Notify,
    salt: AtomicU64,
    lie: Lie,
    /// Nanoseconds that a step waits, at most.
    delay_max_ns: AtomicU64,
    fail_sync: AtomicBool,
    dying: AtomicBool,
}

impl SimDisk {
    pub fn new(salt: u64, lie: Lie) -> Arc<SimDisk> {
        Arc::new(SimDisk {
            state: Mutex::default(),
            work: Notify::new(),
            salt: AtomicU64::new(salt),
            lie,
            // A fast disk, a fair one, or one that is slower than the network.
            delay_max_ns: AtomicU64::new(
                [200_000, 2_000_000, 25_000_000]
                    .get(salt as usize % 3)
                    .copied()
                    .unwrap_or(0),
            ),
            fail_sync: AtomicBool::new(false),
            dying: AtomicBool::new(false),
        })
    }

    pub fn set_delay_max_ns(&self, ns: u64) {
        self.delay_max_ns.store(ns, Ordering::Relaxed);
    }

    pub fn delay_max_ns(&self) -> u64 {
        self.delay_max_ns.load(Ordering::Relaxed)
    }

    /// The next sync fails, and with it the log, for good.
    pub fn fail_next_sync(&self) {
        self.fail_sync.store(true, Ordering::Relaxed);
    }

    /// Waits until the log has something to write.
    pub async fn work(&self) {
        self.work.notified().await;
    }

    /// Writes one batch, if there is one.
    pub fn step(&self) -> Step {
        // Not under the lock: the writer calls back into this disk.
        let Some(mut writer) = self.state.lock().writer.take() else {
            return Step::Ended;
        };
        let step = writer.step();
        if step != Step::Ended {
            self.state.lock().writer = Some(writer);
        }
        step
    }

    /// The power goes. A batch that waits may be on its way to the disk just now.
    pub fn crash(&self, rng: &mut Rng) -> io::Result<()> {
        if rng.chance(1, 2) {
            self.dying.store(true, Ordering::Relaxed);
            self.step();
        }
        let mut state = self.state.lock();
        state.writer = None;
        while let Some(write) = state.unsynced.pop() {
            let lost = self.lie != Lie::None;
            // All, nothing, or some sectors of it.
            let kind = rng.below(3);
            let mut at = 0;
            while at < write.after.len() {
                let len = (SECTOR_BYTES - (write.offset as usize + at) % SECTOR_BYTES).min(write.after.len() - at);
                let keep = !lost
                    && match kind {
                        0 => true,
                        1 => false,
                        _ => rng.chance(1, 2),
                    };
                let bytes = if keep { &write.after } else { &write.before };
                if let Some(bytes) = bytes.get(at..at + len) {
                    write.file.write_all_at(bytes, write.offset + at as u64)?;
                }
                at += len;
            }
        }
        Ok(())
    }
}

fn read_before(file: &File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut before = vec![0; len];
    let mut filled = 0;
    while let Some(rest) = before.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let n = file.read_at(rest, offset + filled as u64)?;
        if n == 0 {
            break;
        }
        filled += n;
    }
    Ok(before)
}

/// Where a frame's type is, and the one of a vote; see the log's own description of frames.
const FRAME_TYPE_AT: usize = 8;
const FRAME_VOTE: u8 = 2;
const FRAME_HEADER_BYTES: usize = 32;

/// Whether a batch is one vote and nothing else: frames of other kinds have types other than 0.
fn is_vote(batch: &[u8]) -> bool {
    batch.get(FRAME_TYPE_AT) == Some(&FRAME_VOTE)
        && batch
            .get(FRAME_HEADER_BYTES + FRAME_TYPE_AT)
            .is_none_or(|next| *next == 0)
}

impl Disk for SimDisk {
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        let before = read_before(file, offset, bytes.len())?;
        if state.unsynced.len() < UNSYNCED_MAX {
            state.unsynced.push(Unsynced {
                file: file.try_clone()?,
                inode: file.metadata()?.ino(),
                offset,
                before,
                after: bytes.to_vec(),
            });
        }
        file.write_all_at(bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        if self.dying.load(Ordering::Relaxed) {
            return Err(io::Error::other("the power is gone"));
        }
        if self.fail_sync.swap(false, Ordering::Relaxed) {
            return Err(io::Error::other("the disk reports an error"));
        }
        let mut state = self.state.lock();
        let is_vote = state.unsynced.last().is_some_and(|w| is_vote(&w.after));
        match self.lie {
            Lie::NoSync => return Ok(()),
            Lie::NoVotes if is_vote => return Ok(()),
            _ => {}
        }
        let inode = file.metadata()?.ino();
        state.unsynced.retain(|write| write.inode != inode);
        Ok(())
    }

    fn random(&self) -> u32 {
        Rng::new(self.salt.fetch_add(1, Ordering::Relaxed)).next() as u32
    }

    fn drive(&self, writer: InlineWriter) -> Option<InlineWriter> {
        self.state.lock().writer = Some(writer);
        None
    }

    fn closing(&self) {
        while self.step() == Step::Wrote {}
        self.step();
    }

    fn queued(&self) {
        self.work.notify_one();
    }
}
