//! One member: what the server of the datastore talks to.
use crate::{
    Error, Member, Members, NoTransport, Options, PeerHandler, PeerProgress, Start, Stats, Transport,
    barrier::Barrier,
    changes::{Caretaker, Changes},
    context::Context,
    forward::Forwarder,
    machine::{AnyMachine, Erased, MachineAdapter, Parts, Progress},
    marker::Marker,
    runtime::{self, Instant},
    scribe::Demand,
    snapshot, start,
    types::{Command, Types, entry_id},
    waiters::Waiters,
    watcher::{Published, Watcher, flush_when_wanted, from_fatal, stopped, watch_members},
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
    collections::BTreeMap,
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

pub(crate) struct Inner {
    options: Options,
    pub(crate) raft: RaftHandle,
    wal: Wal,
    machine: Arc<dyn AnyMachine>,
    progress: Arc<Progress>,
    pub(crate) context: Arc<Context>,
    pub(crate) barrier: Arc<Barrier>,
    changes: Arc<Changes>,
    forwarder: Arc<Forwarder>,
    waiters: Arc<Waiters>,
    pub(crate) snapshots: Arc<snapshot::Receiver>,
    data: WatchReceiverOf<Types, openraft::metrics::RaftDataMetrics<Types>>,
    demand: Arc<Demand>,
    pending_bytes: AtomicUsize,
    stop: watch::Sender<bool>,
    closed: AtomicBool,
}

impl Inner {
    pub(crate) fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Acquire) && self.context.published.failed.borrow().is_none()
    }

    fn committed_index(&self) -> u64 {
        let told = self
            .data
            .borrow_watched()
            .cluster_committed
            .as_ref()
            .map_or(0, |c| entry_id(c).index);
        told.max(self.progress.applied())
    }

    /// More is committed than the machine keeps up with.
    pub(crate) fn is_behind(&self) -> bool {
        self.committed_index().saturating_sub(self.progress.applied()) > APPLY_GAP_MAX
    }
}

impl Inner {
    fn spawn_tasks(&self) {
        let (raft, context, progress) = (self.raft.clone(), self.context.clone(), self.progress.clone());
        let stop = || self.stop.subscribe();
        let watcher = Watcher {
            raft: raft.clone(),
            context: context.clone(),
            progress: progress.clone(),
        };
        runtime::spawn(watcher.run(stop()));
        runtime::spawn(watch_members(context.clone(), &progress, stop()));
        runtime::spawn(flush_when_wanted(raft, context, progress, stop()));
        runtime::spawn(Caretaker(self.changes.clone()).run(stop()));
        runtime::spawn(self.forwarder.clone().run(stop()));
        let (waiters, mut failed, mut stop) = (self.waiters.clone(), self.context.published.failed.subscribe(), stop());
        runtime::spawn(async move {
            let error = tokio::select! {
                biased;
                why = failed.wait_for(|e| e.is_some()) => why.ok().and_then(|e| e.clone()),
                () = stopped(&mut stop) => None,
            };
            waiters.fail_all(&error.unwrap_or(Error::Shutdown));
        });
    }
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
        let count = inner.demand.proposals.fetch_add(1, Ordering::Relaxed) + 1;
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
        self.inner.demand.proposals.fetch_sub(1, Ordering::Relaxed);
        self.inner.pending_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl<M: StateMachine> Node<M> {
    /// A group of this member alone, which nobody joins.
    pub async fn start_alone(options: Options, machine: Arc<M>) -> Result<Node<M>, Error> {
        let start = Start::alone(&options);
        Self::start(options, start, machine, Arc::new(NoTransport)).await
    }

    /// Opens the log and recovers. A group of one is waited for until this member leads it and has replayed its log;
    /// others may still be electing when it returns. Tasks run on the runtime it is called on.
    pub async fn start(
        options: Options,
        start: Start,
        machine: Arc<M>,
        transport: Arc<dyn Transport>,
    ) -> Result<Node<M>, Error> {
        let erased: Arc<dyn AnyMachine> = Arc::new(Erased(machine.clone()));
        let progress = Arc::new(Progress::default());
        let wal = start::open_log(&options).await?;
        let marker = Arc::new(Marker::of(&options.dir));
        let applied = erased.applied_state();
        start::check_against_machine(&wal.state(), &applied, marker.get()?)?;
        let formed = start::seed(&wal, &options, start, &applied).await?;
        start::raise_term(&wal, &options, &applied).await?;
        let published = Published::new();
        let context = Context::new(&options, transport, published.clone());
        let waiters = Arc::new(Waiters::new(options.node_id));
        let parts = Parts {
            wal: wal.clone(),
            machine: erased.clone(),
            progress: progress.clone(),
            waiters: waiters.clone(),
            marker,
            flush_log_bytes: options.flush_log_bytes,
            flush_entries: options.flush_entries,
        };
        let demand = Arc::<Demand>::default();
        let raft = start::build(&options, &wal, context.clone(), parts, demand.clone()).await?;
        let stop = watch::Sender::new(false);
        let inner = Arc::new(Inner {
            barrier: Barrier::new(context.clone(), raft.clone()),
            changes: Changes::new(raft.clone(), context.clone()),
            forwarder: Forwarder::new(context.clone(), waiters.clone()),
            snapshots: snapshot::Receiver::new(context.clone(), erased.clone(), raft.clone()),
            data: raft.data_metrics(),
            demand,
            pending_bytes: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            machine: erased,
            options,
            raft,
            wal,
            progress,
            context,
            waiters,
            stop,
        });
        inner.spawn_tasks();
        let node = Node { machine, inner };
        if let Err(e) = start::lead(&node.inner.raft, &node.inner.options, formed, &published).await {
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
        if let Some(e) = self.inner.context.published.failed.borrow().as_ref() {
            return Err(e.clone());
        }
        if self.inner.closed.load(Ordering::Acquire) {
            return Err(Error::Shutdown);
        }
        Ok(())
    }

    /// Logs the command, waits until it is durable and applied here, and returns its index and the machine's answer. A
    /// follower sends it to the leader. Dropping the future does not take the command back, and after
    /// [`Error::TimedOut`], [`Error::LeaderLost`] and [`Error::LeaderChanged`] it may still be applied; never twice.
    pub async fn propose(&self, command: Bytes) -> Result<(u64, M::Response), Error> {
        let result = self.propose_counted(command).await;
        if result.is_err() {
            let failed = &self.inner.context.counters.proposals_failed;
            failed.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    async fn propose_counted(&self, command: Bytes) -> Result<(u64, M::Response), Error> {
        self.check_open()?;
        let inner = &*self.inner;
        if command.len() > COMMAND_BYTES_MAX {
            return Err(Error::TooLarge {
                bytes: command.len(),
                limit_bytes: COMMAND_BYTES_MAX,
            });
        }
        if inner.is_behind() {
            return Err(Error::TooManyPending);
        }
        let _pending = Pending::enter(inner, command.len())?;
        let published = &inner.context.published;
        if published.reads_are_local.load(Ordering::Acquire) {
            // Alone nobody can take the leadership away, and no timer runs.
            return self.propose_here(command).await;
        }
        let request = inner.context.timers.request();
        let deadline = Instant::now() + request;
        let mut first_leader = None;
        loop {
            let seen = *published.leader.borrow();
            first_leader = first_leader.or(seen.leader);
            let attempt = async {
                match seen.leader {
                    _ if seen.is_leader => self.propose_here(command.clone()).await,
                    Some(leader) if leader != inner.options.node_id => self.propose_there(&command).await,
                    // None, or one that has yet to apply its predecessors' entries.
                    leader => Err(Error::NotLeader { leader }),
                }
            };
            match runtime::timeout_at(deadline, attempt).await {
                // It was not logged: another try is no second one.
                Ok(Err(Error::NotLeader { .. } | Error::Unavailable)) => {}
                Ok(answer) => return answer,
                Err(_) => {
                    let now = published.leader.borrow().leader;
                    return Err(match now {
                        Some(_) if now == first_leader => Error::TimedOut,
                        _ => Error::LeaderLost,
                    });
                }
            }
            self.check_open()?;
            let wait = self.wait_for_news(seen);
            if runtime::timeout_at(deadline, wait).await.is_err() {
                return Err(match published.leader.borrow().leader {
                    None if first_leader.is_some() => Error::LeaderLost,
                    _ => Error::TimedOut,
                });
            }
        }
    }

    /// Until the leader is another, or for a heartbeat: it may be the same, and ready now.
    async fn wait_for_news(&self, seen: LeaderState) {
        let mut leader = self.inner.context.published.leader.subscribe();
        let changed = leader.wait_for(|s| *s != seen);
        // Either is a reason to look again.
        drop(runtime::timeout(self.inner.context.timers.heartbeat, changed).await);
    }

    fn typed(reply: crate::types::Reply) -> Result<M::Response, Error> {
        let reply = reply.0.and_then(|r| r.downcast::<M::Response>().ok());
        match reply {
            Some(reply) => Ok(*reply),
            None => Err(Error::Fatal("the state machine's answer has another type".into())),
        }
    }

    /// As leader.
    async fn propose_here(&self, command: Bytes) -> Result<(u64, M::Response), Error> {
        let answer = match self.inner.raft.client_write(Command::local(command)).await {
            Ok(answer) => answer,
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(f))) => {
                return Err(Error::NotLeader { leader: f.leader_id });
            }
            Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(_))) => return Err(Error::LeaderChanged),
            Err(RaftError::APIError(e)) => return Err(Error::Fatal(format!("the log refused a command: {e}"))),
            Err(RaftError::Fatal(f)) => {
                self.check_open()?;
                return Err(from_fatal(&f));
            }
        };
        Ok((entry_id(&answer.log_id).index, Self::typed(answer.data)?))
    }

    /// By way of the leader, answered by this member's own apply.
    async fn propose_there(&self, command: &[u8]) -> Result<(u64, M::Response), Error> {
        let mut waiting = self.inner.waiters.enter();
        self.inner.forwarder.push(waiting.origin, command);
        match (&mut waiting.answer).await {
            Ok(Ok((index, reply))) => Ok((index, Self::typed(reply)?)),
            Ok(Err(e)) => Err(e),
            Err(_) => Err(Error::Shutdown),
        }
    }

    /// A barrier: when it returns Ok, the local state machine has applied everything that was acknowledged anywhere in
    /// the group before the call. Returns the applied index at least reached. Nearly free in a group of one.
    pub async fn read_index(&self) -> Result<u64, Error> {
        let inner = &*self.inner;
        inner.demand.reads.fetch_add(1, Ordering::Relaxed);
        let published = &inner.context.published;
        // The only voter answers a write after it has applied it: what it holds is what was acknowledged.
        if published.reads_are_local.load(Ordering::Acquire) {
            return Ok(self.applied_index());
        }
        self.check_open()?;
        let deadline = Instant::now() + inner.context.timers.request();
        let mut failed = published.failed.subscribe();
        loop {
            let seen = *published.leader.borrow();
            let attempt = async {
                let index = inner.barrier.index().await?;
                tokio::select! {
                    biased;
                    () = inner.progress.wait_applied(index) => Ok(index),
                    _ = failed.wait_for(|f| f.is_some()) => Err(Error::Shutdown),
                }
            };
            match runtime::timeout_at(deadline, attempt).await {
                Ok(Ok(index)) => return Ok(index.max(self.applied_index())),
                // Nothing was done: asking again is harmless.
                Ok(Err(Error::NotLeader { .. } | Error::Unavailable | Error::LeaderChanged)) => {}
                Ok(Err(e)) => {
                    self.check_open()?;
                    return Err(e);
                }
                Err(_) => return Err(Error::TimedOut),
            }
            self.check_open()?;
            if runtime::timeout_at(deadline, self.wait_for_news(seen)).await.is_err() {
                return Err(Error::TimedOut);
            }
        }
    }

    /// The members, as far as this one has applied.
    pub fn members(&self) -> Arc<Members> {
        self.inner.progress.members.borrow().clone()
    }
    /// Returns when this member has applied `index`. Whether it ever will is the caller's to bound.
    pub async fn wait_applied(&self, index: u64) {
        self.inner.progress.wait_applied(index).await;
    }
    /// The same, whenever it changes.
    pub fn watch_members(&self) -> watch::Receiver<Arc<Members>> {
        self.inner.progress.members.subscribe()
    }
    /// This member neither votes nor was added to vote.
    pub fn is_learner(&self) -> bool {
        let members = self.inner.progress.members.borrow();
        members
            .members
            .get(&self.inner.options.node_id)
            .is_some_and(crate::MemberView::is_learner)
    }

    /// Adds a learner, or a voter: see [`Member::wants_vote`], which is set here. On the leader.
    pub async fn add_member(&self, id: u64, member: Member, as_learner: bool) -> Result<(), Error> {
        self.check_open()?;
        self.inner.changes.add(id, member, as_learner).await
    }
    /// On the leader, which hands over when it is the one.
    pub async fn remove_member(&self, id: u64) -> Result<(), Error> {
        self.check_open()?;
        self.inner.changes.remove(id).await
    }
    /// Replaces name and URLs. On the leader.
    pub async fn update_member(&self, id: u64, member: Member) -> Result<(), Error> {
        self.check_open()?;
        self.inner.changes.update(id, member).await
    }
    /// Gives a learner its vote. On the leader; whether it has caught up is the caller's to judge ([`Node::progress`]).
    pub async fn promote_member(&self, id: u64) -> Result<(), Error> {
        self.check_open()?;
        self.inner.changes.promote(id).await
    }
    /// Hands leadership over, and returns when `to` leads or an election timeout has passed. On the leader.
    pub async fn transfer_leader(&self, to: u64) -> Result<(), Error> {
        self.check_open()?;
        self.inner.changes.transfer(to).await
    }
    /// How far every member is, this one included. On the leader.
    pub fn progress(&self) -> Result<BTreeMap<u64, PeerProgress>, Error> {
        self.inner.changes.progress()
    }
    /// The receiving half, for whoever listens on the peer port.
    pub fn peer_handler(&self) -> PeerHandler {
        PeerHandler::new(&self.inner)
    }
    /// Counts since the start, for metrics.
    pub fn stats(&self) -> Stats {
        let pending = self.inner.demand.proposals.load(Ordering::Relaxed);
        self.inner.context.counters.read(pending)
    }

    pub fn node_id(&self) -> u64 {
        self.inner.options.node_id
    }
    pub fn cluster_id(&self) -> u64 {
        self.inner.options.cluster_id
    }
    pub fn leader(&self) -> Option<u64> {
        self.inner.context.published.leader.borrow().leader
    }
    pub fn term(&self) -> u64 {
        self.inner.context.published.leader.borrow().term
    }
    pub fn is_leader(&self) -> bool {
        self.inner.context.published.leader.borrow().is_leader
    }
    pub fn applied_index(&self) -> u64 {
        self.inner.progress.applied()
    }
    /// At least the applied index: openraft tells of commits a moment later than the machine applies them.
    pub fn committed_index(&self) -> u64 {
        self.inner.committed_index()
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
        self.inner
            .context
            .published
            .reads_are_local
            .store(false, Ordering::Release);
    }

    /// Changes of leadership; the current value is there at once.
    pub fn watch_leader(&self) -> watch::Receiver<LeaderState> {
        self.inner.context.published.leader.subscribe()
    }

    /// Resolves when storage failed; the process should then exit. Never resolves on a clean shutdown.
    pub fn failed(&self) -> impl Future<Output = Error> + Send + 'static {
        let mut failed = self.inner.context.published.failed.subscribe();
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

    /// As leader of several hands over first. Flushes the state machine, closes the log. Later calls return
    /// [`Error::Shutdown`].
    pub async fn shutdown(&self) -> Result<(), Error> {
        self.check_open()?;
        self.inner.changes.hand_over().await;
        if self.inner.closed.swap(true, Ordering::AcqRel) {
            return Err(Error::Shutdown);
        }
        self.close_core().await?;
        let machine = self.inner.machine.clone();
        let flushed = runtime::spawn_blocking(move || machine.flush()).await;
        match flushed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => Err(Error::Fatal(e.to_string())),
            Err(e) => Err(Error::Fatal(format!("flush at the end: {e}"))),
        }
    }

    async fn close_core(&self) -> Result<(), Error> {
        self.inner.closed.store(true, Ordering::Release);
        self.inner
            .context
            .published
            .reads_are_local
            .store(false, Ordering::Release);
        self.inner.stop.send_replace(true);
        let ended = self
            .inner
            .raft
            .shutdown()
            .await
            .map_err(|e| Error::Fatal(format!("end the raft core: {e}")));
        let wal = self.inner.wal.clone();
        let closed = runtime::spawn_blocking(move || wal.close()).await;
        ended?;
        closed.map_err(|e| Error::Fatal(format!("close the log: {e}")))
    }
}
