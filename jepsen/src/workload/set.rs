//! Two sets that only grow: one with a key for each element, and one that is the JSON text of a single key.

use super::session;
use super::{Answer, Call, Env, Session, Worker, Workload, answer};
use crate::client::{self, Client, Error, step, text};
use futures::future::BoxFuture;
use keelson_proto::etcdserverpb::compare::TargetUnion;
use keelson_proto::etcdserverpb::{RangeRequest, TxnRequest, request_op::Request};
use rand::Rng;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Elements of each set; after them clients only read.
const ELEMENTS_MAX: u64 = 20_000;
/// Key of the set that is a list.
const LIST_KEY: &str = "set/list";
/// `key` of operations on it.
const LIST: &str = "list";
/// The range of the other set's keys: what begins with a digit.
const FROM: &str = "set/0";
const BELOW: &str = "set/:";
/// The workload `set`.
pub struct Set;

impl Workload for Set {
    fn name(&self) -> &'static str {
        "set"
    }

    fn about(&self) -> &'static str {
        "adds elements as keys of their own and to a list by compare-and-swap; reads all of them"
    }

    fn clients(&self) -> usize {
        6
    }

    fn rate(&self) -> f64 {
        60.0
    }

    fn workers(&self, env: &Env) -> Vec<Worker> {
        let elements = Arc::new(AtomicU64::new(1));
        session::workers(env, self.name(), |session| work(session, Arc::clone(&elements)))
    }

    /// Both sets, asked of every member.
    fn finals<'a>(&'a self, env: &'a Env) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async {
            let mut session = Session::new(env, self.name(), env.settings.clients);
            for node in 1..=env.nodes() {
                for list in [false, true] {
                    let call = || of(list, Call::read("read-final", Value::Null));
                    session.insist(node, call, |client| read(client, list)).await?;
                }
            }
            Ok(())
        })
    }
}

async fn work(mut session: Session, elements: Arc<AtomicU64>) {
    while session.next().await {
        let full = elements.load(Ordering::Relaxed) > ELEMENTS_MAX;
        let list = session.rng.random_bool(0.4);
        let reads = full || session.rng.random_bool(0.15);
        let f = if reads { "read" } else { "add" };
        // Its error stands in the history, and the next operation does not depend on it.
        let _ = if reads {
            let call = of(list, Call::read(f, Value::Null));
            session.run(call, async |client| read(client, list).await).await
        } else {
            let element = elements.fetch_add(1, Ordering::Relaxed);
            let call = of(list, Call::write(f, json!(element)));
            session.run(call, async |client| add(client, list, element).await).await
        };
    }
}

fn of(list: bool, call: Call) -> Call {
    if list { call.key(LIST) } else { call }
}

async fn add(client: Client, list: bool, element: u64) -> Result<Answer<()>, Error> {
    if !list {
        let put = client::put(&format!("set/{element}"), &element.to_string());
        let done = client.put(put).await?;
        return Ok(answer(Value::Null, done.header.as_ref(), ()));
    }
    // Nothing is written before the guarded transaction.
    let got = client.range(client::get(LIST_KEY)).await.map_err(Error::harmless)?;
    let (mut elements, guard) = match got.kvs.first() {
        Some(kv) => (parse(&kv.value)?, TargetUnion::Value(kv.value.clone())),
        None => (Vec::new(), TargetUnion::CreateRevision(0)),
    };
    elements.push(element);
    let request = TxnRequest {
        compare: vec![client::compare(LIST_KEY, guard)],
        success: vec![step(Request::RequestPut(client::put(
            LIST_KEY,
            &json!(elements).to_string(),
        )))],
        failure: Vec::new(),
    };
    let done = client.txn(request).await?;
    if !done.succeeded {
        return Err(Error::guard("another one was faster"));
    }
    Ok(answer(Value::Null, done.header.as_ref(), ()))
}

async fn read(client: Client, list: bool) -> Result<Answer<()>, Error> {
    let (elements, header) = if list {
        let got = client.range(client::get(LIST_KEY)).await?;
        let elements = got.kvs.first().map_or(Ok(Vec::new()), |kv| parse(&kv.value))?;
        (elements, got.header)
    } else {
        let request = RangeRequest {
            range_end: BELOW.into(),
            ..client::get(FROM)
        };
        let got = client.range(request).await?;
        let elements = got.kvs.iter().map(|kv| {
            let value = text(&kv.value);
            value
                .parse()
                .map_err(|e| Error::protocol(format!("read the element {value:?}: {e}")))
        });
        (elements.collect::<Result<Vec<u64>, Error>>()?, got.header)
    };
    Ok(answer(json!(elements), header.as_ref(), ()))
}

fn parse(value: &[u8]) -> Result<Vec<u64>, Error> {
    serde_json::from_slice(value).map_err(|e| Error::protocol(format!("read the list: {e}")))
}
