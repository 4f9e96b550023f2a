//! Small plugins for pods: Priority and DefaultTolerationSeconds.
use super::{Operation, Plugin, Request};
use crate::kinds::tree::{items, keep_in, set, text};
use crate::objects::Objects;
use keelson_machinery::{resources, status::ApiError};
use serde_json::{Value, json};
use std::sync::Arc;

/// Upstream's default for pods on a node that is not ready or not reachable.
const TOLERATION_SECONDS: i64 = 300;

/// Turns the name of a PriorityClass into the number (upstream: plugin/pkg/admission/priority).
pub struct Priority {
    objects: Arc<dyn Objects>,
}

impl Priority {
    pub fn new(objects: Arc<dyn Objects>) -> Self {
        Priority { objects }
    }

    async fn class(&self, name: &str) -> Result<Option<Value>, ApiError> {
        let resource = resources::by_resource("scheduling.k8s.io", "v1", "priorityclasses")
            .ok_or_else(|| ApiError::internal("no such resource: priorityclasses"))?;
        if !name.is_empty() {
            return self.objects.get(resource, "", name).await;
        }
        let defaults = self.objects.list(resource, "").await?;
        Ok(defaults
            .into_iter()
            .filter(|c| c["globalDefault"].as_bool() == Some(true))
            .min_by_key(|c| c["value"].as_i64().unwrap_or(0)))
    }
}

#[async_trait::async_trait]
impl Plugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    async fn mutate(&self, r: &Request<'_>, pod: &mut Value) -> Result<(), ApiError> {
        if !r.is("", "pods", "") {
            return Ok(());
        }
        match (r.operation, r.old) {
            (Operation::Update, Some(old)) => {
                for key in ["priority", "preemptionPolicy"] {
                    if pod["spec"][key].is_null() && !old["spec"][key].is_null() {
                        keep_in(pod, old, "spec", key);
                    }
                }
                return Ok(());
            }
            (Operation::Create, _) => {}
            _ => return Ok(()),
        }
        let asked = text(&pod["spec"]["priorityClassName"]).to_owned();
        let class = self.class(&asked).await?;
        if class.is_none() && !asked.is_empty() {
            return Err(r.forbidden(pod, &format!("no PriorityClass with name {asked} was found")));
        }
        let class = class.unwrap_or_default();
        let priority = class["value"].as_i64().unwrap_or(0);
        if let Some(given) = pod["spec"]["priority"].as_i64()
            && given != priority
        {
            let why = format!(
                "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {priority} from the given PriorityClass name"
            );
            return Err(r.forbidden(pod, &why));
        }
        let policy = match text(&class["preemptionPolicy"]) {
            "" => "PreemptLowerPriority",
            p => p,
        };
        let given = text(&pod["spec"]["preemptionPolicy"]);
        if !given.is_empty() && given != policy {
            let why = format!(
                "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
            );
            return Err(r.forbidden(pod, &why));
        }
        if asked.is_empty() && !class.is_null() {
            set(pod, "spec", "priorityClassName", class["metadata"]["name"].clone());
        }
        set(pod, "spec", "priority", priority.into());
        set(pod, "spec", "preemptionPolicy", policy.into());
        Ok(())
    }
}

/// Pods stay five minutes on a node that fails, unless they say otherwise.
pub struct DefaultTolerationSeconds;

#[async_trait::async_trait]
impl Plugin for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    async fn mutate(&self, r: &Request<'_>, pod: &mut Value) -> Result<(), ApiError> {
        if !r.is("", "pods", "") || !matches!(r.operation, Operation::Create | Operation::Update) {
            return Ok(());
        }
        let mut tolerations = items(&pod["spec"]["tolerations"]).to_vec();
        let before = tolerations.len();
        for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
            let tolerated = tolerations.iter().any(|t| {
                matches!(text(&t["key"]), k if k == key || k.is_empty())
                    && matches!(text(&t["effect"]), "NoExecute" | "")
            });
            if !tolerated {
                tolerations.push(json!({
                    "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATION_SECONDS,
                }));
            }
        }
        if tolerations.len() > before {
            set(pod, "spec", "tolerations", tolerations.into());
        }
        Ok(())
    }
}
