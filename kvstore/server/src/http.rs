//! Plain HTTP beside gRPC on the client port: `/health` and `/version`; everything else is told what it is not.

use crate::core::{Core, STORAGE_VERSION, VERSION};
use axum::Router;
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use keelson_proto::etcdserverpb as pb;
use std::collections::HashMap;
use std::sync::Arc;

pub fn add_routes(router: Router, core: Arc<Core>) -> Router {
    let plain = Router::new()
        .route("/health", get(health))
        .route("/version", get(version))
        .fallback(not_found)
        .with_state(core);
    router.merge(plain)
}

async fn health(State(core): State<Arc<Core>>, Query(asked): Query<HashMap<String, String>>) -> Response {
    let serializable = asked.get("serializable").is_some_and(|v| v == "true");
    let excluded = |alarm: &str| asked.get("exclude").is_some_and(|v| v.split(',').any(|e| e == alarm));
    let alarm = core.store.alarms().into_iter().find_map(|(_, kind)| {
        let name = pb::AlarmType::try_from(kind).ok()?.as_str_name();
        (!excluded(name)).then(|| format!("ALARM {name}"))
    });
    let reason = match alarm {
        Some(alarm) => Some(alarm),
        None if core.log.leader().is_none() && !serializable => Some("RAFT NO LEADER".to_owned()),
        None => probe(&core, serializable).await.err(),
    };
    let (code, healthy) = match reason {
        Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "false"),
        None => (StatusCode::OK, "true"),
    };
    let body = serde_json::json!({ "health": healthy, "reason": reason.unwrap_or_default() }).to_string();
    (code, [(CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
}

async fn probe(core: &Core, serializable: bool) -> Result<(), String> {
    let request = pb::RangeRequest {
        key: "health".into(),
        limit: 1,
        serializable,
        keys_only: true,
        ..Default::default()
    };
    core.range(request)
        .await
        .map(drop)
        .map_err(|e| format!("RANGE ERROR:{}", e.message()))
}

async fn version() -> Response {
    let versions =
        serde_json::json!({ "etcdserver": VERSION, "etcdcluster": STORAGE_VERSION, "storage": STORAGE_VERSION });
    ([(CONTENT_TYPE, "application/json")], versions.to_string()).into_response()
}

async fn not_found(headers: HeaderMap) -> Response {
    let is_grpc = headers
        .get(CONTENT_TYPE)
        .is_some_and(|v| v.as_bytes().starts_with(b"application/grpc"));
    if !is_grpc {
        return (StatusCode::NOT_FOUND, "404 page not found\n").into_response();
    }
    let mut response = StatusCode::OK.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from_static("12"));
    headers.insert(
        "grpc-message",
        HeaderValue::from_static("etcdserver: this service is not implemented"),
    );
    response
}
