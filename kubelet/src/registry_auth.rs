//! Credentials for registries, from a pod's imagePullSecrets (upstream: pkg/credentialprovider).
use crate::agent::Agent;
use crate::pod::PodExt;
use base64::Engine;
use k8s_openapi::api::core::v1::{Pod, Secret};
use keelson_proto::cri as pb;
use serde::Deserialize;
use std::collections::BTreeMap;

const DOCKER_HUB: &str = "index.docker.io";
/// Tried one after another.
const CANDIDATES_MAX: usize = 16;

#[derive(Deserialize, Default)]
struct Login {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    auth: String,
    #[serde(default)]
    identitytoken: String,
}

#[derive(Deserialize, Default)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Login>,
}

/// What to try, in order; without a fitting secret the one entry is anonymous.
pub async fn candidates(agent: &Agent, pod: &Pod, image: &str) -> Vec<Option<pb::AuthConfig>> {
    let mut found = Vec::new();
    for reference in pod.spec().image_pull_secrets.iter().flatten() {
        match agent.objects.secret(pod.namespace(), &reference.name).await {
            Ok(Some(secret)) => found.extend(logins(&secret).into_iter().filter(|(r, _)| fits(r, image))),
            Ok(None) => agent.warning(
                pod,
                None,
                "FailedToRetrieveImagePullSecret",
                format!(
                    "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                    reference.name
                ),
            ),
            Err(e) => tracing::warn!(secret = reference.name, error = %e, "read an image pull secret"),
        }
    }
    // The most specific path first.
    found.sort_by_key(|(r, _)| std::cmp::Reverse(r.len()));
    let mut out: Vec<Option<pb::AuthConfig>> = found.into_iter().take(CANDIDATES_MAX).map(|(_, a)| Some(a)).collect();
    if out.is_empty() {
        out.push(None);
    }
    out
}

fn logins(secret: &Secret) -> Vec<(String, pb::AuthConfig)> {
    let get = |key: &str| secret.data.as_ref().and_then(|d| d.get(key)).map(|b| b.0.as_slice());
    let auths = match (get(".dockerconfigjson"), get(".dockercfg")) {
        (Some(json), _) => serde_json::from_slice::<DockerConfig>(json).unwrap_or_default().auths,
        (None, Some(json)) => serde_json::from_slice(json).unwrap_or_default(),
        (None, None) => BTreeMap::new(),
    };
    auths
        .into_iter()
        .map(|(registry, login)| (registry, auth(login)))
        .collect()
}

fn auth(login: Login) -> pb::AuthConfig {
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(login.auth.trim())
        .unwrap_or_default();
    let decoded = String::from_utf8(decoded).unwrap_or_default();
    let (user, password) = decoded.split_once(':').unwrap_or_default();
    let or = |own: String, other: &str| if own.is_empty() { other.to_owned() } else { own };
    pb::AuthConfig {
        username: or(login.username, user),
        password: or(login.password, password),
        identity_token: login.identitytoken,
        ..Default::default()
    }
}

fn registry_of(image: &str) -> String {
    let first = image.split('/').next().unwrap_or_default();
    let is_host = image.contains('/') && (first.contains('.') || first.contains(':') || first == "localhost");
    match is_host {
        true => image.to_owned(),
        false => format!("{DOCKER_HUB}/{image}"),
    }
}

fn fits(registry: &str, image: &str) -> bool {
    let bare = registry.trim_start_matches("https://").trim_start_matches("http://");
    let bare = bare
        .trim_end_matches('/')
        .trim_end_matches("/v1")
        .trim_end_matches("/v2");
    let image = registry_of(image);
    let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
    let (image_host, image_path) = image.split_once('/').unwrap_or((&image, ""));
    let host_fits = match host.strip_prefix("*.") {
        Some(suffix) => image_host.split_once('.').is_some_and(|(_, rest)| rest == suffix),
        None => host == image_host || (host == "docker.io" && image_host == DOCKER_HUB),
    };
    host_fits && image_path.starts_with(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_login_fits() {
        assert!(fits("https://index.docker.io/v1/", "busybox"));
        assert!(fits("ghcr.io", "ghcr.io/a/b:1"));
        assert!(fits("*.azurecr.io", "x.azurecr.io/a"));
        assert!(!fits("ghcr.io/other", "ghcr.io/a/b"));
        assert!(!fits("ghcr.io", "busybox"));
    }
}
