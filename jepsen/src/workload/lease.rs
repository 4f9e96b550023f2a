//! Leases with keys: kept alive for a while, left to end, or revoked.
//!
//! Operations, beside those of the history's form: `attach` has the full key; `ttl` of a lease that is gone answers
//! `ttl` -1; `keepalive` of one answers 0; `get` answers `{"value": "v"|null, "lease": "<id>"}`.

use super::session;
use super::{Answer, Call, Env, Session, Worker, Workload, answer};
use crate::client::{self, Error, text};
use keelson_proto::etcdserverpb::{LeaseGrantRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest, PutRequest};
use rand::Rng;
use serde_json::{Value, json};
use std::ops::RangeInclusive;
use std::time::Duration;
use tokio::time::Instant;

/// What is asked for, seconds. etcd grants no less than one and a half election timeouts.
const TTL_S: RangeInclusive<i64> = 2..=6;
/// Keys of a lease.
const KEYS: RangeInclusive<usize> = 1..=4;
/// How long a client keeps a lease alive, seconds.
const LIFE_S: RangeInclusive<u64> = 2..=12;
/// Leases that a client has at one time: it begins a new one while old ones end.
const LEASES_MAX: usize = 4;

/// The workload `lease`.
pub struct Lease;

impl Workload for Lease {
    fn name(&self) -> &'static str {
        "lease"
    }

    fn about(&self) -> &'static str {
        "grants leases, attaches keys, keeps alive, lets end, revokes; looks at TTLs and keys"
    }

    fn clients(&self) -> usize {
        6
    }

    fn rate(&self) -> f64 {
        60.0
    }

    fn workers(&self, env: &Env) -> Vec<Worker> {
        session::workers(env, self.name(), |session| {
            let client = Client {
                session,
                leases: Vec::new(),
                written: 0,
            };
            client.work()
        })
    }
}

/// A lease that the client was granted.
#[derive(Clone)]
struct Held {
    id: i64,
    keys: Vec<String>,
    /// Keys that it is to have.
    wanted: usize,
    /// Until when it is kept alive.
    until: Instant,
    /// When the next keepalive is due.
    due: Instant,
    every: Duration,
    /// It is revoked at the end of its life, else left to end by itself.
    revoked: bool,
}

struct Client {
    session: Session,
    leases: Vec<Held>,
    written: u64,
}

impl Client {
    async fn work(mut self) {
        while self.session.next().await {
            // Its error stands in the history; a lease that went wrong is forgotten.
            let _ = self.step().await;
        }
    }

    async fn step(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        if let Some(at) = self.leases.iter().position(|held| held.until <= now) {
            let held = self.leases.swap_remove(at);
            return if held.revoked {
                self.revoke(held.id).await
            } else {
                Ok(())
            };
        }
        if let Some(at) = self.leases.iter().position(|held| held.due <= now) {
            return self.keep_alive(at).await;
        }
        if let Some(at) = self.leases.iter().position(|held| held.keys.len() < held.wanted) {
            return self.attach(at).await;
        }
        if self.leases.len() < LEASES_MAX && self.session.rng.random_bool(0.3) {
            return self.grant().await;
        }
        let held = match self.leases.len() {
            0 => return Ok(()),
            count => self.leases[self.session.rng.random_range(0..count)].clone(),
        };
        if self.session.rng.random_bool(0.5) {
            self.ttl(held.id).await
        } else {
            let key = held.keys.get(self.session.rng.random_range(0..held.wanted));
            match key {
                Some(key) => self.get(key).await,
                None => Ok(()),
            }
        }
    }

    async fn grant(&mut self) -> Result<(), Error> {
        let ttl = self.session.rng.random_range(TTL_S);
        let call = Call::write("grant", json!({"ttl": ttl}));
        let (id, ttl) = self
            .session
            .run(call, async |client| {
                let got = client.lease_grant(LeaseGrantRequest { ttl, id: 0 }).await?;
                let value = json!({"id": got.id.to_string(), "ttl": got.ttl});
                Ok(answer(value, got.header.as_ref(), (got.id, got.ttl)))
            })
            .await?;
        let rng = &mut self.session.rng;
        let every = Duration::from_millis(u64::try_from(ttl).unwrap_or(1) * 1000 / 3);
        self.leases.push(Held {
            id,
            keys: Vec::new(),
            wanted: rng.random_range(KEYS),
            until: Instant::now() + Duration::from_secs(rng.random_range(LIFE_S)),
            due: Instant::now() + every,
            every,
            revoked: rng.random_bool(0.4),
        });
        Ok(())
    }

    async fn attach(&mut self, at: usize) -> Result<(), Error> {
        self.written += 1;
        let id = self.leases[at].id;
        let key = format!("lease/{}-{}", self.session.number, self.written);
        let value = format!("c{}.{}", self.session.number, self.written);
        // Whether it went well or not: this key was tried.
        self.leases[at].keys.push(key.clone());
        let call = Call::write("attach", json!({"id": id.to_string(), "v": value})).key(&key);
        let put = PutRequest {
            lease: id,
            ..client::put(&key, &value)
        };
        let done = self.session.run(call, async |client| {
            let done = client.put(put).await?;
            Ok::<Answer<()>, Error>(answer(Value::Null, done.header.as_ref(), ()))
        });
        let done = done.await;
        self.forget_lost(at, &done);
        done
    }

    async fn keep_alive(&mut self, at: usize) -> Result<(), Error> {
        let id = self.leases[at].id;
        self.leases[at].due = Instant::now() + self.leases[at].every;
        let call = Call::write("keepalive", json!({"id": id.to_string()}));
        let ttl = self.session.run(call, async |client| {
            let got = client.lease_keep_alive(id).await?;
            Ok(answer(json!({"ttl": got.ttl}), got.header.as_ref(), got.ttl))
        });
        if ttl.await? == 0 {
            self.leases.swap_remove(at);
        }
        Ok(())
    }

    async fn revoke(&mut self, id: i64) -> Result<(), Error> {
        let call = Call::write("revoke", json!({"id": id.to_string()}));
        self.session
            .run(call, async |client| {
                let done = client.lease_revoke(LeaseRevokeRequest { id }).await?;
                Ok(answer(Value::Null, done.header.as_ref(), ()))
            })
            .await
    }

    async fn ttl(&mut self, id: i64) -> Result<(), Error> {
        let call = Call::read("ttl", json!({"id": id.to_string()}));
        self.session
            .run(call, async |client| {
                let got = client.lease_ttl(LeaseTimeToLiveRequest { id, keys: true }).await?;
                let keys: Vec<String> = got.keys.iter().map(|key| text(key)).collect();
                let value = json!({"ttl": got.ttl, "granted": got.granted_ttl, "keys": keys});
                Ok(answer(value, got.header.as_ref(), ()))
            })
            .await
    }

    async fn get(&mut self, key: &str) -> Result<(), Error> {
        let call = Call::read("get", Value::Null).key(key);
        self.session
            .run(call, async |client| {
                let got = client.range(client::get(key)).await?;
                let kv = got.kvs.first();
                let value = json!({
                    "value": kv.map(|kv| text(&kv.value)),
                    "lease": kv.map_or(0, |kv| kv.lease).to_string(),
                });
                Ok(answer(value, got.header.as_ref(), ()))
            })
            .await
    }

    /// A lease that is not there needs no more keepalives.
    fn forget_lost(&mut self, at: usize, done: &Result<(), Error>) {
        if done.as_ref().is_err_and(Error::is_lease_not_found) {
            self.leases.swap_remove(at);
        }
    }
}
