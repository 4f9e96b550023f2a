//! What the API server needs of a store: etcd's semantics behind one trait, so that the embedded store and
//! any etcd do (upstream: k8s.io/apiserver/pkg/storage/etcd3).
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

pub mod cacher;
pub mod compactor;
#[cfg(test)]
pub(crate) mod conformance;
pub mod embedded;
pub mod etcd;
mod etcd3;
pub mod keys;
mod leases;
#[cfg(test)]
pub(crate) mod memory;

pub type Revision = u64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    pub key: Bytes,
    pub value: Bytes,
    pub mod_revision: Revision,
}

#[derive(Clone, Debug, Default)]
pub struct ListResult {
    pub items: Vec<KeyValue>,
    /// Exact number of keys in the whole range, whatever the limit.
    pub count: u64,
    /// The store's current revision (even for a read at an older one).
    pub revision: Revision,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchItem {
    Put {
        kv: KeyValue,
        create: bool,
        prev: Option<KeyValue>,
    },
    Delete {
        key: Bytes,
        revision: Revision,
        prev: Option<KeyValue>,
    },
    /// Nothing at or below this revision is still to come.
    Progress(Revision),
}

/// What [`Storage::watch`] yields: batches that never split a revision.
pub type WatchReceiver = mpsc::Receiver<Result<Vec<WatchItem>, Error>>;

#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error("required revision has been compacted")]
    Compacted,
    #[error("required revision is a future revision")]
    Future,
    #[error("request is too large")]
    TooLarge,
    #[error("storage is unavailable: {0}")]
    Unavailable(String),
    #[error("storage: {0}")]
    Other(String),
}

/// Outcome of a guarded write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guarded {
    Done(Revision),
    /// The guard failed; what is there now (`None`: nothing).
    Conflict {
        current: Option<KeyValue>,
        revision: Revision,
    },
}

#[async_trait]
pub trait Storage: Send + Sync + 'static {
    /// Linearizable.
    async fn get(&self, key: &[u8]) -> Result<(Option<KeyValue>, Revision), Error>;
    /// Keys in `[start, end)`, ascending; `limit` 0 = all; `at` 0 = now.
    async fn list(&self, start: &[u8], end: &[u8], limit: u64, at: Revision) -> Result<ListResult, Error>;
    /// Writes if the key's mod_revision is `expected` (0: absent). `ttl_seconds` attaches a lease (0: none).
    async fn put(&self, key: &[u8], value: Bytes, expected: Revision, ttl_seconds: u64) -> Result<Guarded, Error>;
    async fn delete(&self, key: &[u8], expected: Revision) -> Result<Guarded, Error>;
    /// Events after `from` under `prefix`, with previous values; ends with an error item when compacted or cut.
    async fn watch(&self, prefix: &[u8], from: Revision) -> Result<WatchReceiver, Error>;
    /// Asks the open watches on exactly `prefix` for a `Progress` (consistent reads from the cache).
    async fn request_progress(&self, prefix: &[u8]) -> Result<(), Error>;
    async fn compact(&self, revision: Revision) -> Result<(), Error>;
    /// The store's revision now, linearizable.
    async fn current_revision(&self) -> Result<Revision, Error>;
    /// Writes `value` if the key was written exactly `version` times since it was created (0: absent), else
    /// reads it: the compactor's election (upstream: etcd3/compact.go).
    async fn put_version(&self, key: &[u8], version: u64, value: Bytes) -> Result<VersionTxn, Error>;
}

/// Outcome of [`Storage::put_version`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionTxn {
    pub done: bool,
    /// The key's version and value after the transaction.
    pub version: u64,
    pub value: Bytes,
    /// The store's revision after the transaction.
    pub revision: Revision,
}
