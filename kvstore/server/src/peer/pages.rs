//! Plain GETs on the peer port, in etcd's shapes: joining members read `/members`, tools `/version` and `/health`.

use crate::bootstrap::{CLUSTER_ID_HEADER, PROTOCOL, PROTOCOL_HEADER};
use crate::core::Core;
use crate::http;
use ::http::Method;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Json, Router};
use serde::Serialize;
use std::sync::Arc;

/// As etcd's peers show each other.
#[derive(Serialize)]
struct Shown {
    id: u64,
    #[serde(rename = "peerURLs")]
    peer_urls: Vec<String>,
    #[serde(rename = "isLearner", skip_serializing_if = "std::ops::Not::not")]
    is_learner: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(rename = "clientURLs", skip_serializing_if = "Vec::is_empty")]
    client_urls: Vec<String>,
}

pub fn router(core: Arc<Core>) -> Router {
    Router::new()
        .route("/version", any(http::version))
        .route("/health", any(http::health))
        .route("/members", any(members))
        .fallback(|| async { http::not_found() })
        .with_state(core)
}

async fn members(State(core): State<Arc<Core>>, method: Method) -> Response {
    if method != Method::GET {
        return http::method_not_allowed();
    }
    let shown = core.cluster.members().into_iter().map(|m| Shown {
        id: m.id,
        peer_urls: m.peer_ur_ls,
        is_learner: m.is_learner,
        name: m.name,
        client_urls: m.client_ur_ls,
    });
    let cluster = format!("{:x}", core.cluster_id);
    let headers = [(CLUSTER_ID_HEADER, cluster), (PROTOCOL_HEADER, PROTOCOL.to_owned())];
    (headers, Json(shown.collect::<Vec<_>>())).into_response()
}
