//! Kinds known only at run time (garbage collection, namespace deletion, tests).
use crate::{Client, DeleteParams, ListParams, Patch, PatchParams, Result, WatchEvent};
use futures::stream::BoxStream;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

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
    pub async fn get_opt(&self, _name: &str) -> Result<Option<DynamicObject>> {
        todo!()
    }
    /// Items, and the list's resourceVersion.
    pub async fn list(&self, _params: &ListParams) -> Result<(Vec<DynamicObject>, String)> {
        todo!()
    }
    pub async fn create(&self, _object: &DynamicObject) -> Result<DynamicObject> {
        todo!()
    }
    pub async fn patch(&self, _name: &str, _params: &PatchParams, _patch: &Patch) -> Result<DynamicObject> {
        todo!()
    }
    pub async fn delete(&self, _name: &str, _params: &DeleteParams) -> Result<()> {
        todo!()
    }
    pub async fn delete_collection(&self, _params: &DeleteParams, _list: &ListParams) -> Result<()> {
        todo!()
    }
    pub async fn watch_list(
        &self,
        _params: &ListParams,
    ) -> Result<BoxStream<'static, Result<WatchEvent<DynamicObject>>>> {
        todo!()
    }
}
