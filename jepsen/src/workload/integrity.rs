//! Hashes of the members' states while they are being written, and some writes of its own to have something to hash.
//!
//! `hash` `{"revision"}` → `{"hash", "revision", "compact"}` of the member that is the operation's `node`; all members
//! are asked for the same revision in turn. `put` and `delete` as in `register`.

use super::session;
use super::{Answer, Call, Env, Session, Worker, Workload, answer};
use crate::client::{self, Error};
use keelson_proto::etcdserverpb::HashKvRequest;
use rand::Rng;
use serde_json::{Value, json};

/// Keys that are written again and again.
const KEYS: usize = 50;
/// Length of a value, bytes: several pages of a file are touched by a few of them.
const VALUE_BYTES: usize = 600;

/// The workload `integrity`.
pub struct Integrity;

impl Workload for Integrity {
    fn name(&self) -> &'static str {
        "integrity"
    }

    fn about(&self) -> &'static str {
        "compares HashKV of all members at the same revisions while keys are written and deleted"
    }

    fn clients(&self) -> usize {
        4
    }

    fn rate(&self) -> f64 {
        40.0
    }

    fn workers(&self, env: &Env) -> Vec<Worker> {
        session::workers(env, self.name(), |session| async move {
            // The first one compares, the others write.
            if session.number == 0 {
                compare(session).await;
            } else {
                write(session).await;
            }
        })
    }
}

async fn write(mut session: Session) {
    let mut written = 0_u64;
    while session.next().await {
        let key = format!("integrity/{}", session.rng.random_range(0..KEYS));
        // Errors stand in the history.
        if session.rng.random_bool(0.15) {
            let call = Call::write("delete", Value::Null).key(&key);
            let _ = session.run(call, async |client| delete(&client, &key).await).await;
            continue;
        }
        written += 1;
        let value = format!("{:<VALUE_BYTES$}", format!("c{}.{written}", session.number));
        let call = Call::write("put", json!(value)).key(&key);
        let done = session.run(call, async |client| {
            let done = client.put(client::put(&key, &value)).await?;
            Ok::<Answer<()>, Error>(answer(Value::Null, done.header.as_ref(), ()))
        });
        let _ = done.await;
    }
}

async fn delete(client: &client::Client, key: &str) -> Result<Answer<()>, Error> {
    let done = client.delete_range(client::delete(key)).await?;
    Ok(answer(json!({"deleted": done.deleted}), done.header.as_ref(), ()))
}

async fn compare(mut session: Session) {
    while session.next().await {
        let newest = session.client().range(client::get("integrity/0")).await;
        let Ok(newest) = newest else {
            session.failed();
            continue;
        };
        let revision = newest.header.map_or(0, |header| header.revision);
        for node in 1..=session.env.nodes() {
            let call = Call::read("hash", json!({"revision": revision}));
            // Its error stands in the history: a member may be behind, or down.
            let _ = session
                .run_on(node, call, async |client| {
                    let got = client.hash_kv(HashKvRequest { revision }).await?;
                    let value = json!({
                        "hash": got.hash,
                        "revision": got.hash_revision,
                        "compact": got.compact_revision,
                    });
                    Ok::<Answer<()>, Error>(answer(value, got.header.as_ref(), ()))
                })
                .await;
        }
    }
}
