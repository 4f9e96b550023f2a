//! The environment of one container (upstream: pkg/kubelet/kubelet_pods.go, makeEnvironmentVariables).
use crate::agent::Agent;
use crate::pod::fields::{self, Facts};
use crate::pod::{PodExt, expand, services};
use k8s_openapi::api::core::v1::{Container, EnvVarSource, Pod, Service};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const SERVICES_SYNC_TIMEOUT: Duration = Duration::from_secs(10);

/// All variables by name. An error is told as CreateContainerConfigError.
pub async fn variables(
    agent: &Agent,
    pod: &Pod,
    c: &Container,
    facts: &Facts,
) -> Result<BTreeMap<String, String>, String> {
    let services = service_variables(agent, pod).await?;
    let mut own: BTreeMap<String, String> = BTreeMap::new();
    for from in c.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        if let Some(r) = &from.config_map_ref {
            match agent
                .objects
                .config_map(pod.namespace(), &r.name)
                .await
                .map_err(|e| e.to_string())?
            {
                Some(map) => {
                    let data = map.data.iter().flatten();
                    own.extend(data.map(|(k, v)| (format!("{prefix}{k}"), v.clone())));
                }
                None if r.optional == Some(true) => {}
                None => return Err(format!("configmap {:?} not found", r.name)),
            }
        } else if let Some(r) = &from.secret_ref {
            match agent
                .objects
                .secret(pod.namespace(), &r.name)
                .await
                .map_err(|e| e.to_string())?
            {
                Some(secret) => {
                    for (k, v) in secret.data.iter().flatten() {
                        own.insert(format!("{prefix}{k}"), String::from_utf8_lossy(&v.0).into_owned());
                    }
                }
                None if r.optional == Some(true) => {}
                None => return Err(format!("secret {:?} not found", r.name)),
            }
        }
    }
    for e in c.env.iter().flatten() {
        let value = match (&e.value, &e.value_from) {
            (Some(v), _) if !v.is_empty() => {
                let get = |n: &str| own.get(n).or_else(|| services.get(n)).map(String::as_str);
                Some(expand::expand(v, get))
            }
            (_, Some(source)) => referenced(agent, pod, c, source, facts).await?,
            _ => Some(String::new()),
        };
        // An optional reference without a target leaves the variable unset.
        if let Some(value) = value {
            own.insert(e.name.clone(), value);
        }
    }
    for (k, v) in services {
        own.entry(k).or_insert(v);
    }
    Ok(own)
}

async fn referenced(
    agent: &Agent,
    pod: &Pod,
    c: &Container,
    source: &EnvVarSource,
    facts: &Facts,
) -> Result<Option<String>, String> {
    let namespace = pod.namespace();
    if let Some(f) = &source.field_ref {
        return fields::field(pod, &f.field_path, facts).map(Some);
    }
    if let Some(r) = &source.resource_field_ref {
        return fields::resource(pod, c, r, facts).map(Some);
    }
    if let Some(r) = &source.config_map_key_ref {
        let map = agent
            .objects
            .config_map(namespace, &r.name)
            .await
            .map_err(|e| e.to_string())?;
        let optional = r.optional == Some(true);
        let Some(map) = map else {
            return if optional {
                Ok(None)
            } else {
                Err(format!("configmap {:?} not found", r.name))
            };
        };
        return match map.data.as_ref().and_then(|d| d.get(&r.key)) {
            Some(v) => Ok(Some(v.clone())),
            None if optional => Ok(None),
            None => Err(format!(
                "couldn't find key {} in ConfigMap {namespace}/{}",
                r.key, r.name
            )),
        };
    }
    if let Some(r) = &source.secret_key_ref {
        let secret = agent
            .objects
            .secret(namespace, &r.name)
            .await
            .map_err(|e| e.to_string())?;
        let optional = r.optional == Some(true);
        let Some(secret) = secret else {
            return if optional {
                Ok(None)
            } else {
                Err(format!("secret {:?} not found", r.name))
            };
        };
        return match secret.data.as_ref().and_then(|d| d.get(&r.key)) {
            Some(v) => Ok(Some(String::from_utf8_lossy(&v.0).into_owned())),
            None if optional => Ok(None),
            None => Err(format!("couldn't find key {} in Secret {namespace}/{}", r.key, r.name)),
        };
    }
    Err("unsupported source of an environment variable".into())
}

/// `kubernetes` of the default namespace always; the pod's own namespace unless enableServiceLinks is off.
async fn service_variables(agent: &Agent, pod: &Pod) -> Result<BTreeMap<String, String>, String> {
    if tokio::time::timeout(SERVICES_SYNC_TIMEOUT, agent.services.wait_synced())
        .await
        .is_err()
    {
        return Err("services have not yet been read at least once, cannot construct envvars".into());
    }
    let store = agent.services.store();
    let mut all: Vec<Arc<Service>> = store.get("default/kubernetes").into_iter().collect();
    if pod.spec().enable_service_links != Some(false) {
        all.extend(store.list_namespace(pod.namespace()));
    }
    Ok(services::environment(all.iter().map(Arc::as_ref)))
}
