//! Linearizable reads when several members vote: one confirmation of leadership serves everyone who waits for it, on the
//! leader and on a follower that asks it.
use crate::{Error, TransportError, context::Context, node::RaftHandle, runtime, types::entry_id, watcher::from_fatal};
use keelson_proto::peer as pb;
use openraft::{
    ReadPolicy, ServerState,
    async_runtime::watch::WatchReceiver,
    errors::{LinearizableReadError, RaftError},
};
use parking_lot::Mutex;
use std::sync::{Arc, atomic::Ordering};
use tokio::sync::oneshot;

/// Reads that may wait at once.
const WAITERS_MAX: usize = 65_536;

type Waiter = oneshot::Sender<Result<u64, Error>>;

#[derive(Default)]
struct Waiting {
    next: Vec<Waiter>,
    running: bool,
}

pub(crate) struct Barrier {
    context: Arc<Context>,
    raft: RaftHandle,
    waiting: Mutex<Waiting>,
}

impl Barrier {
    pub(crate) fn new(context: Arc<Context>, raft: RaftHandle) -> Arc<Self> {
        Arc::new(Barrier {
            context,
            raft,
            waiting: Mutex::default(),
        })
    }

    /// The index that has to be applied before the read. It may not be yet.
    pub(crate) async fn index(self: &Arc<Self>) -> Result<u64, Error> {
        let (tx, rx) = oneshot::channel();
        let start = {
            let mut waiting = self.waiting.lock();
            if waiting.next.len() >= WAITERS_MAX {
                return Err(Error::TooManyPending);
            }
            waiting.next.push(tx);
            !std::mem::replace(&mut waiting.running, true)
        };
        if start {
            runtime::spawn(self.clone().rounds());
        }
        rx.await.unwrap_or(Err(Error::Shutdown))
    }

    /// A read joins the round that starts after it came, never the one that is under way: that one's index may be older.
    async fn rounds(self: Arc<Self>) {
        loop {
            let round = {
                let mut waiting = self.waiting.lock();
                if waiting.next.is_empty() {
                    waiting.running = false;
                    return;
                }
                std::mem::take(&mut waiting.next)
            };
            let result = self.ask().await;
            if result.is_err() {
                let failed = &self.context.counters.read_indexes_failed;
                failed.fetch_add(round.len() as u64, Ordering::Relaxed);
            }
            for waiter in round {
                // A waiter that left needs no answer.
                drop(waiter.send(result.clone()));
            }
        }
    }

    async fn ask(&self) -> Result<u64, Error> {
        if seeded!(ReadWithoutQuorum)
            && let Some(committed) = self.committed_as_leader()
        {
            return Ok(committed);
        }
        let leader = self.context.published.leader.borrow().leader;
        match leader {
            None => Err(Error::Unavailable),
            Some(id) if id == self.context.node_id => confirm(&self.raft).await,
            Some(id) => self.ask_leader(id).await,
        }
    }

    /// What a leader knows to be committed; `None` on a follower. Whether it leads still, nobody was asked.
    fn committed_as_leader(&self) -> Option<u64> {
        let leads = self.raft.server_metrics().borrow_watched().state == ServerState::Leader;
        let committed = self.raft.data_metrics().borrow_watched().cluster_committed;
        committed.filter(|_| leads).map(|id| entry_id(&id).index)
    }

    async fn ask_leader(&self, leader: u64) -> Result<u64, Error> {
        let context = &self.context;
        let request = pb::ReadIndexRequest {
            head: Some(context.head(leader)),
        };
        let asked = context.transport.read_index(leader, request);
        let answer = match runtime::timeout(context.timers.election, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(TransportError::TimedOut),
        };
        match answer {
            Ok(answer) if answer.index > 0 => Ok(answer.index),
            Ok(_) => Err(Error::NotLeader { leader: Some(leader) }),
            Err(e) => {
                context.note_failure(leader, &e);
                Err(Error::NotLeader { leader: Some(leader) })
            }
        }
    }
}

/// Confirms leadership with a quorum, and names what was committed by then.
pub(crate) async fn confirm(raft: &RaftHandle) -> Result<u64, Error> {
    match raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
        Ok(read) => Ok(entry_id(read.read_log_id().log_id()).index),
        Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(f))) => Err(Error::not_leader(f.leader_id)),
        Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => Err(Error::Unavailable),
        Err(RaftError::Fatal(f)) => Err(from_fatal(&f)),
    }
}
