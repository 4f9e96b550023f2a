//! Follows openraft's view of the group, and tells the node's users of changes and of its end.
use crate::{Error, LeaderState, barrier::confirm, machine::Progress, node::RaftHandle, types::Types};
use openraft::{ServerState, async_runtime::watch::WatchReceiver, errors::Fatal};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio::sync::watch;

/// What the watcher publishes.
pub(crate) struct Published {
    pub leader: watch::Sender<LeaderState>,
    pub failed: watch::Sender<Option<Error>>,
    /// This member leads and is the only voter: nobody else can have acknowledged anything, so a read needs no
    /// confirmation. Whoever adds a voter must clear it before the change is proposed.
    pub reads_are_local: AtomicBool,
}

impl Published {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Published {
            leader: watch::Sender::new(LeaderState::default()),
            failed: watch::Sender::new(None),
            reads_are_local: AtomicBool::new(false),
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

    fn publish(&self, state: LeaderState) {
        self.leader.send_if_modified(|s| std::mem::replace(s, state) != state);
    }
}

pub(crate) fn from_fatal(fatal: &Fatal<Types>) -> Error {
    match fatal {
        Fatal::Stopped => Error::Shutdown,
        Fatal::Panicked => Error::Fatal("the raft core panicked".into()),
        Fatal::StorageError(e) => Error::Fatal(e.to_string()),
    }
}

/// Runs until the core ends or `stop` turns true.
pub(crate) async fn watch_group(
    raft: RaftHandle,
    node_id: u64,
    published: Arc<Published>,
    mut stop: watch::Receiver<bool>,
) {
    let mut server = raft.server_metrics();
    // Term in which this member was confirmed to lead and to have applied all that came before.
    let mut confirmed_term = None;
    loop {
        let (state, leads, only_voter) = {
            let m = server.borrow_and_update();
            let term = m.vote.leader_id.term;
            let leads = m.state == ServerState::Leader;
            let only_voter = m.membership_config.voter_ids().eq([node_id]);
            let is_leader = leads && confirmed_term == Some(term);
            (
                LeaderState {
                    term,
                    leader: m.current_leader,
                    is_leader,
                },
                leads,
                only_voter,
            )
        };
        published
            .reads_are_local
            .store(state.is_leader && only_voter, Ordering::Release);
        published.publish(state);
        if leads && !state.is_leader {
            // Its own first entry must be applied before it answers as leader.
            let confirmed = tokio::select! {
                r = confirm(&raft) => r,
                _ = stop.wait_for(|s| *s) => return,
            };
            match confirmed {
                Ok(_) => {
                    confirmed_term = Some(state.term);
                    continue;
                }
                Err(e @ (Error::Fatal(_) | Error::Shutdown)) => {
                    end(&raft, &published, e);
                    return;
                }
                Err(e) => tracing::debug!(error = %e, "leadership is not confirmed"),
            }
        }
        tokio::select! {
            changed = server.changed() => if changed.is_err() {
                end(&raft, &published, Error::Shutdown);
                return;
            },
            _ = stop.wait_for(|s| *s) => return,
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

/// Asks for a snapshot, which is a flush and a purge of the log below it, whenever enough was applied since the last.
pub(crate) async fn flush_when_wanted(raft: RaftHandle, progress: Arc<Progress>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = progress.flush_wanted.notified() => {}
            _ = stop.wait_for(|s| *s) => return,
        }
        if raft.trigger().snapshot().await.is_err() {
            return;
        }
    }
}
