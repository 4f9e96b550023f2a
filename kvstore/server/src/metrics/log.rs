//! The replicated log, counted.

use super::instruments::InFlight;
use super::{Metrics, RaftCounts};
use crate::log::Log;
use async_trait::async_trait;
use bytes::Bytes;
use keelson_mvcc::Response;
use keelson_raft::{Error as RaftError, LeaderState, Member, Members, Stats};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A read that waits longer for its index is slow: etcd asks again after this long.
const SLOW_READ_INDEX: Duration = Duration::from_millis(500);

/// Counts what goes through the log that it stands before.
pub struct MeteredLog {
    pub log: Arc<dyn Log>,
    pub metrics: Arc<Metrics>,
}

impl MeteredLog {
    fn counts(&self) -> &RaftCounts {
        &self.metrics.raft
    }
}

#[async_trait]
impl Log for MeteredLog {
    async fn propose(&self, command: Bytes) -> Result<(u64, Response), RaftError> {
        let _pending = InFlight::enter(&self.counts().proposals_pending);
        let outcome = self.log.propose(command).await;
        if outcome.is_err() {
            self.counts().proposals_failed.inc();
        }
        outcome
    }

    async fn read_index(&self) -> Result<u64, RaftError> {
        let begun = Instant::now();
        let outcome = self.log.read_index().await;
        if outcome.is_err() {
            self.counts().read_indexes_failed.inc();
        }
        if begun.elapsed() > SLOW_READ_INDEX {
            self.counts().read_indexes_slow.inc();
        }
        outcome
    }

    async fn promote_member(&self, id: u64) -> Result<(), RaftError> {
        let outcome = self.log.promote_member(id).await;
        if outcome.is_ok() {
            self.counts().learners_promoted.inc();
        }
        outcome
    }

    fn leader(&self) -> Option<u64> {
        self.log.leader()
    }
    fn is_leader(&self) -> bool {
        self.log.is_leader()
    }
    fn term(&self) -> u64 {
        self.log.term()
    }
    fn applied_index(&self) -> u64 {
        self.log.applied_index()
    }
    fn committed_index(&self) -> u64 {
        self.log.committed_index()
    }
    async fn wait_applied(&self, index: u64) {
        self.log.wait_applied(index).await;
    }
    fn watch_leader(&self) -> watch::Receiver<LeaderState> {
        self.log.watch_leader()
    }
    fn members(&self) -> Members {
        self.log.members()
    }
    fn watch_members(&self) -> watch::Receiver<Arc<Members>> {
        self.log.watch_members()
    }
    fn is_learner(&self) -> bool {
        self.log.is_learner()
    }
    fn matched(&self) -> BTreeMap<u64, u64> {
        self.log.matched()
    }
    fn stats(&self) -> Stats {
        self.log.stats()
    }
    async fn add_member(&self, id: u64, member: Member, as_learner: bool) -> Result<(), RaftError> {
        self.log.add_member(id, member, as_learner).await
    }
    async fn remove_member(&self, id: u64) -> Result<(), RaftError> {
        self.log.remove_member(id).await
    }
    async fn update_member(&self, id: u64, member: Member) -> Result<(), RaftError> {
        self.log.update_member(id, member).await
    }
    async fn transfer_leader(&self, to: u64) -> Result<(), RaftError> {
        self.log.transfer_leader(to).await
    }
    async fn failed(&self) -> RaftError {
        self.log.failed().await
    }
    async fn shutdown(&self) -> Result<(), RaftError> {
        self.log.shutdown().await
    }
}

/// Counts leaders as they come. Ends with `stop`.
pub async fn count_leaders(log: Arc<dyn Log>, metrics: Arc<Metrics>, stop: CancellationToken) {
    let mut states = log.watch_leader();
    let mut last = None;
    loop {
        let now = states.borrow_and_update().leader;
        if now.is_some() && now != last {
            metrics.raft.leader_changes.inc();
        }
        last = now;
        tokio::select! {
            () = stop.cancelled() => return,
            changed = states.changed() => if changed.is_err() { return },
        }
    }
}
