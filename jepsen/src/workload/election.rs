//! Elections: campaigns, proclamations, and looks at who leads.
//!
//! Operations, beside those of the history's form, with `key` the name of the election: `campaign` `{"lease", "value"}` →
//! `{"key", "rev", "lease", "value"}`; `proclaim` `{"key", "rev", "value"}` → null; `leader` null → `{"key", "rev",
//! "lease", "value"}` or null; `resign` `{"key", "rev"}` → null. `rev` is the create revision of the leader's key, ids
//! of leases are text. Leases are granted and revoked beside the history.

use super::lock::{grant, revoke};
use super::session;
use super::{Call, Env, Session, Worker, Workload, answer};
use crate::client::{Error, text};
use keelson_proto::v3electionpb::{CampaignRequest, LeaderKey, LeaderRequest, ProclaimRequest, ResignRequest};
use rand::Rng;
use serde_json::{Value, json};
use std::time::Duration;

/// Elections: fewer than clients.
const ELECTIONS: usize = 2;
/// Lease of a candidate, seconds; nobody keeps it alive.
const TTL_S: i64 = 3;
/// Chance that a leader is held up for longer than its lease.
const HELD_UP: f64 = 0.03;
const HELD_UP_FOR: Duration = Duration::from_millis(4500);

/// The workload `election`.
pub struct Election;

impl Workload for Election {
    fn name(&self) -> &'static str {
        "election"
    }

    fn about(&self) -> &'static str {
        "campaigns, proclaims, resigns and looks at leaders with the election service"
    }

    fn clients(&self) -> usize {
        5
    }

    fn rate(&self) -> f64 {
        20.0
    }

    fn workers(&self, env: &Env) -> Vec<Worker> {
        session::workers(env, self.name(), |session| {
            let client = Candidate { session, proclaimed: 0 };
            client.work()
        })
    }
}

struct Candidate {
    session: Session,
    proclaimed: u64,
}

impl Candidate {
    async fn work(mut self) {
        while self.session.next().await {
            let name = format!("election/{}", self.session.rng.random_range(0..ELECTIONS));
            if self.session.rng.random_bool(0.4) {
                // Its error stands in the history.
                let _ = self.leader(&name).await;
                continue;
            }
            let Ok(lease) = grant(&self.session, TTL_S).await else {
                self.session.failed();
                continue;
            };
            // Its error stands in the history.
            let _ = self.reign(&name, lease).await;
            // With the lease goes whatever key of the election is left: it would keep others waiting.
            revoke(&self.session, lease).await;
        }
    }

    async fn reign(&mut self, name: &str, lease: i64) -> Result<(), Error> {
        let key = self.campaign(name, lease).await?;
        for _ in 0..self.session.rng.random_range(0..=2) {
            if self.session.rng.random_bool(HELD_UP) {
                self.session.env.rest(HELD_UP_FOR).await;
            }
            self.proclaim(name, &key).await?;
        }
        self.resign(name, key).await
    }

    fn value(&mut self) -> String {
        self.proclaimed += 1;
        format!("c{}.{}", self.session.number, self.proclaimed)
    }

    async fn campaign(&mut self, name: &str, lease: i64) -> Result<LeaderKey, Error> {
        let value = self.value();
        let call = Call::write("campaign", json!({"lease": lease.to_string(), "value": value})).key(name);
        self.session
            .run(call, async |client| {
                let request = CampaignRequest {
                    name: name.to_owned().into_bytes().into(),
                    lease,
                    value: value.clone().into_bytes().into(),
                };
                let got = client.campaign(request).await?;
                let key = got
                    .leader
                    .ok_or_else(|| Error::protocol("elected without a key".to_owned()))?;
                let answered = json!({
                    "key": text(&key.key),
                    "rev": key.rev,
                    "lease": key.lease.to_string(),
                    "value": value,
                });
                Ok(answer(answered, got.header.as_ref(), key))
            })
            .await
    }

    async fn proclaim(&mut self, name: &str, key: &LeaderKey) -> Result<(), Error> {
        let value = self.value();
        let asked = json!({"key": text(&key.key), "rev": key.rev, "value": value});
        let call = Call::write("proclaim", asked).key(name);
        self.session
            .run(call, async |client| {
                let request = ProclaimRequest {
                    leader: Some(key.clone()),
                    value: value.into_bytes().into(),
                };
                let done = client.proclaim(request).await?;
                Ok(answer(Value::Null, done.header.as_ref(), ()))
            })
            .await
    }

    async fn leader(&mut self, name: &str) -> Result<(), Error> {
        let call = Call::read("leader", Value::Null).key(name);
        self.session
            .run(call, async |client| {
                let request = LeaderRequest {
                    name: name.to_owned().into_bytes().into(),
                };
                let got = match client.leader(request).await {
                    Err(e) if e.message.ends_with("election: no leader") => {
                        return Ok(answer(Value::Null, None, ()));
                    }
                    other => other?,
                };
                let value = got.kv.as_ref().map(|kv| {
                    json!({
                        "key": text(&kv.key),
                        "rev": kv.create_revision,
                        "lease": kv.lease.to_string(),
                        "value": text(&kv.value),
                    })
                });
                Ok(answer(json!(value), got.header.as_ref(), ()))
            })
            .await
    }

    async fn resign(&mut self, name: &str, key: LeaderKey) -> Result<(), Error> {
        let call = Call::write("resign", json!({"key": text(&key.key), "rev": key.rev})).key(name);
        self.session
            .run(call, async |client| {
                let done = client.resign(ResignRequest { leader: Some(key) }).await?;
                Ok(answer(Value::Null, done.header.as_ref(), ()))
            })
            .await
    }
}
