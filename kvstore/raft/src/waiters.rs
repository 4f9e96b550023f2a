//! Proposals that this member has forwarded, until its own machine applies them.
use crate::{
    Error, runtime,
    types::{Origin, Reply},
};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
};
use tokio::sync::oneshot;

/// Applied at an index with an answer, or refused before it was logged.
pub(crate) type Answer = Result<(u64, Reply), Error>;

pub(crate) struct Waiters {
    node: u64,
    life: u64,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
}

/// One forwarded proposal; dropping it stops waiting, not the proposal.
pub(crate) struct Waiting<'a> {
    waiters: &'a Waiters,
    pub origin: Origin,
    pub answer: oneshot::Receiver<Answer>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.waiters.waiting.lock().remove(&self.origin.sequence);
    }
}

impl Waiters {
    pub(crate) fn new(node: u64) -> Self {
        Waiters {
            node,
            life: runtime::random(),
            next: AtomicU64::new(1),
            waiting: Mutex::default(),
        }
    }

    /// Bounded by the limit on proposals under way, which the caller has passed.
    pub(crate) fn enter(&self) -> Waiting<'_> {
        let sequence = self.next.fetch_add(1, Ordering::Relaxed);
        let (tx, answer) = oneshot::channel();
        self.waiting.lock().insert(sequence, tx);
        Waiting {
            waiters: self,
            origin: Origin {
                node: self.node,
                life: self.life,
                sequence,
            },
            answer,
        }
    }

    pub(crate) fn is_ours(&self, origin: &Origin) -> bool {
        origin.node == self.node && origin.life == self.life
    }

    /// A waiter that left needs no answer.
    pub(crate) fn answer(&self, sequence: u64, answer: Answer) {
        if let Some(waiter) = self.waiting.lock().remove(&sequence) {
            drop(waiter.send(answer));
        }
    }

    /// The node ends.
    pub(crate) fn fail_all(&self, error: &Error) {
        let all: Vec<_> = self.waiting.lock().drain().collect();
        for (_, waiter) in all {
            drop(waiter.send(Err(error.clone())));
        }
    }
}
