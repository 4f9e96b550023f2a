//! A client that watches and records every event.

use super::api::{Access, Api};
use super::object::{revision, seen};
use crate::history::{InformerKind, InformerRecord, InformerStart, Recorder};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client had enough.
    Closed,
    /// The server, in order.
    Ended,
    /// 410: the start is forgotten.
    Gone,
    /// Anything else.
    Broken,
}

/// Records streams under one name.
pub struct Informer {
    recorder: Arc<Recorder>,
    access: Access,
    name: String,
    stream: u64,
    /// Revision of the last event or bookmark, of any stream; 0 before.
    pub last: i64,
    /// Names that the present stream has shown last.
    last_name: String,
    /// Whether the present stream has passed its initial events, if they are marked.
    pub initial_ended: bool,
}

impl Informer {
    pub fn new(recorder: &Arc<Recorder>, access: &Access, name: String) -> Informer {
        Informer {
            recorder: recorder.clone(),
            access: access.clone(),
            name,
            stream: 0,
            last: 0,
            last_name: String::new(),
            initial_ended: false,
        }
    }

    fn record(&self, server: usize, what: InformerKind) {
        let record = InformerRecord {
            time_ns: 0,
            node: server,
            stream: self.stream,
            what,
        };
        self.recorder.informer(&self.name, record);
    }

    /// Watches until `until`, until the stream ends, or until an object of the name `last` was seen.
    pub async fn stream(
        &mut self,
        server: usize,
        path: &str,
        start: &InformerStart,
        until: Instant,
        last: &str,
    ) -> End {
        self.stream += 1;
        self.initial_ended = false;
        self.last_name.clear();
        self.record(server, InformerKind::Start(start.clone()));
        let api = Api::new(&self.access, server);
        let mut lines = match api.stream(&format!("{path}?{}", query(start))).await {
            Ok(Ok(lines)) => lines,
            Ok(Err(refused)) => return self.status(server, &refused.body),
            Err(e) => {
                self.record(server, InformerKind::Broken { error: e.to_string() });
                return End::Broken;
            }
        };
        self.record(server, InformerKind::Created);
        loop {
            let next = tokio::time::timeout_at(until, lines.next()).await;
            let end = match next {
                Err(_) => Some((InformerKind::Closed, End::Closed)),
                Ok(Ok(None)) => Some((InformerKind::Ended, End::Ended)),
                Ok(Err(error)) => Some((InformerKind::Broken { error }, End::Broken)),
                Ok(Ok(Some(event))) if event["type"] == "ERROR" => return self.status(server, &event["object"]),
                Ok(Ok(Some(event))) => {
                    let broken = |error| (InformerKind::Broken { error }, End::Broken);
                    self.event(server, &event).err().map(broken)
                }
            };
            if let Some((what, end)) = end {
                self.record(server, what);
                return end;
            }
            if !last.is_empty() && self.last_name == last {
                self.record(server, InformerKind::Closed);
                return End::Closed;
            }
        }
    }

    /// # Errors
    /// A sentence, when it is no event.
    fn event(&mut self, server: usize, event: &Value) -> Result<(), String> {
        let not_understood = || format!("an event is not understood: {event}");
        let object = &event["object"];
        let rv = revision(object).ok_or_else(not_understood)?;
        if event["type"] == "BOOKMARK" {
            let initial_end = object["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true";
            self.initial_ended |= initial_end;
            self.last = self.last.max(rv);
            self.record(server, InformerKind::Bookmark { rv, initial_end });
            return Ok(());
        }
        let object = seen(object).ok_or_else(not_understood)?;
        self.last_name.clone_from(&object.name);
        self.last = self.last.max(rv);
        let what = match event["type"].as_str() {
            Some("ADDED") => InformerKind::Added { object },
            Some("MODIFIED") => InformerKind::Modified { object },
            Some("DELETED") => InformerKind::Deleted { object },
            _ => return Err(not_understood()),
        };
        self.record(server, what);
        Ok(())
    }

    /// The server says why there is no more.
    fn status(&self, server: usize, status: &Value) -> End {
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let code = status["code"].as_u64().and_then(|c| u16::try_from(c).ok()).unwrap_or(0);
        let what = InformerKind::Error {
            code,
            reason: text(&status["reason"]),
            message: text(&status["message"]),
        };
        self.record(server, what);
        if code == 410 { End::Gone } else { End::Broken }
    }
}

fn query(start: &InformerStart) -> String {
    let mut all = vec!["watch=true".to_owned()];
    for (name, value) in [
        ("resourceVersion", &start.resource_version),
        ("resourceVersionMatch", &start.resource_version_match),
    ] {
        if !value.is_empty() {
            all.push(format!("{name}={value}"));
        }
    }
    if start.send_initial_events {
        all.push("sendInitialEvents=true".to_owned());
    }
    if start.bookmarks {
        all.push("allowWatchBookmarks=true".to_owned());
    }
    if start.timeout_s > 0 {
        all.push(format!("timeoutSeconds={}", start.timeout_s));
    }
    if !start.color.is_empty() {
        all.push(format!("labelSelector=color%3D{}", start.color));
    }
    all.join("&")
}

/// Between two attempts after a stream that broke at once.
pub const RETRY: Duration = Duration::from_millis(200);
