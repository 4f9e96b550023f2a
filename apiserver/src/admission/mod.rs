//! Admission: what may still change or refuse a write after it was authorized.
use crate::auth::UserInfo;
use keelson_machinery::{resources::Resource, status::ApiError};
use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

pub struct Request<'a> {
    pub operation: Operation,
    pub resource: &'static Resource,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
    pub user: &'a UserInfo,
    pub dry_run: bool,
    /// Before the change; `None` on create.
    pub old: Option<&'a Value>,
}

#[async_trait::async_trait]
pub trait Plugin: Send + Sync {
    /// Upstream's plugin name.
    fn name(&self) -> &'static str;
    /// May change `object` (`Null` on delete).
    async fn mutate(&self, _request: &Request<'_>, _object: &mut Value) -> Result<(), ApiError> {
        Ok(())
    }
    async fn validate(&self, _request: &Request<'_>, _object: &Value) -> Result<(), ApiError> {
        Ok(())
    }
}
