//! Volumes of a pod and their mounts.
use super::super::{names, tree};
use super::container::not_found;
use keelson_machinery::status::FieldError;
use serde_json::Value;
use std::collections::HashSet;
use tree::{invalid_each, items, text};

const SOURCES: [&str; 30] = [
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];
const HOST_PATH_TYPES: [&str; 7] = [
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
];

/// Checks the volumes and answers with the names that mounts may use.
pub fn volumes<'a>(v: &'a Value, field: &str, errors: &mut Vec<FieldError>) -> HashSet<&'a str> {
    let mut known = HashSet::new();
    for (i, volume) in items(v).iter().enumerate() {
        let path = format!("{field}[{i}]");
        let before = errors.len();
        source(volume, &path, errors);
        let name = text(&volume["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        } else {
            invalid_each(&format!("{path}.name"), name, names::dns_label(name), errors);
        }
        if known.contains(name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), &volume["name"]));
        }
        if errors.len() == before {
            known.insert(name);
        }
    }
    known
}

fn source(volume: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let mut found = 0;
    for kind in SOURCES {
        let s = &volume[kind];
        if !s.is_object() {
            continue;
        }
        found += 1;
        let at = format!("{path}.{kind}");
        if found > 1 {
            errors.push(FieldError::forbidden(at, "may not specify more than 1 volume type"));
            continue;
        }
        let required = |key: &str, errors: &mut Vec<FieldError>| {
            if text(&s[key]).is_empty() {
                errors.push(FieldError::required(format!("{at}.{key}"), ""));
            }
        };
        match kind {
            "hostPath" => host_path(s, &at, errors),
            "secret" => {
                required("secretName", errors);
                mode(&s["defaultMode"], &format!("{at}.defaultMode"), errors);
                key_paths(&s["items"], &format!("{at}.items"), errors);
            }
            "configMap" => {
                required("name", errors);
                mode(&s["defaultMode"], &format!("{at}.defaultMode"), errors);
                key_paths(&s["items"], &format!("{at}.items"), errors);
            }
            "downwardAPI" => {
                mode(&s["defaultMode"], &format!("{at}.defaultMode"), errors);
                downward(&s["items"], &at, errors);
            }
            "persistentVolumeClaim" => required("claimName", errors),
            "csi" => required("driver", errors),
            "nfs" => {
                required("server", errors);
                required("path", errors);
            }
            "projected" => projected(s, &at, errors),
            _ => {}
        }
    }
    if found == 0 {
        errors.push(FieldError::required(path, "must specify a volume type"));
    }
}

fn host_path(s: &Value, at: &str, errors: &mut Vec<FieldError>) {
    let path = text(&s["path"]);
    if path.is_empty() {
        errors.push(FieldError::required(format!("{at}.path"), ""));
    } else if path.split('/').any(|p| p == "..") {
        let why = "must not contain '..'";
        errors.push(FieldError::invalid(format!("{at}.path"), &s["path"], why));
    }
    let kind = text(&s["type"]);
    if !kind.is_empty() && !HOST_PATH_TYPES.contains(&kind) {
        let at = format!("{at}.type");
        errors.push(FieldError::not_supported(at, &s["type"], &HOST_PATH_TYPES));
    }
}

fn mode(v: &Value, field: &str, errors: &mut Vec<FieldError>) {
    if v.as_i64().is_some_and(|m| !(0..=0o777).contains(&m)) {
        let why = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.push(FieldError::invalid(field, v, why));
    }
}

fn key_paths(v: &Value, field: &str, errors: &mut Vec<FieldError>) {
    for (i, item) in items(v).iter().enumerate() {
        let path = format!("{field}[{i}]");
        if text(&item["key"]).is_empty() {
            errors.push(FieldError::required(format!("{path}.key"), ""));
        }
        if text(&item["path"]).is_empty() {
            errors.push(FieldError::required(format!("{path}.path"), ""));
        }
        descending(text(&item["path"]), &format!("{path}.path"), errors);
        mode(&item["mode"], &format!("{path}.mode"), errors);
    }
}

fn downward(v: &Value, at: &str, errors: &mut Vec<FieldError>) {
    for f in items(v) {
        if text(&f["path"]).is_empty() {
            errors.push(FieldError::required(format!("{at}.path"), ""));
        }
        descending(text(&f["path"]), &format!("{at}.path"), errors);
        match (f["fieldRef"].is_object(), f["resourceFieldRef"].is_object()) {
            (true, true) => {
                let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.push(FieldError::invalid(at, &"resource".into(), why));
            }
            (false, false) => {
                let why = "one of fieldRef and resourceFieldRef is required";
                errors.push(FieldError::required(format!("{at}.fieldRef"), why));
            }
            _ => {}
        }
        mode(&f["mode"], &format!("{at}.mode"), errors);
    }
}

fn projected(s: &Value, at: &str, errors: &mut Vec<FieldError>) {
    mode(&s["defaultMode"], &format!("{at}.defaultMode"), errors);
    let kinds = [
        "secret",
        "configMap",
        "downwardAPI",
        "serviceAccountToken",
        "clusterTrustBundle",
        "podCertificate",
    ];
    for (i, source) in items(&s["sources"]).iter().enumerate() {
        let path = format!("{at}.sources[{i}]");
        let found: Vec<&str> = kinds.iter().filter(|k| source[**k].is_object()).copied().collect();
        if found.len() > 1 {
            errors.push(FieldError::forbidden(
                path.clone(),
                "may not specify more than 1 volume type",
            ));
        }
        if found.is_empty() {
            errors.push(FieldError::required(path.clone(), "must specify a volume type"));
        }
        for kind in ["secret", "configMap"] {
            let p = &source[kind];
            if p.is_object() {
                if text(&p["name"]).is_empty() {
                    errors.push(FieldError::required(format!("{path}.{kind}.name"), ""));
                }
                key_paths(&p["items"], &format!("{path}.{kind}.items"), errors);
            }
        }
        downward(&source["downwardAPI"]["items"], &format!("{path}.downwardAPI"), errors);
        let token = &source["serviceAccountToken"];
        if token.is_object() {
            let path = format!("{path}.serviceAccountToken");
            let seconds = token["expirationSeconds"].as_i64().unwrap_or(3600);
            if seconds < 600 {
                let why = "may not specify a duration less than 10 minutes";
                errors.push(FieldError::invalid(
                    format!("{path}.expirationSeconds"),
                    &seconds.into(),
                    why,
                ));
            }
            if text(&token["path"]).is_empty() {
                errors.push(FieldError::required(format!("{path}.path"), ""));
            }
        }
    }
}

fn descending(path: &str, field: &str, errors: &mut Vec<FieldError>) {
    if path.starts_with('/') {
        errors.push(FieldError::invalid(field, &path.into(), "must be a relative path"));
    }
    if path.split('/').any(|p| p == "..") {
        errors.push(FieldError::invalid(field, &path.into(), "must not contain '..'"));
    }
}

pub fn mounts(container: &Value, field: &str, volumes: &HashSet<&str>, errors: &mut Vec<FieldError>) {
    let mut seen = HashSet::new();
    for (i, m) in items(&container["volumeMounts"]).iter().enumerate() {
        let path = format!("{field}[{i}]");
        let (name, at) = (text(&m["name"]), text(&m["mountPath"]));
        if name.is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        }
        if !volumes.contains(name) {
            errors.push(not_found(format!("{path}.name"), name));
        }
        if at.is_empty() {
            errors.push(FieldError::required(format!("{path}.mountPath"), ""));
        }
        if !seen.insert(at) {
            errors.push(FieldError::invalid(
                format!("{path}.mountPath"),
                &m["mountPath"],
                "must be unique",
            ));
        }
        descending(text(&m["subPath"]), &format!("{field}.subPath"), errors);
        if !text(&m["subPathExpr"]).is_empty() {
            if !text(&m["subPath"]).is_empty() {
                let why = "subPathExpr and subPath are mutually exclusive";
                errors.push(FieldError::invalid(
                    format!("{path}.subPathExpr"),
                    &m["subPathExpr"],
                    why,
                ));
            }
            descending(text(&m["subPathExpr"]), &format!("{field}.subPathExpr"), errors);
        }
    }
}
