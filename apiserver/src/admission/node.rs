//! NodeRestriction and TaintNodesByCondition: what a kubelet may write, beyond the Node authorizer
//! (upstream: plugin/pkg/admission/noderestriction, nodetaint).
use super::{Operation, Plugin, Request, core_object};
use crate::auth::node::name_of;
use crate::kinds::tree::{entries, items, set, text};
use crate::objects::Objects;
use keelson_machinery::status::ApiError;
use serde_json::{Value, json};
use std::sync::Arc;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
/// Labels under this prefix are for administrators: no node gives them to itself.
const RESTRICTED_LABEL_PREFIX: &str = "node-restriction.kubernetes.io/";

pub struct Restriction {
    objects: Arc<dyn Objects>,
}

impl Restriction {
    pub fn new(objects: Arc<dyn Objects>) -> Self {
        Restriction { objects }
    }

    async fn pod(&self, r: &Request<'_>, node: &str, object: &Value) -> Result<(), ApiError> {
        let runs_here = |p: &Value| text(&p["spec"]["nodeName"]) == node;
        let refuse = |why: String| Err(r.forbidden(object, &why));
        match (r.operation, r.subresource) {
            (Operation::Create, "") => {
                if object["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_null() {
                    return refuse(
                        "pod does not have \"kubernetes.io/config.mirror\" annotation, node \"".to_owned()
                            + node
                            + "\" can only create mirror pods",
                    );
                }
                if !runs_here(object) {
                    return refuse(format!(
                        "node {node:?} can only create pods with spec.nodeName set to itself"
                    ));
                }
            }
            (Operation::Update, "status") if !r.old.is_some_and(runs_here) => {
                return refuse(format!(
                    "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
                ));
            }
            (Operation::Update, "status") => {
                let labels = |v: &Value| v["metadata"]["labels"].clone();
                if r.old.is_some_and(|o| labels(o) != labels(object)) {
                    return refuse(format!("node {node:?} cannot update labels through pod status"));
                }
            }
            (Operation::Delete, "") if !r.old.is_some_and(runs_here) => {
                return refuse(format!(
                    "node {node:?} can only delete pods with spec.nodeName set to itself"
                ));
            }
            (Operation::Create, "eviction") => {
                let pod = core_object(&self.objects, "pods", r.namespace, r.name).await?;
                if !pod.as_ref().is_some_and(runs_here) {
                    return refuse(format!(
                        "node {node:?} can only evict pods with spec.nodeName set to itself"
                    ));
                }
            }
            (Operation::Create | Operation::Delete | Operation::Update, "" | "status" | "eviction") => {}
            (_, sub) => {
                return refuse(format!(
                    "unexpected pod subresource {sub:?}, only 'status' and 'eviction' are allowed"
                ));
            }
        }
        Ok(())
    }

    async fn token(&self, r: &Request<'_>, node: &str, request: &Value) -> Result<(), ApiError> {
        let bound = &request["spec"]["boundObjectRef"];
        let refuse = |why: String| Err(r.forbidden(request, &why));
        if !bound.is_object() {
            return refuse("node requested token not bound to a pod".into());
        }
        let name = text(&bound["name"]);
        if text(&bound["apiVersion"]) != "v1" || text(&bound["kind"]) != "Pod" || name.is_empty() {
            return refuse("node requested token not bound to a pod".into());
        }
        if text(&bound["uid"]).is_empty() {
            return refuse("node requested token with a pod binding without a uid".into());
        }
        let Some(pod) = core_object(&self.objects, "pods", r.namespace, name).await? else {
            return Err(ApiError::not_found("", "pods", name));
        };
        if text(&pod["metadata"]["uid"]) != text(&bound["uid"]) {
            return refuse(format!(
                "the UID in the bound object reference ({}) does not match the UID in record ({}). The object might have been deleted and then recreated",
                text(&bound["uid"]),
                text(&pod["metadata"]["uid"])
            ));
        }
        if text(&pod["spec"]["nodeName"]) != node {
            return refuse("node requested token bound to a pod scheduled on a different node".into());
        }
        Ok(())
    }
}

fn own_node(r: &Request<'_>, node: &str, object: &Value) -> Result<(), ApiError> {
    let refuse = |why: String| Err(r.forbidden(object, &why));
    let name = if r.name.is_empty() {
        text(&object["metadata"]["name"])
    } else {
        r.name
    };
    if name != node {
        return refuse(format!("node {node:?} is not allowed to modify node {name:?}"));
    }
    let restricted = |v: &Value| -> Vec<(String, Value)> {
        entries(&v["metadata"]["labels"])
            .filter(|(k, _)| k.starts_with(RESTRICTED_LABEL_PREFIX))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    };
    let before = r.old.map(restricted).unwrap_or_default();
    if r.operation != Operation::Delete && restricted(object) != before {
        return refuse(format!(
            "is not allowed to modify labels: {RESTRICTED_LABEL_PREFIX}* by node {node:?}"
        ));
    }
    if let (Operation::Update, Some(old)) = (r.operation, r.old)
        && r.subresource.is_empty()
        && items(&old["spec"]["taints"]) != items(&object["spec"]["taints"])
    {
        return refuse(format!("node {node:?} is not allowed to modify taints"));
    }
    Ok(())
}

#[async_trait::async_trait]
impl Plugin for Restriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    async fn mutate(&self, r: &Request<'_>, object: &mut Value) -> Result<(), ApiError> {
        let Some(node) = name_of(r.user) else { return Ok(()) };
        match (r.resource.group, r.resource.plural, r.subresource) {
            ("", "pods", _) => self.pod(r, node, object).await,
            ("", "nodes", _) => own_node(r, node, object),
            ("", "serviceaccounts", "token") => self.token(r, node, object).await,
            ("coordination.k8s.io", "leases", _) if r.operation == Operation::Create => {
                let m = &object["metadata"];
                if r.namespace != "kube-node-lease" || text(&m["name"]) != node {
                    let why = "can only access node lease with the same name as the requesting node";
                    return Err(r.forbidden(object, why));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// A new node takes no pods before it says that it is ready.
pub struct Taints;

#[async_trait::async_trait]
impl Plugin for Taints {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    async fn mutate(&self, r: &Request<'_>, node: &mut Value) -> Result<(), ApiError> {
        if !r.is("", "nodes", "") || r.operation != Operation::Create {
            return Ok(());
        }
        let mut taints = items(&node["spec"]["taints"]).to_vec();
        let there = |t: &Value| text(&t["key"]) == NOT_READY && text(&t["effect"]) == "NoSchedule";
        if !taints.iter().any(there) {
            taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
            set(node, "spec", "taints", taints.into());
        }
        Ok(())
    }
}
