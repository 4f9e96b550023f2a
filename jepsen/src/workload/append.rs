//! Lists that are appended to: transactions over several of them.
//!
//! A list is the JSON text of a key. A transaction reads the lists that it touches, and then does everything in one
//! transaction of the store, guarded by their being unchanged.

use super::keys::Keys;
use super::session;
use super::txn::{self, Step};
use super::{Answer, Call, Env, Session, Worker, Workload, answer};
use crate::client::{self, Client, Error, step, text};
use keelson_proto::etcdserverpb::compare::TargetUnion;
use keelson_proto::etcdserverpb::{RangeRequest, RangeResponse, TxnRequest, request_op::Request};
use rand::Rng;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Lists that are in use at one time.
const KEYS: usize = 5;
/// Steps on a list before another takes its place, which bounds its length.
const KEY_STEPS_MAX: u32 = 160;
/// Chance that the first look at the lists is at what one member has: the guard must find out what is old.
const SERIALIZABLE: f64 = 0.3;

/// The workload `append`.
pub struct Append;

impl Workload for Append {
    fn name(&self) -> &'static str {
        "append"
    }

    fn about(&self) -> &'static str {
        "transactions that read lists and append to them, guarded by mod_revision"
    }

    fn clients(&self) -> usize {
        6
    }

    fn rate(&self) -> f64 {
        100.0
    }

    fn workers(&self, env: &Env) -> Vec<Worker> {
        let keys = Arc::new(Keys::new(self.name(), KEYS, KEY_STEPS_MAX));
        let elements = Arc::new(AtomicU64::new(1));
        session::workers(env, self.name(), |session| {
            work(session, Arc::clone(&keys), Arc::clone(&elements))
        })
    }
}

async fn work(mut session: Session, keys: Arc<Keys>, elements: Arc<AtomicU64>) {
    while session.next().await {
        let may_write = session.rng.random_bool(0.7);
        let steps = txn::draw(&mut session.rng, &keys, KEYS, may_write, || {
            elements.fetch_add(1, Ordering::Relaxed)
        });
        let serializable = session.rng.random_bool(SERIALIZABLE);
        let asked = txn::lines("append", &steps, &[]);
        // Its error stands in the history, and the next transaction does not depend on it.
        let _ = if txn::writes(&steps) {
            let call = Call::write("txn", asked);
            session
                .run(call, async |client| append(client, &steps, serializable).await)
                .await
        } else {
            let call = Call::read("txn", asked);
            session.run(call, async |client| read(client, &steps).await).await
        };
    }
}

/// A list as it was found.
struct Found {
    list: Vec<u64>,
    modified: i64,
}

impl Found {
    fn of(range: &RangeResponse) -> Result<Found, Error> {
        let Some(kv) = range.kvs.first() else {
            return Ok(Found {
                list: Vec::new(),
                modified: 0,
            });
        };
        Ok(Found {
            list: serde_json::from_slice(&kv.value)
                .map_err(|e| Error::protocol(format!("read the list {}: {e}", text(&kv.key))))?,
            modified: kv.mod_revision,
        })
    }
}

async fn read(client: Client, steps: &[Step]) -> Result<Answer<()>, Error> {
    let request = TxnRequest {
        success: steps
            .iter()
            .map(|s| step(Request::RequestRange(client::get(s.key()))))
            .collect(),
        ..TxnRequest::default()
    };
    let got = client.txn(request).await?;
    let seen = lists(txn::ranges(&got))?;
    Ok(answer(txn::lines("append", steps, &seen), got.header.as_ref(), ()))
}

async fn append(client: Client, steps: &[Step], serializable: bool) -> Result<Answer<()>, Error> {
    // Nothing is written before the guarded transaction.
    let found = look(&client, steps, serializable).await.map_err(Error::harmless)?;
    let compare = found
        .iter()
        .map(|(key, found)| client::compare(key, TargetUnion::ModRevision(found.modified)))
        .collect();
    let success = steps
        .iter()
        .map(|s| match s {
            Step::Read(key) => step(Request::RequestRange(client::get(key))),
            Step::Write(key, element) => {
                let list = found.get(key.as_str()).map_or(&[][..], |found| &found.list);
                let list: Vec<u64> = list.iter().copied().chain([*element]).collect();
                step(Request::RequestPut(client::put(key, &json!(list).to_string())))
            }
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
    let seen = lists(txn::ranges(&done))?;
    Ok(answer(txn::lines("append", steps, &seen), done.header.as_ref(), ()))
}

/// The lists that a transaction touches, as they are now or as one member has them.
async fn look<'a>(client: &Client, steps: &'a [Step], serializable: bool) -> Result<BTreeMap<&'a str, Found>, Error> {
    let mut keys: Vec<&str> = steps.iter().map(Step::key).collect();
    keys.sort_unstable();
    keys.dedup();
    let get = |key: &&str| {
        step(Request::RequestRange(RangeRequest {
            serializable,
            ..client::get(key)
        }))
    };
    let request = TxnRequest {
        success: keys.iter().map(get).collect(),
        ..TxnRequest::default()
    };
    let got = client.txn(request).await?;
    let found: Vec<Found> = txn::ranges(&got).map(Found::of).collect::<Result<_, _>>()?;
    Ok(keys.into_iter().zip(found).collect())
}

fn lists<'a>(ranges: impl Iterator<Item = &'a RangeResponse>) -> Result<Vec<Value>, Error> {
    ranges.map(|range| Ok(json!(Found::of(range)?.list))).collect()
}
