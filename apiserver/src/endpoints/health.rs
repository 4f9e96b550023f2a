//! `/healthz`, `/livez`, `/readyz`, `/version`, `/metrics`.

use super::Api;
use super::request::Info;
use super::respond;
use http::Response;
use keelson_client::Body;
use serde_json::json;
use std::sync::atomic::Ordering;

/// What this server stands in for.
pub const GIT_VERSION: &str = concat!("v1.35.4+keelson.", env!("CARGO_PKG_VERSION"));

pub fn version() -> Response<Body> {
    let arch = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    };
    let v = json!({
        "major": "1", "minor": "35", "emulationMajor": "1", "emulationMinor": "35",
        "minCompatibilityMajor": "1", "minCompatibilityMinor": "34",
        "gitVersion": GIT_VERSION, "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "", "compiler": "rustc", "platform": format!("linux/{arch}"),
    });
    respond::json_value(200, &v)
}

/// Answers the health paths; `None` when the path is none of them.
pub async fn respond(api: &Api, info: &Info) -> Option<Response<Body>> {
    let mut parts = info.path.trim_matches('/').splitn(2, '/');
    let kind = parts.next().filter(|k| matches!(*k, "healthz" | "livez" | "readyz"))?;
    let only = parts.next();
    let mut checks = vec![("ping", Ok(()))];
    let excluded: Vec<&str> = info.query.all("exclude").collect();
    if only.is_none_or(|o| o == "etcd") && !excluded.contains(&"etcd") {
        let reachable = api
            .registry
            .storage
            .current_revision()
            .await
            .map(|_| ())
            .map_err(|e| e.to_string());
        checks.push(("etcd", reachable));
    }
    if kind == "readyz" && !api.ready.load(Ordering::Relaxed) {
        checks.push(("poststarthook/bootstrap", Err("not finished".to_owned())));
    }
    if let Some(name) = only {
        checks.retain(|(n, _)| *n == name);
        if checks.is_empty() {
            return Some(respond::bytes(404, "text/plain; charset=utf-8", "404 page not found\n"));
        }
    }
    checks.retain(|(n, _)| !excluded.contains(n));
    let failed = checks.iter().any(|(_, r)| r.is_err());
    let verbose = info.query.get("verbose").is_some();
    if !failed && !verbose {
        return Some(respond::bytes(200, "text/plain; charset=utf-8", "ok"));
    }
    let mut text = String::new();
    for (name, result) in &checks {
        match result {
            Ok(()) => text.push_str(&format!("[+]{name} ok\n")),
            // Why is in the log: this page is open to everybody.
            Err(why) => {
                tracing::warn!(check = name, %why, "health check");
                text.push_str(&format!("[-]{name} failed: reason withheld\n"));
            }
        }
    }
    text.push_str(&format!("{kind} check {}\n", if failed { "failed" } else { "passed" }));
    Some(respond::bytes(
        if failed { 500 } else { 200 },
        "text/plain; charset=utf-8",
        text,
    ))
}

pub fn metrics(api: &Api) -> Response<Body> {
    let mut text = String::from(
        "# HELP apiserver_request_total Counter of apiserver requests broken out for each verb and HTTP response code.\n# TYPE apiserver_request_total counter\n",
    );
    for ((verb, code), n) in api.counts.lock().iter() {
        text.push_str(&format!(
            "apiserver_request_total{{code=\"{code}\",verb=\"{verb}\"}} {n}\n"
        ));
    }
    respond::bytes(200, "text/plain; version=0.0.4; charset=utf-8", text)
}
