//! Leases: their time lives with the leader, off the log; grants and revocations come from the log.
//!
//! Invariants: only the leader has a book, and it begins one for each of its terms: every lease then has its whole TTL
//! again, or what its last checkpoint says. Only a leader whose leadership was just confirmed renews or answers.

mod book;
mod forward;
mod requests;

pub use book::LeaseBook;
pub use forward::Forwarder;
pub use forward::run as forward;

use crate::core::Core;
use crate::metrics::Metrics;
use book::Renewal;
use futures::StreamExt;
use keelson_mvcc::{Command, Error as Refusal, LeaseChange, Store};
use keelson_proto::etcdserverpb as pb;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Expired leases are collected for this long and revoked together, as etcd's ticks do.
const TICK: Duration = Duration::from_millis(500);
/// Leases revoked in one tick at most: a thousand a second.
const REVOKES_PER_TICK_MAX: usize = 500;
/// Revocations under way at once.
const REVOKES_MAX: usize = 64;
/// Remainders written down in one entry of the log.
const CHECKPOINTS_MAX: usize = 1000;

/// The time of all leases, while this member leads.
pub struct Lessor {
    inner: Mutex<Inner>,
    origin: Instant,
    changed: Notify,
    /// Rung after each revocation.
    revoked: Notify,
    /// What a new leader gives every lease on top, for clients to find it.
    extension: Duration,
    checkpoint_every: Duration,
    metrics: Arc<Metrics>,
}

struct Inner {
    book: LeaseBook,
    /// The term that the book is of.
    term: Option<u64>,
}

impl Inner {
    fn without_term(checkpoint_every: Duration) -> Inner {
        Inner {
            book: LeaseBook::new(checkpoint_every),
            term: None,
        }
    }
}

impl Lessor {
    /// Follows the store. `extension` is the election timeout.
    pub fn start(store: &Store, extension: Duration, checkpoint_every: Duration, metrics: Arc<Metrics>) -> Arc<Lessor> {
        let lessor = Arc::new(Lessor {
            inner: Mutex::new(Inner::without_term(checkpoint_every)),
            checkpoint_every,
            origin: Instant::now(),
            changed: Notify::new(),
            revoked: Notify::new(),
            extension,
            metrics,
        });
        let observer = lessor.clone();
        store.on_lease_change(move |change| observer.observe(change));
        lessor
    }

    fn now(&self) -> Duration {
        if seeded!(LeaseOnWallClock) {
            return SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        }
        self.origin.elapsed()
    }

    fn observe(&self, change: LeaseChange) {
        self.metrics.leases.count(&change);
        let mut inner = self.inner.lock();
        match change {
            // Without a book they are found in the store when one begins.
            LeaseChange::Granted { id, ttl_seconds } if inner.term.is_some() => {
                let whole = Duration::from_secs(u64::try_from(ttl_seconds).unwrap_or(0));
                inner.book.grant(id, ttl_seconds, whole, self.now());
                drop(inner);
                self.changed.notify_one();
            }
            LeaseChange::Granted { .. } => {}
            LeaseChange::Revoked { id } => {
                inner.book.revoke(id);
                drop(inner);
                self.revoked.notify_waiters();
            }
        }
    }

    /// Begins the book of a term, if that has not happened.
    fn lead(&self, term: u64, store: &Store) {
        {
            let mut inner = self.inner.lock();
            if inner.term == Some(term) {
                return;
            }
            // From here on grants come in by themselves.
            *inner = Inner {
                book: LeaseBook::new(self.checkpoint_every),
                term: Some(term),
            };
        }
        // Not under the book's lock: apply holds the store's when it takes this one. A lease that is revoked meanwhile
        // is found out when it is used.
        let leases = store.leases();
        let mut inner = self.inner.lock();
        if inner.term != Some(term) {
            return;
        }
        let now = self.now();
        for (id, ttl, remaining) in leases {
            if !inner.book.knows(id) {
                let left = if remaining > 0 { remaining } else { ttl };
                let left = Duration::from_secs(u64::try_from(left).unwrap_or(0));
                inner.book.grant(id, ttl, left + self.extension, now);
            }
        }
        drop(inner);
        self.changed.notify_one();
    }

    fn follow(&self) {
        let mut inner = self.inner.lock();
        if inner.term.is_some() {
            *inner = Inner::without_term(self.checkpoint_every);
        }
    }

    fn renew(&self, id: i64) -> Renewal {
        let now = self.now();
        self.metrics.leases.renewed.inc();
        self.inner.lock().book.renew(id, now)
    }

    pub fn remaining_seconds(&self, id: i64) -> Option<i64> {
        let now = self.now();
        self.inner.lock().book.remaining_seconds(id, now)
    }

    /// The next moment at which there is something to do; never without a book.
    async fn wait_until_due(&self, with_checkpoints: bool) {
        loop {
            let changed = self.changed.notified();
            let due = {
                let inner = self.inner.lock();
                let checkpoint = inner.book.next_checkpoint().filter(|_| with_checkpoints);
                inner.book.next_due().into_iter().chain(checkpoint).min()
            };
            match due {
                None => changed.await,
                Some(due) => {
                    let left = due.saturating_sub(self.now());
                    if left.is_zero() {
                        return;
                    }
                    tokio::select! {
                        () = tokio::time::sleep(left) => return,
                        () = changed => {}
                    }
                }
            }
        }
    }
}

/// Keeps the book of the terms that this member leads, and revokes what has expired. Ends with `stop`.
pub async fn run(core: Arc<Core>, stop: CancellationToken) {
    let mut leader = core.log.watch_leader();
    loop {
        let state = *leader.borrow_and_update();
        if !state.is_leader {
            core.lessor.follow();
            tokio::select! {
                () = stop.cancelled() => return,
                changed = leader.changed() => if changed.is_err() { return },
            }
            continue;
        }
        core.lessor.lead(state.term, &core.store);
        tokio::select! {
            () = stop.cancelled() => return,
            changed = leader.changed() => if changed.is_err() { return } else { continue },
            () = core.lessor.wait_until_due(core.lease_checkpoint) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tick(&core) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

async fn tick(core: &Core) {
    let now = core.lessor.now();
    let (expired, remainders) = {
        let mut inner = core.lessor.inner.lock();
        let expired = inner.book.expired(now, REVOKES_PER_TICK_MAX);
        let remainders = inner.book.due_checkpoints(now, CHECKPOINTS_MAX);
        (expired, remainders)
    };
    if core.lease_checkpoint && !remainders.is_empty() {
        checkpoint(core, remainders).await;
    }
    if expired.is_empty() {
        return;
    }
    // A leader that was cut off may not know yet that it is none.
    if let Err(error) = core.log.read_index().await {
        tracing::warn!(%error, "Ignore the lease revoking request because current member isn't a leader");
        return;
    }
    let revocations = expired.into_iter().map(|id| revoke(core, id));
    futures::stream::iter(revocations)
        .buffer_unordered(REVOKES_MAX)
        .collect::<()>()
        .await;
}

async fn revoke(core: &Core, id: i64) {
    if !core.log.is_leader() {
        return;
    }
    let command = Command::LeaseRevoke(pb::LeaseRevokeRequest { id });
    match core.log.propose(command.encode()).await {
        Ok((_, Err(Refusal::LeaseNotFound))) => core.lessor.inner.lock().book.revoke(id),
        Ok((_, Ok(_))) => core.metrics.leases.expired.inc(),
        // It stays in the book, and its turn comes again.
        Ok((_, Err(error))) => {
            tracing::warn!("lease-id" = %format_args!("{id:016x}"), %error, "failed to revoke lease")
        }
        Err(error) => tracing::warn!("lease-id" = %format_args!("{id:016x}"), %error, "failed to revoke lease"),
    }
}

async fn checkpoint(core: &Core, remainders: Vec<(i64, i64)>) {
    let checkpoints = remainders
        .into_iter()
        .map(|(id, remaining_ttl)| pb::LeaseCheckpoint { id, remaining_ttl });
    let command = Command::LeaseCheckpoint(pb::LeaseCheckpointRequest {
        checkpoints: checkpoints.collect(),
    });
    if let Err(error) = core.log.propose(command.encode()).await {
        tracing::warn!(%error, "write down what is left of leases");
    }
}
