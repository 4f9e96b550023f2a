//! ServiceAccount: every pod runs as one, and finds its token, the cluster's CA and its namespace in a
//! projected volume (upstream: plugin/pkg/admission/serviceaccount).
use super::{Operation, Plugin, Request, core_object};
use crate::auth::tokens::WARN_ONLY_LIFETIME_SECONDS;
use crate::kinds::tree::{child, items, set, text};
use crate::objects::{Change, Objects};
use keelson_machinery::{resources, status::ApiError};
use rand::Rng;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";
/// How long a pod in a namespace just made waits for its default account.
const DEFAULT_ACCOUNT_WAIT: Duration = Duration::from_secs(2);

pub struct ServiceAccount {
    objects: Arc<dyn Objects>,
}

impl ServiceAccount {
    pub fn new(objects: Arc<dyn Objects>) -> Self {
        ServiceAccount { objects }
    }

    async fn account(&self, namespace: &str, name: &str) -> Result<Option<Value>, ApiError> {
        let found = core_object(&self.objects, "serviceaccounts", namespace, name).await?;
        if found.is_some() || name != "default" {
            return Ok(found);
        }
        // The controller that makes it may be a moment behind: its watch tells when it is there.
        let resource = resources::by_resource("", "v1", "serviceaccounts")
            .ok_or_else(|| ApiError::internal("no such resource: serviceaccounts"))?;
        let mut changes = self.objects.watch(resource).await?;
        let wanted = |o: &Value| text(&o["metadata"]["namespace"]) == namespace && text(&o["metadata"]["name"]) == name;
        let wait = async {
            while let Some(c) = changes.recv().await {
                let candidates = match c {
                    Change::Reset(list) => list,
                    Change::Put(o) => vec![o],
                    Change::Deleted(_) => continue,
                };
                if let Some(o) = candidates.into_iter().find(&wanted) {
                    return Some(o);
                }
            }
            None
        };
        Ok(tokio::time::timeout(DEFAULT_ACCOUNT_WAIT, wait).await.ok().flatten())
    }
}

fn is_mirror(pod: &Value) -> bool {
    pod["metadata"]["annotations"][MIRROR_ANNOTATION].is_string()
}

#[async_trait::async_trait]
impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    async fn mutate(&self, r: &Request<'_>, pod: &mut Value) -> Result<(), ApiError> {
        if !r.is("", "pods", "") || r.operation != Operation::Create {
            return Ok(());
        }
        if is_mirror(pod) {
            return self.validate(r, pod).await;
        }
        if text(&pod["spec"]["serviceAccountName"]).is_empty() {
            set(pod, "spec", "serviceAccountName", "default".into());
        }
        let name = text(&pod["spec"]["serviceAccountName"]).to_owned();
        // The deprecated field mirrors the one in use.
        set(pod, "spec", "serviceAccount", name.as_str().into());
        let Some(account) = self.account(r.namespace, &name).await? else {
            let why = format!(
                "error looking up service account {}/{name}: serviceaccount {name:?} not found",
                r.namespace
            );
            return Err(r.forbidden(pod, &why));
        };
        let automount = pod["spec"]["automountServiceAccountToken"]
            .as_bool()
            .or_else(|| account["automountServiceAccountToken"].as_bool())
            .unwrap_or(true);
        if automount {
            mount_token(pod);
        }
        if items(&pod["spec"]["imagePullSecrets"]).is_empty() && !items(&account["imagePullSecrets"]).is_empty() {
            set(pod, "spec", "imagePullSecrets", account["imagePullSecrets"].clone());
        }
        Ok(())
    }

    async fn validate(&self, r: &Request<'_>, pod: &Value) -> Result<(), ApiError> {
        if !r.is("", "pods", "") || r.operation != Operation::Create {
            return Ok(());
        }
        let account = text(&pod["spec"]["serviceAccountName"]);
        if !is_mirror(pod) {
            if account.is_empty() {
                let name = text(&pod["metadata"]["name"]);
                let why = format!("no service account specified for pod {}/{name}", r.namespace);
                return Err(r.forbidden(pod, &why));
            }
            return Ok(());
        }
        if !account.is_empty() {
            return Err(r.forbidden(pod, "a mirror pod may not reference service accounts"));
        }
        let volumes = items(&pod["spec"]["volumes"]);
        if volumes.iter().any(|v| v["secret"].is_object()) {
            return Err(r.forbidden(pod, "a mirror pod may not reference secrets"));
        }
        let projects_token = |v: &Value| {
            items(&v["projected"]["sources"])
                .iter()
                .any(|s| s["serviceAccountToken"].is_object())
        };
        if volumes.iter().any(projects_token) {
            let why = "a mirror pod may not use ServiceAccountToken volume projections";
            return Err(r.forbidden(pod, why));
        }
        Ok(())
    }
}

/// Five characters without vowels and look-alikes, as upstream's name generator.
pub fn random_suffix() -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut rng = rand::rng();
    let one = |_| {
        char::from(
            ALPHABET
                .get(rng.random_range(0..ALPHABET.len()))
                .copied()
                .unwrap_or(b'x'),
        )
    };
    (0..5).map(one).collect()
}

fn mount_token(pod: &mut Value) {
    let existing = items(&pod["spec"]["volumes"])
        .iter()
        .map(|v| text(&v["name"]))
        .find(|n| n.starts_with(VOLUME_PREFIX))
        .map(str::to_owned);
    let has_volume = existing.is_some();
    let name = existing.unwrap_or_else(|| format!("{VOLUME_PREFIX}{}", random_suffix()));
    let mut needed = false;
    for list in ["initContainers", "containers"] {
        let Some(containers) = pod
            .get_mut("spec")
            .and_then(|s| s.get_mut(list))
            .and_then(Value::as_array_mut)
        else {
            continue;
        };
        for c in containers {
            if items(&c["volumeMounts"])
                .iter()
                .any(|m| text(&m["mountPath"]) == MOUNT_PATH)
            {
                continue;
            }
            let mut mounts = items(&c["volumeMounts"]).to_vec();
            mounts.push(json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH}));
            if let Some(c) = c.as_object_mut() {
                c.insert("volumeMounts".into(), mounts.into());
                needed = true;
            }
        }
    }
    if has_volume || !needed {
        return;
    }
    let volume = json!({"name": name, "projected": {"defaultMode": 0o644, "sources": [
        {"serviceAccountToken": {"expirationSeconds": WARN_ONLY_LIFETIME_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}});
    let mut volumes = items(&pod["spec"]["volumes"]).to_vec();
    volumes.push(volume);
    if let Some(spec) = child(pod, "spec") {
        spec.insert("volumes".into(), volumes.into());
    }
}
