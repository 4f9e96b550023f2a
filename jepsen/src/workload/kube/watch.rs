//! `kube-watch` and `kube-watchlist`: writers of colored ConfigMaps, readers of lists of every kind, and informers that
//! begin, break off and resume in every way.

use super::api::Access;
use super::client::{Client, Failed, ListAsk, Values};
use super::informer::{End, Informer, RETRY};
use super::object::PatchForm;
use super::setup::{self, Patience, access};
use crate::history::InformerStart;
use crate::workload::{Env, Worker, Workload};
use futures::future::BoxFuture;
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Objects that come and go.
const OBJECTS: usize = 12;
/// What informers select, one after another.
const SELECTORS: [&str; 3] = ["", "red", "blue"];
/// Informers, twice each selector.
const INFORMERS: usize = 6;
/// Clients in three that read lists; the others write.
const READERS_OF_THREE: usize = 1;
/// Revisions that an informer may go back to.
const PAST_MAX: usize = 200;
/// The object that ends the workload.
const LAST: &str = "last";
/// How long an informer may take to see it.
const LAST_WAIT: Duration = Duration::from_secs(60);

/// Informers, kept for the end of the run.
type Informers = Arc<Mutex<Vec<Watcher>>>;

/// Either of the two workloads.
pub struct KubeWatch {
    name: &'static str,
    /// Whether streams begin with `sendInitialEvents`.
    initial: bool,
    values: Values,
    informers: Informers,
}

impl KubeWatch {
    /// `kube-watch`
    pub fn plain() -> KubeWatch {
        KubeWatch::named("kube-watch", false)
    }

    /// `kube-watchlist`
    pub fn watch_list() -> KubeWatch {
        KubeWatch::named("kube-watchlist", true)
    }

    fn named(name: &'static str, initial: bool) -> KubeWatch {
        KubeWatch {
            name,
            initial,
            values: Values::default(),
            informers: Informers::default(),
        }
    }
}

impl Workload for KubeWatch {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        if self.initial {
            "informers that take the content by sendInitialEvents, at both API servers, under writes"
        } else {
            "informers with and without selectors that list, watch, resume and go back, at both API servers"
        }
    }

    fn clients(&self) -> usize {
        6
    }

    fn rate(&self) -> f64 {
        60.0
    }

    fn setup<'a>(&'a self, env: &'a Env) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move { setup::namespace(&access(env)?, self.name).await })
    }

    fn workers(&self, env: &Env) -> Vec<Worker> {
        let Ok(access) = access(env) else {
            return Vec::new();
        };
        let clients = (0..env.settings.clients).map(|number| -> Worker {
            let client = Client::new(env, &access, self.name, number, &self.values);
            if number % 3 < READERS_OF_THREE {
                Box::pin(read(client))
            } else {
                Box::pin(write(client))
            }
        });
        let informers = (0..INFORMERS).map(|number| -> Worker {
            let watcher = Watcher::new(env, &access, self, number);
            Box::pin(watch(watcher, env.clone(), self.informers.clone()))
        });
        clients.chain(informers).collect()
    }

    fn finals<'a>(&'a self, env: &'a Env) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let access = access(env)?;
            let watchers = std::mem::take(&mut *self.informers.lock().unwrap_or_else(PoisonError::into_inner));
            let mut client = Client::new(env, &access, self.name, usize::MAX, &self.values);
            let patience = Patience::new("write the last object");
            let mut content = client.content();
            while client.create(1, LAST, &content).await.is_err() {
                // An attempt without an answer may have made it.
                if let Ok(Some(_)) = client.get(1, LAST, "").await {
                    break;
                }
                patience.again().await?;
                content = client.content();
            }
            let end = Instant::now() + LAST_WAIT;
            let ends = watchers
                .into_iter()
                .filter(|w| w.color.is_empty())
                .map(|w| w.until_last(end));
            futures::future::join_all(ends).await;
            Ok(())
        })
    }
}

async fn write(mut client: Client) {
    while client.next().await {
        // What comes of it is written down.
        let _ = change(&mut client).await;
    }
}

async fn change(client: &mut Client) -> Result<(), Failed> {
    let name = format!("w{:02}", client.rng.random_range(0..OBJECTS));
    let server = client.any();
    let content = client.content();
    match client.rng.random_range(0..10) {
        0..5 => {
            let form = PatchForm::ALL[client.rng.random_range(0..3)];
            match client.patch(server, &name, &content, "", form).await {
                Err(Failed::Refused(code, _)) if code == http::StatusCode::NOT_FOUND => {
                    let content = client.content();
                    client.create(server, &name, &content).await.map(drop)
                }
                other => other.map(drop),
            }
        }
        5..8 => {
            // Read your own write at another server, as a consistent read.
            let written = client.create(server, &name, &content).await;
            let server = client.any();
            client.get(server, &name, "").await?;
            written.map(drop)
        }
        _ => {
            let path = format!("{}/{name}", client.config_maps());
            client.delete(server, path, &name, "", "").await.map(drop)
        }
    }
}

/// Lists of every kind, and with what they answered, later ones.
async fn read(mut client: Client) {
    let mut past: VecDeque<i64> = VecDeque::new();
    while client.next().await {
        let server = client.any();
        let old = past.get(client.rng.random_range(0..past.len().max(1))).copied();
        let newest = past.back().copied();
        let mut ask = ListAsk {
            color: SELECTORS[client.rng.random_range(0..SELECTORS.len())],
            ..ListAsk::default()
        };
        match client.rng.random_range(0..8) {
            0..3 => {}
            3 => ask.rv = "0".to_owned(),
            4 => ask.rv = newest.map_or_else(String::new, |rv| rv.to_string()),
            5 | 6 => {
                ask.rv = old.map_or_else(String::new, |rv| rv.to_string());
                ask.matching = if ask.rv.is_empty() { "" } else { "Exact" };
            }
            _ => {
                ask.rv = newest.map_or_else(String::new, |rv| rv.to_string());
                ask.matching = if ask.rv.is_empty() { "" } else { "NotOlderThan" };
            }
        }
        if let Ok(page) = client.list(server, &ask).await {
            remember(&mut past, page.rv);
        }
    }
}

fn remember(past: &mut VecDeque<i64>, rv: i64) {
    if past.len() >= PAST_MAX {
        past.pop_front();
    }
    past.push_back(rv);
}

/// One informer: what it selects, and where it has been.
struct Watcher {
    informer: Informer,
    /// Lists before it watches, as another process.
    client: Client,
    rng: StdRng,
    path: String,
    prefix: String,
    color: &'static str,
    initial: bool,
    server: usize,
    past: VecDeque<i64>,
    /// How the last stream ended.
    end: End,
}

impl Watcher {
    fn new(env: &Env, access: &Access, workload: &KubeWatch, number: usize) -> Watcher {
        let name = workload.name;
        let client = Client::new(env, access, name, 1_000 + number, &workload.values);
        Watcher {
            informer: Informer::new(&env.recorder, access, format!("{name}-{number}")),
            rng: env.rng(name, 2_000 + number),
            path: client.config_maps(),
            client,
            prefix: format!("/registry/configmaps/{name}/"),
            color: SELECTORS[number % SELECTORS.len()],
            initial: workload.initial,
            server: number % access.servers.len() + 1,
            past: VecDeque::new(),
            end: End::Gone,
        }
    }

    fn start(&self, rv: &str) -> InformerStart {
        InformerStart {
            prefix: self.prefix.clone(),
            color: self.color.to_owned(),
            resource_version: rv.to_owned(),
            bookmarks: true,
            ..InformerStart::default()
        }
    }

    /// Where the next stream begins; `None` when a list was needed and failed.
    async fn choose(&mut self) -> Option<InformerStart> {
        let last = self.informer.last;
        let fresh = last == 0 || self.end == End::Gone;
        if self.initial && (fresh || self.rng.random_ratio(1, 2)) {
            // Not older than what was seen, anything, or the newest.
            let rv = match self.rng.random_range(0..3) {
                0 if last > 0 => last.to_string(),
                1 => "0".to_owned(),
                _ => String::new(),
            };
            return Some(InformerStart {
                resource_version_match: "NotOlderThan".to_owned(),
                send_initial_events: true,
                ..self.start(&rv)
            });
        }
        if fresh || self.rng.random_ratio(1, 6) {
            let ask = ListAsk {
                rv: ["", "0"][self.rng.random_range(0..2)].to_owned(),
                color: self.color,
                ..ListAsk::default()
            };
            let page = self.client.list(self.server, &ask).await.ok()?;
            return Some(self.start(&page.rv.to_string()));
        }
        let rv = match self.rng.random_range(0..8) {
            0 => "0".to_owned(),
            1 => String::new(),
            2 | 3 => self
                .past
                .get(self.rng.random_range(0..self.past.len().max(1)))
                .map_or_else(|| last.to_string(), i64::to_string),
            _ => last.to_string(),
        };
        Some(self.start(&rv))
    }

    /// One stream of some length.
    async fn once(&mut self, env: &Env) {
        if self.rng.random_ratio(1, 3) {
            self.server = self.rng.random_range(self.client.servers());
        }
        let Some(mut start) = self.choose().await else {
            env.rest(RETRY).await;
            return;
        };
        // Some streams end by the server's clock, others are cut by the client.
        let length = Duration::from_millis(self.rng.random_range(300..5_000));
        if self.rng.random_ratio(1, 3) {
            start.timeout_s = length.as_secs() + 1;
        }
        let until = Instant::now() + length + Duration::from_secs(start.timeout_s);
        let path = self.path.clone();
        let stopped = env.clone();
        self.end = tokio::select! {
            end = self.informer.stream(self.server, &path, &start, until, "") => end,
            () = stopped.until_stopped() => End::Closed,
        };
        if self.informer.last > 0 {
            remember(&mut self.past, self.informer.last);
        }
        if self.end == End::Broken {
            env.rest(RETRY).await;
        }
    }

    /// Resumes until the last object was seen, or the bound is over.
    async fn until_last(mut self, end: Instant) {
        while Instant::now() < end {
            let last = self.informer.last;
            let rv = if last == 0 || self.end == End::Gone {
                match self.client.list(self.server, &ListAsk::default()).await {
                    // It is in the list: nothing is left to be seen.
                    Ok(page) if page.items.iter().any(|o| o.name == LAST) => {
                        self.end = End::Closed;
                        "0".to_owned()
                    }
                    Ok(page) => page.rv.to_string(),
                    Err(_) => {
                        tokio::time::sleep(RETRY).await;
                        continue;
                    }
                }
            } else {
                last.to_string()
            };
            let (start, path) = (self.start(&rv), self.path.clone());
            self.end = self.informer.stream(self.server, &path, &start, end, LAST).await;
            if self.end == End::Closed {
                return;
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

async fn watch(mut watcher: Watcher, env: Env, kept: Informers) {
    while !env.stopped() {
        watcher.once(&env).await;
    }
    kept.lock().unwrap_or_else(PoisonError::into_inner).push(watcher);
}
