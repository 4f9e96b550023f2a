//! What is served: aggregated discovery (KEP-3352) and the older documents.

use http::{HeaderMap, Response};
use keelson_client::Body;
use keelson_machinery::resources::{self, Resource};
use keelson_machinery::status::ApiError;
use serde_json::{Value, json};

use super::negotiate;
use super::respond;

fn of(group: &str, version: &str) -> impl Iterator<Item = &'static Resource> {
    resources::all()
        .iter()
        .filter(move |r| r.group == group && r.version == version)
}

fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

/// `/apis/<group>/<version>` and `/api/v1`.
fn resource_list(group: &str, version: &str) -> Value {
    let mut all = Vec::new();
    for r in of(group, version) {
        let mut e = json!({
            "name": r.plural, "singularName": r.singular, "namespaced": r.namespaced, "kind": r.kind, "verbs": r.verbs,
        });
        if !r.short_names.is_empty() {
            e["shortNames"] = json!(r.short_names);
        }
        if !r.categories.is_empty() {
            e["categories"] = json!(r.categories);
        }
        if r.is_stored() {
            e["storageVersionHash"] = storage_hash(r).into();
        }
        all.push(e);
        for s in r.subresources {
            let (g, v, k) = s.kind;
            let mut e = json!({
                "name": format!("{}/{}", r.plural, s.name), "singularName": "", "namespaced": r.namespaced, "kind": k, "verbs": s.verbs,
            });
            if (g, v) != (group, version) {
                e["group"] = g.into();
                e["version"] = v.into();
            }
            all.push(e);
        }
    }
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version(group, version), "resources": all})
}

/// A short digest of what an object is stored as (upstream: discovery.StorageVersionHash).
fn storage_hash(r: &Resource) -> String {
    use base64::Engine;
    use sha2::Digest;
    let (group, version) = r.storage_version;
    let digest = sha2::Sha256::digest(format!("{group}/{version}/{}", r.kind));
    base64::engine::general_purpose::STANDARD.encode(&digest[..8])
}

fn group(name: &str, versions: &[&str]) -> Value {
    let entry = |v: &&str| json!({"groupVersion": group_version(name, v), "version": v});
    let all: Vec<Value> = versions.iter().map(entry).collect();
    json!({"name": name, "versions": all, "preferredVersion": all.first()})
}

fn aggregated(version: &str, core: bool) -> Value {
    let items: Vec<Value> = resources::groups()
        .iter()
        .filter(|(g, _)| g.is_empty() == core)
        .map(|(g, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|v| json!({"version": v, "freshness": "Current", "resources": of(g, v).map(aggregated_resource).collect::<Vec<_>>()}))
                .collect();
            let mut metadata = json!({"creationTimestamp": null});
            if !g.is_empty() {
                metadata["name"] = (*g).into();
            }
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"), "metadata": {}, "items": items})
}

fn aggregated_resource(r: &Resource) -> Value {
    let kind = |(group, version, kind): (&str, &str, &str)| json!({"group": group, "version": version, "kind": kind});
    let mut e = json!({
        "resource": r.plural, "responseKind": kind((r.group, r.version, r.kind)), "singularResource": r.singular,
        "scope": if r.namespaced { "Namespaced" } else { "Cluster" }, "verbs": r.verbs,
    });
    if !r.short_names.is_empty() {
        e["shortNames"] = json!(r.short_names);
    }
    if !r.categories.is_empty() {
        e["categories"] = json!(r.categories);
    }
    if !r.subresources.is_empty() {
        let each =
            |s: &resources::Subresource| json!({"subresource": s.name, "responseKind": kind(s.kind), "verbs": s.verbs});
        e["subresources"] = r.subresources.iter().map(each).collect();
    }
    e
}

/// Answers the discovery paths; `None` when `path` is not one.
pub fn respond(path: &str, headers: &HeaderMap, server_address: &str) -> Option<Result<Response<Body>, ApiError>> {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    let answer = match parts.as_slice() {
        ["api"] | ["apis"] => {
            let core = parts == ["api"];
            if let Some(version) = negotiate::aggregated_discovery(headers) {
                let content = format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
                let mut r = respond::bytes(200, &content, aggregated(version, core).to_string());
                r.headers_mut()
                    .insert(http::header::VARY, http::HeaderValue::from_static("Accept"));
                return Some(Ok(r));
            }
            if core {
                json!({"kind": "APIVersions", "versions": ["v1"],
                    "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}]})
            } else {
                let all: Vec<Value> = resources::groups()
                    .iter()
                    .filter(|(g, _)| !g.is_empty())
                    .map(|(g, v)| group(g, v))
                    .collect();
                json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": all})
            }
        }
        ["api", version] if of("", version).next().is_some() => resource_list("", version),
        ["apis", name] => {
            let (_, versions) = resources::groups().iter().find(|(g, _)| g == name)?;
            let mut g = group(name, versions);
            g["kind"] = "APIGroup".into();
            g["apiVersion"] = "v1".into();
            g
        }
        ["apis", name, version] if of(name, version).next().is_some() => resource_list(name, version),
        _ => return None,
    };
    let encoding = match negotiate::accept(headers) {
        Ok(w) => w.encoding,
        Err(e) => return Some(Err(e)),
    };
    Some(respond::value(200, &answer, encoding))
}
