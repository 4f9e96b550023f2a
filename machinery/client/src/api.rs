//! Typed access to the built-in kinds.
use crate::endpoint::Endpoint;
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
    /// How long the server may take, or a watch may last, in seconds; watches get 5 to 10 minutes when it is `None`.
    pub timeout_seconds: Option<u32>,
}

impl ListParams {
    pub fn labels(selector: impl Into<String>) -> Self {
        ListParams {
            label_selector: selector.into(),
            ..Default::default()
        }
    }
    pub fn fields(selector: impl Into<String>) -> Self {
        ListParams {
            field_selector: selector.into(),
            ..Default::default()
        }
    }
}

#[derive(Clone, Debug)]
pub enum Patch {
    Json(serde_json::Value),
    Merge(serde_json::Value),
    Strategic(serde_json::Value),
    /// Server-side apply.
    Apply(serde_json::Value),
}

#[derive(Clone, Debug, Default)]
pub struct PatchParams {
    pub field_manager: Option<String>,
    pub dry_run: bool,
    /// Of server-side apply: take over fields that other managers own.
    pub force: bool,
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
    fn endpoint(&self) -> Endpoint<'_> {
        self.endpoint_in(self.namespace.as_deref())
    }
    fn endpoint_in<'a>(&'a self, namespace: Option<&'a str>) -> Endpoint<'a> {
        // A namespace given for a cluster-scoped kind has no place in its path.
        let namespace = namespace.filter(|_| is_namespaced::<K>());
        Endpoint::json(&self.client, K::GROUP, K::VERSION, namespace, K::URL_PATH_SEGMENT)
    }
    /// For writes of whole objects: [`Api::all`] of a namespaced kind takes the object's own namespace.
    fn endpoint_of<'a>(&'a self, object: &'a K) -> Endpoint<'a> {
        self.endpoint_in(self.namespace.as_deref().or(object.metadata().namespace.as_deref()))
    }
    pub fn client(&self) -> &Client {
        &self.client
    }
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }
    /// Path without query: `/apis/apps/v1/namespaces/x/deployments[/name[/subresource]]`.
    pub fn path(&self, name: Option<&str>, subresource: Option<&str>) -> String {
        self.endpoint().path(name, subresource)
    }
    pub async fn get(&self, name: &str) -> Result<K> {
        self.endpoint().get(name).await
    }
    /// `None` when the server answers NotFound.
    pub async fn get_opt(&self, name: &str) -> Result<Option<K>> {
        found(self.get(name).await)
    }
    pub async fn list(&self, params: &ListParams) -> Result<ObjectList<K>> {
        self.endpoint().list(params).await
    }
    pub async fn create(&self, object: &K) -> Result<K> {
        self.endpoint_of(object).create(None, None, object).await
    }
    pub async fn replace(&self, name: &str, object: &K) -> Result<K> {
        self.endpoint_of(object).replace(name, None, object).await
    }
    pub async fn patch(&self, name: &str, params: &PatchParams, patch: &Patch) -> Result<K> {
        self.endpoint().patch(name, None, params, patch).await
    }
    pub async fn delete(&self, name: &str, params: &DeleteParams) -> Result<()> {
        self.endpoint().delete(name, params).await
    }
    pub async fn delete_collection(&self, params: &DeleteParams, list: &ListParams) -> Result<()> {
        self.endpoint().delete_collection(params, list).await
    }
    pub async fn replace_status(&self, name: &str, object: &K) -> Result<K> {
        self.endpoint_of(object).replace(name, Some("status"), object).await
    }
    pub async fn patch_status(&self, name: &str, params: &PatchParams, patch: &Patch) -> Result<K> {
        self.endpoint().patch(name, Some("status"), params, patch).await
    }
    /// GET of a subresource (`scale`).
    pub async fn get_subresource<R: DeserializeOwned>(&self, name: &str, subresource: &str) -> Result<R> {
        let path = self.path(Some(name), Some(subresource));
        self.client.json(http::Method::GET, &path, None).await
    }
    /// POST to a subresource (`binding`, `eviction`, `token`): any body, any answer.
    pub async fn create_subresource<B: Serialize, R: DeserializeOwned>(
        &self,
        name: &str,
        subresource: &str,
        body: &B,
    ) -> Result<R> {
        self.endpoint().create(Some(name), Some(subresource), body).await
    }
    /// PATCH of any subresource, with any answer.
    pub async fn patch_subresource<R: DeserializeOwned>(
        &self,
        name: &str,
        subresource: &str,
        params: &PatchParams,
        patch: &Patch,
    ) -> Result<R> {
        self.endpoint().patch(name, Some(subresource), params, patch).await
    }
    /// PUT of any subresource (`scale`, `finalize`, `approval`), with any answer.
    pub async fn replace_subresource<B: Serialize, R: DeserializeOwned>(
        &self,
        name: &str,
        subresource: &str,
        body: &B,
    ) -> Result<R> {
        self.endpoint().replace(name, Some(subresource), body).await
    }
    /// Watches from `resource_version`; the stream ends when the server closes it. An ERROR event becomes `Err`.
    pub async fn watch(
        &self,
        params: &ListParams,
        resource_version: &str,
    ) -> Result<BoxStream<'static, Result<WatchEvent<K>>>> {
        self.endpoint().watch(params, resource_version, false).await
    }
    /// WatchList (KEP-3157): initial events, a bookmark that ends them, then the watch. They are no older
    /// than `params.resource_version`; without one they are as new as the server's latest write.
    pub async fn watch_list(&self, params: &ListParams) -> Result<BoxStream<'static, Result<WatchEvent<K>>>> {
        let from = params.resource_version.clone().unwrap_or_default();
        self.endpoint().watch(params, &from, true).await
    }
}

fn is_namespaced<K: Object>() -> bool {
    std::any::TypeId::of::<K::Scope>() != std::any::TypeId::of::<k8s_openapi::ClusterResourceScope>()
}

pub(crate) fn found<T>(r: Result<T>) -> Result<Option<T>> {
    match r {
        Ok(v) => Ok(Some(v)),
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e),
    }
}
