//! Where an informer's objects come from: typed or dynamic access.
use crate::api::{Object, ObjectList};
use crate::{Api, DynamicApi, DynamicObject, ListParams, Result, WatchEvent};
use async_trait::async_trait;
use futures::stream::BoxStream;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Anything an informer can hold: a typed [`Object`] or a [`DynamicObject`].
pub trait HasMeta: std::fmt::Debug + Send + Sync + 'static {
    fn meta(&self) -> &ObjectMeta;
    fn meta_mut(&mut self) -> &mut ObjectMeta;
}

impl<K: Object> HasMeta for K {
    fn meta(&self) -> &ObjectMeta {
        self.metadata()
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.metadata_mut()
    }
}

impl HasMeta for DynamicObject {
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

pub(super) type Events<K> = BoxStream<'static, Result<WatchEvent<K>>>;

#[async_trait]
pub(super) trait Source<K>: Send + Sync + 'static {
    /// What is watched, for logs.
    fn name(&self) -> String;
    async fn list(&self, p: &ListParams) -> Result<ObjectList<K>>;
    async fn watch(&self, p: &ListParams, rv: &str) -> Result<Events<K>>;
    async fn watch_list(&self, p: &ListParams) -> Result<Events<K>>;
}

#[async_trait]
impl<K: Object> Source<K> for Api<K> {
    fn name(&self) -> String {
        self.path(None, None)
    }
    async fn list(&self, p: &ListParams) -> Result<ObjectList<K>> {
        Api::list(self, p).await
    }
    async fn watch(&self, p: &ListParams, rv: &str) -> Result<Events<K>> {
        Api::watch(self, p, rv).await
    }
    async fn watch_list(&self, p: &ListParams) -> Result<Events<K>> {
        Api::watch_list(self, p).await
    }
}

#[async_trait]
impl Source<DynamicObject> for DynamicApi {
    fn name(&self) -> String {
        self.path(None, None)
    }
    async fn list(&self, p: &ListParams) -> Result<ObjectList<DynamicObject>> {
        self.list_page(p).await
    }
    async fn watch(&self, p: &ListParams, rv: &str) -> Result<Events<DynamicObject>> {
        DynamicApi::watch(self, p, rv).await
    }
    async fn watch_list(&self, p: &ListParams) -> Result<Events<DynamicObject>> {
        DynamicApi::watch_list(self, p).await
    }
}
