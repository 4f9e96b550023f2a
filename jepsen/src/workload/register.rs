//! Registers: reads, writes, compare-and-swaps and deletions of single keys.

use super::keys::Keys;
use super::session;
use super::{Answer, Call, Env, Session, Worker, Workload, answer};
use crate::client::{self, Error, text};
use keelson_proto::etcdserverpb::compare::TargetUnion;
use keelson_proto::etcdserverpb::{DeleteRangeRequest, RangeRequest, TxnRequest, request_op::Request};
use rand::Rng;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

/// Keys that are in use at one time.
const KEYS: usize = 4;
/// Operations on a key before another takes its place: the search for a linearization takes a key at a time.
const KEY_OPS_MAX: u32 = 150;
/// The workload `register`.
pub struct Register;

impl Workload for Register {
    fn name(&self) -> &'static str {
        "register"
    }

    fn about(&self) -> &'static str {
        "get, serializable get, put, compare-and-swap and delete of single keys"
    }

    fn clients(&self) -> usize {
        8
    }

    fn rate(&self) -> f64 {
        200.0
    }

    fn workers(&self, env: &Env) -> Vec<Worker> {
        let keys = Arc::new(Keys::new(self.name(), KEYS, KEY_OPS_MAX));
        session::workers(env, self.name(), |session| {
            let client = Client {
                session,
                keys: Arc::clone(&keys),
                written: 0,
                known: HashMap::new(),
            };
            client.work()
        })
    }
}

/// What a client knows of a key.
#[derive(Clone, Default)]
struct Known {
    value: Option<String>,
    modified: i64,
}

struct Client {
    session: Session,
    keys: Arc<Keys>,
    /// Values written so far, which makes each one unique.
    written: u64,
    known: HashMap<String, Known>,
}

impl Client {
    async fn work(mut self) {
        while self.session.next().await {
            let place = self.session.rng.random_range(0..KEYS);
            let key = self.keys.take(place);
            let chance = self.session.rng.random_range(0..100);
            let result = match chance {
                0..30 => self.get(&key).await,
                30..40 => self.get_serializable(&key).await,
                40..65 => self.put(&key).await,
                65..82 => self.cas(&key).await,
                82..92 => self.cas_mod(&key).await,
                _ => self.delete(&key).await,
            };
            match result {
                Err(e) if !e.definite && !(0..40).contains(&chance) => self.keys.doubt(place),
                _ => {}
            }
        }
    }

    fn value(&mut self) -> String {
        self.written += 1;
        format!("c{}.{}", self.session.number, self.written)
    }

    async fn get(&mut self, key: &str) -> Result<(), Error> {
        let known = self.read("get", client::get(key)).await?;
        self.known.insert(key.to_owned(), known);
        Ok(())
    }

    /// It may be old: the client does not build on it.
    async fn get_serializable(&mut self, key: &str) -> Result<(), Error> {
        let request = RangeRequest {
            serializable: true,
            ..client::get(key)
        };
        self.read("get-serializable", request).await.map(drop)
    }

    async fn read(&mut self, f: &'static str, request: RangeRequest) -> Result<Known, Error> {
        let call = Call::read(f, Value::Null).key(&text(&request.key));
        self.session
            .run(call, async |client| {
                let got = client.range(request).await?;
                let kv = got.kvs.first();
                let known = Known {
                    value: kv.map(|kv| text(&kv.value)),
                    modified: kv.map_or(0, |kv| kv.mod_revision),
                };
                let value = json!({
                    "value": known.value,
                    "mod": known.modified,
                    "version": kv.map_or(0, |kv| kv.version),
                });
                Ok(answer(value, got.header.as_ref(), known))
            })
            .await
    }

    async fn put(&mut self, key: &str) -> Result<(), Error> {
        let value = self.value();
        let call = Call::write("put", json!(value)).key(key);
        let modified = self
            .session
            .run(call, async |client| {
                let put = client.put(client::put(key, &value)).await?;
                let revision = put.header.as_ref().map_or(0, |header| header.revision);
                Ok(answer(Value::Null, put.header.as_ref(), revision))
            })
            .await?;
        self.learn(key, &value, modified);
        Ok(())
    }

    /// From what the client saw last, which others may have changed since: mostly it is still there.
    async fn cas(&mut self, key: &str) -> Result<(), Error> {
        let to = self.value();
        let from = self.known.get(key).cloned().unwrap_or_default().value;
        let guard = match &from {
            Some(from) => TargetUnion::Value(from.clone().into_bytes().into()),
            None => TargetUnion::Version(0),
        };
        let call = Call::write("cas", json!({"from": from, "to": to})).key(key);
        self.swap(call, key, guard, to).await
    }

    async fn cas_mod(&mut self, key: &str) -> Result<(), Error> {
        let to = self.value();
        let modified = self.known.get(key).map_or(0, |known| known.modified);
        let call = Call::write("cas-mod", json!({"mod": modified, "to": to})).key(key);
        self.swap(call, key, TargetUnion::ModRevision(modified), to).await
    }

    async fn swap(&mut self, call: Call, key: &str, guard: TargetUnion, to: String) -> Result<(), Error> {
        let request = TxnRequest {
            compare: vec![client::compare(key, guard)],
            success: vec![client::step(Request::RequestPut(client::put(key, &to)))],
            failure: Vec::new(),
        };
        let modified = self
            .session
            .run(call, async |client| {
                let txn = client.txn(request).await?;
                let modified = txn.header.as_ref().map(|header| header.revision);
                let out = modified.filter(|_| txn.succeeded);
                Ok(answer(json!(txn.succeeded), txn.header.as_ref(), out))
            })
            .await?;
        match modified {
            Some(modified) => self.learn(key, &to, modified),
            None => drop(self.known.remove(key)),
        }
        Ok(())
    }

    async fn delete(&mut self, key: &str) -> Result<(), Error> {
        let request = DeleteRangeRequest {
            prev_kv: true,
            ..client::delete(key)
        };
        let call = Call::write("delete", Value::Null).key(key);
        self.session
            .run(call, async |client| {
                let gone = client.delete_range(request).await?;
                let prev = gone.prev_kvs.first().map(|kv| text(&kv.value));
                let value = json!({"deleted": gone.deleted, "prev": prev});
                Ok::<Answer<()>, Error>(answer(value, gone.header.as_ref(), ()))
            })
            .await?;
        self.known.remove(key);
        Ok(())
    }

    fn learn(&mut self, key: &str, value: &str, modified: i64) {
        let known = Known {
            value: Some(value.to_owned()),
            modified,
        };
        self.known.insert(key.to_owned(), known);
    }
}
