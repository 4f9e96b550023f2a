//! The log as memory knows it: where every entry is, the tail of entries themselves, the vote, the purge point.
use crate::{Entry, EntryId, Error, State, Vote, segment::SegmentFile};
use std::collections::{BTreeMap, VecDeque};

/// What an entry in the tail weighs beyond its payload, roughly, in bytes.
const TAIL_ENTRY_OVERHEAD_BYTES: usize = 64;

/// Where an entry's frame is. Eight bytes, because there is one for every entry of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Low 32 bits of the segment's id: a log of 2^32 segments is out of reach.
    pub segment: u32,
    pub offset: u32,
}

#[derive(Debug)]
struct TailEntry {
    /// The job that writes it; durable once that job is.
    job: u64,
    entry: Entry,
}

#[derive(Debug)]
pub(crate) struct SegmentInfo {
    pub file: SegmentFile,
    /// Highest index ever written here, truncated entries included: the segment may go when it is purged.
    pub max_index: Option<u64>,
}

/// Invariant: `slots` has one place for every entry `first..first + slots.len()`; `tail` is a suffix of them.
#[derive(Debug, Default)]
pub(crate) struct Log {
    first: u64,
    slots: VecDeque<Slot>,
    tail: VecDeque<TailEntry>,
    tail_bytes: usize,
    tail_bytes_max: usize,
    /// The newest entry, if any is present.
    last: Option<EntryId>,
    purged: Option<EntryId>,
    vote: Option<Vote>,
    /// The last job that is durable.
    durable_job: u64,
    pub(crate) segments: BTreeMap<u64, SegmentInfo>,
}

fn weight(entry: &Entry) -> usize {
    entry.payload.len() + TAIL_ENTRY_OVERHEAD_BYTES
}

impl Log {
    pub(crate) fn new(tail_bytes_max: usize) -> Self {
        Log {
            tail_bytes_max,
            ..Log::default()
        }
    }

    pub(crate) fn state(&self) -> State {
        State {
            first: (!self.slots.is_empty()).then_some(self.first),
            last: self.last.or(self.purged),
            purged: self.purged,
            vote: self.vote,
        }
    }

    pub(crate) fn tail_bytes(&self) -> usize {
        self.tail_bytes
    }

    fn end(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    fn tail_first(&self) -> u64 {
        self.end() - self.tail.len() as u64
    }

    pub(crate) fn set_vote(&mut self, vote: Vote) {
        self.vote = Some(vote);
    }

    pub(crate) fn set_purged(&mut self, purged: Option<EntryId>) {
        self.purged = purged;
    }

    /// The only index that may follow, or `None` if any may.
    fn next_index(&self) -> Option<u64> {
        self.last.or(self.purged).map(|l| l.index + 1)
    }

    pub(crate) fn check_next(&self, index: u64) -> Result<(), Error> {
        match self.next_index() {
            Some(next) if next != index => Err(Error::Misuse(format!("entry {index} where {next} must follow"))),
            _ => Ok(()),
        }
    }

    /// The rule while segments are read back. The segments before the first that is left went because a purge point
    /// further on covers them, so an empty log may start anywhere; where it must start is known at the end.
    pub(crate) fn check_replayed(&self, index: u64) -> Result<(), Error> {
        match self.last {
            Some(_) => self.check_next(index),
            None if self.purged.is_some_and(|p| p.index >= index) => self.check_next(index),
            None => Ok(()),
        }
    }

    pub(crate) fn check_append(&self, entries: &[Entry]) -> Result<(), Error> {
        let Some(first) = entries.first() else { return Ok(()) };
        self.check_next(first.id.index)?;
        for (e, index) in entries.iter().zip(first.id.index..) {
            if e.id.index != index {
                return Err(Error::Misuse(format!("entry {} where {index} must follow", e.id.index)));
            }
        }
        Ok(())
    }

    /// Takes an entry whose place is known (recovery) or not yet (append).
    pub(crate) fn push(&mut self, id: EntryId, slot: Slot) {
        if self.slots.is_empty() {
            self.first = id.index;
        }
        debug_assert_eq!(self.end(), id.index);
        self.slots.push_back(slot);
        self.last = Some(id);
    }

    pub(crate) fn push_with_payload(&mut self, entry: Entry, job: u64) {
        self.push(entry.id, Slot::default());
        self.tail_bytes += weight(&entry);
        self.tail.push_back(TailEntry { job, entry });
    }

    /// Drops entries above `keep` (all for `None`).
    pub(crate) fn truncate_after(&mut self, keep: Option<EntryId>) -> Result<(), Error> {
        let end = keep.map_or(self.first, |k| k.index.saturating_add(1));
        if let (Some(k), Some(p)) = (keep, self.purged)
            && k.index < p.index
        {
            return Err(Error::Misuse(format!(
                "truncation to {} below the purge point {}",
                k.index, p.index
            )));
        }
        if end >= self.end() {
            return Ok(());
        }
        self.slots.truncate(end.saturating_sub(self.first) as usize);
        while self.tail.back().is_some_and(|t| t.entry.id.index >= end) {
            if let Some(t) = self.tail.pop_back() {
                self.tail_bytes -= weight(&t.entry);
            }
        }
        self.last = if self.slots.is_empty() { None } else { keep };
        Ok(())
    }

    /// Drops entries up to `upto`, which may lie beyond the last.
    pub(crate) fn purge(&mut self, upto: EntryId) {
        if self.purged.is_some_and(|p| p.index >= upto.index) {
            return;
        }
        self.purged = Some(upto);
        let gone = (upto.index + 1).saturating_sub(self.first).min(self.slots.len() as u64);
        self.slots.drain(..gone as usize);
        self.first += gone;
        if self.slots.is_empty() {
            self.last = None;
        }
        while self.tail.len() > self.slots.len() {
            if let Some(t) = self.tail.pop_front() {
                self.tail_bytes -= weight(&t.entry);
            }
        }
        // A long queue of places that is nearly empty gives its memory back.
        if self.slots.capacity() > 4096 && self.slots.len() < self.slots.capacity() / 4 {
            self.slots.shrink_to(self.slots.len() * 2);
        }
    }

    /// The writer has put entry `index` of job `job` there. A truncation since may have replaced or dropped it.
    pub(crate) fn placed(&mut self, job: u64, index: u64, slot: Slot) {
        let Some(at) = index.checked_sub(self.tail_first()) else {
            return;
        };
        if self
            .tail
            .get(at as usize)
            .is_some_and(|t| t.job == job && t.entry.id.index == index)
            && let Some(s) = self.slots.get_mut((index - self.first) as usize)
        {
            *s = slot;
        }
    }

    /// Everything up to `job` is durable: the oldest of the tail may leave memory.
    pub(crate) fn shrink_tail(&mut self, durable_job: u64) {
        self.durable_job = durable_job;
        while self.tail_bytes > self.tail_bytes_max && self.tail.front().is_some_and(|t| t.job <= durable_job) {
            if let Some(t) = self.tail.pop_front() {
                self.tail_bytes -= weight(&t.entry);
            }
        }
    }

    /// What has left the tail, or was never in it, is durable.
    pub(crate) fn is_durable(&self, index: u64) -> bool {
        let in_tail = index
            .checked_sub(self.tail_first())
            .and_then(|at| self.tail.get(at as usize));
        in_tail.is_none_or(|t| t.job <= self.durable_job)
    }

    /// Entries of `[lo, hi)` from the tail, up to `bytes_max` but at least one.
    pub(crate) fn read_tail(&self, lo: u64, hi: u64, bytes_max: usize, out: &mut Vec<Entry>) {
        let mut bytes: usize = out.iter().map(|e| e.payload.len()).sum();
        let Some(skip) = lo.checked_sub(self.tail_first()) else {
            return;
        };
        for t in self.tail.iter().skip(skip as usize) {
            if t.entry.id.index >= hi || (bytes >= bytes_max && !out.is_empty()) {
                return;
            }
            bytes += t.entry.payload.len();
            out.push(t.entry.clone());
        }
    }

    /// The part of `[lo, hi)` that is present.
    pub(crate) fn clip(&self, lo: u64, hi: u64) -> (u64, u64) {
        (lo.max(self.first), hi.min(self.end()))
    }

    pub(crate) fn is_in_tail(&self, index: u64) -> bool {
        index >= self.tail_first() && index < self.end()
    }

    /// Places of entries from `lo` on that are not in the tail, `count_max` at most.
    pub(crate) fn slots_from(&self, lo: u64, hi: u64, count_max: usize) -> Vec<Slot> {
        let hi = hi.min(self.tail_first());
        let Some(skip) = lo.checked_sub(self.first) else {
            return Vec::new();
        };
        let count = (hi.saturating_sub(lo) as usize).min(count_max);
        self.slots.iter().skip(skip as usize).take(count).copied().collect()
    }

    pub(crate) fn segment(&self, low_id: u32) -> Option<SegmentFile> {
        self.segments
            .iter()
            .rev()
            .find(|(id, _)| **id as u32 == low_id)
            .map(|(_, s)| s.file.clone())
    }

    /// Oldest segments that hold nothing above the purge point; never the newest.
    pub(crate) fn take_unused_segments(&mut self, purged: EntryId) -> Vec<(u64, SegmentInfo)> {
        let mut out = Vec::new();
        while self.segments.len() > 1 {
            let Some(oldest) = self.segments.first_entry() else {
                break;
            };
            if oldest.get().max_index.is_some_and(|m| m > purged.index) {
                break;
            }
            out.push(oldest.remove_entry());
        }
        out
    }
}
