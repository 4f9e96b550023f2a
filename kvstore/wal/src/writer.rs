//! What owns the files: it takes what is queued, writes it, and calls back.
use crate::{
    BATCH_BYTES_MAX, EntryId, Error, Options, PREWRITE_BYTES, SPARE_SEGMENTS_MAX, Vote,
    frame::{self, FRAME_HEADER_BYTES, FrameMeta, Kind},
    inline::Step,
    log::{SegmentInfo, Slot},
    segment::{self, Active, SEGMENT_BYTES_MAX, SEGMENT_HEADER_BYTES, SegmentHeader},
    wal::{AtHand, Job, Op, Shared},
};
use std::{collections::VecDeque, path::PathBuf, sync::Arc, time::Instant};

/// The buffer is given back beyond this many bytes: one large batch must not cost memory for ever.
const BUFFER_KEEP_BYTES: usize = 1 << 20;
/// Batches for which the seeded bug syncs once.
const SEEDED_BATCHES_PER_SYNC: u64 = 64;

pub(crate) struct Writer {
    shared: Arc<Shared>,
    options: Options,
    active: Active,
    spares: VecDeque<PathBuf>,
    /// Frames that go to `active.at`.
    buffer: Vec<u8>,
    placements: Vec<Placement>,
    // The vote and the purge point in the order of the file, which memory is ahead of.
    vote: Option<Vote>,
    purged: Option<EntryId>,
    wrote_anything: bool,
}

struct Placement {
    job: u64,
    index: u64,
    segment: u64,
    offset: u64,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, options: Options, active: Active, spares: VecDeque<PathBuf>) -> Self {
        let state = shared.lock().log.state();
        Writer {
            shared,
            options,
            active,
            spares,
            buffer: Vec::new(),
            placements: Vec::new(),
            vote: state.vote,
            purged: state.purged,
            wrote_anything: false,
        }
    }

    pub(crate) fn step(&mut self) -> Step {
        match self.shared.jobs_at_hand(BATCH_BYTES_MAX) {
            AtHand::Jobs(jobs) => {
                if self.batch(jobs) {
                    Step::Wrote
                } else {
                    Step::Ended
                }
            }
            AtHand::Nothing => Step::Idle,
            AtHand::Poisoned => Step::Ended,
            AtHand::Closed => {
                self.end();
                Step::Ended
            }
        }
    }

    /// Writes, makes durable, calls back. False: the log failed, and has told everyone.
    fn batch(&mut self, jobs: Vec<Job>) -> bool {
        if let Err(e) = self.write(&jobs) {
            tracing::error!(error = %e, "the log failed");
            self.shared.poison(&e, jobs);
            return false;
        }
        let purged = jobs.iter().any(|j| matches!(j.op, Op::Purge(_)));
        for job in jobs {
            (job.done)(Ok(()));
        }
        if purged {
            self.drop_purged();
        }
        true
    }

    fn end(&mut self) {
        // A batch of its own after the last one proves that one durable to whoever opens the log next.
        if self.wrote_anything {
            let result = self.put(Kind::Mark, 0, 0, 0, &[]).and_then(|_| self.flush());
            if let Err(e) = result {
                tracing::warn!(error = %e, "mark the end of the log");
            }
        }
    }

    fn write(&mut self, jobs: &[Job]) -> Result<(), Error> {
        for job in jobs {
            self.encode(job)?;
        }
        self.flush()?;
        let Some(last) = jobs.last() else { return Ok(()) };
        let mut shared = self.shared.lock();
        for p in self.placements.drain(..) {
            let slot = Slot {
                segment: p.segment as u32,
                offset: p.offset as u32,
            };
            shared.log.placed(p.job, p.index, slot);
            if let Some(info) = shared.log.segments.get_mut(&p.segment) {
                info.max_index = info.max_index.max(Some(p.index));
            }
        }
        shared.log.shrink_tail(last.id);
        Ok(())
    }

    fn encode(&mut self, job: &Job) -> Result<(), Error> {
        match &job.op {
            Op::Entries(entries) => {
                for e in entries {
                    let offset = self.put(Kind::Entry, e.tag, e.id.term, e.id.index, &e.payload)?;
                    self.placements.push(Placement {
                        job: job.id,
                        index: e.id.index,
                        segment: self.active.id,
                        offset,
                    });
                }
            }
            Op::Vote(v) => {
                self.put(Kind::Vote, u8::from(v.committed), v.term, v.node, &[])?;
                self.vote = Some(*v);
            }
            Op::Truncate(keep) => {
                let id = keep.unwrap_or_default();
                self.put(Kind::Truncate, u8::from(keep.is_none()), id.term, id.index, &[])?;
            }
            Op::Purge(upto) => {
                self.put(Kind::Purge, 0, upto.term, upto.index, &[])?;
                self.purged = Some(*upto);
            }
            Op::Nothing => {}
        }
        Ok(())
    }

    /// Puts a frame into the buffer, in a new segment if this one has no room. Returns its offset in the segment.
    fn put(&mut self, kind: Kind, tag: u8, term: u64, index: u64, payload: &[u8]) -> Result<u64, Error> {
        // Room for the seal is always kept.
        let need = (frame::frame_bytes(payload.len()) + FRAME_HEADER_BYTES) as u64;
        if self.offset() + need > self.active.capacity {
            self.rotate(need)?;
        } else if self.buffer.len() >= BATCH_BYTES_MAX {
            self.flush()?;
        }
        let offset = self.offset();
        let meta = FrameMeta {
            kind,
            tag,
            batch: self.active.at as u32,
            term,
            index,
        };
        frame::encode(&mut self.buffer, self.active.file.salt, meta, payload);
        Ok(offset)
    }

    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        self.offset() + bytes <= self.active.capacity
    }

    fn offset(&self) -> u64 {
        self.active.at + self.buffer.len() as u64
    }

    /// One write, one sync. Fresh blocks get zeros ahead in the same write, so that the syncs that follow need not
    /// wait for the file system's own journal.
    fn flush(&mut self) -> Result<(), Error> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let frames = self.buffer.len() as u64;
        let end = self.active.at + frames;
        debug_assert!(end <= self.active.capacity);
        if end > self.active.prewritten {
            let ahead = (end + PREWRITE_BYTES).min(self.active.capacity);
            self.buffer.resize((ahead - self.active.at) as usize, 0);
            self.active.prewritten = ahead;
        }
        let file = &self.active.file;
        let disk = &self.options.disk;
        disk.write_at(&file.file, &self.buffer, self.active.at)
            .map_err(|e| Error::io(format!("write {} at {}", file.path.display(), self.active.at), e))?;
        let begun = Instant::now();
        let skips = seeded!(AckBeforeFsync) && !self.shared.syncs().is_multiple_of(SEEDED_BATCHES_PER_SYNC);
        if !skips {
            disk.sync(&file.file)
                .map_err(|e| Error::io(format!("sync {}", file.path.display()), e))?;
        }
        self.active.at = end;
        self.wrote_anything = true;
        self.shared.count_sync(self.buffer.len() as u64, begun.elapsed());
        self.buffer.clear();
        if self.buffer.capacity() > BUFFER_KEEP_BYTES {
            self.buffer.shrink_to(BUFFER_KEEP_BYTES);
        }
        Ok(())
    }

    fn rotate(&mut self, need: u64) -> Result<(), Error> {
        let meta = FrameMeta {
            kind: Kind::Seal,
            tag: 0,
            batch: self.active.at as u32,
            term: 0,
            index: 0,
        };
        frame::encode(&mut self.buffer, self.active.file.salt, meta, &[]);
        self.flush()?;
        let capacity = self.options.segment_bytes.max(SEGMENT_HEADER_BYTES as u64 + need);
        if capacity > SEGMENT_BYTES_MAX {
            return Err(Error::Misuse(format!(
                "a segment of {capacity} bytes is over the limit"
            )));
        }
        let header = SegmentHeader {
            id: self.active.id + 1,
            salt: 0,
            cluster_id: self.options.cluster_id,
            node_id: self.options.node_id,
            vote: self.vote,
            purged: self.purged,
        };
        let spare = if capacity == self.options.segment_bytes {
            self.spares.pop_front()
        } else {
            None
        };
        if spare.is_some() {
            self.shared.count_recycled();
        }
        self.active = segment::create(&self.options.dir, &*self.options.disk, header, capacity, spare)?;
        let info = SegmentInfo {
            file: self.active.file.clone(),
            max_index: None,
        };
        self.shared.lock().log.segments.insert(self.active.id, info);
        Ok(())
    }

    /// Lets go of segments below the purge point, which is durable by now. A failure leaves a file too many, which the
    /// next start takes up again, so it is no reason to stop.
    fn drop_purged(&mut self) {
        let Some(purged) = self.purged else { return };
        let unused = self.shared.lock().log.take_unused_segments(purged);
        let mut unused = unused.into_iter();
        while let Some((id, info)) = unused.next() {
            // Nobody can take up a file that is not in the map, so one owner means no reader.
            let idle = Arc::strong_count(&info.file.file) == 1;
            let fits = info
                .file
                .file
                .metadata()
                .is_ok_and(|m| m.len() == self.options.segment_bytes);
            let result = if idle && fits && self.spares.len() < SPARE_SEGMENTS_MAX {
                segment::retire(&self.options.dir, id).map(|path| self.spares.push_back(path))
            } else {
                segment::remove(&info.file.path)
            };
            // In order and durable one by one: a gap between segments would look like a lost file.
            if let Err(e) = result.and_then(|()| segment::sync_dir(&self.options.dir)) {
                tracing::warn!(error = %e, "let go of a purged segment");
                let mut shared = self.shared.lock();
                if info.file.path.exists() {
                    shared.log.segments.insert(id, info);
                }
                shared.log.segments.extend(unused);
                return;
            }
        }
    }
}
