//! The `scale` subresource of Deployments, ReplicaSets, StatefulSets and ReplicationControllers.

use super::{Ask, MODIFIED, RACE_RETRIES_MAX, Registry};
use keelson_machinery::resources;
use keelson_machinery::schema::TypeId;
use keelson_machinery::status::{ApiError, FieldError};
use serde_json::{Value, json};

pub(super) fn type_id() -> Result<TypeId, ApiError> {
    resources::type_of("autoscaling", "v1", "Scale").ok_or_else(|| ApiError::internal("no type Scale"))
}

/// `autoscaling/v1` Scale of a workload.
fn scale_of(o: &Value) -> Value {
    let selector = match o["spec"]["selector"]
        .get("matchLabels")
        .or_else(|| o["spec"]["selector"].get("matchExpressions"))
    {
        Some(_) => serde_json::from_value(o["spec"]["selector"].clone())
            .ok()
            .and_then(|s| keelson_machinery::labels::Selector::from_structured(&s).ok())
            .map(|s| s.to_string())
            .unwrap_or_default(),
        // A ReplicationController's selector is a plain map.
        None => {
            let pairs = o["spec"]["selector"].as_object().into_iter().flatten();
            pairs
                .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
                .collect::<Vec<_>>()
                .join(",")
        }
    };
    let m = &o["metadata"];
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": m["name"], "namespace": m["namespace"], "uid": m["uid"],
            "resourceVersion": m["resourceVersion"], "creationTimestamp": m["creationTimestamp"],
        },
        "spec": {"replicas": o["spec"]["replicas"].as_i64().unwrap_or(0)},
        "status": {"replicas": o["status"]["replicas"].as_i64().unwrap_or(0), "selector": selector},
    })
}

impl Registry {
    pub(super) async fn get_scale(&self, ask: &Ask) -> Result<Value, ApiError> {
        let current = self.current(ask).await?.ok_or_else(|| ask.not_found())?;
        Ok(scale_of(&current.value))
    }

    pub(super) async fn update_scale(&self, ask: &Ask, scale: &Value) -> Result<Value, ApiError> {
        let wanted = keelson_machinery::meta::resource_version(scale);
        let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
        if !(0..=i64::from(i32::MAX)).contains(&replicas) {
            let e = FieldError::invalid("spec.replicas", &replicas.into(), "must be greater than or equal to 0");
            return Err(ApiError::invalid("autoscaling", "Scale", &ask.name, &[e]));
        }
        let main = Ask {
            subresource: String::new(),
            ..ask.clone()
        };
        for _ in 0..RACE_RETRIES_MAX {
            let current = self.current(&main).await?.ok_or_else(|| ask.not_found())?;
            if !wanted.is_empty() && wanted != current.revision.to_string() {
                return Err(ask.conflict(MODIFIED));
            }
            let mut new = current.value.clone();
            new["spec"]["replicas"] = replicas.into();
            if let Some(value) = self.write(&main, &current, new).await? {
                return Ok(scale_of(&value));
            }
        }
        Err(ask.conflict(MODIFIED))
    }
}
