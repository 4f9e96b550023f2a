//! The user's kubeconfig: a cluster, a user and a context are merged in, nothing else is touched.

use crate::fail::{Context, Failure, Result};
use crate::layout::write_private;
use base64::Engine;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// What a kubeconfig says of one cluster.
pub struct Entry<'a> {
    pub name: &'a str,
    pub server: &'a str,
    pub ca: &'a [u8],
    pub cert: &'a [u8],
    pub key: &'a [u8],
}

/// First file of `$KUBECONFIG`, else `~/.kube/config`.
pub fn default_path() -> PathBuf {
    let named = std::env::var_os("KUBECONFIG").unwrap_or_default();
    if let Some(first) = std::env::split_paths(&named).find(|p| !p.as_os_str().is_empty()) {
        return first;
    }
    let home = std::env::var_os("HOME")
        .map(PathBuf::from)
        .unwrap_or_else(|| "/root".into());
    home.join(".kube/config")
}

fn parse(path: &Path) -> Result<Value> {
    match fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => Ok(json!({})),
        Ok(text) => serde_saphyr::from_str::<Value>(&text).context(|| {
            format!(
                "parse {} (mend it or set KUBECONFIG to another file; it was left as it is)",
                path.display()
            )
        }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(json!({})),
        Err(e) => Err(Failure::new(format!("read {}: {e}", path.display()))),
    }
}

fn upsert(config: &mut Value, list: &str, field: &str, name: &str, body: Value) {
    let entry = json!({"name": name, field: body});
    if !config[list].is_array() {
        config[list] = json!([]);
    }
    let Some(items) = config[list].as_array_mut() else {
        return;
    };
    match items.iter_mut().find(|i| i["name"] == name) {
        Some(i) => *i = entry,
        None => items.push(entry),
    }
}

fn save(path: &Path, config: &Value) -> Result<()> {
    // A link (dotfiles kept elsewhere) stays a link: the file behind it is what is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if let Some(dir) = target.parent().filter(|d| !d.as_os_str().is_empty() && !d.exists()) {
        fs::create_dir_all(dir).context(|| format!("create folder {}", dir.display()))?;
    }
    let text = serde_saphyr::to_string(config).context(|| "write YAML")?;
    write_private(&target, text.as_bytes())
}

fn apply(config: &mut Value, e: &Entry<'_>) -> Result<()> {
    if !config.is_object() {
        return Err(Failure::new("the kubeconfig is not a mapping"));
    }
    let b64 = |b: &[u8]| base64::engine::general_purpose::STANDARD.encode(b);
    config["apiVersion"] = "v1".into();
    config["kind"] = "Config".into();
    upsert(
        config,
        "clusters",
        "cluster",
        e.name,
        json!({"server": e.server, "certificate-authority-data": b64(e.ca)}),
    );
    let user = json!({"client-certificate-data": b64(e.cert), "client-key-data": b64(e.key)});
    upsert(config, "users", "user", e.name, user);
    upsert(
        config,
        "contexts",
        "context",
        e.name,
        json!({"cluster": e.name, "user": e.name}),
    );
    config["current-context"] = e.name.into();
    Ok(())
}

/// Adds or renews the entry and makes its context the current one, as `kind` does.
pub fn merge(path: &Path, e: &Entry<'_>) -> Result<()> {
    let mut config = parse(path)?;
    apply(&mut config, e)?;
    save(path, &config)
}

/// A file of its own, for one cluster.
pub fn write(path: &Path, e: &Entry<'_>) -> Result<()> {
    let mut config = json!({});
    apply(&mut config, e)?;
    save(path, &config)
}

/// Takes the entry out again; the current context is cleared when it was this one.
pub fn remove(path: &Path, name: &str) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let mut config = parse(path)?;
    for list in ["clusters", "users", "contexts"] {
        if let Some(items) = config[list].as_array_mut() {
            items.retain(|i| i["name"] != name);
        }
    }
    if config["current-context"] == name {
        config["current-context"] = "".into();
    }
    save(path, &config)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn entry(name: &str) -> Entry<'_> {
        Entry {
            name,
            server: "https://127.0.0.1:6443",
            ca: b"ca",
            cert: b"cert",
            key: b"key",
        }
    }

    #[test]
    fn merging_keeps_what_the_user_had_and_removal_takes_only_ours() {
        let dir = tempfile::tempdir().unwrap();
        let f = dir.path().join("config");
        fs::write(
            &f,
            "apiVersion: v1\nkind: Config\ncurrent-context: mine\npreferences: {colors: true}\nclusters:\n- name: mine\n  cluster: {server: 'https://x', extra: 1}\nusers: null\n",
        )
        .unwrap();
        merge(&f, &entry("keelson")).unwrap();
        merge(&f, &entry("keelson")).unwrap();
        let v = parse(&f).unwrap();
        assert_eq!(v["clusters"][0]["cluster"]["extra"], 1);
        assert_eq!(v["clusters"].as_array().unwrap().len(), 2);
        assert_eq!(v["users"].as_array().unwrap().len(), 1);
        assert_eq!(v["current-context"], "keelson");
        assert_eq!(v["preferences"]["colors"], true);
        remove(&f, "keelson").unwrap();
        let v = parse(&f).unwrap();
        assert_eq!(v["clusters"].as_array().unwrap().len(), 1);
        assert_eq!(v["current-context"], "");
    }

    #[test]
    fn a_file_that_does_not_parse_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let f = dir.path().join("config");
        fs::write(&f, "clusters: [").unwrap();
        assert!(merge(&f, &entry("keelson")).is_err());
        assert_eq!(fs::read_to_string(&f).unwrap(), "clusters: [");
    }
}
