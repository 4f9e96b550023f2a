//! Requests and their answers, on any [`Transport`].
use crate::config::Config;
use crate::net::NetTransport;
use crate::transport::{empty, full};
use crate::{Body, Error, Result, Transport};
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Status, StatusDetails};
use std::sync::Arc;
use std::time::Duration;

/// The largest answer read into memory, in bytes (a list of every Pod of a very large cluster).
pub const RESPONSE_BYTES_MAX: usize = 1 << 30;
/// The largest error answer read, in bytes.
const ERROR_BYTES_MAX: usize = 1 << 20;
/// How often a request is sent again when the server answers 429 (or 5xx) with `Retry-After`; client-go does 10.
const RETRY_AFTER_TRIES_MAX: u32 = 10;
/// The longest that one `Retry-After` is obeyed, in seconds.
const RETRY_AFTER_SECONDS_MAX: u64 = 30;

/// A cheap handle on one API server under one identity.
#[derive(Clone)]
pub struct Client {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) user_agent: Arc<str>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("user_agent", &self.user_agent)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// `user_agent` names the component, e.g. `keelson-scheduler`; it is also the field manager.
    pub fn new(transport: Arc<dyn Transport>, user_agent: &str) -> Self {
        Client {
            transport,
            user_agent: user_agent.into(),
        }
    }
    /// Over HTTP/2 and TLS, from a kubeconfig's bytes (current context). Relative file paths in it are
    /// taken from the working directory; see [`Config::from_kubeconfig_file`] for paths beside the file.
    pub fn from_kubeconfig(yaml: &str, user_agent: &str) -> Result<Self> {
        Self::from_config(Config::from_kubeconfig(yaml)?, user_agent)
    }
    /// Over the network with these settings. Connects at the first request.
    pub fn from_config(config: Config, user_agent: &str) -> Result<Self> {
        Ok(Self::new(Arc::new(NetTransport::new(config)?), user_agent))
    }
    pub fn user_agent(&self) -> &str {
        &self.user_agent
    }
    /// The same server and identity under another name.
    #[must_use]
    pub fn with_user_agent(&self, user_agent: &str) -> Self {
        Client {
            transport: self.transport.clone(),
            user_agent: user_agent.into(),
        }
    }

    /// One raw exchange; a status outside 2xx becomes `Error::Api` with the decoded Status.
    /// `101 Switching Protocols` passes: the caller takes the stream with `hyper::upgrade::on`.
    pub async fn request(&self, mut req: http::Request<Body>) -> Result<http::Response<Body>> {
        if !req.headers().contains_key(header::USER_AGENT)
            && let Ok(v) = HeaderValue::from_str(&self.user_agent)
        {
            req.headers_mut().insert(header::USER_AGENT, v);
        }
        let response = self
            .transport
            .send(req)
            .await
            .map_err(|e| Error::Transport(describe(&*e)))?;
        if response.status().is_success() || response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        Err(Error::Api(Box::new(read_status(response).await)))
    }

    /// One exchange with JSON in and out.
    pub async fn json<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        path_and_query: &str,
        body: Option<Vec<u8>>,
    ) -> Result<T> {
        let bytes = self
            .exchange(method, path_and_query, "application/json", "application/json", body)
            .await?;
        serde_json::from_slice(&bytes).map_err(|source| Error::Decode {
            what: path_and_query.split('?').next().unwrap_or_default().to_owned(),
            source,
        })
    }

    /// One exchange of whole bodies, sent again when the server asks for that with `Retry-After`.
    pub async fn exchange(
        &self,
        method: Method,
        path_and_query: &str,
        content_type: &str,
        accept: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Bytes> {
        let body = body.map(Bytes::from);
        let mut tries = 0;
        loop {
            let mut req = http::Request::builder()
                .method(method.clone())
                .uri(path_and_query)
                .header(header::ACCEPT, accept);
            if body.is_some() {
                req = req.header(header::CONTENT_TYPE, content_type);
            }
            let req = req
                .body(body.clone().map_or_else(empty, full))
                .map_err(|e| Error::Config(format!("request {path_and_query}: {e}")))?;
            match self.request(req).await {
                Ok(response) => {
                    return read(response.into_body(), RESPONSE_BYTES_MAX).await;
                }
                Err(e) => {
                    let Some(wait) = e.retry_after().filter(|_| tries < RETRY_AFTER_TRIES_MAX) else {
                        return Err(e);
                    };
                    tries += 1;
                    tracing::debug!(%method, path_and_query, ?wait, "the server asked to retry");
                    tokio::time::sleep(wait.min(Duration::from_secs(RETRY_AFTER_SECONDS_MAX))).await;
                }
            }
        }
    }

    /// Opens a streaming answer (watch, logs).
    pub async fn stream(&self, path_and_query: &str, accept: &str) -> Result<Body> {
        let req = http::Request::builder()
            .method(Method::GET)
            .uri(path_and_query)
            .header(header::ACCEPT, accept)
            .body(empty())
            .map_err(|e| Error::Config(format!("request {path_and_query}: {e}")))?;
        Ok(self.request(req).await?.into_body())
    }
}

/// An error with its causes, each once.
pub(crate) fn describe(e: &(dyn std::error::Error + 'static)) -> String {
    let mut text = e.to_string();
    let mut next = e.source();
    while let Some(cause) = next {
        let c = cause.to_string();
        if !text.contains(&c) {
            text.push_str(": ");
            text.push_str(&c);
        }
        next = cause.source();
    }
    text
}

/// A whole body of at most `max` bytes.
pub(crate) async fn read(mut body: Body, max: usize) -> Result<Bytes> {
    // One frame is passed on as it is; more are joined.
    let mut first = Bytes::new();
    let mut joined = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Error::Transport(format!("read answer: {}", describe(&*e))))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + joined.len() + data.len() > max {
            return Err(Error::Transport(format!("an answer of more than {max} bytes")));
        }
        if first.is_empty() && joined.is_empty() {
            first = data;
            continue;
        }
        joined.extend_from_slice(&std::mem::take(&mut first));
        joined.extend_from_slice(&data);
    }
    Ok(if joined.is_empty() { first } else { joined.into() })
}

/// The Status in an error answer, or one made from the HTTP code where the body is none.
async fn read_status(response: http::Response<Body>) -> Status {
    let code = response.status();
    let retry_after = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|v| v.to_str().ok()?.trim().parse::<i32>().ok());
    let bytes = read(response.into_body(), ERROR_BYTES_MAX).await.unwrap_or_default();
    let mut status = match serde_json::from_slice::<Status>(&bytes) {
        Ok(s) if s.code.is_some() || s.message.is_some() => s,
        _ => Status {
            status: Some("Failure".into()),
            reason: Some(reason_of(code).into()),
            message: Some(match String::from_utf8_lossy(&bytes).trim() {
                "" => code.to_string(),
                text => text.to_owned(),
            }),
            ..Default::default()
        },
    };
    if status.code.unwrap_or(0) == 0 {
        status.code = Some(i32::from(code.as_u16()));
    }
    // Only the header asks for a retry: upstream's body may carry seconds for people to read.
    if let Some(d) = &mut status.details {
        d.retry_after_seconds = None;
    }
    if retry_after.is_some() {
        status
            .details
            .get_or_insert_with(StatusDetails::default)
            .retry_after_seconds = retry_after;
    }
    status
}

/// The reason that upstream's client gives an answer without a Status (`errors.NewGenericServerResponse`).
fn reason_of(code: StatusCode) -> &'static str {
    match code.as_u16() {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        406 => "NotAcceptable",
        409 => "Conflict",
        410 => "Expired",
        413 => "RequestEntityTooLarge",
        415 => "UnsupportedMediaType",
        422 => "Invalid",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        c if c >= 500 => "InternalError",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fake::Fake;
    use crate::{Api, DeleteParams, Patch, PatchParams, Propagation};
    use k8s_openapi::api::apps::v1::Deployment;
    use k8s_openapi::api::core::v1::{Node, Pod};
    use serde_json::json;

    #[tokio::test]
    async fn verbs_and_their_requests() {
        let fake = Fake::new();
        let api: Api<Deployment> = Api::namespaced(fake.client(), "x");
        let object = json!({"metadata": {"name": "d", "namespace": "x"}});
        let (done, ()) = tokio::join!(api.get("d"), async {
            let q = fake.next().await;
            assert_eq!(
                (q.method.as_str(), q.path.as_str()),
                ("GET", "/apis/apps/v1/namespaces/x/deployments/d")
            );
            assert_eq!(q.headers["user-agent"], "test");
            assert_eq!(q.headers["accept"], "application/json");
            q.answer(200, object.clone());
        });
        let d = done.unwrap();
        let patch = Patch::Strategic(json!({"spec": {}}));
        let params = PatchParams {
            field_manager: Some("me".into()),
            dry_run: true,
            force: false,
        };
        let (done, ()) = tokio::join!(api.patch_status("d", &params, &patch), async {
            let q = fake.next().await;
            assert_eq!(
                (q.method.as_str(), q.query.as_str()),
                ("PATCH", "fieldManager=me&dryRun=All")
            );
            assert!(q.path.ends_with("/deployments/d/status"));
            assert_eq!(q.headers["content-type"], "application/strategic-merge-patch+json");
            q.answer(200, object.clone());
        });
        done.unwrap();
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            propagation: Some(Propagation::Foreground),
            precondition_uid: Some("u".into()),
            ..Default::default()
        };
        let (done, ()) = tokio::join!(api.delete("d", &params), async {
            let q = fake.next().await;
            assert_eq!(
                q.json(),
                json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0,
                    "propagationPolicy": "Foreground", "preconditions": {"uid": "u"}})
            );
            q.answer(200, json!({"kind": "Status", "status": "Success"}));
        });
        done.unwrap();
        let all: Api<Deployment> = Api::all(fake.client());
        let (done, ()) = tokio::join!(all.create(&d), async {
            let q = fake.next().await;
            assert_eq!(
                (q.method.as_str(), q.path.as_str()),
                ("POST", "/apis/apps/v1/namespaces/x/deployments")
            );
            assert_eq!(q.json()["kind"], "Deployment");
            q.answer(201, object.clone());
        });
        done.unwrap();
        let nodes: Api<Node> = Api::namespaced(fake.client(), "x");
        assert_eq!(
            nodes.path(Some("n:1"), None),
            "/api/v1/nodes/n:1",
            "nodes have no namespace"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn errors_carry_the_status_and_retry_after_is_obeyed() {
        let fake = Fake::new();
        let api: Api<Pod> = Api::namespaced(fake.client(), "x");
        let (got, ()) = tokio::join!(api.get_opt("p"), async { fake.next().await.status(404, "NotFound") });
        assert!(got.unwrap().is_none());
        let (got, ()) = tokio::join!(api.get("p"), async {
            let r = http::Response::builder().status(503).body(full("no backend")).unwrap();
            fake.next().await.respond(r);
        });
        let e = got.unwrap_err();
        assert_eq!(
            (e.code(), e.reason(), e.to_string().as_str()),
            (503, "ServiceUnavailable", "no backend")
        );
        let start = tokio::time::Instant::now();
        let (got, ()) = tokio::join!(api.get("p"), async {
            let r = http::Response::builder().status(429).header("Retry-After", "2");
            fake.next().await.respond(r.body(full("{}")).unwrap());
            fake.next().await.answer(200, json!({"metadata": {"name": "p"}}));
        });
        assert_eq!(got.unwrap().metadata.name.as_deref(), Some("p"));
        assert_eq!(start.elapsed().as_secs(), 2);
        let (got, ()) = tokio::join!(api.get("p"), async {
            let body = json!({"kind": "Status", "status": "Failure", "code": 429, "reason": "TooManyRequests",
                "message": "budget", "details": {"retryAfterSeconds": 10}});
            fake.next().await.answer(429, body);
        });
        assert_eq!(
            got.unwrap_err().retry_after(),
            None,
            "without the header nothing is sent again"
        );
        let (got, ()) = tokio::join!(api.get("p"), async { fake.next().await.answer(200, json!([1])) });
        assert!(matches!(got.unwrap_err(), Error::Decode { .. }));
        let (got, ()) = tokio::join!(api.get("p"), async { fake.next().await.fail("connection refused") });
        assert!(got.unwrap_err().is_transport());
    }
}
