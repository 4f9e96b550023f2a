//! What informers of the Kubernetes API saw: the lines of `informer-<client>.jsonl`. The module `workload::kube` tells
//! what they mean.

use serde::{Deserialize, Serialize};

/// An object as an answer of the API shows it, down to what the checkers compare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    pub name: String,
    /// `metadata.resourceVersion`.
    pub rv: i64,
    pub uid: String,
    /// The number that was written last; unique within a run. 0 for an object without one.
    #[serde(default)]
    pub v: u64,
    /// The label `color`; empty without it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub color: String,
    /// `spec.nodeName` of a pod; empty for other kinds and for a pod without a node.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
}

/// How a watch was asked for: the parameters as they stand in the request, empty for those that do not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InformerStart {
    /// Prefix of the keys in the store: `/registry/configmaps/kube-watch/`.
    pub prefix: String,
    /// Only objects with this label `color`; empty for all.
    pub color: String,
    pub resource_version: String,
    pub resource_version_match: String,
    pub send_initial_events: bool,
    pub bookmarks: bool,
    /// `timeoutSeconds`: the server ends the watch after it.
    pub timeout_s: u64,
}

/// A line: one event of the stream, or what the client did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InformerRecord {
    pub time_ns: u64,
    /// The API server that serves the stream, numbered from 1.
    pub node: usize,
    /// Number of the stream of this client, from 1: a new one for each watch request.
    pub stream: u64,
    #[serde(flatten)]
    pub what: InformerKind,
}

/// What a line tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum InformerKind {
    /// The client asks for the watch.
    Start(InformerStart),
    /// The server has answered 200.
    Created,
    Added {
        object: Seen,
    },
    Modified {
        object: Seen,
    },
    /// `object.rv` is the revision of the deletion; the rest is the state before.
    Deleted {
        object: Seen,
    },
    /// Everything up to `rv` has been sent; `initial_end` marks the one that ends the initial events.
    Bookmark {
        rv: i64,
        initial_end: bool,
    },
    /// The server refused the watch or ended it with an ERROR event: `code` 410 is too old a resourceVersion.
    Error {
        code: u16,
        reason: String,
        message: String,
    },
    /// The stream broke, or the request could not be sent.
    Broken {
        error: String,
    },
    /// The server ended the stream in order (its timeout, or the client fell behind).
    Ended,
    /// The client ended the stream on purpose.
    Closed,
}
