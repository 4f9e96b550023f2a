//! The configuration file: YAML (or JSON) with the flags' names as keys, and groups for TLS, discovery and sockets.
//!
//! Unlike etcd, a key that is not known is refused: a setting that nobody reads is a mistake. Keys of older versions
//! that can do nothing are told. Durations are whole nanoseconds, as etcd wants them.

use super::Loaded;
use super::set::set;
use super::table::{self, Flag, Kind};
use crate::notice::{Level, Notice};
use crate::settings::{Settings, Span};
use crate::urls::Url;
use serde_json::{Map, Value};
use std::path::Path;

/// Largest file read, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Flags that are no keys of the file.
const NOT_KEYS: [&str; 4] = ["config-file", "version", "raft-read-timeout", "raft-write-timeout"];
/// Keys that samples of older versions have.
const OUTDATED: [&str; 12] = [
    "discovery",
    "discovery-fallback",
    "discovery-proxy",
    "proxy",
    "proxy-failure-wait",
    "proxy-refresh-interval",
    "proxy-dial-timeout",
    "proxy-write-timeout",
    "proxy-read-timeout",
    "enable-v2",
    "debug",
    "log-package-levels",
];

/// Keys of a group, and the flags that they stand for.
const CLIENT_SECURITY: &[(&str, &str)] = &[
    ("cert-file", "cert-file"),
    ("key-file", "key-file"),
    ("client-cert-file", "client-cert-file"),
    ("client-key-file", "client-key-file"),
    ("client-cert-auth", "client-cert-auth"),
    ("trusted-ca-file", "trusted-ca-file"),
    ("crl-file", "client-crl-file"),
    ("client-crl-file", "client-crl-file"),
    ("auto-tls", "auto-tls"),
    ("allowed-hostname", "client-cert-allowed-hostname"),
];
const PEER_SECURITY: &[(&str, &str)] = &[
    ("cert-file", "peer-cert-file"),
    ("key-file", "peer-key-file"),
    ("client-cert-file", "peer-client-cert-file"),
    ("client-key-file", "peer-client-key-file"),
    ("client-cert-auth", "peer-client-cert-auth"),
    ("trusted-ca-file", "peer-trusted-ca-file"),
    ("crl-file", "peer-crl-file"),
    ("peer-crl-file", "peer-crl-file"),
    ("auto-tls", "peer-auto-tls"),
    ("allowed-cn", "peer-cert-allowed-cn"),
    ("allowed-hostname", "peer-cert-allowed-hostname"),
    ("skip-client-san-verification", "peer-skip-client-san-verification"),
];
const SOCKETS: &[(&str, &str)] = &[
    ("reuse-port", "socket-reuse-port"),
    ("reuse-address", "socket-reuse-address"),
];
const DISCOVERY: &[(&str, &str)] = &[("token", "discovery-token")];
const DISCOVERY_CLIENT: &[(&str, &str)] = &[
    ("endpoints", "discovery-endpoints"),
    ("dial-timeout", "discovery-dial-timeout"),
    ("request-timeout", "discovery-request-timeout"),
    ("keepalive-time", "discovery-keepalive-time"),
    ("keepalive-timeout", "discovery-keepalive-timeout"),
];
const DISCOVERY_SECURE: &[(&str, &str)] = &[
    ("cert", "discovery-cert"),
    ("key", "discovery-key"),
    ("cacert", "discovery-cacert"),
    ("insecure-transport", "discovery-insecure-transport"),
    ("insecure-skip-tls-verify", "discovery-insecure-skip-tls-verify"),
];
const DISCOVERY_AUTH: &[(&str, &str)] = &[("username", "discovery-user"), ("password", "discovery-password")];

pub fn read_file(loaded: &mut Loaded, path: &Path) -> Result<(), String> {
    let shown = path.display();
    let length = std::fs::metadata(path).map_err(|e| open_error(path, &e))?.len();
    if length > FILE_BYTES_MAX {
        return Err(format!(
            "open {shown}: {length} bytes are more than the {FILE_BYTES_MAX} allowed"
        ));
    }
    let text = std::fs::read_to_string(path).map_err(|e| open_error(path, &e))?;
    read(loaded, &text)?;
    let told = "loaded server configuration, other configuration command line flags and environment variables will be \
                ignored if provided";
    loaded
        .notices
        .push(Notice::new(Level::Info, told).with("path", shown.to_string()));
    Ok(())
}

fn open_error(path: &Path, error: &std::io::Error) -> String {
    format!("open {}: {}", path.display(), crate::fail::io_text(error))
}

fn read(loaded: &mut Loaded, text: &str) -> Result<(), String> {
    let root = if text.trim().is_empty() {
        Value::Null
    } else {
        serde_saphyr::from_str::<Value>(text).map_err(|e| format!("error converting YAML to JSON: {e}"))?
    };
    let keys = match root {
        Value::Object(keys) => keys,
        Value::Null => Map::new(),
        other => return Err(format!("the configuration file holds {} and not keys", kind_of(&other))),
    };
    for (key, value) in &keys {
        if !value.is_null() {
            read_key(loaded, key, value)?;
        }
    }
    let settings = &mut loaded.settings;
    let discovers = !settings.discovery_srv.is_empty() || !settings.discovery.endpoints.is_empty();
    if discovers && settings.initial_cluster == crate::settings::INITIAL_CLUSTER_DEFAULT {
        settings.initial_cluster.clear();
    }
    if settings.initial_cluster_state.is_empty() {
        "new".clone_into(&mut settings.initial_cluster_state);
    }
    settings.self_signed_validity_years = settings.self_signed_validity_years.max(1);
    Ok(())
}

fn read_key(loaded: &mut Loaded, key: &str, value: &Value) -> Result<(), String> {
    match key {
        "client-transport-security" => group(loaded, key, value, CLIENT_SECURITY),
        "peer-transport-security" => group(loaded, key, value, PEER_SECURITY),
        "socket-options" => group(loaded, key, value, SOCKETS),
        "discovery-config" => discovery(loaded, value),
        _ if OUTDATED.contains(&key) => {
            let notice = Notice::new(
                Level::Warn,
                "key of the configuration file is no longer supported - ignoring",
            );
            loaded.notices.push(notice.with("key", key));
            Ok(())
        }
        _ => {
            let flag = table::find(key).filter(|flag| {
                let grouped = [
                    CLIENT_SECURITY,
                    PEER_SECURITY,
                    SOCKETS,
                    DISCOVERY_CLIENT,
                    DISCOVERY_SECURE,
                    DISCOVERY_AUTH,
                ];
                let in_group = grouped.iter().any(|g| g.iter().any(|(_, name)| *name == flag.name));
                let ignored = matches!(flag.kind, Kind::Ignored);
                !in_group && !ignored && key != "discovery-token" && !NOT_KEYS.contains(&key)
            });
            let flag = flag.ok_or_else(|| unknown(key))?;
            assign(loaded, key, flag, value)
        }
    }
}

/// The message says where the key belongs, if it is a flag that has its place in a group.
fn unknown(key: &str) -> String {
    let places = [
        ("client-transport-security", CLIENT_SECURITY),
        ("peer-transport-security", PEER_SECURITY),
        ("socket-options", SOCKETS),
        ("discovery-config", DISCOVERY),
        ("discovery-config.client", DISCOVERY_CLIENT),
        ("discovery-config.client.secure", DISCOVERY_SECURE),
        ("discovery-config.client.auth", DISCOVERY_AUTH),
    ];
    for (place, keys) in places {
        if let Some((inner, _)) = keys.iter().find(|(_, flag)| *flag == key) {
            return format!("unknown key {key:?} in the configuration file: it belongs under {place:?} as {inner:?}");
        }
    }
    format!("unknown key {key:?} in the configuration file")
}

fn object<'a>(key: &str, value: &'a Value) -> Result<&'a Map<String, Value>, String> {
    value.as_object().ok_or_else(|| format!("invalid {key}"))
}

fn group(loaded: &mut Loaded, name: &str, value: &Value, keys: &[(&str, &str)]) -> Result<(), String> {
    for (key, value) in object(name, value)?.iter().filter(|(_, v)| !v.is_null()) {
        let path = format!("{name}.{key}");
        let flag = keys.iter().find(|(known, _)| known == key);
        let flag = flag
            .and_then(|(_, flag)| table::find(flag))
            .ok_or_else(|| unknown(&path))?;
        assign(loaded, &path, flag, value)?;
    }
    Ok(())
}

/// `discovery-config` has `token`, and `client` with `secure` and `auth` in it.
fn discovery(loaded: &mut Loaded, value: &Value) -> Result<(), String> {
    const NAME: &str = "discovery-config";
    let without = |value: &Value, inner: &[&str]| {
        let mut left = value.as_object().cloned().unwrap_or_default();
        left.retain(|key, _| !inner.contains(&key.as_str()));
        Value::Object(left)
    };
    let outer = object(NAME, value)?;
    group(loaded, NAME, &without(value, &["client"]), DISCOVERY)?;
    let Some(client) = outer.get("client").filter(|v| !v.is_null()) else {
        return Ok(());
    };
    let name = format!("{NAME}.client");
    let inner = object(&name, client)?;
    group(loaded, &name, &without(client, &["secure", "auth"]), DISCOVERY_CLIENT)?;
    for (part, keys) in [("secure", DISCOVERY_SECURE), ("auth", DISCOVERY_AUTH)] {
        if let Some(value) = inner.get(part).filter(|v| !v.is_null()) {
            group(loaded, &format!("{name}.{part}"), value, keys)?;
        }
    }
    Ok(())
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "keys",
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

fn assign(loaded: &mut Loaded, key: &str, flag: &Flag, value: &Value) -> Result<(), String> {
    let settings = &mut loaded.settings;
    let wrong = |wanted: &str| {
        Err(format!(
            "{key} in the configuration file must be {wanted}, not {}",
            kind_of(value)
        ))
    };
    match (flag.kind, value) {
        (Kind::Span(field), Value::Number(number)) => match number.as_i64() {
            Some(nanos) => *field(settings) = Span { nanos },
            None => return wrong("a whole number of nanoseconds"),
        },
        (Kind::Span(_), _) => {
            return wrong("a whole number of nanoseconds (600000000000 for 10m)");
        }
        (Kind::List(field) | Kind::Set(field) | Kind::Origins(field), Value::Array(values)) => {
            let texts: Option<Vec<String>> = values.iter().map(scalar).collect();
            match texts {
                Some(texts) => *field(settings) = texts,
                None => return wrong("a list of texts"),
            }
        }
        (Kind::List(_) | Kind::Set(_), _) if !matches!(flag.name, "host-whitelist") => {
            return wrong("a list of texts");
        }
        (Kind::Bool(field), Value::Bool(value)) => *field(settings) = *value,
        // YAML 1.1 has more words for it.
        (Kind::Bool(field), Value::String(text)) => match text.to_ascii_lowercase().as_str() {
            "yes" | "on" => *field(settings) = true,
            "no" | "off" => *field(settings) = false,
            _ => return wrong("true or false"),
        },
        (Kind::Bool(_), _) => return wrong("true or false"),
        (Kind::Uint(_) | Kind::Uint32(_) | Kind::Int(_), value) if !value.is_number() => return wrong("a number"),
        // Its own check comes later, with etcd's message for the file.
        (Kind::Choice(_, field), Value::String(text)) => text.clone_into(field(settings)),
        (Kind::Urls(_) | Kind::Origins(_), Value::String(text)) => {
            if !text.is_empty() {
                set_urls(settings, key, flag, text)?;
            }
        }
        (Kind::Gates(field), Value::String(text)) => field(settings).set(text)?,
        _ => match scalar(value) {
            Some(text) => set(settings, flag, &text).map_err(|e| format!("invalid value {text:?} for {key}: {e}"))?,
            None => return wrong("text"),
        },
    }
    loaded.given.insert(flag.name.to_owned());
    Ok(())
}

fn set_urls(settings: &mut Settings, key: &str, flag: &Flag, text: &str) -> Result<(), String> {
    match flag.kind {
        Kind::Urls(field) => {
            *field(settings) = Url::parse_list(text).map_err(|e| format!("unexpected error setting up {key}: {e}"))?;
            Ok(())
        }
        _ => set(settings, flag, text).map_err(|e| format!("unexpected error setting up {key}: {e}")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn load(text: &str) -> Result<Loaded, String> {
        let mut loaded = Loaded::default();
        read(&mut loaded, text).map(|()| loaded)
    }

    #[test]
    fn keys_are_flags_and_groups() {
        let loaded = load(
            "name: m1\ndata-dir: /d\nheartbeat-interval: 50\ngrpc-keepalive-timeout: 1000000000\n\
             listen-client-urls: http://127.0.0.1:1,http://127.0.0.1:2\nlog-outputs: [stderr]\nfeature-gates: LeaseCheckpoint=true\n\
             client-transport-security:\n  cert-file: c\n  client-cert-auth: true\n\
             peer-transport-security: {allowed-cn: [a, b], auto-tls: true}\nsocket-options: {reuse-port: true}\n\
             discovery-config:\n  token: t\n  client:\n    endpoints: [e]\n    secure: {cacert: ca}\n    auth: {username: u}\n",
        )
        .unwrap();
        let s = loaded.settings;
        assert_eq!((s.name.as_str(), s.data_dir.as_str(), s.heartbeat_ms), ("m1", "/d", 50));
        assert_eq!(s.keepalive_timeout, Span::from_secs(1));
        assert_eq!(s.listen_client_urls.len(), 2);
        assert_eq!(crate::urls::join(&s.advertise_client_urls), "http://localhost:2379");
        assert_eq!(s.log.outputs, ["stderr"]);
        assert!(s.gates.enabled("LeaseCheckpoint"));
        assert!(s.client_tls.client_cert_auth && s.peer_tls.auto && s.reuse_port);
        assert_eq!(s.peer_tls.allowed_cns, ["a", "b"]);
        assert_eq!((s.discovery.token.as_str(), s.discovery.cacert.as_str()), ("t", "ca"));
        assert_eq!(s.initial_cluster, "");
        assert!(loaded.given.contains("peer-cert-allowed-cn"));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (text, message) in [
            ("foo: 1", r#"unknown key "foo" in the configuration file"#),
            (
                "cert-file: a",
                r#"unknown key "cert-file" in the configuration file: it belongs under "client-transport-security" as "cert-file""#,
            ),
            ("peer-transport-security: 1", "invalid peer-transport-security"),
            (
                "grpc-keepalive-timeout: 20s",
                "grpc-keepalive-timeout in the configuration file must be a whole number of nanoseconds (600000000000 for \
                 10m), not text",
            ),
            (
                "pre-vote: maybe",
                "pre-vote in the configuration file must be true or false, not text",
            ),
            (
                "listen-peer-urls: http://a",
                r#"unexpected error setting up listen-peer-urls: URL address does not have the form "host:port": http://a"#,
            ),
            (
                "max-txn-ops: x",
                "max-txn-ops in the configuration file must be a number, not text",
            ),
            (
                "cipher-suites: x",
                "cipher-suites in the configuration file must be a list of texts, not text",
            ),
            ("[1]", "the configuration file holds a list and not keys"),
        ] {
            assert_eq!(load(text).map(|_| ()).unwrap_err(), message, "{text}");
        }
        assert!(load("a: [").unwrap_err().starts_with("error converting YAML to JSON: "));
        assert_eq!(load("proxy: 'off'").unwrap().notices.len(), 1);
        assert_eq!(load("").unwrap().settings, Settings::default());
    }
}
