//! Long-lived requests that end at a kubelet or a pod: logs, exec, attach, port-forward, proxy.
//!
//! What it is not: it speaks none of the stream protocols (WebSocket channels, SPDY). An upgrade is
//! forwarded with its headers, and the bytes of both sides are copied; the kubelet speaks to the client.
//!
//! Every request has a connection of its own, which ends with it. On shutdown the copies are cut.
use crate::auth::authenticate::without_token_protocol;
use crate::endpoints::Info;
use crate::kinds::tree::text;
use crate::objects::Objects;
use bytes::Bytes;
use dial::Backend;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use keelson_client::transport::{Body, empty};
use keelson_machinery::{resources, status::ApiError};
use rustls::ClientConfig;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

mod dial;
mod locate;
mod query;

pub use dial::Error;

/// A kubelet's error text beyond this is cut.
const ERROR_BYTES_MAX: usize = 4096;
/// Bytes in flight in each direction of an upgraded stream.
const COPY_BUFFER_BYTES: usize = 32 * 1024;

/// PEM files with which kubelets are called and verified.
pub struct Options {
    pub kubelet_client_cert: PathBuf,
    pub kubelet_client_key: PathBuf,
    pub kubelet_ca: PathBuf,
}

/// What is asked for, as the request's path says.
#[derive(Clone, Debug, Default)]
struct Target {
    /// `pods`, `nodes` or `services`.
    plural: String,
    namespace: String,
    /// For proxies `[scheme:]name[:port]`.
    name: String,
    /// `log`, `exec`, `attach`, `portforward` or `proxy`.
    subresource: String,
    /// What follows `proxy` in the path, with its leading slash; empty when nothing does.
    path: String,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Streaming {
    objects: Arc<dyn Objects>,
    kubelets: Arc<ClientConfig>,
    workloads: Arc<ClientConfig>,
    stop: CancellationToken,
}

impl Streaming {
    pub fn new(options: &Options, objects: Arc<dyn Objects>, stop: CancellationToken) -> Result<Self, Error> {
        let kubelets = dial::kubelet_tls(
            &options.kubelet_ca,
            &options.kubelet_client_cert,
            &options.kubelet_client_key,
        )?;
        Ok(Streaming {
            objects,
            kubelets,
            workloads: dial::workload_tls()?,
            stop,
        })
    }

    /// Whether the request is of the kinds that end at a kubelet or a pod.
    pub fn handles(&self, info: &Info) -> bool {
        info.is_resource
            && info.group.is_empty()
            && matches!(
                (info.resource.as_str(), info.subresource.as_str()),
                ("pods", "log" | "exec" | "attach" | "portforward") | ("pods" | "nodes" | "services", "proxy")
            )
    }

    /// Answers one authorized request. An upgrade is answered 101 and goes on in the background.
    pub async fn serve(&self, info: &Info, request: Request<Body>) -> Result<Response<Body>, ApiError> {
        let target = Target {
            plural: info.resource.clone(),
            namespace: info.namespace.clone(),
            name: info.name.clone(),
            subresource: info.subresource.clone(),
            path: info.rest.clone(),
        };
        self.connect(&target, request).await
    }

    async fn connect(&self, target: &Target, request: Request<Body>) -> Result<Response<Body>, ApiError> {
        let parameters = query::parse(request.uri().query().unwrap_or_default());
        match (target.plural.as_str(), target.subresource.as_str()) {
            ("pods", "log") => self.log(target, &parameters, request).await,
            ("pods", verb @ ("exec" | "attach" | "portforward")) => {
                let pod = self.get("pods", &target.namespace, &target.name).await?;
                let path = match verb {
                    "portforward" => locate::port_forward(&pod, &parameters),
                    verb => locate::exec(&pod, verb, &parameters)?,
                };
                let node = text(&pod["spec"]["nodeName"]);
                if node.is_empty() {
                    let why = format!("pod {} does not have a host assigned", target.name);
                    return Err(ApiError::bad_request(why));
                }
                if !is_upgrade(request.headers()) {
                    return Err(ApiError::bad_request("Upgrade request required"));
                }
                let backend = self.kubelet(node).await?;
                self.forward(&backend, &path, request).await
            }
            (_, "proxy") => self.proxy(target, request).await,
            (plural, sub) => Err(ApiError::not_found("", plural, sub)),
        }
    }

    async fn find(&self, plural: &str, namespace: &str, name: &str) -> Result<Option<Value>, ApiError> {
        let r = resources::by_resource("", "v1", plural)
            .ok_or_else(|| ApiError::internal(format!("no such resource: {plural}")))?;
        self.objects.get(r, namespace, name).await
    }

    async fn get(&self, plural: &str, namespace: &str, name: &str) -> Result<Value, ApiError> {
        let found = self.find(plural, namespace, name).await?;
        found.ok_or_else(|| ApiError::not_found("", plural, name))
    }

    async fn kubelet(&self, node: &str) -> Result<Backend, ApiError> {
        let node = self.get("nodes", "", node).await?;
        let (host, port) = locate::kubelet(&node)?;
        Ok(Backend {
            host,
            port,
            tls: Some(self.kubelets.clone()),
        })
    }

    async fn log(
        &self,
        target: &Target,
        parameters: &[(String, String)],
        request: Request<Body>,
    ) -> Result<Response<Body>, ApiError> {
        let pod = self.get("pods", &target.namespace, &target.name).await?;
        let path = locate::log(&pod, parameters)?;
        let node = text(&pod["spec"]["nodeName"]);
        if node.is_empty() {
            // Nothing has run yet.
            return Ok(status_only(StatusCode::NO_CONTENT));
        }
        let backend = self.kubelet(node).await?;
        let outgoing = outgoing(&backend, Method::GET, &path, request.headers(), false, empty())?;
        let answer = backend
            .send(outgoing)
            .await
            .map_err(|e| ApiError::internal(format!("Get \"{}{path}\": {e}", backend.origin())))?;
        if !answer.status().is_success() {
            return Err(told(answer, "pods/log", &target.name).await);
        }
        let mut response = incoming(answer);
        let plain = HeaderValue::from_static("text/plain");
        response.headers_mut().insert(header::CONTENT_TYPE, plain);
        Ok(response)
    }

    async fn proxy(&self, target: &Target, request: Request<Body>) -> Result<Response<Body>, ApiError> {
        if target.path.is_empty() && matches!(*request.method(), Method::GET | Method::HEAD) {
            return slash_appended(request.uri());
        }
        let bad = || {
            let kind = target.plural.trim_end_matches('s');
            ApiError::bad_request(format!("invalid {kind} request {:?}", target.name))
        };
        let (scheme, name, port) = locate::scheme_name_port(&target.name).ok_or_else(bad)?;
        let tls = (scheme == "https").then(|| self.workloads.clone());
        let backend = match target.plural.as_str() {
            "nodes" => {
                let mut kubelet = self.kubelet(name).await?;
                if !port.is_empty() && port != kubelet.port.to_string() {
                    kubelet.port = port.parse().map_err(|_| bad())?;
                    kubelet.tls = tls;
                }
                kubelet
            }
            "pods" => {
                let pod = self.get("pods", &target.namespace, name).await?;
                let ip = text(&pod["status"]["podIP"]);
                if ip.is_empty() {
                    return Err(ApiError::bad_request("address not allowed"));
                }
                let default = if tls.is_some() { 443 } else { 80 };
                Backend {
                    host: ip.to_owned(),
                    port: locate::pod_port(&pod, port).unwrap_or(default),
                    tls,
                }
            }
            "services" => {
                let service = self.get("services", &target.namespace, name).await?;
                let endpoints = self.find("endpoints", &target.namespace, name).await?;
                let endpoints = endpoints.ok_or_else(|| ApiError::not_found("", "endpoints", name))?;
                let (host, port) = locate::endpoint(&service, &endpoints, &target.name, port)?;
                Backend { host, port, tls }
            }
            plural => return Err(ApiError::not_found("", plural, name)),
        };
        let query = request.uri().query().map(|q| format!("?{q}")).unwrap_or_default();
        let path = if target.path.is_empty() { "/" } else { &target.path };
        self.forward(&backend, &format!("{path}{query}"), request).await
    }

    /// Sends the request on as it is, and its answer back; joins the two ends after an upgrade.
    async fn forward(
        &self,
        backend: &Backend,
        path: &str,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, ApiError> {
        let upgrade = is_upgrade(request.headers());
        let client = upgrade.then(|| hyper::upgrade::on(&mut request));
        let (parts, body) = request.into_parts();
        let body = if upgrade { empty() } else { body };
        let outgoing = outgoing(backend, parts.method, path, &parts.headers, upgrade, body)?;
        let mut answer = backend
            .send(outgoing)
            .await
            .map_err(|e| ApiError::new(503, "ServiceUnavailable", format!("error trying to reach service: {e}")))?;
        let Some(client) = client.filter(|_| answer.status() == StatusCode::SWITCHING_PROTOCOLS) else {
            return Ok(incoming(answer));
        };
        let server = hyper::upgrade::on(&mut answer);
        let stop = self.stop.clone();
        tokio::spawn(async move {
            let joined = async {
                let (client, server) = tokio::try_join!(client, server)?;
                let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
                let copied = tokio::io::copy_bidirectional_with_sizes(
                    &mut client,
                    &mut server,
                    COPY_BUFFER_BYTES,
                    COPY_BUFFER_BYTES,
                );
                // Ends that go away are how such streams end.
                if let Err(e) = copied.await {
                    tracing::debug!(error = %e, "upgraded stream");
                }
                Ok::<(), hyper::Error>(())
            };
            tokio::select! {
                () = stop.cancelled() => {}
                r = joined => if let Err(e) = r {
                    tracing::debug!(error = %e, "upgrade");
                },
            }
        });
        let mut response = status_only(StatusCode::SWITCHING_PROTOCOLS);
        *response.headers_mut() = answer.headers().clone();
        Ok(response)
    }
}

pub fn is_upgrade(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CONNECTION).iter();
    headers.contains_key(header::UPGRADE)
        && values
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(','))
            .any(|t| t.trim().eq_ignore_ascii_case("upgrade"))
}

/// Headers that concern one connection only (RFC 9110, 7.6.1).
fn hop_by_hop(name: &HeaderName, keep_upgrade: bool) -> bool {
    match name.as_str() {
        "connection" | "upgrade" => !keep_upgrade,
        "keep-alive" | "proxy-connection" | "te" | "trailer" | "transfer-encoding" => true,
        _ => false,
    }
}

fn outgoing(
    backend: &Backend,
    method: Method,
    path: &str,
    headers: &HeaderMap,
    upgrade: bool,
    body: Body,
) -> Result<Request<Body>, ApiError> {
    let uri: Uri = path
        .parse()
        .map_err(|e| ApiError::bad_request(format!("{path:?}: {e}")))?;
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    for (name, value) in headers {
        // The caller's credentials are for this server alone.
        let ours = name == header::AUTHORIZATION || name == header::HOST || name.as_str().starts_with("impersonate-");
        if ours || hop_by_hop(name, upgrade) {
            continue;
        }
        if name == header::SEC_WEBSOCKET_PROTOCOL {
            let kept = value.to_str().map(without_token_protocol).unwrap_or_default();
            if let (false, Ok(v)) = (kept.is_empty(), HeaderValue::from_str(&kept)) {
                request.headers_mut().append(name, v);
            }
            continue;
        }
        request.headers_mut().append(name, value.clone());
    }
    let host = HeaderValue::from_str(&backend.authority()).map_err(ApiError::internal)?;
    request.headers_mut().insert(header::HOST, host);
    Ok(request)
}

fn status_only(status: StatusCode) -> Response<Body> {
    let mut r = Response::new(empty());
    *r.status_mut() = status;
    r
}

/// The backend's answer as ours; its body streams.
fn incoming(answer: Response<Incoming>) -> Response<Body> {
    let (parts, body) = answer.into_parts();
    let mut response = Response::new(body.map_err(Into::into).boxed());
    *response.status_mut() = parts.status;
    for (name, value) in &parts.headers {
        if !hop_by_hop(name, false) {
            response.headers_mut().append(name, value.clone());
        }
    }
    response
}

/// A relative link below `…/proxy` needs the slash (upstream: UpgradeAwareHandler).
fn slash_appended(uri: &Uri) -> Result<Response<Body>, ApiError> {
    let query = uri.query().map(|q| format!("?{q}")).unwrap_or_default();
    let location = HeaderValue::from_str(&format!("{}/{query}", uri.path())).map_err(ApiError::internal)?;
    let mut r = status_only(StatusCode::MOVED_PERMANENTLY);
    r.headers_mut().insert(header::LOCATION, location);
    Ok(r)
}

/// A kubelet's refusal as an API error (upstream: registry/generic/rest/response_checker.go).
async fn told(answer: Response<Incoming>, resource: &str, name: &str) -> ApiError {
    let code = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), ERROR_BYTES_MAX).collect().await;
    let body: Bytes = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let text = String::from_utf8_lossy(&body).trim_end().to_owned();
    match code {
        400 => ApiError::bad_request(text),
        404 => ApiError::new(
            404,
            "NotFound",
            format!("the server could not find the requested resource ( {resource} {name})"),
        ),
        401 | 403 => ApiError::new(
            500,
            "InternalError",
            format!("Internal error occurred: the kubelet refused this server ({code}): {text}"),
        ),
        _ => ApiError::internal(text),
    }
}

#[cfg(test)]
mod tests;
