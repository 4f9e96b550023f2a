//! `kube-page`: lists read in pages, at one server or at several, while objects change and the store is compacted.

use super::client::{Client, Failed, ListAsk, Values};
use super::object::PatchForm;
use super::setup::{self, Patience, access};
use crate::client::Client as Member;
use crate::history::Kind;
use crate::workload::{Env, Worker, Workload};
use futures::future::BoxFuture;
use http::StatusCode;
use keelson_proto::etcdserverpb::CompactionRequest;
use rand::Rng;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const NAME: &str = "kube-page";
const OBJECTS: usize = 40;
const SELECTORS: [&str; 3] = ["", "", "red"];
/// Between two compactions.
const COMPACT_EVERY: Duration = Duration::from_millis(1_500);

#[derive(Default)]
pub struct KubePage {
    values: Values,
    walks: Arc<AtomicU64>,
}

impl Workload for KubePage {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "lists in pages across both API servers, under writes and compaction"
    }

    fn clients(&self) -> usize {
        6
    }

    fn rate(&self) -> f64 {
        60.0
    }

    fn setup<'a>(&'a self, env: &'a Env) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let access = access(env)?;
            setup::namespace(&access, NAME).await?;
            let mut client = Client::new(env, &access, NAME, usize::MAX, &self.values);
            let patience = Patience::new("fill the list");
            for object in (0..OBJECTS).step_by(2) {
                // Every attempt writes a number of its own: one without an answer may have written.
                let mut content = client.content();
                while let Err(e) = client.create(1, &name(object), &content).await {
                    if matches!(e, Failed::Refused(StatusCode::CONFLICT, _)) {
                        break;
                    }
                    patience.again().await?;
                    content = client.content();
                }
            }
            Ok(())
        })
    }

    fn workers(&self, env: &Env) -> Vec<Worker> {
        let Ok(access) = access(env) else {
            return Vec::new();
        };
        let client = |number| Client::new(env, &access, NAME, number, &self.values);
        let mut workers: Vec<Worker> = (0..env.settings.clients)
            .map(|number| -> Worker {
                if number % 3 == 0 {
                    Box::pin(write(client(number)))
                } else {
                    Box::pin(walk(client(number), self.walks.clone()))
                }
            })
            .collect();
        workers.push(Box::pin(compact(client(1_000), env.clone())));
        workers
    }

    fn finals<'a>(&'a self, env: &'a Env) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let access = access(env)?;
            let mut client = Client::new(env, &access, NAME, usize::MAX, &self.values);
            let patience = Patience::new("the last lists of kube-page");
            for server in access.numbers() {
                while client.list(server, &ListAsk::default()).await.is_err() {
                    patience.again().await?;
                }
            }
            Ok(())
        })
    }
}

fn name(object: usize) -> String {
    format!("p{object:03}")
}

async fn write(mut client: Client) {
    while client.next().await {
        let name = name(client.rng.random_range(0..OBJECTS));
        let (server, content) = (client.any(), client.content());
        // What comes of it is written down; a refusal is as good as any answer.
        let _ = match client.rng.random_range(0..6) {
            0..3 => client.create(server, &name, &content).await.map(drop),
            3 => {
                let path = format!("{}/{name}", client.config_maps());
                client.delete(server, path, &name, "", "").await.map(drop)
            }
            _ => client
                .patch(server, &name, &content, "", PatchForm::Merge)
                .await
                .map(drop),
        };
    }
}

/// Reads one list after another, page by page.
async fn walk(mut client: Client, walks: Arc<AtomicU64>) {
    while client.next().await {
        let mut ask = ListAsk {
            color: SELECTORS[client.rng.random_range(0..SELECTORS.len())],
            limit: client.rng.random_range(2..12),
            walk: walks.fetch_add(1, Ordering::Relaxed) + 1,
            ..ListAsk::default()
        };
        let mut server = client.any();
        loop {
            let token = match client.list(server, &ask).await {
                Ok(page) => {
                    ask.token_kind = "consistent";
                    page.token
                }
                // The way on is in the refusal; it is not taken twice in a row without progress.
                Err(Failed::Refused(StatusCode::GONE, status)) if ask.token_kind == "consistent" => {
                    ask.token_kind = "inconsistent";
                    status["metadata"]["continue"].as_str().unwrap_or_default().to_owned()
                }
                Err(_) => break,
            };
            if token.is_empty() {
                break;
            }
            ask.token = token;
            ask.page += 1;
            if client.one_in(2) {
                server = client.any();
            }
            // Some walks are slow, so that what they read is compacted under their feet.
            if client.one_in(4) && !client.next().await {
                return;
            }
        }
    }
}

/// Compacts to some revision of the recent past.
async fn compact(mut client: Client, env: Env) {
    let members: Vec<Member> = (1..=env.nodes()).map(|node| env.client(node)).collect();
    loop {
        env.rest(COMPACT_EVERY.mul_f64(client.rng.random_range(0.3..1.7))).await;
        if env.stopped() {
            return;
        }
        let member = client.rng.random_range(0..members.len());
        // What no spectator has seen yet must stay, or nobody can tell what it was.
        let revision = env.seen.foremost() - client.rng.random_range(0..60);
        if revision <= 1 {
            continue;
        }
        client.line(Kind::Invoke, member + 1, "compact", json!({"revision": revision}), None);
        let request = CompactionRequest {
            revision,
            physical: false,
        };
        let (kind, error) = match members[member].compact(request).await {
            Ok(_) => (Kind::Ok, None),
            Err(e) if e.definite => (Kind::Fail, Some(e.message)),
            Err(e) => (Kind::Info, Some(e.message)),
        };
        client.line(kind, member + 1, "compact", serde_json::Value::Null, error);
    }
}
