//! Registers that are read and written by transactions over several of them.

use super::keys::Keys;
use super::session;
use super::txn::{self, Step};
use super::{Answer, Call, Env, Session, Worker, Workload, answer};
use crate::client::{self, Client, Error, step, text};
use keelson_proto::etcdserverpb::compare::TargetUnion;
use keelson_proto::etcdserverpb::{Compare, RangeResponse, TxnRequest, request_op::Request};
use rand::Rng;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Registers that are in use at one time.
const KEYS: usize = 5;
/// Steps on a register before another takes its place.
const KEY_STEPS_MAX: u32 = 300;
/// Chance that a transaction that writes is guarded by what it looked at before.
const GUARDED: f64 = 0.3;

/// The workload `wr`.
pub struct Wr;

impl Workload for Wr {
    fn name(&self) -> &'static str {
        "wr"
    }

    fn about(&self) -> &'static str {
        "transactions that read and write several keys, some of them guarded"
    }

    fn clients(&self) -> usize {
        6
    }

    fn rate(&self) -> f64 {
        100.0
    }

    fn workers(&self, env: &Env) -> Vec<Worker> {
        let keys = Arc::new(Keys::new(self.name(), KEYS, KEY_STEPS_MAX));
        let values = Arc::new(AtomicU64::new(1));
        session::workers(env, self.name(), |session| {
            work(session, Arc::clone(&keys), Arc::clone(&values))
        })
    }
}

async fn work(mut session: Session, keys: Arc<Keys>, values: Arc<AtomicU64>) {
    while session.next().await {
        let may_write = session.rng.random_bool(0.7);
        let steps = txn::draw(&mut session.rng, &keys, KEYS, may_write, || {
            values.fetch_add(1, Ordering::Relaxed)
        });
        let asked = txn::lines("w", &steps, &[]);
        let writes = txn::writes(&steps);
        let guarded = writes && session.rng.random_bool(GUARDED);
        let call = if writes {
            Call::write("txn", asked)
        } else {
            Call::read("txn", asked)
        };
        // Its error stands in the history, and the next transaction does not depend on it.
        let _ = session
            .run(call, async |client| one(client, &steps, guarded).await)
            .await;
    }
}

async fn one(client: Client, steps: &[Step], guarded: bool) -> Result<Answer<()>, Error> {
    let compare = if guarded {
        // Nothing is written before the guarded transaction.
        guards(&client, steps).await.map_err(Error::harmless)?
    } else {
        Vec::new()
    };
    let success = steps
        .iter()
        .map(|s| match s {
            Step::Read(key) => step(Request::RequestRange(client::get(key))),
            Step::Write(key, value) => step(Request::RequestPut(client::put(key, &value.to_string()))),
        })
        .collect();
    let request = TxnRequest {
        compare,
        success,
        failure: Vec::new(),
    };
    let done = client.txn(request).await?;
    if !done.succeeded {
        return Err(Error::guard("another one was faster"));
    }
    let seen: Vec<Value> = txn::ranges(&done).map(value).collect::<Result<_, _>>()?;
    Ok(answer(txn::lines("w", steps, &seen), done.header.as_ref(), ()))
}

/// That the first key is as it is now.
async fn guards(client: &Client, steps: &[Step]) -> Result<Vec<Compare>, Error> {
    let Some(first) = steps.first() else {
        return Ok(Vec::new());
    };
    let got = client.range(client::get(first.key())).await?;
    let modified = got.kvs.first().map_or(0, |kv| kv.mod_revision);
    Ok(vec![client::compare(first.key(), TargetUnion::ModRevision(modified))])
}

fn value(range: &RangeResponse) -> Result<Value, Error> {
    let Some(kv) = range.kvs.first() else {
        return Ok(Value::Null);
    };
    let number: u64 = text(&kv.value)
        .parse()
        .map_err(|e| Error::protocol(format!("read the number in {}: {e}", text(&kv.key))))?;
    Ok(json!(number))
}
