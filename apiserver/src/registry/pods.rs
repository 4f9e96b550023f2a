//! Subresources of Pods that are actions: binding and eviction.

use super::delete::{DeleteOptions, Deleted};
use super::{Ask, RACE_RETRIES_MAX, Registry, put};
use keelson_machinery::labels::Selector;
use keelson_machinery::resources;
use keelson_machinery::status::ApiError;
use serde_json::{Value, json};

impl Registry {
    /// Assigns a pod to a node (upstream: pkg/registry/core/pod/storage.BindingREST).
    pub async fn bind(&self, ask: &Ask, binding: &Value) -> Result<(), ApiError> {
        let node = binding["target"]["name"].as_str().unwrap_or_default();
        if node.is_empty() {
            let e = keelson_machinery::status::FieldError::required("target.name", "");
            return Err(ApiError::invalid("", "Binding", &ask.name, &[e]));
        }
        let kind = binding["target"]["kind"].as_str().unwrap_or_default();
        if !matches!(kind, "" | "Node") {
            let e =
                keelson_machinery::status::FieldError::not_supported("target.kind", &kind.into(), &["Node", "<empty>"]);
            return Err(ApiError::invalid("", "Binding", &ask.name, &[e]));
        }
        for _ in 0..RACE_RETRIES_MAX {
            let current = self.current(ask).await?.ok_or_else(|| ask.not_found())?;
            let wanted = binding["metadata"]["uid"].as_str().unwrap_or_default();
            let uid = keelson_machinery::meta::uid(&current.value);
            if !wanted.is_empty() && wanted != uid {
                return Err(ask.conflict(&format!(
                    "Precondition failed: UID in precondition: {wanted}, UID in object meta: {uid}"
                )));
            }
            let mut pod = current.value.clone();
            if keelson_machinery::meta::deletion_timestamp(&pod).is_some() {
                return Err(ask.conflict(&format!(
                    "pod {} is being deleted, cannot be assigned to a host",
                    ask.name
                )));
            }
            if let Some(n) = pod["spec"]["nodeName"].as_str().filter(|n| !n.is_empty()) {
                return Err(ask.conflict(&format!("pod {} is already assigned to node {n:?}", ask.name)));
            }
            if pod["spec"]["schedulingGates"].as_array().is_some_and(|g| !g.is_empty()) {
                return Err(ask.conflict(&format!("pod {} has non-empty .spec.schedulingGates", ask.name)));
            }
            pod["spec"]["nodeName"] = node.into();
            for (k, v) in binding["metadata"]["annotations"].as_object().into_iter().flatten() {
                keelson_machinery::meta::set_annotation(&mut pod, k, v.as_str().unwrap_or_default());
            }
            set_scheduled(&mut pod);
            if ask.dry_run || put(self, ask, &pod, current.revision).await?.is_some() {
                return Ok(());
            }
        }
        Err(ask.conflict(super::MODIFIED))
    }

    /// Deletes a pod unless a PodDisruptionBudget forbids it now (policy/v1 Eviction).
    pub async fn evict(&self, ask: &Ask, eviction: &Value) -> Result<(), ApiError> {
        let options = DeleteOptions::parse(&eviction["deleteOptions"])?;
        let pod = self.current(ask).await?.ok_or_else(|| ask.not_found())?.value;
        let ended = matches!(
            pod["status"]["phase"].as_str(),
            Some("Succeeded" | "Failed" | "Pending")
        );
        if !ended && keelson_machinery::meta::deletion_timestamp(&pod).is_none() {
            self.spend_disruption(ask, &pod).await?;
        }
        match self
            .delete(
                &Ask {
                    subresource: String::new(),
                    ..ask.clone()
                },
                &options,
            )
            .await?
        {
            Deleted::Gone(_) | Deleted::Marked(_) => Ok(()),
        }
    }

    async fn spend_disruption(&self, ask: &Ask, pod: &Value) -> Result<(), ApiError> {
        let Some(row) = resources::by_resource("policy", "v1", "poddisruptionbudgets") else {
            return Ok(());
        };
        let labels: std::collections::BTreeMap<String, String> =
            serde_json::from_value(pod["metadata"]["labels"].clone()).unwrap_or_default();
        let budgets: Vec<Value> = self.all(row, &ask.namespace).await?;
        let mut covering = budgets.into_iter().filter(|b| {
            serde_json::from_value(b["spec"]["selector"].clone())
                .ok()
                .and_then(|s| Selector::from_structured(&s).ok())
                .is_some_and(|s| s.matches_map(Some(&labels)))
        });
        let Some(budget) = covering.next() else { return Ok(()) };
        if covering.next().is_some() {
            return Err(ApiError::internal(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
        let one = Ask {
            resource: row,
            name: keelson_machinery::meta::name(&budget).to_owned(),
            subresource: "status".into(),
            ..ask.clone()
        };
        for _ in 0..RACE_RETRIES_MAX {
            let current = self.current(&one).await?.ok_or_else(|| one.not_found())?;
            let allowed = current.value["status"]["disruptionsAllowed"].as_i64().unwrap_or(0);
            if allowed <= 0 {
                let mut e =
                    ApiError::too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.", 0);
                let needs = &current.value["status"]["desiredHealthy"];
                let has = &current.value["status"]["currentHealthy"];
                e.details = Some(json!({"causes": [{
                    "reason": "DisruptionBudget",
                    "message": format!("The disruption budget {} needs {needs} healthy pods and has {has} currently", one.name),
                }]}));
                return Err(e);
            }
            if ask.dry_run {
                return Ok(());
            }
            let mut new = current.value.clone();
            new["status"]["disruptionsAllowed"] = (allowed - 1).into();
            if !new["status"]["disruptedPods"].is_object() {
                new["status"]["disruptedPods"] = json!({});
            }
            new["status"]["disruptedPods"][&ask.name] = keelson_machinery::time::format(jiff::Timestamp::now()).into();
            if put(self, &one, &new, current.revision).await?.is_some() {
                return Ok(());
            }
        }
        Err(one.conflict(super::MODIFIED))
    }
}

fn set_scheduled(pod: &mut Value) {
    let condition = json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null,
        "lastTransitionTime": keelson_machinery::time::format(jiff::Timestamp::now()),
        "observedGeneration": pod["metadata"]["generation"],
    });
    if !pod["status"].is_object() {
        pod["status"] = json!({});
    }
    if !pod["status"]["conditions"].is_array() {
        pod["status"]["conditions"] = json!([]);
    }
    let Some(all) = pod["status"]["conditions"].as_array_mut() else {
        return;
    };
    match all.iter_mut().find(|c| c["type"] == "PodScheduled") {
        Some(c) => *c = condition,
        None => all.push(condition),
    }
}
