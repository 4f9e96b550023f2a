//! Paths, and who answers them.
use super::auth::{Denied, PeerCertificate};
use super::query::{Query, decode};
use super::{Server, logs, metrics, streaming};
use crate::pod::PodExt;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::Incoming;
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;
use std::time::Duration;

pub type Body = BoxBody<Bytes, std::io::Error>;

const RUN_TIMEOUT: Duration = Duration::from_secs(60);

pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|e| match e {}).boxed()
}

pub fn answer(status: StatusCode, kind: &str, body: impl Into<Bytes>) -> Response<Body> {
    let mut r = Response::new(full(body));
    *r.status_mut() = status;
    if let Ok(v) = header::HeaderValue::from_str(kind) {
        r.headers_mut().insert(header::CONTENT_TYPE, v);
    }
    r
}

pub fn text(status: StatusCode, body: impl Into<String>) -> Response<Body> {
    answer(status, "text/plain; charset=utf-8", body.into())
}

/// A refusal with its reason; what handlers return as `Err`.
pub struct Refusal(pub StatusCode, pub String);

impl Refusal {
    pub fn bad(message: impl Into<String>) -> Self {
        Refusal(StatusCode::BAD_REQUEST, message.into())
    }
    pub fn missing(message: impl Into<String>) -> Self {
        Refusal(StatusCode::NOT_FOUND, message.into())
    }
    pub fn internal(e: impl std::fmt::Display) -> Self {
        Refusal(StatusCode::INTERNAL_SERVER_ERROR, e.to_string())
    }
}

/// `/<verb>/<namespace>/<pod>[/<uid>][/<container>]`, found.
pub struct Target {
    pub pod: Arc<Pod>,
    pub container: Option<String>,
}

impl Server {
    fn pod(&self, namespace: &str, name: &str, uid: Option<&str>) -> Result<Arc<Pod>, Refusal> {
        let found = self
            .pods
            .find(namespace, name)
            .filter(|p| uid.is_none_or(|u| p.uid() == u));
        found.ok_or_else(|| Refusal::missing(format!("pod does not exist: {namespace}/{name}")))
    }

    /// With a container's name at the end.
    fn with_container(&self, parts: &[&str]) -> Result<Target, Refusal> {
        let (pod, container) = match parts {
            [ns, pod, container] => (self.pod(ns, pod, None)?, container),
            [ns, pod, uid, container] => (self.pod(ns, pod, Some(uid))?, container),
            _ => return Err(Refusal::missing("404 page not found\n")),
        };
        let spec = pod.spec();
        let main = spec.containers.iter().chain(pod.init_containers()).map(|c| &c.name);
        let known = main
            .chain(spec.ephemeral_containers.iter().flatten().map(|c| &c.name))
            .any(|n| n == container);
        if !known {
            return Err(Refusal::missing(format!("container not found (\"{container}\")")));
        }
        Ok(Target {
            container: Some((*container).to_owned()),
            pod,
        })
    }

    fn without_container(&self, parts: &[&str]) -> Result<Target, Refusal> {
        let pod = match parts {
            [ns, pod] => self.pod(ns, pod, None)?,
            [ns, pod, uid] => self.pod(ns, pod, Some(uid))?,
            _ => return Err(Refusal::missing("404 page not found\n")),
        };
        Ok(Target { pod, container: None })
    }
}

pub async fn handle(server: Arc<Server>, peer: PeerCertificate, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let checked = server
        .authorizer
        .check(&peer, request.headers(), request.method(), &path)
        .await;
    match checked {
        Ok(_) => {}
        Err(Denied::Unauthenticated) => return text(StatusCode::UNAUTHORIZED, "Unauthorized\n"),
        Err(Denied::Forbidden(why)) => return text(StatusCode::FORBIDDEN, why),
        Err(Denied::Failed(e)) => {
            tracing::warn!(path, error = %e, "ask the API server about a caller");
            return text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Internal Error: authorization failed\n",
            );
        }
    }
    match dispatch(server, &path, request).await {
        Ok(r) => r,
        Err(Refusal(status, why)) => text(status, why),
    }
}

async fn dispatch(server: Arc<Server>, path: &str, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
    let decoded: Vec<String> = path.split('/').skip(1).map(decode).collect();
    let parts: Vec<&str> = decoded.iter().map(String::as_str).filter(|p| !p.is_empty()).collect();
    let query = Query::of(request.uri());
    let (verb, rest) = parts.split_first().unwrap_or((&"", &[]));
    match (*verb, rest) {
        ("healthz", _) => Ok(text(StatusCode::OK, "ok")),
        ("pods", []) => Ok(pods(&server)),
        ("containerLogs", rest) => logs::serve(&server, &server.with_container(rest)?, &query).await,
        ("exec", rest) => {
            let target = server.with_container(rest)?;
            streaming::exec(server, target, &query, request).await
        }
        ("attach", rest) => {
            let target = server.with_container(rest)?;
            streaming::attach(server, target, &query, request).await
        }
        ("portForward", rest) => {
            let target = server.without_container(rest)?;
            streaming::port_forward(server, target, &query, request).await
        }
        ("run", rest) if request.method() == Method::POST => run(&server, &server.with_container(rest)?, &query).await,
        ("metrics", ["resource"]) => metrics::resource(&server).await,
        ("metrics", []) => Ok(metrics::own(&server)),
        ("stats", ["summary"]) => metrics::summary(&server).await,
        _ => Err(Refusal::missing("404 page not found\n")),
    }
}

fn pods(server: &Server) -> Response<Body> {
    let items: Vec<Arc<Pod>> = server.pods.list();
    let items: Vec<&Pod> = items.iter().map(Arc::as_ref).collect();
    let list = serde_json::json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items});
    answer(StatusCode::OK, "application/json", list.to_string())
}

async fn run(server: &Server, target: &Target, query: &Query) -> Result<Response<Body>, Refusal> {
    let id = server.running(target).await?;
    let command = query
        .get("cmd")
        .unwrap_or_default()
        .split(' ')
        .map(str::to_owned)
        .collect();
    let done = server.agent.cri.exec_sync(&id, command, RUN_TIMEOUT).await;
    let done = done.map_err(Refusal::internal)?;
    let mut out = done.stdout.to_vec();
    out.extend_from_slice(&done.stderr);
    let status = match done.exit_code {
        0 => StatusCode::OK,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Ok(answer(status, "text/plain; charset=utf-8", out))
}

impl Server {
    /// The id of the target's running container.
    pub(super) async fn running(&self, target: &Target) -> Result<String, Refusal> {
        let view = self
            .agent
            .cri
            .pod_view(target.pod.uid())
            .await
            .map_err(Refusal::internal)?;
        let name = target.container.as_deref().unwrap_or_default();
        match view.latest(name) {
            Some(c) if c.running() => Ok(c.id.clone()),
            _ => Err(Refusal::missing(format!("container not found (\"{name}\")"))),
        }
    }
}
