//! The past: reads at old revisions while the history below them is compacted, most of them at the very edge.
//!
//! - `put` key value → null, with the revision; `delete` → null.
//! - `compact` `{"revision", "physical"}` → null.
//! - `read-at` `{"revision"}` → `[[key, value, create_revision, mod_revision, version], …]`: all keys `past/…` as they
//!   were at that revision, in key order; a linearizable read.

use super::session;
use super::{Call, Env, Session, Worker, Workload, answer};
use crate::client::{self, Error, text};
use keelson_proto::etcdserverpb::{CompactionRequest, RangeRequest};
use rand::Rng;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Keys: few, so that most revisions change what a read at the one before saw.
const KEYS: u32 = 6;
/// Prefix of the keys.
pub const PREFIX: &str = "past/";
/// Where keys with the prefix end.
pub const END: &str = "past0";
/// Revisions that a compaction leaves below the newest at most.
const KEEP_MAX: i64 = 12;

/// The workload `past`.
pub struct Past;

impl Workload for Past {
    fn name(&self) -> &'static str {
        "past"
    }

    fn about(&self) -> &'static str {
        "reads at old revisions, at the edge of what is compacted"
    }

    fn clients(&self) -> usize {
        5
    }

    fn rate(&self) -> f64 {
        100.0
    }

    fn workers(&self, env: &Env) -> Vec<Worker> {
        let edges = Arc::new(Edges::default());
        session::workers(env, self.name(), |session| {
            let client = Client {
                session,
                edges: Arc::clone(&edges),
                written: 0,
            };
            client.work()
        })
    }
}

/// The newest revision that a client has seen, and the last one that was compacted.
#[derive(Default)]
struct Edges {
    newest: AtomicI64,
    compacted: AtomicI64,
}

struct Client {
    session: Session,
    edges: Arc<Edges>,
    /// Values written so far, which makes each one unique.
    written: u64,
}

impl Client {
    async fn work(mut self) {
        while self.session.next().await {
            let chance = self.session.rng.random_range(0..100);
            // What goes wrong is written down by the session.
            let _ = match chance {
                0..45 => self.put().await,
                45..50 => self.delete().await,
                50..56 => self.compact().await,
                _ => self.read().await,
            };
        }
    }

    fn key(&mut self) -> String {
        format!("{PREFIX}{}", self.session.rng.random_range(0..KEYS))
    }

    async fn put(&mut self) -> Result<(), Error> {
        self.written += 1;
        let (key, value) = (self.key(), format!("c{}.{}", self.session.number, self.written));
        let call = Call::write("put", json!(value)).key(&key);
        let put = self.session.run(call, async |client| {
            let put = client.put(client::put(&key, &value)).await?;
            let revision = put.header.as_ref().map_or(0, |header| header.revision);
            Ok(answer(Value::Null, put.header.as_ref(), revision))
        });
        let revision = put.await?;
        self.edges.newest.fetch_max(revision, Ordering::Relaxed);
        Ok(())
    }

    async fn delete(&mut self) -> Result<(), Error> {
        let key = self.key();
        let call = Call::write("delete", Value::Null).key(&key);
        let delete = self.session.run(call, async |client| {
            let gone = client.delete_range(client::delete(&key)).await?;
            Ok(answer(Value::Null, gone.header.as_ref(), ()))
        });
        delete.await
    }

    /// Of what every checker can still know: what no spectator has seen must not be compacted.
    async fn compact(&mut self) -> Result<(), Error> {
        let keep = self.session.rng.random_range(1..=KEEP_MAX);
        let revision = self
            .edges
            .newest
            .load(Ordering::Relaxed)
            .min(self.session.env.seen.foremost())
            - keep;
        if revision <= self.edges.compacted.load(Ordering::Relaxed) {
            return Ok(());
        }
        let physical = self.session.rng.random_bool(0.5);
        let call = Call::write("compact", json!({"revision": revision, "physical": physical}));
        let compact = self.session.run(call, async |client| {
            let done = client.compact(CompactionRequest { revision, physical }).await?;
            Ok(answer(Value::Null, done.header.as_ref(), ()))
        });
        let done = compact.await;
        // Perhaps it was: the edge is worth a look.
        self.edges.compacted.fetch_max(revision, Ordering::Relaxed);
        done
    }

    async fn read(&mut self) -> Result<(), Error> {
        let (edge, newest) = (
            self.edges.compacted.load(Ordering::Relaxed),
            self.edges.newest.load(Ordering::Relaxed),
        );
        if newest <= 1 {
            return Ok(());
        }
        let rng = &mut self.session.rng;
        let revision = match rng.random_range(0..10) {
            0..5 => edge,
            5 => edge - 1,
            6..8 => edge + rng.random_range(1..4),
            _ => newest - rng.random_range(0..KEEP_MAX),
        };
        let revision = revision.clamp(1, newest);
        let request = RangeRequest {
            revision,
            ..client::range(PREFIX)
        };
        let call = Call::read("read-at", json!({"revision": revision}));
        let read = self.session.run(call, async |client| {
            let got = client.range(request).await?;
            let kvs = got.kvs.iter().map(|kv| {
                let (key, value) = (text(&kv.key), text(&kv.value));
                json!([key, value, kv.create_revision, kv.mod_revision, kv.version])
            });
            Ok(answer(Value::Array(kvs.collect()), got.header.as_ref(), ()))
        });
        read.await
    }
}
