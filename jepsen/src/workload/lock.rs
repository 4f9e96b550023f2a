//! Locks, and two sets that are written by who holds one: one with a guard on the ownership key, one without.
//!
//! A lock does not keep a holder from writing after its lease has ended. The set that is fenced must lose nothing; the
//! other one is the control.
//!
//! Operations, beside those of the history's form, with `key` the name of the lock: `acquire` `{"lease": "<id>"}` →
//! `{"key", "create_revision"}`; `release` `{"key", "create"}` → null; `fenced-write` `{"element", "owner", "create"}` →
//! true or false; `unfenced-write` likewise → true. Both write the JSON list of their key, [`FENCED`] and [`UNFENCED`]
//! with the lock's name behind. Leases are granted and revoked beside the history.

use super::session;
use super::{Answer, Call, Env, Session, Worker, Workload, answer};
use crate::client::{self, Client, Error, step, text};
use keelson_proto::etcdserverpb::compare::TargetUnion;
use keelson_proto::etcdserverpb::{
    LeaseGrantRequest, LeaseRevokeRequest, RangeRequest, TxnRequest, request_op::Request,
};
use keelson_proto::v3lockpb::{LockRequest, UnlockRequest};
use rand::Rng;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Keys of the sets begin so; the lock's number follows.
pub const FENCED: &str = "lock/fenced-";
pub const UNFENCED: &str = "lock/unfenced-";
/// Locks: fewer than clients.
const LOCKS: usize = 2;
/// Leases of holders, seconds; nobody keeps them alive. Who waits for one that is held up under the longer one loses its
/// own lease meanwhile, and must not get the lock.
const TTLS_S: [i64; 2] = [2, 6];
/// How long a client waits for a lock.
const LOCK_WAIT: Duration = Duration::from_secs(8);
/// Chance that a holder is held up for longer than its lease, between its read and its write.
const HELD_UP: f64 = 0.04;
const HELD_UP_FOR: Duration = Duration::from_millis(3500);
/// Elements of a set, so that its list stays small; after them a holder only holds.
const ELEMENTS_MAX: usize = 2_000;

/// The workload `lock`.
pub struct Lock;

impl Workload for Lock {
    fn name(&self) -> &'static str {
        "lock"
    }

    fn about(&self) -> &'static str {
        "takes locks of the lock service, and writes sets with and without a fence while it holds one"
    }

    fn clients(&self) -> usize {
        5
    }

    fn rate(&self) -> f64 {
        20.0
    }

    fn workers(&self, env: &Env) -> Vec<Worker> {
        let elements = Arc::new(AtomicU64::new(1));
        session::workers(env, self.name(), |session| {
            let client = Holder {
                session,
                elements: Arc::clone(&elements),
            };
            client.work()
        })
    }
}

/// A lock that is held, as far as its holder knows.
pub(super) struct Owned {
    pub(super) key: String,
    pub(super) create_revision: i64,
}

struct Holder {
    session: Session,
    elements: Arc<AtomicU64>,
}

impl Holder {
    async fn work(mut self) {
        while self.session.next().await {
            let lock = self.session.rng.random_range(0..LOCKS);
            let ttl = TTLS_S[self.session.rng.random_range(0..TTLS_S.len())];
            let Ok(lease) = grant(&self.session, ttl).await else {
                self.session.failed();
                continue;
            };
            // Its error stands in the history.
            let _ = self.hold(lock, lease).await;
            // With the lease goes whatever key of the lock is left: it would keep others waiting.
            revoke(&self.session, lease).await;
        }
    }

    async fn hold(&mut self, lock: usize, lease: i64) -> Result<(), Error> {
        let name = format!("lock/{lock}");
        let owned = self.acquire(&name, lease).await?;
        for _ in 0..self.session.rng.random_range(1..=3) {
            let fenced = self.session.rng.random_bool(0.6);
            let late = self.session.rng.random_bool(HELD_UP);
            self.write(lock, &owned, fenced, late).await?;
        }
        self.release(&name, &owned).await
    }

    async fn acquire(&mut self, name: &str, lease: i64) -> Result<Owned, Error> {
        let call = Call::write("acquire", json!({"lease": lease.to_string()})).key(name);
        self.session
            .run(call, async |client| {
                let request = LockRequest {
                    name: name.to_owned().into_bytes().into(),
                    lease,
                };
                let got = client.with_request_timeout(LOCK_WAIT).lock(request).await?;
                let key = text(&got.key);
                let revision = got.header.as_ref().map_or(0, |header| header.revision);
                let create_revision = created(&client, &key, revision).await?;
                let value = json!({"key": key, "create_revision": create_revision});
                Ok(answer(value, got.header.as_ref(), Owned { key, create_revision }))
            })
            .await
    }

    async fn release(&mut self, name: &str, owned: &Owned) -> Result<(), Error> {
        let call = Call::write("release", json!({"key": owned.key, "create": owned.create_revision})).key(name);
        self.session
            .run(call, async |client| {
                let key = owned.key.clone().into_bytes().into();
                let done = client.unlock(UnlockRequest { key }).await?;
                Ok(answer(Value::Null, done.header.as_ref(), ()))
            })
            .await
    }

    async fn write(&mut self, lock: usize, owned: &Owned, fenced: bool, late: bool) -> Result<(), Error> {
        let element = self.elements.fetch_add(1, Ordering::Relaxed);
        let (f, prefix) = if fenced {
            ("fenced-write", FENCED)
        } else {
            ("unfenced-write", UNFENCED)
        };
        let value = json!({"element": element, "owner": owned.key, "create": owned.create_revision});
        let call = Call::write(f, value).key(&format!("lock/{lock}"));
        let set = format!("{prefix}{lock}");
        let env = self.session.env.clone();
        self.session
            .run(call, async |client| {
                let got = client.range(client::get(&set)).await.map_err(Error::harmless)?;
                let mut list: Vec<u64> = match got.kvs.first() {
                    Some(kv) => serde_json::from_slice(&kv.value)
                        .map_err(|e| Error::protocol(format!("read the list {set}: {e}")).harmless())?,
                    None => Vec::new(),
                };
                if list.len() >= ELEMENTS_MAX {
                    return Err(Error::guard("the set is full"));
                }
                if late {
                    env.rest(HELD_UP_FOR).await;
                }
                list.push(element);
                let guard = client::compare(&owned.key, TargetUnion::CreateRevision(owned.create_revision));
                let request = TxnRequest {
                    compare: if fenced { vec![guard] } else { Vec::new() },
                    success: vec![step(Request::RequestPut(client::put(&set, &json!(list).to_string())))],
                    failure: Vec::new(),
                };
                let done = client.txn(request).await?;
                Ok::<Answer<()>, Error>(answer(json!(done.succeeded), done.header.as_ref(), ()))
            })
            .await
    }
}

/// The revision at which an ownership key was made, as the key was when the lock was granted: it may be gone by now,
/// and that is no failure of the lock. 0: there was none even then.
async fn created(client: &Client, key: &str, granted: i64) -> Result<i64, Error> {
    let request = RangeRequest {
        revision: granted,
        ..client::get(key)
    };
    let got = client.range(request).await;
    let got = got.map_err(|e| Error::protocol(format!("held, but the key cannot be read: {}", e.message)))?;
    Ok(got.kvs.first().map_or(0, |kv| kv.create_revision))
}

/// A lease for a lock or a campaign, beside the history.
pub(super) async fn grant(session: &Session, ttl: i64) -> Result<i64, Error> {
    let got = session.client().lease_grant(LeaseGrantRequest { ttl, id: 0 }).await?;
    Ok(got.id)
}

/// Ends it, if it can be: else it ends by itself.
pub(super) async fn revoke(session: &Session, id: i64) {
    let _ = session.client().lease_revoke(LeaseRevokeRequest { id }).await;
}
