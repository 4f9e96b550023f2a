//! A client that watches: it writes down what it is sent, and can go on where a stream ended.

use super::{Env, Until};
use crate::client::{Error, text};
use crate::history::{PrevKv, WatchEvent, WatchKind, WatchRecord, WatchStart};
use bytes::Bytes;
use keelson_proto::etcdserverpb::{WatchCreateRequest, WatchResponse, watch_create_request::FilterType};
use keelson_proto::mvccpb::{Event, KeyValue, event::EventType};
use std::time::Duration;
use tokio::time::Instant;

/// How often it asks for progress, once it is to come to an end.
const ASK: Duration = Duration::from_millis(200);

/// A watch of a client, one stream after another.
pub(super) struct Observer {
    pub(super) env: Env,
    /// Of the file: `watch-<name>.jsonl`.
    pub(super) name: String,
    pub(super) node: usize,
    /// How it watches; the start is [`Observer::next`].
    pub(super) watch: WatchStart,
    /// First revision that it has not been sent whole; 0 for what comes from now on.
    pub(super) next: i64,
    /// It is a spectator: what it was sent is known to all.
    pub(super) seen: bool,
    stream: u64,
}

/// When a stream of an observer ends, beside its breaking.
#[derive(Clone, Debug)]
pub(super) struct Lifetime {
    /// It is closed then.
    pub(super) deadline: Option<Instant>,
    /// It is closed when everything up to the last revision of the run has come.
    pub(super) until: Option<Until>,
    /// It asks for progress as often.
    pub(super) ask: Option<Duration>,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client closed it, and everything up to the last revision has come.
    Done,
    /// The client closed it.
    Closed,
    /// What it asked for is compacted, or was refused.
    Cancelled,
    Broken,
}

impl Observer {
    pub(super) fn new(env: &Env, name: String, node: usize, watch: WatchStart) -> Observer {
        Observer {
            env: env.clone(),
            name,
            node,
            next: watch.start_revision,
            watch,
            seen: false,
            stream: 0,
        }
    }

    fn note(&self, what: WatchKind) {
        let record = WatchRecord {
            time_ns: 0,
            node: self.node,
            stream: self.stream,
            what,
        };
        self.env.recorder.watch(&self.name, record);
    }

    /// Watches from [`Observer::next`] on, over a connection of its own, and moves that on.
    pub(super) async fn stream(&mut self, lifetime: Lifetime) -> End {
        self.stream += 1;
        match self.follow(lifetime).await {
            Ok(end @ (End::Done | End::Closed)) => {
                self.note(WatchKind::Closed);
                end
            }
            Ok(end) => end,
            Err(error) => {
                self.note(WatchKind::Broken { error: error.message });
                End::Broken
            }
        }
    }

    async fn follow(&mut self, mut lifetime: Lifetime) -> Result<End, Error> {
        let start = WatchStart {
            start_revision: self.next,
            ..self.watch.clone()
        };
        self.note(WatchKind::Start(start.clone()));
        let mut watch = self.env.client(self.node).watch(request(&start)).await?;
        // The first time at once, when the past may still be on its way; then whether events come or not.
        let mut asked: Option<Instant> = None;
        loop {
            let wanted = lifetime.until.as_mut().and_then(|until| *until.borrow_and_update());
            if wanted.is_some_and(|wanted| self.next > wanted) {
                return Ok(End::Done);
            }
            let ask = wanted.map(|_| ASK).or(lifetime.ask);
            let ask = ask.map(|every| asked.map_or_else(Instant::now, |last| last + every));
            let answer = tokio::select! {
                answer = watch.next() => answer?,
                () = at(lifetime.deadline) => return Ok(End::Closed),
                () = changed(&mut lifetime.until), if wanted.is_none() => continue,
                () = at(ask) => {
                    asked = Some(Instant::now());
                    self.note(WatchKind::ProgressRequest);
                    watch.request_progress().await?;
                    continue;
                }
            };
            if !self.take(&answer) {
                return Ok(End::Cancelled);
            }
        }
    }

    /// Writes a message down; `false` when it ends the watch.
    fn take(&mut self, answer: &WatchResponse) -> bool {
        let mut goes_on = true;
        for what in kinds(answer) {
            match &what {
                WatchKind::Events { fragment, events, .. } => {
                    if let (false, Some(last)) = (*fragment, events.last()) {
                        self.next = self.next.max(last.mod_revision + 1);
                    }
                }
                WatchKind::Progress { revision } => self.next = self.next.max(revision + 1),
                WatchKind::Cancelled { compact_revision, .. } => {
                    // From there on, that revision included, everything is whole again.
                    self.next = self.next.max(*compact_revision);
                    goes_on = false;
                }
                _ => {}
            }
            self.note(what);
        }
        if self.seen {
            self.env.seen.note(self.node, self.next - 1);
        }
        goes_on
    }
}

/// Ends at that time, or never.
async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Ends when the last revision is told, or never.
async fn changed(until: &mut Option<Until>) {
    let told = match until {
        Some(until) => until.changed().await.is_ok(),
        None => false,
    };
    if !told {
        // Nobody will tell any more: the runner is gone, which ends this task as well.
        std::future::pending().await
    }
}

/// How a watch is asked for.
fn request(start: &WatchStart) -> WatchCreateRequest {
    let filters = [
        (start.no_put, FilterType::Noput),
        (start.no_delete, FilterType::Nodelete),
    ];
    WatchCreateRequest {
        key: start.key.clone().into_bytes().into(),
        range_end: Bytes::copy_from_slice(start.range_end.as_bytes()),
        start_revision: start.start_revision,
        progress_notify: start.progress_notify,
        filters: filters
            .into_iter()
            .filter_map(|(on, filter)| on.then_some(filter.into()))
            .collect(),
        prev_kv: start.prev_kv,
        watch_id: 0,
        fragment: start.fragment,
    }
}

/// What a message tells: the creation, events, the end, or progress.
fn kinds(answer: &WatchResponse) -> Vec<WatchKind> {
    let revision = answer.header.as_ref().map_or(0, |header| header.revision);
    let mut all = Vec::new();
    if answer.created {
        all.push(WatchKind::Created { revision });
    }
    if !answer.events.is_empty() {
        all.push(WatchKind::Events {
            revision,
            fragment: answer.fragment,
            events: answer.events.iter().map(event).collect(),
        });
    }
    if answer.canceled {
        all.push(WatchKind::Cancelled {
            revision,
            compact_revision: answer.compact_revision,
            reason: answer.cancel_reason.clone(),
        });
    }
    if all.is_empty() {
        all.push(WatchKind::Progress { revision });
    }
    all
}

fn event(event: &Event) -> WatchEvent {
    let none = KeyValue::default();
    let kv = event.kv.as_ref().unwrap_or(&none);
    WatchEvent {
        delete: event.r#type() == EventType::Delete,
        key: text(&kv.key),
        value: text(&kv.value),
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
        prev: event.prev_kv.as_ref().map(|kv| PrevKv {
            value: text(&kv.value),
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
            lease: kv.lease,
        }),
    }
}
