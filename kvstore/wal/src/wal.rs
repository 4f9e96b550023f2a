//! The handle: changes go into the queue in one order, reads come from memory or the files.
use crate::{
    Entry, EntryId, Error, Options, PAYLOAD_BYTES_MAX, QUEUE_BYTES_MAX, State, Stats, Vote,
    log::{Log, Slot},
    read::{self, READ_ENTRIES_MAX},
    recover,
    segment::{DirLock, SEGMENT_BYTES_MAX},
    writer::Writer,
};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

/// Called once, on the log's thread, in the order of the calls. It must not block and must not call back into the log.
pub type Callback = Box<dyn FnOnce(Result<(), Error>) + Send>;

pub(crate) enum Op {
    Entries(Vec<Entry>),
    Vote(Vote),
    Truncate(Option<EntryId>),
    Purge(EntryId),
    /// Nothing to write; it only keeps its place in the order.
    Nothing,
}

pub(crate) struct Job {
    pub id: u64,
    pub op: Op,
    pub bytes: usize,
    pub done: Callback,
}

pub(crate) struct Inner {
    pub log: Log,
    queue: VecDeque<Job>,
    queue_bytes: usize,
    last_job: u64,
    closing: bool,
    poisoned: Option<String>,
}

pub(crate) struct Shared {
    inner: Mutex<Inner>,
    work: Condvar,
    room: Condvar,
    syncs: AtomicU64,
    written_bytes: AtomicU64,
    recycled: AtomicU64,
    /// Let go of when the writer has ended, so that the folder can be opened again while handles still live.
    dir_lock: Mutex<Option<DirLock>>,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// Waits for work; `None` when the log is closed and everything is written.
    pub(crate) fn next_jobs(&self, bytes_max: usize) -> Option<Vec<Job>> {
        let mut inner = self.inner.lock();
        while inner.queue.is_empty() {
            if inner.closing {
                return None;
            }
            self.work.wait(&mut inner);
        }
        let mut jobs = Vec::with_capacity(inner.queue.len());
        let mut bytes = 0;
        while let Some(job) = inner.queue.pop_front() {
            bytes += job.bytes;
            jobs.push(job);
            if bytes >= bytes_max {
                break;
            }
        }
        inner.queue_bytes -= bytes;
        self.room.notify_all();
        Some(jobs)
    }

    /// Answers everyone with the failure, now and from now on.
    pub(crate) fn poison(&self, error: &Error, written: Vec<Job>) {
        let message = error.to_string();
        let queued = {
            let mut inner = self.inner.lock();
            inner.poisoned = Some(message.clone());
            inner.queue_bytes = 0;
            std::mem::take(&mut inner.queue)
        };
        self.room.notify_all();
        for job in written.into_iter().chain(queued) {
            (job.done)(Err(Error::Poisoned(message.clone())));
        }
    }

    pub(crate) fn count_sync(&self, bytes: u64) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.written_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn count_recycled(&self) {
        self.recycled.fetch_add(1, Ordering::Relaxed);
    }
}

/// Ends the writer when the last handle goes.
struct Guard {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Guard {
    fn close(&self) {
        self.shared.inner.lock().closing = true;
        self.shared.work.notify_all();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the log's thread panicked");
        }
        *self.shared.dir_lock.lock() = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.close();
    }
}

/// A cheap handle; clones share the log. The last one that goes writes what is queued and closes.
#[derive(Clone)]
pub struct Wal {
    shared: Arc<Shared>,
    guard: Arc<Guard>,
}

impl Wal {
    /// Opens the log in `options.dir`, or makes an empty one. Refuses what is in use, damaged or another member's.
    pub fn open(options: Options) -> Result<Wal, Error> {
        if !(4096..=SEGMENT_BYTES_MAX).contains(&options.segment_bytes) {
            return Err(Error::Misuse(format!("segments of {} bytes", options.segment_bytes)));
        }
        recover::make_dir(&options.dir)?;
        let lock = DirLock::take(&options.dir)?;
        let recovered = recover::recover(&options)?;
        let inner = Inner {
            log: recovered.log,
            queue: VecDeque::new(),
            queue_bytes: 0,
            last_job: 0,
            closing: false,
            poisoned: None,
        };
        let shared = Arc::new(Shared {
            inner: Mutex::new(inner),
            work: Condvar::new(),
            room: Condvar::new(),
            syncs: AtomicU64::new(0),
            written_bytes: AtomicU64::new(0),
            recycled: AtomicU64::new(0),
            dir_lock: Mutex::new(Some(lock)),
        });
        let writer = Writer::new(shared.clone(), options, recovered.active, recovered.spares);
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new()
            .name("wal".into())
            .spawn(move || {
                // A panic in a callback must not leave callers waiting for a thread that is gone.
                if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| writer.run())).is_err() {
                    of_thread.poison(&Error::Poisoned("its thread panicked".into()), Vec::new());
                }
            })
            .map_err(|e| Error::io("start the log's thread", e))?;
        let guard = Arc::new(Guard {
            shared: shared.clone(),
            thread: Mutex::new(Some(thread)),
        });
        Ok(Wal { shared, guard })
    }

    /// Makes a change in memory and queues it. On `Err` nothing changed and the callback is dropped.
    fn submit(
        &self,
        bytes: usize,
        done: Callback,
        change: impl FnOnce(&mut Log, u64) -> Result<Op, Error>,
    ) -> Result<(), Error> {
        let mut inner = self.shared.inner.lock();
        loop {
            if let Some(message) = &inner.poisoned {
                return Err(Error::Poisoned(message.clone()));
            }
            if inner.closing {
                return Err(Error::Closed);
            }
            if inner.queue_bytes == 0 || inner.queue_bytes + bytes <= QUEUE_BYTES_MAX {
                break;
            }
            self.shared.room.wait(&mut inner);
        }
        let id = inner.last_job + 1;
        let op = change(&mut inner.log, id)?;
        inner.last_job = id;
        inner.queue_bytes += bytes;
        inner.queue.push_back(Job { id, op, bytes, done });
        drop(inner);
        self.shared.work.notify_one();
        Ok(())
    }

    /// Appends entries that follow the last one. They are readable when this returns and durable when `done` says so.
    /// Waits while more than [`QUEUE_BYTES_MAX`] are queued.
    pub fn append(&self, entries: Vec<Entry>, done: Callback) -> Result<(), Error> {
        let bytes = entries
            .iter()
            .map(|e| e.payload.len() + crate::frame::FRAME_HEADER_BYTES)
            .sum();
        if let Some(e) = entries.iter().find(|e| e.payload.len() > PAYLOAD_BYTES_MAX) {
            return Err(Error::Misuse(format!(
                "entry {} of {} bytes",
                e.id.index,
                e.payload.len()
            )));
        }
        self.submit(bytes, done, |log, job| {
            log.check_append(&entries)?;
            for e in &entries {
                log.push_with_payload(e.clone(), job);
            }
            Ok(Op::Entries(entries))
        })
    }

    pub fn save_vote(&self, vote: Vote, done: Callback) -> Result<(), Error> {
        self.submit(0, done, |log, _| {
            log.set_vote(vote);
            Ok(Op::Vote(vote))
        })
    }

    /// Drops the entries after `keep`, or all of them.
    pub fn truncate_after(&self, keep: Option<EntryId>, done: Callback) -> Result<(), Error> {
        self.submit(0, done, |log, _| {
            log.truncate_after(keep)?;
            Ok(Op::Truncate(keep))
        })
    }

    /// Drops the entries up to `upto`, which may lie beyond the last: then the log goes on after it.
    pub fn purge(&self, upto: EntryId, done: Callback) -> Result<(), Error> {
        self.submit(0, done, |log, _| {
            if log.state().purged.is_some_and(|p| p.index >= upto.index) {
                return Ok(Op::Nothing);
            }
            log.purge(upto);
            Ok(Op::Purge(upto))
        })
    }

    /// Entries of `[lo, hi)` that are present, in order and without holes: at least one if any is present, and no more
    /// than about `bytes_max` of payload. Blocks on the disk for entries that have left memory.
    pub fn read(&self, lo: u64, hi: u64, bytes_max: usize) -> Result<Vec<Entry>, Error> {
        let mut out = Vec::new();
        let (lo, slots) = {
            let inner = self.shared.inner.lock();
            let (lo, hi) = inner.log.clip(lo, hi);
            if lo >= hi {
                return Ok(out);
            }
            if inner.log.is_in_tail(lo) {
                inner.log.read_tail(lo, hi, bytes_max, &mut out);
                return Ok(out);
            }
            let slots = inner.log.slots_from(lo, hi, READ_ENTRIES_MAX);
            let mut placed = Vec::with_capacity(slots.len());
            for slot in slots {
                let file = match placed.last() {
                    Some((s, file)) if same_segment(s, &slot) => Clone::clone(file),
                    _ => inner
                        .log
                        .segment(slot.segment)
                        .ok_or_else(|| Error::Misuse(format!("no segment {} for entry {lo}", slot.segment)))?,
                };
                placed.push((slot, file));
            }
            (lo, placed)
        };
        read::read_slots(lo, &slots, bytes_max)
    }

    pub fn state(&self) -> State {
        self.shared.inner.lock().log.state()
    }

    pub fn stats(&self) -> Stats {
        let inner = self.shared.inner.lock();
        Stats {
            syncs: self.shared.syncs.load(Ordering::Relaxed),
            written_bytes: self.shared.written_bytes.load(Ordering::Relaxed),
            segments: inner.log.segments.len(),
            recycled_segments: self.shared.recycled.load(Ordering::Relaxed),
            tail_bytes: inner.log.tail_bytes(),
        }
    }

    /// Writes what is queued, and ends. Blocks until done; later changes answer [`Error::Closed`].
    pub fn close(&self) {
        self.guard.close();
    }
}

fn same_segment(a: &Slot, b: &Slot) -> bool {
    a.segment == b.segment
}
