//! Leases: their time lives with the leader, off the log; grants and revocations come from the log.

mod book;

pub use book::LeaseBook;

use crate::core::Core;
use keelson_mvcc::{Command, LeaseChange, Store};
use keelson_proto::etcdserverpb as pb;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Expired leases are collected for this long and revoked together, as etcd's ticks do.
const TICK: Duration = Duration::from_millis(500);
/// Revocations under way at once.
const REVOKES_MAX: usize = 64;

/// The time of all leases.
pub struct Lessor {
    book: Mutex<LeaseBook>,
    origin: Instant,
    changed: Notify,
}

impl Lessor {
    /// Takes over all leases of the store, each with its full TTL or what its last checkpoint says, and follows it.
    pub fn start(store: &Store) -> Arc<Lessor> {
        let lessor = Arc::new(Lessor {
            book: Mutex::default(),
            origin: Instant::now(),
            changed: Notify::new(),
        });
        let observer = lessor.clone();
        store.on_lease_change(move |change| observer.observe(change));
        let now = lessor.now();
        let mut book = lessor.book.lock();
        for (id, ttl, remaining) in store.leases() {
            book.grant(id, ttl, if remaining > 0 { remaining } else { ttl }, now);
        }
        drop(book);
        lessor
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn observe(&self, change: LeaseChange) {
        let mut book = self.book.lock();
        match change {
            LeaseChange::Granted { id, ttl_seconds } => {
                book.grant(id, ttl_seconds, ttl_seconds, self.now());
                drop(book);
                self.changed.notify_one();
            }
            LeaseChange::Revoked { id } => book.revoke(id),
        }
    }

    pub fn renew(&self, id: i64) -> Option<i64> {
        self.book.lock().renew(id, self.now())
    }

    pub fn remaining_seconds(&self, id: i64) -> Option<i64> {
        self.book.lock().remaining_seconds(id, self.now())
    }

    async fn wait_until_due(&self) {
        loop {
            let due = self.book.lock().next_due();
            let changed = self.changed.notified();
            match due {
                None => changed.await,
                Some(due) => {
                    let moment = self.origin + due;
                    if moment <= Instant::now() {
                        return;
                    }
                    tokio::select! {
                        () = tokio::time::sleep_until(moment) => return,
                        () = changed => {}
                    }
                }
            }
        }
    }
}

/// Revokes what has expired, while this member leads. Ends with `stop`.
pub async fn run(core: Arc<Core>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = core.lessor.wait_until_due() => {}
        }
        if core.log.is_leader() {
            let expired = core.lessor.book.lock().expired(core.lessor.now(), REVOKES_MAX);
            let revocations = expired.into_iter().map(|id| revoke(&core, id));
            futures::future::join_all(revocations).await;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

async fn revoke(core: &Core, id: i64) {
    let command = Command::LeaseRevoke(pb::LeaseRevokeRequest { id });
    if let Err(error) = core.log.propose(command.encode()).await {
        // It stays in the book, and its turn comes again.
        tracing::warn!(lease = id, %error, "revoke an expired lease");
    }
}
