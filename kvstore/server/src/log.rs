//! The replicated log as this crate uses it: raft in production, a direct one in unit tests.

use async_trait::async_trait;
use bytes::Bytes;
use keelson_mvcc::{Response, Store};
use keelson_raft::{Error as RaftError, Node};

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
    /// Resolves when storage has failed.
    async fn failed(&self) -> RaftError;
    async fn shutdown(&self) -> Result<(), RaftError>;
}

#[async_trait]
impl Log for Node<Store> {
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
    async fn failed(&self) -> RaftError {
        Node::failed(self).await
    }
    async fn shutdown(&self) -> Result<(), RaftError> {
        Node::shutdown(self).await
    }
}
