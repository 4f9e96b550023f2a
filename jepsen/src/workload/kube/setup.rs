//! What is done before the clients begin and after everything was healed: asked again until it works, within a bound,
//! and not recorded.

use super::api::{Access, Answer, Api};
use super::client::refusal;
use crate::workload::Env;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// How long anything may take when nothing is broken. A server that was paused takes back its lost connections late.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two attempts.
const RETRY: Duration = Duration::from_millis(100);

/// A bound for attempts.
pub struct Patience {
    what: &'static str,
    end: Instant,
}

impl Patience {
    pub fn new(what: &'static str) -> Patience {
        Patience {
            what,
            end: Instant::now() + PATIENCE,
        }
    }

    /// Rests before another attempt.
    ///
    /// # Errors
    /// A sentence, when the bound is over.
    pub async fn again(&self) -> Result<(), String> {
        if Instant::now() > self.end {
            return Err(format!("{}: not within {PATIENCE:?}", self.what));
        }
        tokio::time::sleep(RETRY).await;
        Ok(())
    }
}

/// The API servers of the run.
///
/// # Errors
/// A run without them cannot have workloads on them.
pub fn access(env: &Env) -> Result<Access, String> {
    env.kube
        .clone()
        .ok_or_else(|| "the run has no API servers: give --keelson".to_owned())
}

/// Creates an object; one that is there already will do. Returns it as the server has it.
///
/// # Errors
/// What it was refused with, when the bound is over.
pub async fn create(access: &Access, path: &str, object: &Value) -> Result<Value, String> {
    send(access, Method::POST, path, "application/json", Some(object)).await
}

/// Applies a merge patch.
///
/// # Errors
/// What it was refused with, when the bound is over.
pub async fn patch(access: &Access, path: &str, patch: &Value) -> Result<Value, String> {
    send(access, Method::PATCH, path, "application/merge-patch+json", Some(patch)).await
}

/// Reads something.
///
/// # Errors
/// What it was refused with, when the bound is over.
pub async fn get(access: &Access, path: &str) -> Result<Value, String> {
    send(access, Method::GET, path, "", None).await
}

/// Asks the first API server until it works; what is there already was made by an earlier attempt.
async fn send(
    access: &Access,
    method: Method,
    path: &str,
    content_type: &str,
    body: Option<&Value>,
) -> Result<Value, String> {
    let patience = Patience::new("what is done before and after the clients");
    let mut api = Api::new(access, 1);
    loop {
        let answer = api.call(method.clone(), path, content_type, body).await;
        let seen = match answer {
            Ok(Answer { code, body }) if code.is_success() => return Ok(body),
            Ok(Answer { code, body }) if method == Method::POST && code == StatusCode::CONFLICT => return Ok(body),
            Ok(Answer { code, body }) => refusal(code, &body),
            Err(e) => e.to_string(),
        };
        patience.again().await.map_err(|e| format!("{e}; last: {seen}"))?;
    }
}

/// Makes a namespace, and what a controller would make in it.
///
/// # Errors
/// Those of [`create`].
pub async fn namespace(access: &Access, name: &str) -> Result<(), String> {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    create(access, "/api/v1/namespaces", &namespace).await?;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    create(access, &format!("/api/v1/namespaces/{name}/serviceaccounts"), &account).await?;
    // The other servers must know the namespace before anything is created in it there.
    let patience = Patience::new("see the namespace at all API servers");
    for server in access.numbers() {
        let mut api = Api::new(access, server);
        while !matches!(api.get(&format!("/api/v1/namespaces/{name}")).await, Ok(a) if a.code.is_success()) {
            patience.again().await?;
        }
    }
    Ok(())
}

/// Waits until all API servers say that they are ready.
///
/// # Errors
/// Which one did not, and what it said last.
pub async fn ready(access: &Access, bound: Duration) -> Result<(), String> {
    let end = Instant::now() + bound;
    for server in access.numbers() {
        let mut api = Api::new(access, server);
        loop {
            let seen = match api.get("/readyz").await {
                Ok(answer) if answer.code.is_success() => break,
                Ok(answer) => format!("{} {}", answer.code, answer.body),
                Err(e) => e.to_string(),
            };
            if Instant::now() > end {
                return Err(format!("API server {server} is not ready within {bound:?}: {seen}"));
            }
            tokio::time::sleep(RETRY).await;
        }
    }
    Ok(())
}
