//! openraft's log storage over the segmented log.
use crate::marker::Marker;
use crate::scribe::{Demand, Scribe};
use crate::types::{
    Entry, LogId, Types, Vote, entry_from_wal, entry_id, entry_to_wal, from_entry_id, vote_from_wal, vote_to_wal,
};
use futures::{Stream, stream};
use keelson_wal::Wal;
use openraft::{
    OptionalSend,
    storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage},
};
use std::{
    collections::VecDeque,
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
    sync::Arc,
};
use tokio::sync::oneshot;

/// Payload bytes that a replication message or a step of replay reads at most (but for one larger entry).
const READ_BYTES_MAX: usize = 1 << 20;

#[derive(Clone)]
pub(crate) struct LogStore {
    wal: Wal,
    scribe: Arc<Scribe>,
    marker: Arc<Marker>,
}

impl LogStore {
    pub(crate) fn new(wal: Wal, marker: Arc<Marker>, demand: Arc<Demand>) -> Self {
        let scribe = Scribe::start(wal.clone(), demand);
        LogStore { wal, scribe, marker }
    }

    /// By openraft's count of indexes.
    fn read(&self, lo: u64, hi: u64) -> io::Result<Vec<Entry>> {
        let entries = self
            .wal
            .read(lo.saturating_add(1), hi.saturating_add(1), READ_BYTES_MAX)
            .map_err(to_io)?;
        entries.into_iter().map(entry_from_wal).collect()
    }
}

fn to_io(e: keelson_wal::Error) -> io::Error {
    io::Error::other(e)
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let lo = match range.start_bound() {
        Bound::Included(v) => *v,
        Bound::Excluded(v) => v.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let hi = match range.end_bound() {
        Bound::Included(v) => v.saturating_add(1),
        Bound::Excluded(v) => *v,
        Bound::Unbounded => u64::MAX,
    };
    (lo, hi)
}

/// Makes a change and waits until it is durable.
pub(crate) async fn durable(
    change: impl FnOnce(keelson_wal::Callback) -> Result<(), keelson_wal::Error>,
) -> io::Result<()> {
    let (tx, rx) = oneshot::channel();
    // The receiver may be gone when the caller was cancelled; the change stands all the same.
    change(Box::new(move |result| drop(tx.send(result)))).map_err(to_io)?;
    match rx.await {
        Ok(result) => result.map_err(to_io),
        Err(_) => Err(io::Error::other("the log ended")),
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let (mut lo, hi) = bounds(&range);
        let mut out: Vec<Entry> = Vec::new();
        while lo < hi {
            let part = self.read(lo, hi)?;
            let Some(last) = part.last() else { break };
            lo = last.log_id.index + 1;
            out.extend(part);
        }
        Ok(out)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        let entries = self.read(start, end)?;
        // A stream may still read on from a place that was purged since openraft gave it up. What comes after the hole is
        // no answer: nothing is, and openraft asks again with what it knows by then.
        let follows = entries.first().is_some_and(|first| first.log_id.index == start);
        Ok(if follows { entries } else { Vec::new() })
    }

    /// Step by step: replay after a crash must not hold the whole log in memory.
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (lo, hi) = bounds(&range);
        let start = (self.clone(), lo, VecDeque::new());
        stream::unfold(start, move |(store, mut lo, mut ready)| async move {
            if ready.is_empty() && lo < hi {
                match store.read(lo, hi) {
                    Ok(part) => {
                        // Nothing more is an end, and so is a failure after it was told.
                        lo = part.last().map_or(hi, |last| last.log_id.index + 1);
                        ready.extend(part);
                    }
                    Err(e) => return Some((Err(e), (store, hi, ready))),
                }
            }
            let next = ready.pop_front()?;
            Some((Ok(next), (store, lo, ready)))
        })
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.wal.state().vote.map(vote_from_wal))
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let state = self.wal.state();
        Ok(LogState {
            last_purged_log_id: state.purged.map(from_entry_id),
            last_log_id: state.last.map(from_entry_id),
        })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        if seeded!(VoteNotPersisted) {
            return Ok(());
        }
        let vote = vote_to_wal(vote);
        durable(|done| self.wal.save_vote(vote, done)).await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter().map(entry_to_wal).collect::<io::Result<Vec<_>>>()?;
        let done = Box::new(move |result: Result<(), keelson_wal::Error>| callback.io_completed(result.map_err(to_io)));
        self.scribe.append(entries, done).map_err(to_io)
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let keep = last_log_id.as_ref().map(entry_id);
        durable(|done| self.wal.truncate_after(keep, done)).await
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let upto = entry_id(&log_id);
        durable(|done| self.wal.purge(upto, done)).await?;
        // The log goes on after the snapshot that was put in.
        match self.marker.get() {
            Ok(Some(at)) if at.index <= upto.index => self.marker.clear(),
            Ok(_) => Ok(()),
            Err(e) => Err(io::Error::other(e)),
        }
    }
}
