//! NamespaceLifecycle: nothing new in a namespace that is absent or going away; the system's namespaces stay
//! (upstream: apiserver/pkg/admission/plugin/namespace/lifecycle).
use super::{Operation, Plugin, Request, core_object};
use crate::kinds::tree::text;
use crate::objects::Objects;
use keelson_machinery::status::ApiError;
use serde_json::{Value, json};
use std::sync::Arc;

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub struct Lifecycle {
    objects: Arc<dyn Objects>,
}

impl Lifecycle {
    pub fn new(objects: Arc<dyn Objects>) -> Self {
        Lifecycle { objects }
    }
}

#[async_trait::async_trait]
impl Plugin for Lifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    async fn mutate(&self, r: &Request<'_>, object: &mut Value) -> Result<(), ApiError> {
        if r.is("", "namespaces", "") {
            if r.operation == Operation::Delete && IMMORTAL.contains(&r.name) {
                let why = "this namespace may not be deleted";
                return Err(ApiError::forbidden("", "namespaces", r.name, why));
            }
            return Ok(());
        }
        // What exists in a namespace proves that the namespace does: only creates are checked.
        let review = r.resource.plural == "localsubjectaccessreviews";
        if r.namespace.is_empty() || r.operation != Operation::Create || review {
            return Ok(());
        }
        let Some(namespace) = core_object(&self.objects, "namespaces", "", r.namespace).await? else {
            return Err(ApiError::not_found("", "namespaces", r.namespace));
        };
        if text(&namespace["status"]["phase"]) != "Terminating" {
            return Ok(());
        }
        let why = format!(
            "unable to create new content in namespace {} because it is being terminated",
            r.namespace
        );
        let mut error = r.forbidden(object, &why);
        if let Some(d) = &mut error.details {
            d["causes"] = json!([{
                "reason": "NamespaceTerminating",
                "message": format!("namespace {} is being terminated", r.namespace),
                "field": "metadata.namespace",
            }]);
        }
        Err(error)
    }
}
