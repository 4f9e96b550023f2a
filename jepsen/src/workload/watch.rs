//! Watches of all kinds, while keys are written and the past is compacted.
//!
//! Writers record `put` and `delete` with `key`, and `txn`; the value of all three is the list of changes
//! `["put", key, value]` and `["delete", key]`. `compact` has the revision as its value. Watchers write
//! `watch-watcher-<n>.jsonl` (streams that have nothing to do with each other) and `watch-resumer-<n>.jsonl` (each stream
//! goes on where the one before ended).

use super::observer::{End, Lifetime, Observer};
use super::{Answer, Call, Env, Session, Worker, Workload, answer};
use crate::client::{self, Client, Error, shown, step};
use crate::history::WatchStart;
use keelson_proto::etcdserverpb::{CompactionRequest, TxnRequest, request_op::Request};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use std::ops::RangeInclusive;
use std::time::Duration;
use tokio::time::Instant;

/// Keys in each of the two folders.
const KEYS: usize = 10;
/// Every third client writes, the others watch; one more compacts.
const WRITER_EVERY: usize = 3;
/// Chance that a write is a burst of large values, which a watch that catches up gets in fragments.
const BURST: f64 = 0.002;
const BURST_PUTS: usize = 16;
const BURST_BYTES: usize = 150_000;
/// How long a stream lives, milliseconds.
const LIFE_MS: RangeInclusive<u64> = 300..=9000;
/// Rest between two compactions, milliseconds.
const COMPACT_MS: RangeInclusive<u64> = 700..=3000;
/// How far behind the newest revision a compaction is, at most.
const BEHIND_MAX: i64 = 400;

/// The workload `watch`.
pub struct Watch;

impl Workload for Watch {
    fn name(&self) -> &'static str {
        "watch"
    }

    fn about(&self) -> &'static str {
        "watches from now, the past and the future, with filters, prev_kv, fragments and progress, under compaction"
    }

    fn clients(&self) -> usize {
        12
    }

    fn rate(&self) -> f64 {
        120.0
    }

    fn workers(&self, env: &Env) -> Vec<Worker> {
        let clients = env.settings.clients;
        let writers = clients.div_ceil(WRITER_EVERY);
        // The rate is that of the writes.
        let mut settings = env.settings;
        settings.clients = writers;
        let env = env.with(settings);
        let mut all: Vec<Worker> = Vec::new();
        for number in 0..writers {
            all.push(Box::pin(write(Session::new(&env, self.name(), number))));
        }
        all.push(Box::pin(compact(Session::new(&env, self.name(), clients))));
        for number in (writers..clients).step_by(2) {
            all.push(Box::pin(probe(env.clone(), env.rng(self.name(), number), number)));
        }
        all
    }

    fn observers(&self, env: &Env) -> Vec<Worker> {
        let clients = env.settings.clients;
        let writers = clients.div_ceil(WRITER_EVERY);
        (writers + 1..clients)
            .step_by(2)
            .map(|number| Box::pin(resume(env.clone(), env.rng(self.name(), number), number)) as Worker)
            .collect()
    }
}

async fn write(mut session: Session) {
    let mut written = 0;
    let number = session.number;
    while session.next().await {
        let mut value = |pad: usize| {
            written += 1;
            let text = format!("w{number}.{written}");
            let blanks = " ".repeat(pad.saturating_sub(text.len()));
            text + &blanks
        };
        if session.rng.random_bool(BURST) {
            for at in 0..BURST_PUTS {
                let put = Change::Put(format!("watch/big/{at}"), value(BURST_BYTES));
                // Errors stand in the history.
                let _ = change(&mut session, "put", vec![put]).await;
            }
            continue;
        }
        let count = if session.rng.random_bool(0.25) {
            session.rng.random_range(2..=5)
        } else {
            1
        };
        let first = session.rng.random_range(0..2 * KEYS);
        let changes: Vec<Change> = (0..count)
            .map(|at| {
                let at = (first + at * 3) % (2 * KEYS);
                let key = format!("watch/{}/{}", if at < KEYS { "a" } else { "b" }, at % KEYS);
                if session.rng.random_bool(0.25) {
                    Change::Delete(key)
                } else {
                    Change::Put(key, value(0))
                }
            })
            .collect();
        let f = match &changes[..] {
            [Change::Put(..)] => "put",
            [Change::Delete(_)] => "delete",
            _ => "txn",
        };
        let _ = change(&mut session, f, changes).await;
    }
}

enum Change {
    Put(String, String),
    Delete(String),
}

impl Change {
    fn line(&self) -> Value {
        match self {
            Change::Put(key, value) => json!(["put", key, shown(value)]),
            Change::Delete(key) => json!(["delete", key]),
        }
    }

    fn key(&self) -> &str {
        match self {
            Change::Put(key, _) | Change::Delete(key) => key,
        }
    }

    fn request(&self) -> Request {
        match self {
            Change::Put(key, value) => Request::RequestPut(client::put(key, value)),
            Change::Delete(key) => Request::RequestDeleteRange(client::delete(key)),
        }
    }
}

async fn change(session: &mut Session, f: &'static str, changes: Vec<Change>) -> Result<(), Error> {
    let lines: Vec<Value> = changes.iter().map(Change::line).collect();
    let mut call = Call::write(f, json!(lines));
    if let ([only], true) = (&changes[..], f != "txn") {
        call = call.key(only.key());
    }
    session
        .run(call, async |client| {
            let header = send(&client, f, &changes).await?;
            Ok::<Answer<()>, Error>(answer(Value::Null, header.as_ref(), ()))
        })
        .await
}

async fn send(
    client: &Client,
    f: &str,
    changes: &[Change],
) -> Result<Option<keelson_proto::etcdserverpb::ResponseHeader>, Error> {
    match (changes, f) {
        ([Change::Put(key, value)], "put") => Ok(client.put(client::put(key, value)).await?.header),
        ([Change::Delete(key)], "delete") => Ok(client.delete_range(client::delete(key)).await?.header),
        _ => {
            let request = TxnRequest {
                success: changes.iter().map(|change| step(change.request())).collect(),
                ..TxnRequest::default()
            };
            Ok(client.txn(request).await?.header)
        }
    }
}

async fn compact(mut session: Session) {
    let mut done = 0;
    loop {
        let rest = Duration::from_millis(session.rng.random_range(COMPACT_MS));
        session.env.rest(rest).await;
        if session.env.stopped() {
            return;
        }
        // Not above what a spectator has seen: nobody could tell what was there.
        let seen = session.env.seen.foremost();
        let revision = seen - session.rng.random_range(0..=BEHIND_MAX);
        if revision <= done {
            continue;
        }
        let physical = session.rng.random_bool(0.3);
        let call = Call::write("compact", json!(revision));
        let compacted = session.run(call, async |client| {
            let answered = client.compact(CompactionRequest { revision, physical }).await?;
            Ok::<Answer<()>, Error>(answer(Value::Null, answered.header.as_ref(), ()))
        });
        // An error stands in the history.
        if compacted.await.is_ok() {
            done = revision;
        }
    }
}

/// Streams from anywhere, each of another kind.
async fn probe(env: Env, mut rng: StdRng, number: usize) {
    let name = format!("watcher-{number}");
    let mut observer = Observer::new(&env, name, 1, draw(&mut rng));
    while !env.stopped() {
        observer.watch = draw(&mut rng);
        observer.node = rng.random_range(1..=env.nodes());
        let newest = env.seen.foremost().max(1);
        observer.next = match rng.random_range(0..100) {
            0..25 => 0,
            25..60 => (newest - rng.random_range(0..200)).max(1),
            60..85 => rng.random_range(1..=newest),
            _ => newest + rng.random_range(1..30),
        };
        let life = Duration::from_millis(rng.random_range(LIFE_MS));
        let end = observer.stream(lifetime(&mut rng, life)).await;
        rest_after(&env, end).await;
    }
}

/// One watch for the whole run, at one member after another.
async fn resume(env: Env, mut rng: StdRng, number: usize) {
    let mut watch = draw(&mut rng);
    watch.start_revision = 1;
    let mut observer = Observer::new(&env, format!("resumer-{number}"), 1, watch);
    loop {
        observer.node = rng.random_range(1..=env.nodes());
        let life = Duration::from_millis(rng.random_range(LIFE_MS));
        let end = observer
            .stream(Lifetime {
                until: Some(env.until()),
                ..lifetime(&mut rng, life)
            })
            .await;
        if end == End::Done {
            return;
        }
        rest_after(&env, end).await;
    }
}

fn lifetime(rng: &mut StdRng, life: Duration) -> Lifetime {
    Lifetime {
        deadline: Some(Instant::now() + life),
        until: None,
        ask: rng
            .random_bool(0.4)
            .then(|| Duration::from_millis(rng.random_range(50..1000))),
    }
}

async fn rest_after(env: &Env, end: End) {
    if end == End::Broken {
        env.rest(Duration::from_millis(200)).await;
    }
    // Also when the run has stopped, and the line above does not wait.
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// A kind of watch.
fn draw(rng: &mut StdRng) -> WatchStart {
    let (key, range_end) = match rng.random_range(0..6) {
        0 | 1 => ("watch/".to_owned(), "watch0".to_owned()),
        2 => ("watch/a/".to_owned(), "watch/a0".to_owned()),
        3 => (format!("watch/b/{}", rng.random_range(0..KEYS)), String::new()),
        4 => ("watch/a/5".to_owned(), "watch/b/5".to_owned()),
        _ => ("watch/b/2".to_owned(), "\0".to_owned()),
    };
    let filter = rng.random_range(0..10);
    WatchStart {
        key,
        range_end,
        start_revision: 0,
        prev_kv: rng.random_bool(0.5),
        progress_notify: rng.random_bool(0.5),
        fragment: rng.random_bool(0.5),
        no_put: filter == 0,
        no_delete: filter == 1,
    }
}
