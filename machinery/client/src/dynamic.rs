//! Kinds known only at run time (garbage collection, namespace deletion, tests).
use crate::api::{ObjectList, found};
use crate::endpoint::Endpoint;
use crate::{Client, DeleteParams, ListParams, Patch, PatchParams, Result, WatchEvent};
use futures::stream::BoxStream;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

const PARTIAL: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
const PARTIAL_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupVersionResource {
    pub group: String,
    pub version: String,
    pub resource: String,
}

/// An object whose body stays JSON; `metadata` is typed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DynamicObject {
    #[serde(rename = "apiVersion", default)]
    pub api_version: String,
    #[serde(default)]
    pub kind: String,
    #[serde(default)]
    pub metadata: ObjectMeta,
    #[serde(flatten)]
    pub data: serde_json::Map<String, serde_json::Value>,
}

/// Like [`crate::Api`], by resource name. `metadata_only` asks for PartialObjectMetadata.
#[derive(Clone)]
pub struct DynamicApi {
    pub client: Client,
    pub gvr: GroupVersionResource,
    pub namespace: Option<String>,
    pub metadata_only: bool,
}

impl DynamicApi {
    pub fn new(client: Client, gvr: GroupVersionResource, namespace: Option<String>) -> Self {
        DynamicApi {
            client,
            gvr,
            namespace,
            metadata_only: false,
        }
    }
    pub fn metadata_only(mut self) -> Self {
        self.metadata_only = true;
        self
    }
    fn endpoint(&self) -> Endpoint<'_> {
        let g = &self.gvr;
        let mut e = Endpoint::json(
            &self.client,
            &g.group,
            &g.version,
            self.namespace.as_deref(),
            &g.resource,
        );
        if self.metadata_only {
            e.accept = PARTIAL;
            e.accept_list = PARTIAL_LIST;
        }
        e
    }
    /// Path without query.
    pub fn path(&self, name: Option<&str>, subresource: Option<&str>) -> String {
        self.endpoint().path(name, subresource)
    }
    pub async fn get_opt(&self, name: &str) -> Result<Option<DynamicObject>> {
        found(self.endpoint().get(name).await)
    }
    /// Items, and the list's resourceVersion.
    pub async fn list(&self, params: &ListParams) -> Result<(Vec<DynamicObject>, String)> {
        let l = self.list_page(params).await?;
        Ok((l.items, l.metadata.resource_version.unwrap_or_default()))
    }
    /// One page, with the list's whole metadata (`continue`).
    pub async fn list_page(&self, params: &ListParams) -> Result<ObjectList<DynamicObject>> {
        self.endpoint().list(params).await
    }
    pub async fn create(&self, object: &DynamicObject) -> Result<DynamicObject> {
        self.endpoint().create(None, None, object).await
    }
    pub async fn replace(&self, name: &str, object: &DynamicObject) -> Result<DynamicObject> {
        self.endpoint().replace(name, None, object).await
    }
    pub async fn patch(&self, name: &str, params: &PatchParams, patch: &Patch) -> Result<DynamicObject> {
        self.endpoint().patch(name, None, params, patch).await
    }
    pub async fn delete(&self, name: &str, params: &DeleteParams) -> Result<()> {
        self.endpoint().delete(name, params).await
    }
    pub async fn delete_collection(&self, params: &DeleteParams, list: &ListParams) -> Result<()> {
        self.endpoint().delete_collection(params, list).await
    }
    /// Watches from `resource_version`; the stream ends when the server closes it.
    pub async fn watch(
        &self,
        params: &ListParams,
        resource_version: &str,
    ) -> Result<BoxStream<'static, Result<WatchEvent<DynamicObject>>>> {
        self.endpoint().watch(params, resource_version, false).await
    }
    /// WatchList: initial events, a bookmark that ends them, then the watch.
    pub async fn watch_list(
        &self,
        params: &ListParams,
    ) -> Result<BoxStream<'static, Result<WatchEvent<DynamicObject>>>> {
        let from = params.resource_version.clone().unwrap_or_default();
        self.endpoint().watch(params, &from, true).await
    }
}
