//! The generic registry: create, get, list, watch, update, patch, delete and deletecollection of every kind.
//!
//! Invariants: a write is one guarded transaction on one key; what was read, admitted and validated is what is
//! written, or the write is tried again from a new read; an object that is stored was valid in its kind.

mod create;
pub mod delete;
mod internal;
mod patch;
mod pods;
mod scale;
pub mod stored;
mod update;

pub use patch::PatchType;

use crate::admission;
use crate::auth::UserInfo;
use crate::kinds::{self, allocator::Allocators};
use crate::storage::cacher::Cacher;
use crate::storage::{self, Guarded, KeyValue, Revision, Storage};
use keelson_machinery::resources::{self, Resource};
use keelson_machinery::status::ApiError;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::OnceLock;
use tokio_util::sync::CancellationToken;

/// How often a write that lost a race is tried again before the client is told.
const RACE_RETRIES_MAX: usize = 16;

/// What a write is about and who asks for it.
#[derive(Clone, Debug)]
pub struct Ask {
    pub resource: &'static Resource,
    pub namespace: String,
    pub name: String,
    pub subresource: String,
    pub user: UserInfo,
    pub dry_run: bool,
    /// Runs without admission: the server's own writes.
    pub internal: bool,
}

impl Ask {
    fn not_found(&self) -> ApiError {
        ApiError::not_found(self.resource.group, self.resource.plural, &self.name)
    }
    fn conflict(&self, why: &str) -> ApiError {
        ApiError::conflict(self.resource.group, self.resource.plural, &self.name, why)
    }
    fn context(&self) -> kinds::Context<'_> {
        kinds::Context {
            resource: self.resource,
            subresource: &self.subresource,
            dry_run: self.dry_run,
        }
    }
    fn key(&self) -> Vec<u8> {
        stored::key(self.resource, &self.namespace, &self.name)
    }
}

/// Upstream's words for a lost race.
pub const MODIFIED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

/// An object as it is stored now.
#[derive(Clone, Debug)]
pub struct Current {
    pub value: Value,
    pub revision: Revision,
    /// As stored.
    pub bytes: bytes::Bytes,
}

pub struct Registry {
    pub storage: Arc<dyn Storage>,
    cachers: HashMap<&'static str, Arc<Cacher>>,
    pub allocators: Allocators,
    admission: OnceLock<admission::Chain>,
    stop: CancellationToken,
}

impl Registry {
    pub fn new(storage: Arc<dyn Storage>, allocators: Allocators, stop: CancellationToken) -> Arc<Self> {
        let mut cachers = HashMap::new();
        for r in resources::all().iter().filter(|r| r.is_stored()) {
            let row = stored::storage_row(r);
            cachers
                .entry(row.storage_prefix)
                .or_insert_with(|| Cacher::new(storage.clone(), row, stop.clone()));
        }
        Arc::new(Registry {
            storage,
            cachers,
            allocators,
            admission: OnceLock::new(),
            stop,
        })
    }

    /// Admission looks at objects through the registry, so it comes after it.
    pub fn set_admission(&self, chain: admission::Chain) {
        let _ = self.admission.set(chain);
    }

    pub fn cacher(&self, r: &Resource) -> Result<&Arc<Cacher>, ApiError> {
        self.cachers
            .get(r.storage_prefix)
            .ok_or_else(|| ApiError::method_not_allowed(r.group, r.plural, "list"))
    }

    /// The object as it is stored now; a linearizable read.
    pub(crate) async fn current(&self, ask: &Ask) -> Result<Option<Current>, ApiError> {
        let (kv, _) = self.storage.get(&ask.key()).await.map_err(storage_error)?;
        kv.map(|kv| decode(ask.resource, &kv)).transpose()
    }

    /// GET of one object.
    pub async fn get(&self, ask: &Ask) -> Result<Value, ApiError> {
        if ask.subresource == "scale" {
            return self.get_scale(ask).await;
        }
        self.current(ask).await?.map(|c| c.value).ok_or_else(|| ask.not_found())
    }

    async fn mutate(
        &self,
        ask: &Ask,
        operation: admission::Operation,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), ApiError> {
        match self.admission.get().filter(|_| !ask.internal) {
            Some(chain) => chain.mutate(&admission_request(ask, operation, old), object).await,
            None => Ok(()),
        }
    }

    async fn admit(
        &self,
        ask: &Ask,
        operation: admission::Operation,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<(), ApiError> {
        match self.admission.get().filter(|_| !ask.internal) {
            Some(chain) => chain.validate(&admission_request(ask, operation, old), object).await,
            None => Ok(()),
        }
    }

    /// Seconds after which the store forgets an object of this kind; 0: never.
    fn ttl_seconds(r: &Resource) -> u64 {
        if r.plural == "events" { 3600 } else { 0 }
    }
}

fn admission_request<'a>(
    ask: &'a Ask,
    operation: admission::Operation,
    old: Option<&'a Value>,
) -> admission::Request<'a> {
    admission::Request {
        operation,
        resource: ask.resource,
        subresource: &ask.subresource,
        namespace: &ask.namespace,
        name: &ask.name,
        user: &ask.user,
        dry_run: ask.dry_run,
        old,
    }
}

fn decode(r: &'static Resource, kv: &KeyValue) -> Result<Current, ApiError> {
    Ok(Current {
        value: stored::decode(r, &kv.value, kv.mod_revision)?,
        revision: kv.mod_revision,
        bytes: kv.value.clone(),
    })
}

/// What a failed store is to a client (upstream: storage/errors).
pub fn storage_error(e: storage::Error) -> ApiError {
    match e {
        storage::Error::Compacted => ApiError::gone("The resourceVersion for the provided watch is too old."),
        storage::Error::TooLarge => ApiError::new(413, "RequestEntityTooLarge", "etcdserver: request is too large"),
        storage::Error::Future => ApiError::timeout("Too large resource version", 1),
        storage::Error::Unavailable(why) => {
            let mut e = ApiError::new(503, "ServiceUnavailable", format!("storage is unavailable: {why}"));
            e.details = Some(serde_json::json!({"retryAfterSeconds": 1}));
            e
        }
        storage::Error::Other(why) => ApiError::internal(why),
    }
}

/// Writes bytes under the guard. Gives the object as a reader gets it, which is not quite as a writer put it
/// (fields without `omitempty` appear); `None` when the race was lost.
async fn put_bytes(
    registry: &Registry,
    ask: &Ask,
    bytes: Vec<u8>,
    expected: Revision,
) -> Result<Option<Value>, ApiError> {
    let bytes = bytes::Bytes::from(bytes);
    let ttl = Registry::ttl_seconds(ask.resource);
    let written = registry.storage.put(&ask.key(), bytes.clone(), expected, ttl).await;
    match written.map_err(storage_error)? {
        Guarded::Done(revision) => stored::decode(ask.resource, &bytes, revision).map(Some),
        Guarded::Conflict { .. } => Ok(None),
    }
}

/// Writes a tree under the guard: see [`put_bytes`].
async fn put(registry: &Registry, ask: &Ask, value: &Value, expected: Revision) -> Result<Option<Value>, ApiError> {
    put_bytes(registry, ask, stored::encode(ask.resource, value)?, expected).await
}
