//! Admission: what may still change or refuse a write after it was authorized.
use crate::auth::UserInfo;
use crate::auth::rbac::Rbac;
use crate::kinds::tree::text;
use crate::objects::Objects;
use keelson_machinery::{
    resources::{self, Resource},
    status::ApiError,
};
use serde_json::Value;
use std::sync::Arc;

mod certificates;
mod escalation;
mod namespace;
mod node;
mod pod;
mod service_account;

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
    pub fn standard(objects: Arc<dyn Objects>) -> Self {
        Chain {
            plugins: vec![
                Box::new(namespace::Lifecycle::new(objects.clone())),
                Box::new(node::Restriction::new(objects.clone())),
                Box::new(node::Taints),
                Box::new(service_account::ServiceAccount::new(objects.clone())),
                Box::new(pod::Priority::new(objects)),
                Box::new(pod::DefaultTolerationSeconds),
                Box::new(certificates::Requester),
            ],
        }
    }
    /// Adds the check that nobody grants more than they hold.
    pub fn with_rbac(mut self, rbac: Rbac) -> Self {
        self.plugins.push(Box::new(escalation::Escalation::new(rbac)));
        self
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

impl Request<'_> {
    fn is(&self, group: &str, plural: &str, subresource: &str) -> bool {
        self.resource.group == group && self.resource.plural == plural && self.subresource == subresource
    }

    /// A refusal in upstream's form: `pods "x" is forbidden: why`.
    fn forbidden(&self, object: &Value, why: &str) -> ApiError {
        let m = &object["metadata"];
        let name = [self.name, text(&m["name"]), text(&m["generateName"])]
            .into_iter()
            .find(|n| !n.is_empty())
            .unwrap_or("Unknown");
        ApiError::forbidden(self.resource.group, self.resource.plural, name, why)
    }
}

/// A stored object of the core group.
async fn core_object(
    objects: &Arc<dyn Objects>,
    plural: &str,
    namespace: &str,
    name: &str,
) -> Result<Option<Value>, ApiError> {
    let resource = resources::by_resource("", "v1", plural)
        .ok_or_else(|| ApiError::internal(format!("no such resource: {plural}")))?;
    objects.get(resource, namespace, name).await
}

#[cfg(test)]
mod tests;
