//! One member: what the server of the datastore talks to.
use crate::{Error, Options};
use bytes::Bytes;
use keelson_mvcc::StateMachine;
use std::{future::Future, sync::Arc};
use tokio::sync::watch;

/// Who leads, as this member sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaderState {
    pub term: u64,
    pub leader: Option<u64>,
    /// This member leads, and has applied everything that was acknowledged before its term.
    pub is_leader: bool,
}

/// A cheap handle; clones share the node.
pub struct Node<M: StateMachine> {
    machine: Arc<M>,
}

impl<M: StateMachine> Clone for Node<M> {
    fn clone(&self) -> Self {
        Node {
            machine: self.machine.clone(),
        }
    }
}

impl<M: StateMachine> Node<M> {
    /// Opens the log, recovers, and returns once this member leads (a group of one) and has replayed its log.
    /// An empty `dir` becomes a new group of this one member. Tasks run on the tokio runtime it is called on.
    pub async fn start(_options: Options, _machine: Arc<M>) -> Result<Node<M>, Error> {
        todo!()
    }
    pub fn machine(&self) -> &Arc<M> {
        &self.machine
    }
    /// Logs the command, waits until it is durable and applied, and returns its index and the machine's answer.
    /// Dropping the future does not take the command back.
    pub async fn propose(&self, _command: Bytes) -> Result<(u64, M::Response), Error> {
        todo!()
    }
    /// A barrier: when it returns Ok, the local state machine has applied everything that was acknowledged
    /// before the call. Returns the applied index at least reached. Nearly free in a group of one.
    pub async fn read_index(&self) -> Result<u64, Error> {
        todo!()
    }
    pub fn node_id(&self) -> u64 {
        todo!()
    }
    pub fn cluster_id(&self) -> u64 {
        todo!()
    }
    pub fn leader(&self) -> Option<u64> {
        todo!()
    }
    pub fn term(&self) -> u64 {
        todo!()
    }
    pub fn is_leader(&self) -> bool {
        todo!()
    }
    pub fn applied_index(&self) -> u64 {
        todo!()
    }
    pub fn committed_index(&self) -> u64 {
        todo!()
    }
    /// Voters, this member among them.
    pub fn voters(&self) -> Vec<u64> {
        todo!()
    }
    /// Changes of leadership; the current value is there at once.
    pub fn watch_leader(&self) -> watch::Receiver<LeaderState> {
        todo!()
    }
    /// Resolves when storage failed; the process should then exit. Never resolves on a clean shutdown.
    pub fn failed(&self) -> impl Future<Output = Error> + Send + 'static {
        async { todo!() }
    }
    /// Flushes the state machine, closes the log. Later calls return `Error::Shutdown`.
    pub async fn shutdown(&self) -> Result<(), Error> {
        todo!()
    }
}
