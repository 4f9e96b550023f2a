//! What watchers were sent: the lines of `watch-<client>.jsonl`.

use serde::{Deserialize, Serialize};

/// How a watch was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchStart {
    pub key: String,
    /// End of the range, exclusive; empty for one key, `\0` for all from `key` on.
    pub range_end: String,
    /// First revision that is wanted; 0 for what comes from now on.
    pub start_revision: i64,
    pub prev_kv: bool,
    pub progress_notify: bool,
    pub fragment: bool,
    /// Leaves out puts.
    pub no_put: bool,
    /// Leaves out deletions.
    pub no_delete: bool,
}

impl WatchStart {
    /// Everything from a revision on, with what stood there before, and progress: as spectators ask for it.
    pub fn everything(start_revision: i64) -> WatchStart {
        WatchStart {
            key: "\0".to_owned(),
            range_end: "\0".to_owned(),
            start_revision,
            prev_kv: true,
            progress_notify: true,
            fragment: false,
            no_put: false,
            no_delete: false,
        }
    }
}

/// A line: one message of the stream, or what the client did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WatchRecord {
    pub time_ns: u64,
    /// The member that serves the stream, numbered from 1.
    pub node: usize,
    /// Number of the stream of this client, from 1: a new one after each break.
    pub stream: u64,
    #[serde(flatten)]
    pub what: WatchKind,
}

/// What a line of a watch tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum WatchKind {
    /// The client asks for the watch.
    Start(WatchStart),
    /// The server has made it; `revision` is the header's.
    Created { revision: i64 },
    /// Events. `fragment` marks a message that the next one goes on with.
    Events {
        revision: i64,
        fragment: bool,
        events: Vec<WatchEvent>,
    },
    /// The client asked for a progress message now.
    ProgressRequest,
    /// No events: everything up to `revision` has been sent.
    Progress { revision: i64 },
    /// The server ended the watch; `compact_revision` is not 0 when what it wants is compacted.
    Cancelled {
        revision: i64,
        compact_revision: i64,
        reason: String,
    },
    /// The stream broke.
    Broken { error: String },
    /// The client ended the watch on purpose.
    Closed,
}

/// An event, with its keys and values as text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WatchEvent {
    /// A deletion, else a put.
    pub delete: bool,
    pub key: String,
    pub value: String,
    pub create_revision: i64,
    pub mod_revision: i64,
    pub version: i64,
    pub lease: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev: Option<PrevKv>,
}

/// What stood there before an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrevKv {
    pub value: String,
    pub create_revision: i64,
    pub mod_revision: i64,
    pub version: i64,
    pub lease: i64,
}
