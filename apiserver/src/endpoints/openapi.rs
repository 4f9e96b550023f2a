//! `/openapi/v3` (an index with hashes, a document a group version) and `/openapi/v2`.

use super::respond;
use http::{HeaderMap, Response};
use keelson_client::Body;
use keelson_machinery::{openapi, resources};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::LazyLock;

/// Media type of the v2 document that kubectl and client-go ask for, as it is answered: the `@` that they put before
/// its version is no character of a media type (RFC 6838), and Go refuses to parse it.
const V2_PROTO: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// Digests of the documents, which never change while this process runs. The documents are made when asked for:
/// kept, they would cost megabytes.
static HASHES: LazyLock<Mutex<HashMap<String, String>>> = LazyLock::new(Mutex::default);

fn hash_of(path: &str, make: impl FnOnce() -> Option<Vec<u8>>) -> Option<String> {
    if let Some(h) = HASHES.lock().get(path) {
        return Some(h.clone());
    }
    use sha2::Digest;
    let digest = hex::encode_upper(&sha2::Sha512::digest(make()?)[..]);
    HASHES.lock().insert(path.to_owned(), digest.clone());
    Some(digest)
}

fn paths() -> Vec<(String, &'static str, &'static str)> {
    let versions = resources::groups()
        .iter()
        .flat_map(|(g, versions)| versions.iter().map(move |v| (*g, *v)));
    versions
        .map(|(g, v)| {
            (
                if g.is_empty() {
                    format!("api/{v}")
                } else {
                    format!("apis/{g}/{v}")
                },
                g,
                v,
            )
        })
        .collect()
}

/// The index. The digest is of the build: a document is a function of it and its group version.
fn index() -> Value {
    let build = concat!(env!("CARGO_PKG_VERSION"), " ");
    let mut all = Map::new();
    for (path, _, _) in paths() {
        let hash =
            hash_of(&format!("index {path}"), || Some(format!("{build}{path}").into_bytes())).unwrap_or_default();
        all.insert(
            path.clone(),
            json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}")}),
        );
    }
    json!({"paths": all})
}

/// Answers the OpenAPI paths; `None` when `path` is not one, or names nothing.
pub fn respond(path: &str, headers: &HeaderMap) -> Option<Response<Body>> {
    let accept = headers
        .get(http::header::ACCEPT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or("");
    match path.trim_end_matches('/') {
        "/openapi/v2" => {
            let proto = accept.contains("proto-openapi") && !accept.trim_start().starts_with("application/json");
            let body = if proto { openapi::v2_proto() } else { openapi::v2() };
            Some(respond::bytes(
                200,
                if proto { V2_PROTO } else { "application/json" },
                body,
            ))
        }
        "/openapi/v3" => Some(respond::json_value(200, &index())),
        other => {
            let wanted = other.strip_prefix("/openapi/v3/")?;
            let (_, group, version) = paths().into_iter().find(|(p, _, _)| p == wanted)?;
            let mut r = respond::bytes(200, "application/json", openapi::v3(group, version)?);
            // The hash in the address changes with the document, so that it may be kept.
            r.headers_mut()
                .insert(http::header::CACHE_CONTROL, http::HeaderValue::from_static("public"));
            Some(r)
        }
    }
}
