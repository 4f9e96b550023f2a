//! ConfigMaps and Secrets (upstream: ValidateConfigMap, ValidateSecret).
use super::meta::too_long;
use super::{Context, Strategy, names, standard, tree};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keelson_machinery::status::FieldError;
use serde_json::Value;
use tree::{entries, immutable, invalid_each, same, text};

/// All values of a ConfigMap or a Secret together.
pub const DATA_BYTES_MAX: usize = 1024 * 1024;

/// Bytes that base64 text stands for.
fn decoded_len(v: &Value) -> usize {
    let s = text(v).trim_end_matches('=');
    s.len() * 3 / 4
}

fn keys(object: &Value, field: &str, errors: &mut Vec<FieldError>) {
    for (k, _) in entries(&object[field]) {
        invalid_each(&format!("{field}[{k}]"), k, names::config_key(k), errors);
    }
}

fn immutable_when_set(object: &Value, old: &Value, fields: &[&str], errors: &mut Vec<FieldError>) {
    if old["immutable"].as_bool() != Some(true) {
        return;
    }
    let why = "field is immutable when `immutable` is set";
    if object["immutable"].as_bool() != Some(true) {
        errors.push(FieldError::forbidden("immutable", why));
    }
    for f in fields {
        if !same(&object[*f], &old[*f]) {
            errors.push(FieldError::forbidden(*f, why));
        }
    }
}

pub struct ConfigMap;

impl Strategy for ConfigMap {
    fn validate(&self, _c: &Context<'_>, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        keys(object, "data", &mut errors);
        for (k, _) in entries(&object["data"]) {
            if !object["binaryData"][k].is_null() {
                let why = "duplicate of key present in binaryData";
                errors.push(FieldError::invalid(format!("data[{k}]"), &k.as_str().into(), why));
            }
        }
        keys(object, "binaryData", &mut errors);
        let plain: usize = entries(&object["data"]).map(|(_, v)| text(v).len()).sum();
        let binary: usize = entries(&object["binaryData"]).map(|(_, v)| decoded_len(v)).sum();
        if plain + binary > DATA_BYTES_MAX {
            errors.push(too_long("[]", DATA_BYTES_MAX));
        }
        errors
    }

    fn validate_update(&self, c: &Context<'_>, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        immutable_when_set(object, old, &["data", "binaryData"], &mut errors);
        errors.extend(self.validate(c, object));
        errors
    }
}

pub struct Secret;

/// `stringData` is a convenience of writers: it goes into `data` and is never stored.
fn merge_string_data(secret: &mut Value) {
    let Some(strings) = secret.as_object_mut().and_then(|o| o.remove("stringData")) else {
        return;
    };
    let Value::Object(strings) = strings else { return };
    if strings.is_empty() {
        return;
    }
    if let Some(data) = tree::child(secret, "data") {
        for (k, v) in strings {
            data.insert(k, STANDARD.encode(text(&v)).into());
        }
    }
}

impl Strategy for Secret {
    fn prepare_for_create(&self, c: &Context<'_>, object: &mut Value) {
        standard::prepare_for_create(c, object);
        merge_string_data(object);
    }

    fn prepare_for_update(&self, c: &Context<'_>, object: &mut Value, old: &Value) {
        standard::prepare_for_update(c, object, old);
        merge_string_data(object);
        // Upstream: an update may leave the type out.
        if text(&object["type"]).is_empty() {
            tree::keep(object, old, "type");
        }
    }

    fn validate(&self, _c: &Context<'_>, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let (e, data) = (&mut errors, &object["data"]);
        keys(object, "data", e);
        if entries(data).map(|(_, v)| decoded_len(v)).sum::<usize>() > DATA_BYTES_MAX {
            e.push(too_long("data", DATA_BYTES_MAX));
        }
        let mut required = |key: &str| {
            if data[key].is_null() {
                e.push(FieldError::required(format!("data[{key}]"), ""));
            }
        };
        match text(&object["type"]) {
            "kubernetes.io/service-account-token" => {
                let key = "kubernetes.io/service-account.name";
                if text(&object["metadata"]["annotations"][key]).is_empty() {
                    e.push(FieldError::required(format!("metadata.annotations[{key}]"), ""));
                }
            }
            "kubernetes.io/dockercfg" => {
                required(".dockercfg");
                is_json(data, ".dockercfg", e);
            }
            "kubernetes.io/dockerconfigjson" => {
                required(".dockerconfigjson");
                is_json(data, ".dockerconfigjson", e);
            }
            "kubernetes.io/basic-auth" if data["username"].is_null() && data["password"].is_null() => {
                required("username");
                required("password");
            }
            "kubernetes.io/ssh-auth" if text(&data["ssh-privatekey"]).is_empty() => {
                e.push(FieldError::required("data[ssh-privatekey]", ""));
            }
            "kubernetes.io/tls" => {
                required("tls.crt");
                required("tls.key");
            }
            _ => {}
        }
        errors
    }

    fn validate_update(&self, c: &Context<'_>, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        immutable("type", &object["type"], &old["type"], &mut errors);
        immutable_when_set(object, old, &["data"], &mut errors);
        errors.extend(self.validate(c, object));
        errors
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["type"]
    }
}

fn is_json(data: &Value, key: &str, errors: &mut Vec<FieldError>) {
    let Some(bytes) = data[key].as_str().and_then(|s| STANDARD.decode(s).ok()) else {
        return;
    };
    if let Err(why) = serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes) {
        let shown = Value::from("<secret contents redacted>");
        errors.push(FieldError::invalid(format!("data[{key}]"), &shown, &why.to_string()));
    }
}
