//! The handle: changes go into the queue in one order, reads come from memory or the files.
use crate::{
    Disk, Entry, EntryId, Error, HERE_BYTES_MAX, HERE_SYNC_MAX, InlineWriter, Options, PAYLOAD_BYTES_MAX,
    QUEUE_BYTES_MAX, State, Stats, Vote,
    inline::Step,
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
    time::Duration,
};

/// How many syncs, about, the mean of their times remembers.
const SYNCS_OF_LATE: u64 = 8;

/// Called once, by whoever wrote (the log's thread, or a caller of [`Wal::write_here`]), in the order of the calls. It must
/// not block and must not call back into the log.
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

/// What a writer finds that does not wait.
pub(crate) enum AtHand {
    Jobs(Vec<Job>),
    Nothing,
    Closed,
    Poisoned,
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
    /// How long a sync takes of late, in microseconds; 0 before the first.
    sync_micros: AtomicU64,
    /// Let go of when the writer has ended, so that the folder can be opened again while handles still live.
    dir_lock: Mutex<Option<DirLock>>,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// Waits until there is a step for the writer to take.
    fn wait_for_work(&self) {
        let mut inner = self.inner.lock();
        while inner.queue.is_empty() && !inner.closing && inner.poisoned.is_none() {
            self.work.wait(&mut inner);
        }
    }

    /// What the writer finds.
    pub(crate) fn jobs_at_hand(&self, bytes_max: usize) -> AtHand {
        let mut inner = self.inner.lock();
        if inner.poisoned.is_some() {
            AtHand::Poisoned
        } else if !inner.queue.is_empty() {
            AtHand::Jobs(self.take_jobs(&mut inner, bytes_max))
        } else if inner.closing {
            AtHand::Closed
        } else {
            AtHand::Nothing
        }
    }

    fn take_jobs(&self, inner: &mut Inner, bytes_max: usize) -> Vec<Job> {
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
        jobs
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
        self.work.notify_all();
        for job in written.into_iter().chain(queued) {
            (job.done)(Err(Error::Poisoned(message.clone())));
        }
    }

    pub(crate) fn count_sync(&self, bytes: u64, took: Duration) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.written_bytes.fetch_add(bytes, Ordering::Relaxed);
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        // Only the one that holds the writer comes here.
        let mean = match self.sync_micros.load(Ordering::Relaxed) {
            0 => took,
            before => before - before / SYNCS_OF_LATE + took / SYNCS_OF_LATE,
        };
        self.sync_micros.store(mean, Ordering::Relaxed);
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
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
    writer: Option<SharedWriter>,
    guard: Arc<Guard>,
    disk: Arc<dyn Disk>,
}

/// The writer, where nobody else drives it.
type SharedWriter = Arc<Mutex<InlineWriter>>;

fn start_thread(shared: Arc<Shared>, writer: SharedWriter) -> Result<JoinHandle<()>, Error> {
    std::thread::Builder::new()
        .name("wal".into())
        .spawn(move || {
            loop {
                shared.wait_for_work();
                if step(&shared, &writer) == Step::Ended {
                    return;
                }
            }
        })
        .map_err(|e| Error::io("start the log's thread", e))
}

/// A panic in a callback must not leave callers waiting for what nobody does any more.
fn step(shared: &Shared, writer: &SharedWriter) -> Step {
    let stepped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| writer.lock().step()));
    stepped.unwrap_or_else(|_| {
        shared.poison(&Error::Poisoned("a callback panicked".into()), Vec::new());
        Step::Ended
    })
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
            sync_micros: AtomicU64::new(0),
            dir_lock: Mutex::new(Some(lock)),
        });
        let disk = options.disk.clone();
        let writer = Writer::new(shared.clone(), options, recovered.active, recovered.spares);
        let writer = disk.drive(InlineWriter(writer)).map(|w| Arc::new(Mutex::new(w)));
        let thread = match &writer {
            Some(writer) => Some(start_thread(shared.clone(), writer.clone())?),
            None => None,
        };
        let guard = Arc::new(Guard {
            shared: shared.clone(),
            thread: Mutex::new(thread),
        });
        Ok(Wal {
            shared,
            writer,
            guard,
            disk,
        })
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
            // What is queued may be held, see `append_held`.
            self.shared.work.notify_one();
            self.shared.room.wait(&mut inner);
        }
        let id = inner.last_job + 1;
        let op = change(&mut inner.log, id)?;
        inner.last_job = id;
        inner.queue_bytes += bytes;
        inner.queue.push_back(Job { id, op, bytes, done });
        self.disk.queued();
        Ok(())
    }

    /// Appends entries that follow the last one. They are readable when this returns and durable when `done` says so.
    /// Waits while more than [`QUEUE_BYTES_MAX`] are queued.
    pub fn append(&self, entries: Vec<Entry>, done: Callback) -> Result<(), Error> {
        self.append_held(entries, done)?;
        self.wake();
        Ok(())
    }

    /// Has the log's thread write what is queued.
    pub fn wake(&self) {
        self.shared.work.notify_one();
    }

    /// Writes what is queued on this thread, which waits for the disk meanwhile; two wake-ups between threads are saved. Only
    /// where that is short: entries of no more than [`HERE_BYTES_MAX`], on a disk that answers within
    /// [`HERE_SYNC_MAX`] on average, in a segment that has room for them. Everything else is left to the log's thread, which
    /// this wakes.
    pub fn write_here(&self) {
        let Some(writer) = &self.writer else { return };
        let quick = {
            let inner = self.shared.inner.lock();
            if inner.queue.is_empty() {
                return;
            }
            let sync = Duration::from_micros(self.shared.sync_micros.load(Ordering::Relaxed));
            inner.queue_bytes <= HERE_BYTES_MAX
                && !sync.is_zero()
                && sync <= HERE_SYNC_MAX
                && inner.queue.iter().all(|job| matches!(job.op, Op::Entries(_)))
        };
        // Who holds the writer now looks into the queue once more before it sleeps.
        let quick = quick && writer.try_lock().is_some_and(|w| w.has_room(2 * HERE_BYTES_MAX as u64));
        if quick {
            step(&self.shared, writer);
        } else {
            self.wake();
        }
    }

    /// As [`Wal::append`], but the log's thread is left to sleep: a call of [`Wal::wake`] or [`Wal::write_here`] has to follow.
    pub fn append_held(&self, entries: Vec<Entry>, done: Callback) -> Result<(), Error> {
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
        })?;
        self.wake();
        Ok(())
    }

    /// Drops the entries after `keep`, or all of them.
    pub fn truncate_after(&self, keep: Option<EntryId>, done: Callback) -> Result<(), Error> {
        self.submit(0, done, |log, _| {
            log.truncate_after(keep)?;
            Ok(Op::Truncate(keep))
        })?;
        self.wake();
        Ok(())
    }

    /// Drops the entries up to `upto`, which may lie beyond the last: then the log goes on after it.
    pub fn purge(&self, upto: EntryId, done: Callback) -> Result<(), Error> {
        self.submit(0, done, |log, _| {
            if log.state().purged.is_some_and(|p| p.index >= upto.index) {
                return Ok(Op::Nothing);
            }
            log.purge(upto);
            Ok(Op::Purge(upto))
        })?;
        self.wake();
        Ok(())
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
            syncs: self.shared.syncs(),
            written_bytes: self.shared.written_bytes.load(Ordering::Relaxed),
            segments: inner.log.segments.len(),
            recycled_segments: self.shared.recycled.load(Ordering::Relaxed),
            tail_bytes: inner.log.tail_bytes(),
        }
    }

    /// Writes what is queued, and ends. Blocks until done; later changes answer [`Error::Closed`].
    pub fn close(&self) {
        self.shared.inner.lock().closing = true;
        self.disk.closing();
        self.guard.close();
    }

    /// Whether an entry that is present is on disk already.
    pub fn is_durable(&self, index: u64) -> bool {
        self.shared.inner.lock().log.is_durable(index)
    }

    /// Calls back when everything that was queued before is durable.
    pub fn barrier(&self, done: Callback) -> Result<(), Error> {
        self.submit(0, done, |_, _| Ok(Op::Nothing))?;
        self.wake();
        Ok(())
    }
}

fn same_segment(a: &Slot, b: &Slot) -> bool {
    a.segment == b.segment
}
