//! Follows openraft's view of the group, and tells the node's users of changes and of its end.
use crate::{
    Error, LeaderState,
    barrier::confirm,
    context::Context,
    machine::Progress,
    node::RaftHandle,
    runtime::{self, Instant},
    types::Types,
};
use openraft::{ServerState, async_runtime::watch::WatchReceiver, errors::Fatal, metrics::RaftServerMetrics};
use parking_lot::Mutex;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Notify, watch};

/// What the watcher publishes.
pub(crate) struct Published {
    pub leader: watch::Sender<LeaderState>,
    pub failed: watch::Sender<Option<Error>>,
    /// This member leads and is the only voter: nobody else can have acknowledged anything, so a read needs no
    /// confirmation.
    pub reads_are_local: AtomicBool,
    /// Changes under way that may add a voter. While there is one, reads are not local, whatever the watcher sees.
    growing: AtomicUsize,
    heard: Mutex<Option<Instant>>,
    /// Rung when a leader is heard again.
    found: Notify,
    lost: AtomicBool,
}

/// While it lives, a voter may be on its way in.
pub(crate) struct Growing<'a>(&'a Published);

impl Drop for Growing<'_> {
    fn drop(&mut self) {
        self.0.growing.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Published {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Published {
            leader: watch::Sender::new(LeaderState::default()),
            failed: watch::Sender::new(None),
            reads_are_local: AtomicBool::new(false),
            growing: AtomicUsize::new(0),
            heard: Mutex::new(None),
            found: Notify::new(),
            lost: AtomicBool::new(false),
        })
    }

    /// The first failure stays.
    pub(crate) fn fail(&self, error: Error) {
        self.reads_are_local.store(false, Ordering::Release);
        self.failed.send_if_modified(|f| {
            let first = f.is_none();
            if first {
                *f = Some(error);
            }
            first
        });
    }

    fn publish(&self, state: LeaderState) -> bool {
        self.leader.send_if_modified(|s| std::mem::replace(s, state) != state)
    }

    /// A leader's message arrived, whichever leader's.
    pub(crate) fn note_heard(&self) {
        *self.heard.lock() = Some(Instant::now());
        if self.lost.load(Ordering::Acquire) {
            self.found.notify_one();
        }
    }

    /// Called before a change that may add a voter is proposed.
    pub(crate) fn grow(&self) -> Growing<'_> {
        self.growing.fetch_add(1, Ordering::AcqRel);
        self.reads_are_local.store(false, Ordering::Release);
        Growing(self)
    }

    fn set_local(&self, local: bool) {
        self.reads_are_local.store(local, Ordering::Release);
        // Looked at after the store: whoever grows after this look stores false itself.
        if self.growing.load(Ordering::Acquire) > 0 {
            self.reads_are_local.store(false, Ordering::Release);
        }
    }
}

pub(crate) fn from_fatal(fatal: &Fatal<Types>) -> Error {
    match fatal {
        Fatal::Stopped => Error::Shutdown,
        Fatal::Panicked => Error::Fatal("the raft core panicked".into()),
        Fatal::StorageError(e) => Error::Fatal(e.to_string()),
    }
}

/// Returns when the node ends.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Without a sender it has ended too.
    drop(stop.wait_for(|s| *s).await);
}

/// One look at the group.
struct Look {
    term: u64,
    leads: bool,
    leader: Option<u64>,
    only_voter: bool,
    alone: bool,
}

impl Look {
    fn at(m: &RaftServerMetrics<Types>, node_id: u64) -> Self {
        let membership = m.membership_config.membership();
        let only_voter = membership.voter_ids().eq([node_id]);
        Look {
            term: m.vote.leader_id.term,
            leads: m.state == ServerState::Leader,
            leader: m.current_leader,
            only_voter,
            alone: only_voter && membership.nodes().count() == 1,
        }
    }
}

pub(crate) struct Watcher {
    pub raft: RaftHandle,
    pub context: Arc<Context>,
    pub progress: Arc<Progress>,
}

impl Watcher {
    /// How much longer the leader's word counts: as leader, since a quorum answered; as follower, since it was heard.
    fn lease_left(&self, look: &Look, led_since: Instant) -> Duration {
        let lease = self.context.timers.election;
        if look.only_voter && look.leads {
            return Duration::MAX;
        }
        let since = if look.leads {
            let data = self.raft.data_metrics();
            let acked = data.borrow_watched().last_quorum_acked;
            acked.map_or(led_since, |a| a.into_inner().max(led_since))
        } else {
            self.context.published.heard.lock().unwrap_or(led_since)
        };
        lease.saturating_sub(since.elapsed())
    }

    /// Runs until the core ends or `stop` turns true.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let published = self.context.published.clone();
        let mut server = self.raft.server_metrics();
        // Term in which this member was confirmed to lead and to have applied all that came before.
        let mut confirmed_term = None;
        let mut since = (0, false, Instant::now());
        let mut last_leader = None;
        let mut ticks = None;
        loop {
            let look = Look::at(&server.borrow_and_update(), self.context.node_id);
            if (since.0, since.1) != (look.term, look.leads) {
                since = (look.term, look.leads, Instant::now());
            }
            if ticks != Some(!look.alone) {
                // Alone there is nobody to time out, and idle costs nothing.
                ticks = Some(!look.alone);
                self.raft.runtime_config().tick(!look.alone);
            }
            let left = self.lease_left(&look, since.2);
            let leader = look.leader.filter(|_| !left.is_zero());
            let state = LeaderState {
                term: look.term,
                leader,
                is_leader: look.leads && leader.is_some() && confirmed_term == Some(look.term),
            };
            published.lost.store(!look.leads && left.is_zero(), Ordering::Release);
            if leader.is_some() && leader != last_leader {
                last_leader = leader;
                self.context.counters.leader_changes.fetch_add(1, Ordering::Relaxed);
            }
            published.set_local(state.is_leader && look.only_voter);
            published.publish(state);
            let confirm = look.leads && leader.is_some() && confirmed_term != Some(look.term);
            tokio::select! {
                biased;
                () = stopped(&mut stop) => return,
                // Its own first entry must be applied before it answers as leader.
                confirmed = self.confirm(), if confirm => match confirmed {
                    Ok(()) => confirmed_term = Some(look.term),
                    Err(e @ (Error::Fatal(_) | Error::Shutdown)) => {
                        end(&self.raft, &published, e);
                        return;
                    }
                    Err(e) => {
                        tracing::debug!(error = %e, "leadership is not confirmed");
                        runtime::sleep(self.context.timers.heartbeat).await;
                    }
                },
                changed = server.changed() => if changed.is_err() {
                    end(&self.raft, &published, Error::Shutdown);
                    return;
                },
                () = published.found.notified() => {}
                () = self.recheck(&look, left) => {}
            }
        }
    }

    async fn confirm(&self) -> Result<(), Error> {
        let index = confirm(&self.raft).await?;
        self.progress.wait_applied(index).await;
        Ok(())
    }

    /// When the lease may have ended, or may have come back.
    async fn recheck(&self, look: &Look, left: Duration) {
        if look.only_voter && look.leads {
            return std::future::pending().await;
        }
        match left {
            // A leader's quorum can come back without another sign. A follower's leader rings.
            Duration::ZERO if look.leads => runtime::sleep(self.context.timers.heartbeat).await,
            Duration::ZERO => std::future::pending().await,
            // Not at the last moment: the lease is renewed meanwhile, and then there is nothing to do.
            left => runtime::sleep(left + Duration::from_millis(1)).await,
        }
    }
}

fn end(raft: &RaftHandle, published: &Published, otherwise: Error) {
    let error = match &raft.metrics().borrow_watched().running_state {
        Err(fatal) => from_fatal(fatal),
        Ok(()) => otherwise,
    };
    published.reads_are_local.store(false, Ordering::Release);
    let state = LeaderState {
        leader: None,
        is_leader: false,
        ..*published.leader.borrow()
    };
    published.publish(state);
    if matches!(error, Error::Fatal(_)) {
        tracing::error!(%error, "the datastore's log or state failed; the process must restart");
        published.fail(error);
    }
}

/// Tells the transport where everyone is, notes who leaves, and ends the node when it was removed itself. What a restart
/// found is told at once, so that whoever has the node can reach the others.
pub(crate) fn watch_members(
    context: Arc<Context>,
    progress: &Progress,
    stop: watch::Receiver<bool>,
) -> impl Future<Output = ()> + Send + 'static {
    let mut applied = progress.members.subscribe();
    let known = applied.borrow_and_update().clone();
    context.set_members(known.urls());
    follow_members(context, applied, known, stop)
}

async fn follow_members(
    context: Arc<Context>,
    mut applied: watch::Receiver<Arc<crate::Members>>,
    mut before: Arc<crate::Members>,
    mut stop: watch::Receiver<bool>,
) {
    let mut leader = context.published.leader.subscribe();
    loop {
        let now = applied.borrow_and_update().clone();
        for id in before.members.keys().filter(|id| !now.members.contains_key(id)) {
            context.note_left(*id);
        }
        for id in now.members.keys() {
            context.note_present(*id);
        }
        if !now.members.is_empty() && *now != *before {
            context.set_members(now.urls());
        }
        let here = |m: &crate::Members| m.members.contains_key(&context.node_id);
        if here(&before) && !here(&now) {
            // A leader hands over first.
            let gone = leader.wait_for(|s| s.leader != Some(context.node_id));
            tokio::select! {
                biased;
                () = stopped(&mut stop) => return,
                _ = runtime::timeout(context.timers.election * 2, gone) => {}
            }
            tracing::warn!("this member was removed from its group");
            context.published.fail(Error::Removed);
        }
        before = now;
        tokio::select! {
            biased;
            () = stopped(&mut stop) => return,
            changed = applied.changed() => if changed.is_err() { return },
        }
    }
}

/// Asks for a snapshot, which is a flush and a purge of the log below it, whenever enough was applied since the last.
pub(crate) async fn flush_when_wanted(
    raft: RaftHandle,
    context: Arc<Context>,
    progress: Arc<Progress>,
    mut stop: watch::Receiver<bool>,
) {
    let mut data = raft.data_metrics();
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut stop) => return,
            () = progress.flush_wanted.notified() => {}
        }
        let before = data.borrow_and_update().snapshot;
        if raft.trigger().snapshot().await.is_err() {
            return;
        }
        let alone = progress.members.borrow().members.keys().eq([&context.node_id]);
        if !alone {
            continue;
        }
        // Nobody else wants what is below: no need to keep any of it.
        let flushed = loop {
            let snapshot = data.borrow_and_update().snapshot;
            if snapshot > before {
                break snapshot;
            }
            tokio::select! {
                biased;
                () = stopped(&mut stop) => return,
                changed = data.changed() => if changed.is_err() { return },
                // Nothing may have been applied since: then there is no newer one to wait for.
                () = progress.flush_wanted.notified() => {
                    progress.flush_wanted.notify_one();
                    break None;
                }
            }
        };
        if let Some(flushed) = flushed
            && raft.trigger().purge_log(flushed.index).await.is_err()
        {
            return;
        }
    }
}
