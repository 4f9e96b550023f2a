//! exec, attach and port-forward: an upgrade on our side, an upgrade to the runtime, and what goes between.
//!
//! A SPDY client's bytes go through unread. A WebSocket client's channels are translated ([`super::tunnel`]).
use super::query::Query;
use super::routes::{Body, Refusal, Target, full};
use super::upstream::{self, PROTOCOL_VERSION, SPDY, Upstream};
use super::{Server, tunnel};
use crate::pod::PodExt;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use keelson_proto::cri as pb;
use std::sync::Arc;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Remote command over WebSocket, best first.
const COMMAND_PROTOCOLS: &[&str] = &["v5.channel.k8s.io", "v4.channel.k8s.io"];
/// What the runtime is offered for them.
const RUNTIME_COMMAND: &str = "v4.channel.k8s.io";
const PORT_FORWARD: &str = "portforward.k8s.io";
/// A port-forward connection inside a WebSocket (KEP-4006).
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

/// Which streams a caller wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streams {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

impl Streams {
    /// The API's names, and the kubelet's own older ones.
    fn of(query: &Query) -> Result<Self, Refusal> {
        let either = |a: &str, b: &str| query.flag(a) || query.flag(b);
        let tty = query.flag("tty");
        let s = Streams {
            stdin: either("stdin", "input"),
            stdout: either("stdout", "output"),
            // A terminal has one output.
            stderr: either("stderr", "error") && !tty,
            tty,
        };
        if !s.stdin && !s.stdout && !s.stderr {
            return Err(Refusal::bad("you must specify at least 1 of stdin, stdout, stderr"));
        }
        Ok(s)
    }
}

pub async fn exec(
    server: Arc<Server>,
    target: Target,
    query: &Query,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let streams = Streams::of(query)?;
    let command = query.all("command");
    if command.is_empty() {
        return Err(Refusal::bad("you must specify a command"));
    }
    let id = server.running(&target).await?;
    let ask = pb::ExecRequest {
        container_id: id,
        cmd: command,
        tty: streams.tty,
        stdin: streams.stdin,
        stdout: streams.stdout,
        stderr: streams.stderr,
    };
    let url = server.agent.cri.exec(ask).await.map_err(Refusal::internal)?;
    remote_command(url, streams, request).await
}

pub async fn attach(
    server: Arc<Server>,
    target: Target,
    query: &Query,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let mut streams = Streams::of(query)?;
    let id = server.running(&target).await?;
    // The container is what it is, whatever the caller thinks.
    let name = target.container.as_deref().unwrap_or_default();
    let spec = target.pod.spec();
    let main = spec
        .containers
        .iter()
        .chain(target.pod.init_containers())
        .map(|c| (&c.name, c.tty));
    let debuggers = spec.ephemeral_containers.iter().flatten().map(|c| (&c.name, c.tty));
    streams.tty = main.chain(debuggers).any(|(n, tty)| n == name && tty == Some(true));
    if streams.tty {
        streams.stderr = false;
    }
    let ask = pb::AttachRequest {
        container_id: id,
        stdin: streams.stdin,
        tty: streams.tty,
        stdout: streams.stdout,
        stderr: streams.stderr,
    };
    let url = server.agent.cri.attach(ask).await.map_err(Refusal::internal)?;
    remote_command(url, streams, request).await
}

pub async fn port_forward(
    server: Arc<Server>,
    target: Target,
    query: &Query,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let view = server
        .agent
        .cri
        .pod_view(target.pod.uid())
        .await
        .map_err(Refusal::internal)?;
    let sandbox = view
        .ready_sandbox()
        .ok_or_else(|| Refusal::missing(format!("pod {} is not running", target.pod.full_name())))?;
    let named = [query.all("ports"), query.all("port")].concat();
    let ports = named
        .iter()
        .flat_map(|p| p.split(','))
        .filter_map(|p| p.parse().ok())
        .collect();
    let url = server
        .agent
        .cri
        .port_forward(&sandbox.id, ports)
        .await
        .map_err(Refusal::internal)?;
    match upgrade_kind(request.headers()) {
        Upgrade::Spdy => pass_through(url, request).await,
        Upgrade::WebSocket => {
            let protocol = choose(request.headers(), &[TUNNEL])
                .ok_or_else(|| Refusal::bad(format!("the WebSocket subprotocol must be {TUNNEL}")))?;
            let upstream = connect(&url, &[HeaderValue::from_static(PORT_FORWARD)]).await?;
            accept(request, protocol, move |socket| tunnel::raw(socket, upstream.io))
        }
        Upgrade::None => Err(Refusal::bad("Upgrade request required")),
    }
}

async fn remote_command(url: String, streams: Streams, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
    match upgrade_kind(request.headers()) {
        Upgrade::Spdy => pass_through(url, request).await,
        Upgrade::WebSocket => {
            let protocol = choose(request.headers(), COMMAND_PROTOCOLS).ok_or_else(|| {
                Refusal::bad(format!(
                    "the WebSocket subprotocol must be one of {}",
                    COMMAND_PROTOCOLS.join(", ")
                ))
            })?;
            let upstream = connect(&url, &[HeaderValue::from_static(RUNTIME_COMMAND)]).await?;
            accept(request, protocol, move |socket| {
                tunnel::command(socket, upstream.io, streams)
            })
        }
        Upgrade::None => Err(Refusal::bad("Upgrade request required")),
    }
}

enum Upgrade {
    WebSocket,
    Spdy,
    None,
}

fn upgrade_kind(headers: &HeaderMap) -> Upgrade {
    let asks = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .any(|v| v.to_ascii_lowercase().contains("upgrade"));
    let to = headers
        .get(header::UPGRADE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    match asks {
        true if to.eq_ignore_ascii_case("websocket") => Upgrade::WebSocket,
        true if to.eq_ignore_ascii_case(SPDY) => Upgrade::Spdy,
        _ => Upgrade::None,
    }
}

/// The first of the client's subprotocols that we speak.
fn choose(headers: &HeaderMap, ours: &[&'static str]) -> Option<&'static str> {
    let offered = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(str::trim);
    offered.filter_map(|o| ours.iter().find(|p| **p == o)).next().copied()
}

async fn connect(url: &str, protocols: &[HeaderValue]) -> Result<Upstream, Refusal> {
    upstream::connect(url, protocols)
        .await
        .map_err(|why| Refusal(StatusCode::BAD_GATEWAY, why))
}

/// Answers a WebSocket handshake and runs `then` on the socket.
fn accept<F, Fut>(mut request: Request<Incoming>, protocol: &'static str, then: F) -> Result<Response<Body>, Refusal>
where
    F: FnOnce(tunnel::Socket) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let key = request
        .headers()
        .get(header::SEC_WEBSOCKET_KEY)
        .ok_or_else(|| Refusal::bad("Sec-WebSocket-Key is missing"))?;
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(Refusal::internal)?;
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match upgrade.await {
            Ok(io) => then(tunnel::socket(TokioIo::new(io)).await).await,
            Err(e) => tracing::debug!(error = %e, "WebSocket upgrade"),
        }
    });
    let mut response = switching("websocket");
    let headers = response.headers_mut();
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    Ok(response)
}

fn switching(to: &'static str) -> Response<Body> {
    let mut response = Response::new(full(bytes::Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(to));
    response
}

/// SPDY to SPDY: the runtime answers the client itself.
async fn pass_through(url: String, mut request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
    let protocols: Vec<HeaderValue> = request.headers().get_all(PROTOCOL_VERSION).iter().cloned().collect();
    let mut upstream = connect(&url, &protocols).await?;
    let mut response = switching(SPDY);
    for v in upstream.headers.get_all(PROTOCOL_VERSION) {
        response.headers_mut().append(PROTOCOL_VERSION, v.clone());
    }
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match upgrade.await {
            Ok(io) => {
                let mut io = TokioIo::new(io);
                if let Err(e) = tokio::io::copy_bidirectional(&mut io, &mut upstream.io).await {
                    tracing::debug!(error = %e, "SPDY stream");
                }
            }
            Err(e) => tracing::debug!(error = %e, "SPDY upgrade"),
        }
    });
    Ok(response)
}
