//! One member: what the server of the datastore talks to.
use crate::{
    Error, Options,
    barrier::Barrier,
    machine::{AnyMachine, Erased, MachineAdapter, Progress},
    start,
    types::{Command, Types, entry_id},
    watcher::{Published, flush_when_wanted, from_fatal, watch_group},
};
use bytes::Bytes;
use keelson_mvcc::StateMachine;
use keelson_wal::Wal;
use openraft::{
    Raft,
    async_runtime::watch::WatchReceiver,
    errors::{ClientWriteError, RaftError},
    type_config::alias::WatchReceiverOf,
};
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
use tokio::sync::watch;

/// Longest command, in bytes. Far above what the server admits (1.5 MiB by default).
pub const COMMAND_BYTES_MAX: usize = 16 << 20;
/// Entries that may be committed and not yet applied before proposals are refused, as in etcd
/// (server/etcdserver/v3_server.go, maxGapBetweenApplyAndCommitIndex).
pub const APPLY_GAP_MAX: u64 = 5000;
/// Proposals, and bytes of them, that may be under way at once.
pub const PENDING_PROPOSALS_MAX: usize = 16_384;
pub const PENDING_BYTES_MAX: usize = 64 << 20;

pub(crate) type RaftHandle = Raft<Types, MachineAdapter>;

/// Who leads, as this member sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaderState {
    pub term: u64,
    pub leader: Option<u64>,
    /// This member leads, and has applied everything that was acknowledged before its term.
    pub is_leader: bool,
}

struct Inner {
    options: Options,
    raft: RaftHandle,
    wal: Wal,
    machine: Arc<dyn AnyMachine>,
    progress: Arc<Progress>,
    published: Arc<Published>,
    barrier: Arc<Barrier>,
    data: WatchReceiverOf<Types, openraft::metrics::RaftDataMetrics<Types>>,
    pending: AtomicUsize,
    pending_bytes: AtomicUsize,
    stop: watch::Sender<bool>,
    closed: AtomicBool,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// A cheap handle; clones share the node. When the last one goes without [`Node::shutdown`], the log still writes what
/// is queued; the machine is not flushed, so the next start replays.
pub struct Node<M: StateMachine> {
    machine: Arc<M>,
    inner: Arc<Inner>,
}

impl<M: StateMachine> Clone for Node<M> {
    fn clone(&self) -> Self {
        Node {
            machine: self.machine.clone(),
            inner: self.inner.clone(),
        }
    }
}

/// Counts one proposal until it is answered or given up.
struct Pending<'a> {
    inner: &'a Inner,
    bytes: usize,
}

impl<'a> Pending<'a> {
    fn enter(inner: &'a Inner, bytes: usize) -> Result<Self, Error> {
        let count = inner.pending.fetch_add(1, Ordering::Relaxed) + 1;
        let all_bytes = inner.pending_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        // Counted before it is compared, so that the drop takes it back either way.
        let this = Pending { inner, bytes };
        if count > PENDING_PROPOSALS_MAX || all_bytes > PENDING_BYTES_MAX {
            return Err(Error::TooManyPending);
        }
        Ok(this)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.inner.pending.fetch_sub(1, Ordering::Relaxed);
        self.inner.pending_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl<M: StateMachine> Node<M> {
    /// Opens the log, recovers, and returns once this member leads (a group of one) and has replayed its log.
    /// An empty `dir` becomes a new group of this one member. Tasks run on the tokio runtime it is called on.
    pub async fn start(options: Options, machine: Arc<M>) -> Result<Node<M>, Error> {
        let erased: Arc<dyn AnyMachine> = Arc::new(Erased(machine.clone()));
        let progress = Arc::new(Progress::default());
        let wal = start::open_log(&options).await?;
        start::check_against_machine(&wal.state(), &erased.applied_state())?;
        let raft = start::build(&options, &wal, erased.clone(), progress.clone()).await?;
        let published = Published::new();
        let stop = watch::Sender::new(false);
        tokio::spawn(watch_group(
            raft.clone(),
            options.node_id,
            published.clone(),
            stop.subscribe(),
        ));
        tokio::spawn(flush_when_wanted(raft.clone(), progress.clone(), stop.subscribe()));
        let inner = Arc::new(Inner {
            barrier: Barrier::new(raft.clone()),
            data: raft.data_metrics(),
            pending: AtomicUsize::new(0),
            pending_bytes: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            machine: erased,
            options,
            raft,
            wal,
            progress,
            published,
            stop,
        });
        let node = Node { machine, inner };
        if let Err(e) = start::lead(&node.inner.raft, &node.inner.options, &node.inner.published).await {
            // Whatever could not be started lets go of its folder before the caller hears of it.
            drop(node.close_core().await);
            return Err(e);
        }
        Ok(node)
    }

    pub fn machine(&self) -> &Arc<M> {
        &self.machine
    }

    fn check_open(&self) -> Result<(), Error> {
        if let Some(e) = self.inner.published.failed.borrow().as_ref() {
            return Err(e.clone());
        }
        if self.inner.closed.load(Ordering::Acquire) {
            return Err(Error::Shutdown);
        }
        Ok(())
    }

    /// Logs the command, waits until it is durable and applied, and returns its index and the machine's answer.
    /// Dropping the future does not take the command back.
    pub async fn propose(&self, command: Bytes) -> Result<(u64, M::Response), Error> {
        self.check_open()?;
        let inner = &*self.inner;
        if command.len() > COMMAND_BYTES_MAX {
            return Err(Error::TooLarge {
                bytes: command.len(),
                limit_bytes: COMMAND_BYTES_MAX,
            });
        }
        let leader = *inner.published.leader.borrow();
        if !leader.is_leader {
            // A leader that has yet to apply its predecessors' entries is one soon.
            return Err(Error::not_leader(leader.leader.filter(|l| *l != inner.options.node_id)));
        }
        if self.committed_index().saturating_sub(self.applied_index()) > APPLY_GAP_MAX {
            return Err(Error::TooManyPending);
        }
        let _pending = Pending::enter(inner, command.len())?;
        let answer = match inner.raft.client_write(Command(command)).await {
            Ok(answer) => answer,
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(f))) => {
                return Err(Error::not_leader(f.leader_id));
            }
            Err(RaftError::APIError(e)) => return Err(Error::Fatal(format!("the log refused a command: {e}"))),
            Err(RaftError::Fatal(f)) => {
                self.check_open()?;
                return Err(from_fatal(&f));
            }
        };
        let reply = answer.data.0.and_then(|r| r.downcast::<M::Response>().ok());
        match reply {
            Some(reply) => Ok((entry_id(&answer.log_id).index, *reply)),
            None => Err(Error::Fatal("the state machine's answer has another type".into())),
        }
    }

    /// A barrier: when it returns Ok, the local state machine has applied everything that was acknowledged
    /// before the call. Returns the applied index at least reached. Nearly free in a group of one.
    pub async fn read_index(&self) -> Result<u64, Error> {
        // The only voter answers a write after it has applied it: what it holds is what was acknowledged.
        if self.inner.published.reads_are_local.load(Ordering::Acquire) {
            return Ok(self.applied_index());
        }
        self.check_open()?;
        self.inner.barrier.wait().await
    }

    pub fn node_id(&self) -> u64 {
        self.inner.options.node_id
    }
    pub fn cluster_id(&self) -> u64 {
        self.inner.options.cluster_id
    }
    pub fn leader(&self) -> Option<u64> {
        self.inner.published.leader.borrow().leader
    }
    pub fn term(&self) -> u64 {
        self.inner.published.leader.borrow().term
    }
    pub fn is_leader(&self) -> bool {
        self.inner.published.leader.borrow().is_leader
    }
    pub fn applied_index(&self) -> u64 {
        self.inner.progress.applied.load(Ordering::Acquire)
    }
    /// At least the applied index: openraft tells of commits a moment later than the machine applies them.
    pub fn committed_index(&self) -> u64 {
        let told = self
            .inner
            .data
            .borrow_watched()
            .cluster_committed
            .as_ref()
            .map_or(0, |c| entry_id(c).index);
        told.max(self.applied_index())
    }
    /// Voters, this member among them.
    pub fn voters(&self) -> Vec<u64> {
        self.inner
            .raft
            .server_metrics()
            .borrow_watched()
            .membership_config
            .voter_ids()
            .collect()
    }
    /// Size and work of the log, for metrics.
    pub fn log_stats(&self) -> keelson_wal::Stats {
        self.inner.wal.stats()
    }
    /// The oldest index still in the log, if any entry is.
    pub fn first_log_index(&self) -> Option<u64> {
        self.inner.wal.state().first
    }

    /// Takes the way of a group of several: reads ask the core.
    #[cfg(test)]
    pub(crate) fn forget_that_reads_are_local(&self) {
        self.inner.published.reads_are_local.store(false, Ordering::Release);
    }

    /// Changes of leadership; the current value is there at once.
    pub fn watch_leader(&self) -> watch::Receiver<LeaderState> {
        self.inner.published.leader.subscribe()
    }

    /// Resolves when storage failed; the process should then exit. Never resolves on a clean shutdown.
    pub fn failed(&self) -> impl Future<Output = Error> + Send + 'static {
        let mut failed = self.inner.published.failed.subscribe();
        async move {
            let found = match failed.wait_for(|e| e.is_some()).await {
                Ok(e) => e.clone(),
                Err(_) => None,
            };
            match found {
                Some(e) => e,
                None => std::future::pending().await,
            }
        }
    }

    /// Makes everything applied durable and lets the log go below it: a flush, off the apply path.
    pub async fn flush(&self) -> Result<(), Error> {
        self.check_open()?;
        self.inner.raft.trigger().snapshot().await.map_err(|f| from_fatal(&f))
    }

    /// Flushes the state machine, closes the log. Later calls return `Error::Shutdown`.
    pub async fn shutdown(&self) -> Result<(), Error> {
        self.check_open()?;
        if self.inner.closed.swap(true, Ordering::AcqRel) {
            return Err(Error::Shutdown);
        }
        self.close_core().await?;
        let machine = self.inner.machine.clone();
        let flushed = tokio::task::spawn_blocking(move || machine.flush()).await;
        match flushed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => Err(Error::Fatal(e.to_string())),
            Err(e) => Err(Error::Fatal(format!("flush at the end: {e}"))),
        }
    }

    async fn close_core(&self) -> Result<(), Error> {
        self.inner.closed.store(true, Ordering::Release);
        self.inner.published.reads_are_local.store(false, Ordering::Release);
        self.inner.stop.send_replace(true);
        let ended = self
            .inner
            .raft
            .shutdown()
            .await
            .map_err(|e| Error::Fatal(format!("end the raft core: {e}")));
        let wal = self.inner.wal.clone();
        let closed = tokio::task::spawn_blocking(move || wal.close()).await;
        ended?;
        closed.map_err(|e| Error::Fatal(format!("close the log: {e}")))
    }
}
