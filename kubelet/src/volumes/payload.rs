//! The files of configMap, secret, downwardAPI and projected volumes.
use super::atomic::{FileEntry, Payload};
use crate::agent::Agent;
use crate::objects::ObjectKey;
use crate::pod::fields::{self, Facts};
use crate::pod::{PodExt, security};
use crate::{Error, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, DownwardAPIVolumeFile, KeyToPath, Pod, ProjectedVolumeSource, Secret,
    ServiceAccountTokenProjection, Volume,
};
use std::collections::{BTreeMap, BTreeSet};

const MODE_DEFAULT: i32 = 0o644;

/// A volume's files, and when they must be looked at again.
#[derive(Debug, Default)]
pub struct Gathered {
    pub files: Payload,
    pub renew_at: Option<Timestamp>,
}

/// `None` for volumes of other kinds.
pub async fn gather(agent: &Agent, pod: &Pod, volume: &Volume, facts: &Facts) -> Result<Option<Gathered>> {
    let mut out = Gathered::default();
    if let Some(s) = &volume.config_map {
        let object = agent.objects.config_map(pod.namespace(), &s.name).await?;
        let mode = s.default_mode.unwrap_or(MODE_DEFAULT);
        let object = present(object, s.optional, || format!("configmap {:?} not found", s.name))?;
        let data = object.as_deref().map(config_map_data).unwrap_or_default();
        put(&mut out.files, data, s.items.as_deref(), mode, s.optional)?;
    } else if let Some(s) = &volume.secret {
        let name = s.secret_name.as_deref().unwrap_or_default();
        let object = agent.objects.secret(pod.namespace(), name).await?;
        let mode = s.default_mode.unwrap_or(MODE_DEFAULT);
        let object = present(object, s.optional, || format!("secret {name:?} not found"))?;
        let data = object.as_deref().map(secret_data).unwrap_or_default();
        put(&mut out.files, data, s.items.as_deref(), mode, s.optional)?;
    } else if let Some(s) = &volume.downward_api {
        let mode = s.default_mode.unwrap_or(MODE_DEFAULT);
        downward(&mut out.files, pod, s.items.as_deref(), mode, facts)?;
    } else if let Some(s) = &volume.projected {
        projected(agent, pod, s, facts, &mut out).await?;
    } else {
        return Ok(None);
    }
    Ok(Some(out))
}

async fn projected(
    agent: &Agent,
    pod: &Pod,
    volume: &ProjectedVolumeSource,
    facts: &Facts,
    out: &mut Gathered,
) -> Result<()> {
    let mode = volume.default_mode.unwrap_or(MODE_DEFAULT);
    for source in volume.sources.iter().flatten() {
        if let Some(s) = &source.config_map {
            let object = agent.objects.config_map(pod.namespace(), &s.name).await?;
            let object = present(object, s.optional, || format!("configmap {:?} not found", s.name))?;
            let data = object.as_deref().map(config_map_data).unwrap_or_default();
            put(&mut out.files, data, s.items.as_deref(), mode, s.optional)?;
        } else if let Some(s) = &source.secret {
            let object = agent.objects.secret(pod.namespace(), &s.name).await?;
            let object = present(object, s.optional, || format!("secret {:?} not found", s.name))?;
            let data = object.as_deref().map(secret_data).unwrap_or_default();
            put(&mut out.files, data, s.items.as_deref(), mode, s.optional)?;
        } else if let Some(s) = &source.downward_api {
            downward(&mut out.files, pod, s.items.as_deref(), mode, facts)?;
        } else if let Some(s) = &source.service_account_token {
            token(agent, pod, s, mode, out).await?;
        } else {
            return Err(Error::Config("unsupported source of a projected volume".into()));
        }
    }
    Ok(())
}

async fn token(
    agent: &Agent,
    pod: &Pod,
    projection: &ServiceAccountTokenProjection,
    mode: i32,
    out: &mut Gathered,
) -> Result<()> {
    let token = agent.tokens.get(pod, projection).await?;
    out.renew_at = Some(out.renew_at.map_or(token.renew_at, |t| t.min(token.renew_at)));
    // A token is for the pod's user alone where that user is known (upstream: projected.go, collectData).
    let group = pod.spec().security_context.as_ref().and_then(|s| s.fs_group);
    let user = sole_user(pod);
    let mode = if group.is_some() || user.is_some() { 0o600 } else { mode };
    let entry = FileEntry {
        data: token.text.into_bytes(),
        mode: file_mode(mode),
        uid: user.and_then(|u| u32::try_from(u).ok()),
    };
    out.files.insert(projection.path.clone(), entry);
    Ok(())
}

/// The user of all containers, when it is one and the same.
fn sole_user(pod: &Pod) -> Option<i64> {
    let all = pod.spec().containers.iter().chain(pod.init_containers());
    let users: BTreeSet<Option<i64>> = all.map(|c| security::effective_user(pod, c)).collect();
    match users.len() {
        1 => users.into_iter().next().flatten(),
        _ => None,
    }
}

fn present<T>(object: Option<T>, optional: Option<bool>, missing: impl FnOnce() -> String) -> Result<Option<T>> {
    match (object, optional) {
        (None, Some(true)) => Ok(None),
        (None, _) => Err(Error::Config(missing())),
        (found, _) => Ok(found),
    }
}

fn config_map_data(c: &ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let text = c
        .data
        .iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.clone().into_bytes()));
    let binary = c.binary_data.iter().flatten().map(|(k, v)| (k.clone(), v.0.clone()));
    text.chain(binary).collect()
}

fn secret_data(s: &Secret) -> BTreeMap<String, Vec<u8>> {
    s.data.iter().flatten().map(|(k, v)| (k.clone(), v.0.clone())).collect()
}

fn file_mode(mode: i32) -> u32 {
    u32::try_from(mode).unwrap_or(0o644) & 0o7777
}

fn put(
    files: &mut Payload,
    mut data: BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
    mode: i32,
    optional: Option<bool>,
) -> Result<()> {
    let entry = |data, mode| FileEntry {
        data,
        mode: file_mode(mode),
        uid: None,
    };
    match items.filter(|i| !i.is_empty()) {
        None => files.extend(data.into_iter().map(|(k, v)| (k, entry(v, mode)))),
        Some(items) => {
            for item in items {
                match data.get_mut(&item.key) {
                    Some(v) => {
                        files.insert(item.path.clone(), entry(v.clone(), item.mode.unwrap_or(mode)));
                    }
                    None if optional == Some(true) => {}
                    None => {
                        return Err(Error::Config(format!(
                            "references non-existent config key: {}",
                            item.key
                        )));
                    }
                }
            }
        }
    }
    Ok(())
}

fn downward(
    files: &mut Payload,
    pod: &Pod,
    items: Option<&[DownwardAPIVolumeFile]>,
    mode: i32,
    facts: &Facts,
) -> Result<()> {
    for item in items.unwrap_or_default() {
        let text = match (&item.field_ref, &item.resource_field_ref) {
            (Some(f), _) => fields::field(pod, &f.field_path, facts),
            // A volume's selector always names its container.
            (None, Some(r)) => fields::resource(pod, &Container::default(), r, facts),
            (None, None) => Ok(String::new()),
        };
        let entry = FileEntry {
            data: text.map_err(Error::Config)?.into_bytes(),
            mode: file_mode(item.mode.unwrap_or(mode)),
            uid: None,
        };
        files.insert(item.path.clone(), entry);
    }
    Ok(())
}

/// Every object that a pod's volumes, environment and pull secrets refer to.
pub fn references(pod: &Pod) -> BTreeSet<ObjectKey> {
    let namespace = pod.namespace().to_owned();
    let config_map = |name: &str| ObjectKey::ConfigMap {
        namespace: namespace.clone(),
        name: name.to_owned(),
    };
    let secret = |name: &str| ObjectKey::Secret {
        namespace: namespace.clone(),
        name: name.to_owned(),
    };
    let spec = pod.spec();
    let mut keys = BTreeSet::new();
    for v in spec.volumes.iter().flatten() {
        keys.extend(v.config_map.iter().map(|s| config_map(&s.name)));
        keys.extend(v.secret.iter().filter_map(|s| s.secret_name.as_deref()).map(secret));
        for s in v.projected.iter().filter_map(|p| p.sources.as_ref()).flatten() {
            keys.extend(s.config_map.iter().map(|s| config_map(&s.name)));
            keys.extend(s.secret.iter().map(|s| secret(&s.name)));
        }
    }
    for c in spec.containers.iter().chain(pod.init_containers()) {
        for e in c.env_from.iter().flatten() {
            keys.extend(e.config_map_ref.iter().map(|r| config_map(&r.name)));
            keys.extend(e.secret_ref.iter().map(|r| secret(&r.name)));
        }
        for v in c.env.iter().flatten().filter_map(|e| e.value_from.as_ref()) {
            keys.extend(v.config_map_key_ref.iter().map(|r| config_map(&r.name)));
            keys.extend(v.secret_key_ref.iter().map(|r| secret(&r.name)));
        }
    }
    keys.extend(spec.image_pull_secrets.iter().flatten().map(|r| secret(&r.name)));
    keys
}
