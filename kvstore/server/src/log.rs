//! The replicated log as this crate uses it: raft in production, a direct one in unit tests.

use crate::slow::WatchedStore;
use async_trait::async_trait;
use bytes::Bytes;
use keelson_mvcc::Response;
use keelson_raft::{Error as RaftError, LeaderState, Member, Members, Node, Stats};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// What a request needs of consensus.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// Logs the command, waits until it is durable and applied; its index and its answer.
    async fn propose(&self, command: Bytes) -> Result<(u64, Response), RaftError>;
    /// When it returns, everything that was acknowledged before the call has been applied here.
    async fn read_index(&self) -> Result<u64, RaftError>;
    fn leader(&self) -> Option<u64>;
    fn is_leader(&self) -> bool;
    fn term(&self) -> u64;
    fn applied_index(&self) -> u64;
    fn committed_index(&self) -> u64;
    /// Returns when `index` is applied here. Whether it ever will be is the caller's to bound.
    async fn wait_applied(&self, index: u64);
    /// Changes of leadership; the current value is there at once.
    fn watch_leader(&self) -> watch::Receiver<LeaderState>;
    /// As far as this member has applied them.
    fn members(&self) -> Members;
    /// The same, whenever it changes.
    fn watch_members(&self) -> watch::Receiver<Arc<Members>>;
    fn is_learner(&self) -> bool;
    /// On the leader: up to where each member's log is known to be the leader's, the leader's own among them.
    fn matched(&self) -> BTreeMap<u64, u64>;
    /// What the log has done since its start.
    fn stats(&self) -> Stats;
    /// These five work on the leader only, and return when the change is applied there.
    async fn add_member(&self, id: u64, member: Member, as_learner: bool) -> Result<(), RaftError>;
    async fn remove_member(&self, id: u64) -> Result<(), RaftError>;
    async fn update_member(&self, id: u64, member: Member) -> Result<(), RaftError>;
    async fn promote_member(&self, id: u64) -> Result<(), RaftError>;
    async fn transfer_leader(&self, to: u64) -> Result<(), RaftError>;
    /// Resolves when storage has failed, or when this member was removed.
    async fn failed(&self) -> RaftError;
    async fn shutdown(&self) -> Result<(), RaftError>;
}

#[async_trait]
impl Log for Node<WatchedStore> {
    async fn propose(&self, command: Bytes) -> Result<(u64, Response), RaftError> {
        Node::propose(self, command).await
    }
    async fn read_index(&self) -> Result<u64, RaftError> {
        Node::read_index(self).await
    }
    fn leader(&self) -> Option<u64> {
        Node::leader(self)
    }
    fn is_leader(&self) -> bool {
        Node::is_leader(self)
    }
    fn term(&self) -> u64 {
        Node::term(self)
    }
    fn applied_index(&self) -> u64 {
        Node::applied_index(self)
    }
    fn committed_index(&self) -> u64 {
        Node::committed_index(self)
    }
    async fn wait_applied(&self, index: u64) {
        Node::wait_applied(self, index).await;
    }
    fn watch_leader(&self) -> watch::Receiver<LeaderState> {
        Node::watch_leader(self)
    }
    fn members(&self) -> Members {
        Members::clone(&Node::members(self))
    }
    fn watch_members(&self) -> watch::Receiver<Arc<Members>> {
        Node::watch_members(self)
    }
    fn is_learner(&self) -> bool {
        Node::is_learner(self)
    }
    fn matched(&self) -> BTreeMap<u64, u64> {
        let progress = Node::progress(self).unwrap_or_default();
        progress.into_iter().map(|(id, p)| (id, p.matched)).collect()
    }
    fn stats(&self) -> Stats {
        Node::stats(self)
    }
    async fn add_member(&self, id: u64, member: Member, as_learner: bool) -> Result<(), RaftError> {
        Node::add_member(self, id, member, as_learner).await
    }
    async fn remove_member(&self, id: u64) -> Result<(), RaftError> {
        Node::remove_member(self, id).await
    }
    async fn update_member(&self, id: u64, member: Member) -> Result<(), RaftError> {
        Node::update_member(self, id, member).await
    }
    async fn promote_member(&self, id: u64) -> Result<(), RaftError> {
        Node::promote_member(self, id).await
    }
    async fn transfer_leader(&self, to: u64) -> Result<(), RaftError> {
        Node::transfer_leader(self, to).await
    }
    async fn failed(&self) -> RaftError {
        Node::failed(self).await
    }
    async fn shutdown(&self) -> Result<(), RaftError> {
        Node::shutdown(self).await
    }
}
