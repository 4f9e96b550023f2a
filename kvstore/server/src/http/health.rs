//! `/health`: alarms, a leader, a read.

use super::answer::{method_not_allowed, plain_error, text};
use super::query;
use crate::core::Core;
use crate::status;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Method, StatusCode, Uri};
use keelson_proto::etcdserverpb as pb;
use std::sync::Arc;
use std::time::Duration;

/// A read that has not come back by then has failed: etcd's request timeout with its default election timeout.
const READ_TIMEOUT: Duration = Duration::from_secs(7);

pub async fn serve(State(core): State<Arc<Core>>, method: Method, uri: Uri) -> Response {
    if method != Method::GET {
        return method_not_allowed();
    }
    let serializable = query::first(&uri, "serializable").is_some_and(|v| v == "true");
    let excluded = query::all(&uri, "exclude");
    let outcome = judge(&core, serializable, &excluded).await;
    core.metrics.health.count_whole(outcome.is_ok());
    match outcome {
        Ok(()) => text(HeaderMap::new(), told("true", "")),
        Err(reason) => {
            tracing::warn!(reason, "/health error");
            plain_error(StatusCode::SERVICE_UNAVAILABLE, &told("false", &reason))
        }
    }
}

/// In etcd's order of fields.
fn told(health: &str, reason: &str) -> String {
    let reason = serde_json::Value::from(reason);
    format!("{{\"health\":\"{health}\",\"reason\":{reason}}}")
}

async fn judge(core: &Core, serializable: bool, excluded: &[String]) -> Result<(), String> {
    for (_, kind) in core.store.alarms() {
        let name = pb::AlarmType::try_from(kind).map_or("UNKNOWN", |k| k.as_str_name());
        if !excluded.iter().any(|e| e == name) {
            return Err(format!("ALARM {name}"));
        }
    }
    if !serializable && core.log.leader().is_none() {
        return Err("RAFT NO LEADER".to_owned());
    }
    read(core, serializable).await.map_err(|e| format!("RANGE ERROR:{e}"))
}

pub fn no_alarm(core: &Core, unwanted: pb::AlarmType) -> Result<(), String> {
    let raised = core.store.alarms().iter().any(|(_, kind)| *kind == unwanted as i32);
    if raised {
        return Err(format!("alarm activated: {}", unwanted.as_str_name()));
    }
    Ok(())
}

/// One read of the store itself: whoever asks for health needs no user.
pub async fn read(core: &Core, serializable: bool) -> Result<(), String> {
    let reading = async {
        if !serializable {
            core.barrier().await?;
        }
        let request = pb::RangeRequest {
            key: "health".into(),
            limit: 1,
            keys_only: true,
            ..Default::default()
        };
        let mut cursor = core.store.cursor(&request).map_err(status::refused)?;
        cursor.next(1).map(drop).map_err(status::read)
    };
    match tokio::time::timeout(READ_TIMEOUT, reading).await {
        Ok(outcome) => outcome.map_err(|e: tonic::Status| e.message().to_owned()),
        Err(_) => Err("etcdserver: request timed out".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_etcds_json() {
        assert_eq!(told("true", ""), r#"{"health":"true","reason":""}"#);
        assert_eq!(told("false", "a \"b\""), r#"{"health":"false","reason":"a \"b\""}"#);
    }
}
