//! CertificateSigningRequests carry who asked; the asker does not choose that
//! (upstream: pkg/registry/certificates/certificates/strategy.go).
use super::{Operation, Plugin, Request};
use crate::kinds::tree::child;
use keelson_machinery::status::ApiError;
use serde_json::{Value, json};

pub struct Requester;

#[async_trait::async_trait]
impl Plugin for Requester {
    fn name(&self) -> &'static str {
        "CertificateRequester"
    }

    async fn mutate(&self, r: &Request<'_>, object: &mut Value) -> Result<(), ApiError> {
        if !r.is("certificates.k8s.io", "certificatesigningrequests", "") || r.operation != Operation::Create {
            return Ok(());
        }
        let Some(spec) = child(object, "spec") else {
            return Ok(());
        };
        for key in ["username", "uid", "groups", "extra"] {
            spec.remove(key);
        }
        spec.insert("username".into(), r.user.name.as_str().into());
        if !r.user.uid.is_empty() {
            spec.insert("uid".into(), r.user.uid.as_str().into());
        }
        if !r.user.groups.is_empty() {
            spec.insert("groups".into(), json!(r.user.groups));
        }
        if !r.user.extra.is_empty() {
            spec.insert("extra".into(), json!(r.user.extra));
        }
        Ok(())
    }
}
