//! Admission: what may still change or refuse a write after it was authorized.
use crate::auth::UserInfo;
use crate::objects::Objects;
use keelson_machinery::{resources::Resource, status::ApiError};
use serde_json::Value;
use std::sync::Arc;

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

/// The plugins in the order in which they run.
pub struct Chain {
    plugins: Vec<Box<dyn Plugin>>,
}

impl Chain {
    /// Upstream's default plugins, as far as they are built.
    pub fn standard(_objects: Arc<dyn Objects>) -> Self {
        Chain { plugins: Vec::new() }
    }
    pub async fn mutate(&self, request: &Request<'_>, object: &mut Value) -> Result<(), ApiError> {
        for p in &self.plugins {
            p.mutate(request, object).await?;
        }
        Ok(())
    }
    pub async fn validate(&self, request: &Request<'_>, object: &Value) -> Result<(), ApiError> {
        for p in &self.plugins {
            p.validate(request, object).await?;
        }
        Ok(())
    }
}
