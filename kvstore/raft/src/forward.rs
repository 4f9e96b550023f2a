//! A follower's proposals on their way to the leader.
//!
//! A command is handed to one stream once and never again: whether a broken stream delivered it is unknown, and it is
//! its own apply that answers. What was not handed over, or was refused before it was logged, is told at once.
use crate::{Error, TransportError, context::Context, runtime, types::Origin, waiters::Waiters, watcher::stopped};
use bytes::Bytes;
use futures::{StreamExt, stream};
use keelson_proto::peer as pb;
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::{Notify, mpsc, watch};

/// Commands, and bytes of them, in one message.
const BATCH_COMMANDS_MAX: usize = 1024;
const BATCH_BYTES_MAX: usize = 512 << 10;
/// Messages that wait for the transport.
const MESSAGES_MAX: usize = 16;

struct Queued {
    sequence: u64,
    framed: Bytes,
}

pub(crate) struct Forwarder {
    context: Arc<Context>,
    waiters: Arc<Waiters>,
    /// Bounded by the limit on proposals under way.
    queue: Mutex<VecDeque<Queued>>,
    bell: Notify,
}

/// A stream to one leader.
struct Link {
    leader: u64,
    messages: mpsc::Sender<pb::ForwardRequest>,
    broken: Arc<AtomicBool>,
}

impl Link {
    fn leads_to(&self, leader: u64) -> bool {
        self.leader == leader && !self.broken.load(Ordering::Acquire) && !self.messages.is_closed()
    }
}

impl Forwarder {
    pub(crate) fn new(context: Arc<Context>, waiters: Arc<Waiters>) -> Arc<Self> {
        Arc::new(Forwarder {
            context,
            waiters,
            queue: Mutex::default(),
            bell: Notify::new(),
        })
    }

    pub(crate) fn push(&self, origin: Origin, command: &[u8]) {
        let framed = origin.frame(command);
        self.queue.lock().push_back(Queued {
            sequence: origin.sequence,
            framed,
        });
        self.bell.notify_one();
    }

    fn take_batch(&self) -> Vec<Queued> {
        let mut queue = self.queue.lock();
        let mut bytes = 0;
        let fits = queue.iter().take(BATCH_COMMANDS_MAX).take_while(|q| {
            let before = bytes;
            bytes += q.framed.len();
            before == 0 || bytes <= BATCH_BYTES_MAX
        });
        let count = fits.count();
        queue.drain(..count).collect()
    }

    fn refuse(&self, batch: Vec<Queued>, error: &Error) {
        for q in batch {
            self.waiters.answer(q.sequence, Err(error.clone()));
        }
    }

    /// Runs until `stop` turns true.
    pub(crate) async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut link: Option<Link> = None;
        loop {
            tokio::select! {
                biased;
                () = stopped(&mut stop) => break,
                () = self.bell.notified() => {}
            }
            loop {
                let batch = self.take_batch();
                if batch.is_empty() {
                    break;
                }
                tokio::select! {
                    biased;
                    () = stopped(&mut stop) => break,
                    () = self.send(&mut link, batch) => {}
                }
            }
        }
        let left: Vec<Queued> = self.queue.lock().drain(..).collect();
        self.refuse(left, &Error::Shutdown);
    }

    async fn send(self: &Arc<Self>, link: &mut Option<Link>, batch: Vec<Queued>) {
        let leader = self.context.published.leader.borrow().leader;
        let Some(leader) = leader.filter(|l| *l != self.context.node_id) else {
            self.refuse(batch, &Error::NotLeader { leader });
            return;
        };
        if !link.as_ref().is_some_and(|l| l.leads_to(leader)) {
            *link = None;
            match self.open(leader).await {
                Ok(opened) => *link = Some(opened),
                Err(error) => {
                    self.context.note_failure(leader, &error);
                    tracing::debug!(%error, "open a stream to the leader");
                    self.refuse(batch, &Error::NotLeader { leader: Some(leader) });
                    return;
                }
            }
        }
        let Some(open) = link.as_ref() else { return };
        let bytes: usize = batch.iter().map(|q| q.framed.len()).sum();
        self.context
            .counters
            .peer(leader)
            .sent_bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
        let message = pb::ForwardRequest {
            head: Some(self.context.head(leader)),
            commands: batch.iter().map(|q| q.framed.clone()).collect(),
        };
        let mut leads = self.context.published.leader.subscribe();
        let sent = tokio::select! {
            biased;
            sent = open.messages.send(message) => sent.is_ok(),
            // A leader that takes nothing, and is none any more.
            _ = leads.wait_for(|s| s.leader != Some(leader)) => false,
        };
        if !sent {
            // It never left.
            *link = None;
            self.refuse(batch, &Error::NotLeader { leader: Some(leader) });
        }
    }

    async fn open(self: &Arc<Self>, leader: u64) -> Result<Link, TransportError> {
        let (messages, rx) = mpsc::channel(MESSAGES_MAX);
        // A first message without commands says who calls, so that the other side answers at once.
        let hello = pb::ForwardRequest {
            head: Some(self.context.head(leader)),
            commands: Vec::new(),
        };
        let requests = stream::once(std::future::ready(hello))
            .chain(stream::unfold(
                rx,
                |mut rx| async move { rx.recv().await.map(|m| (m, rx)) },
            ))
            .boxed();
        let opened = runtime::timeout(
            self.context.timers.election,
            self.context.transport.forward(leader, requests),
        );
        let mut refusals = opened.await.unwrap_or(Err(TransportError::TimedOut))?;
        let broken = Arc::new(AtomicBool::new(false));
        let (this, end) = (self.clone(), broken.clone());
        runtime::spawn(async move {
            while let Some(Ok(refusal)) = refusals.next().await {
                if let Some(error) = refusal_from(&refusal, leader) {
                    this.waiters.answer(refusal.sequence, Err(error));
                }
            }
            end.store(true, Ordering::Release);
        });
        Ok(Link {
            leader,
            messages,
            broken,
        })
    }
}

/// `None` where nothing is known: the waiter goes on waiting.
fn refusal_from(refusal: &pb::ForwardResponse, leader: u64) -> Option<Error> {
    use pb::forward_response::Reason;
    match refusal.reason() {
        Reason::NotLeader => Some(Error::NotLeader { leader: Some(leader) }),
        Reason::TooMany => Some(Error::TooManyPending),
        Reason::TooLarge => Some(Error::TooLarge {
            bytes: 0,
            limit_bytes: crate::COMMAND_BYTES_MAX,
        }),
        Reason::Lost | Reason::Unknown => None,
    }
}
