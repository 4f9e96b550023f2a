//! Renewals of a follower's clients on their way to the leader: whatever waits goes together, so that a thousand
//! clients cost a few messages.

use crate::core::Core;
use crate::status;
use std::sync::Weak;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// Renewals that wait; more wait at their own streams.
const WAITING_MAX: usize = 4096;
/// Renewals in one message.
const BATCH_MAX: usize = 1024;
/// Messages under way at once: while one is confirmed, the next is collected.
const BATCHES_MAX: usize = 4;

type Waiter = (i64, oneshot::Sender<Result<i64, Status>>);

pub struct Forwarder {
    queue: mpsc::Sender<Waiter>,
}

impl Forwarder {
    /// The receiver is for [`run`].
    pub fn new() -> (Forwarder, mpsc::Receiver<Waiter>) {
        let (queue, waiting) = mpsc::channel(WAITING_MAX);
        (Forwarder { queue }, waiting)
    }

    /// The TTL that the leader gave, 0 for a lease that is not there.
    pub async fn renew(&self, id: i64) -> Result<i64, Status> {
        let (sender, answer) = oneshot::channel();
        self.queue.send((id, sender)).await.map_err(|_| status::stopped())?;
        answer.await.unwrap_or_else(|_| Err(status::stopped()))
    }
}

/// Ends with `stop`.
pub async fn run(core: Weak<Core>, mut waiting: mpsc::Receiver<Waiter>, stop: CancellationToken) {
    let slots = std::sync::Arc::new(Semaphore::new(BATCHES_MAX));
    loop {
        let mut batch = Vec::new();
        let received = tokio::select! {
            () = stop.cancelled() => return,
            received = waiting.recv_many(&mut batch, BATCH_MAX) => received,
        };
        let Some(core) = core.upgrade().filter(|_| received > 0) else {
            return;
        };
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        let stop = stop.clone();
        tokio::spawn(async move {
            let _slot = slot;
            let ids = batch.iter().map(|(id, _)| *id).collect();
            let outcome = tokio::select! {
                () = stop.cancelled() => Err(status::stopped()),
                outcome = core.renew(ids) => outcome,
            };
            answer(batch, outcome);
        });
    }
}

/// Whoever no longer waits needs no answer.
fn answer(batch: Vec<Waiter>, outcome: Result<Vec<i64>, Status>) {
    match outcome {
        Ok(ttls) => {
            for ((_, waiter), ttl) in batch.into_iter().zip(ttls) {
                let _ = waiter.send(Ok(ttl));
            }
        }
        Err(status) => {
            for (_, waiter) in batch {
                let _ = waiter.send(Err(status.clone()));
            }
        }
    }
}
