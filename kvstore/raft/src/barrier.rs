//! Linearizable reads when several members vote: one confirmation of leadership serves everyone who waits for it.
use crate::{Error, node::RaftHandle, types::entry_id, watcher::from_fatal};
use openraft::{
    ReadPolicy,
    errors::{LinearizableReadError, RaftError},
};
use parking_lot::Mutex;
use std::sync::Arc;
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
    raft: RaftHandle,
    waiting: Mutex<Waiting>,
}

impl Barrier {
    pub(crate) fn new(raft: RaftHandle) -> Arc<Self> {
        Arc::new(Barrier {
            raft,
            waiting: Mutex::default(),
        })
    }

    pub(crate) async fn wait(self: &Arc<Self>) -> Result<u64, Error> {
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
            tokio::spawn(self.clone().rounds());
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
            let result = confirm(&self.raft).await;
            for waiter in round {
                // A waiter that left needs no answer.
                drop(waiter.send(result.clone()));
            }
        }
    }
}

/// Confirms leadership with a quorum, and waits until everything committed by then is applied.
pub(crate) async fn confirm(raft: &RaftHandle) -> Result<u64, Error> {
    match raft.ensure_linearizable(ReadPolicy::ReadIndex).await {
        Ok(read) => Ok(entry_id(read.log_id()).index),
        Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(f))) => Err(Error::not_leader(f.leader_id)),
        Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => Err(Error::Unavailable),
        Err(RaftError::Fatal(f)) => Err(from_fatal(&f)),
    }
}
