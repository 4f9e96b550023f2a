use crate::{Client, Result};
use futures::stream::BoxStream;
use k8s_openapi::Metadata;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ListMeta, ObjectMeta};
use serde::{Serialize, de::DeserializeOwned};
use std::marker::PhantomData;

/// Any built-in kind that `k8s-openapi` has.
pub trait Object:
    k8s_openapi::Resource
    + Metadata<Ty = ObjectMeta>
    + Clone
    + std::fmt::Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}
impl<T> Object for T where
    T: k8s_openapi::Resource
        + Metadata<Ty = ObjectMeta>
        + Clone
        + std::fmt::Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// Query parameters of list and watch; empty strings are not sent.
#[derive(Clone, Debug, Default)]
pub struct ListParams {
    pub label_selector: String,
    pub field_selector: String,
    pub limit: Option<u32>,
    pub continue_token: Option<String>,
    pub resource_version: Option<String>,
    pub resource_version_match: Option<String>,
}

#[derive(Clone, Debug)]
pub enum Patch {
    Json(serde_json::Value),
    Merge(serde_json::Value),
    Strategic(serde_json::Value),
}

#[derive(Clone, Debug, Default)]
pub struct PatchParams {
    pub field_manager: Option<String>,
    pub dry_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

#[derive(Clone, Debug, Default)]
pub struct DeleteParams {
    pub grace_period_seconds: Option<i64>,
    pub propagation: Option<Propagation>,
    pub precondition_uid: Option<String>,
    pub precondition_resource_version: Option<String>,
}

#[derive(Clone, Debug)]
pub struct ObjectList<K> {
    pub metadata: ListMeta,
    pub items: Vec<K>,
}

#[derive(Clone, Debug)]
pub enum WatchEvent<K> {
    Added(K),
    Modified(K),
    Deleted(K),
    /// resourceVersion, and whether it ends the initial events of a WatchList.
    Bookmark {
        resource_version: String,
        initial_events_end: bool,
    },
}

/// Typed access to one kind, in one namespace or in all.
#[derive(Clone)]
pub struct Api<K> {
    pub(crate) client: Client,
    pub(crate) namespace: Option<String>,
    pub(crate) _kind: PhantomData<fn() -> K>,
}

impl<K: Object> Api<K> {
    /// Cluster-scoped kinds, or every namespace.
    pub fn all(client: Client) -> Self {
        Api {
            client,
            namespace: None,
            _kind: PhantomData,
        }
    }
    pub fn namespaced(client: Client, namespace: &str) -> Self {
        Api {
            client,
            namespace: Some(namespace.to_owned()),
            _kind: PhantomData,
        }
    }
    /// Path without query: `/apis/apps/v1/namespaces/x/deployments[/name[/subresource]]`.
    pub fn path(&self, _name: Option<&str>, _subresource: Option<&str>) -> String {
        todo!()
    }
    pub async fn get(&self, _name: &str) -> Result<K> {
        todo!()
    }
    /// `None` when the server answers NotFound.
    pub async fn get_opt(&self, _name: &str) -> Result<Option<K>> {
        todo!()
    }
    pub async fn list(&self, _params: &ListParams) -> Result<ObjectList<K>> {
        todo!()
    }
    pub async fn create(&self, _object: &K) -> Result<K> {
        todo!()
    }
    pub async fn replace(&self, _name: &str, _object: &K) -> Result<K> {
        todo!()
    }
    pub async fn patch(&self, _name: &str, _params: &PatchParams, _patch: &Patch) -> Result<K> {
        todo!()
    }
    pub async fn delete(&self, _name: &str, _params: &DeleteParams) -> Result<()> {
        todo!()
    }
    pub async fn delete_collection(&self, _params: &DeleteParams, _list: &ListParams) -> Result<()> {
        todo!()
    }
    pub async fn replace_status(&self, _name: &str, _object: &K) -> Result<K> {
        todo!()
    }
    pub async fn patch_status(&self, _name: &str, _params: &PatchParams, _patch: &Patch) -> Result<K> {
        todo!()
    }
    /// POST to a subresource (`binding`, `eviction`, `token`): any body, any answer.
    pub async fn create_subresource<B: Serialize, R: DeserializeOwned>(
        &self,
        _name: &str,
        _subresource: &str,
        _body: &B,
    ) -> Result<R> {
        todo!()
    }
    /// Watches from `resource_version`; the stream ends when the server closes it. An ERROR event becomes `Err`.
    pub async fn watch(
        &self,
        _params: &ListParams,
        _resource_version: &str,
    ) -> Result<BoxStream<'static, Result<WatchEvent<K>>>> {
        todo!()
    }
    /// WatchList (KEP-3157): initial events, a bookmark that ends them, then the watch.
    pub async fn watch_list(&self, _params: &ListParams) -> Result<BoxStream<'static, Result<WatchEvent<K>>>> {
        todo!()
    }
}
