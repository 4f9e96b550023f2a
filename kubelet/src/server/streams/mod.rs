//! Exec, attach and port-forward: an upgraded connection of the client's joined to one of the runtime's.
//!
//! Clients speak SPDY/3.1 or an older use of WebSocket, which the runtime speaks too: those bytes are passed on as they
//! are. Or they speak WebSocket as kubectl does since 1.31: for exec and attach the channels of `v5.channel.k8s.io` become
//! streams of a SPDY session of ours ([`remote`]), and port-forward carries SPDY inside ([`relay::tunnel`]).
mod dial;
mod idle;
mod relay;
mod remote;
mod upgrade;

use super::answer::Refusal;
use super::query::Query;
use super::{State, target};
use crate::pod::PodExt;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use idle::Idle;
use k8s_openapi::api::core::v1::Pod;
use keelson_client::Body;
use keelson_proto::cri as pb;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use upgrade::Asked;

/// A stream on which nothing moved for so long is ended (upstream: streamingConnectionIdleTimeout).
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(4 * 3600);
/// The client's part of an upgrade, once it has its answer.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(30);
const COMMAND_ARGUMENTS_MAX: usize = 4096;

const REMOTE_COMMAND_PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
const TUNNEL_PROTOCOLS: [&str; 1] = ["SPDY/3.1+portforward.k8s.io"];
/// What the runtime is asked to speak inside SPDY.
const RUNTIME_COMMAND_PROTOCOL: &str = "v4.channel.k8s.io";
const RUNTIME_FORWARD_PROTOCOL: &str = "portforward.k8s.io";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Exec,
    Attach,
}

/// Which streams a client wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

impl Streams {
    /// Upstream's kubelet has `input`, `output` and `error`; its API server's names do as well.
    fn parse(query: &Query) -> Result<Self, Refusal> {
        let tty = query.flag(&["tty"]);
        let streams = Streams {
            stdin: query.flag(&["input", "stdin"]),
            stdout: query.flag(&["output", "stdout"]),
            // A terminal has one output.
            stderr: query.flag(&["error", "stderr"]) && !tty,
            tty,
        };
        if !streams.stdin && !streams.stdout && !streams.stderr {
            let message = "you must specify at least 1 of stdin, stdout, stderr";
            return Err(Refusal::bad_request(message));
        }
        Ok(streams)
    }
}

/// A client's upgrade under way, and what its task needs.
struct Session {
    client: OnUpgrade,
    state: Arc<State>,
    permit: OwnedSemaphorePermit,
}

impl Session {
    fn new(state: &Arc<State>, request: &mut Request<Incoming>) -> Result<Self, Refusal> {
        let permit = state.sessions.clone().try_acquire_owned();
        let full = |_| Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too many streams are open on this node");
        Ok(Session {
            client: hyper::upgrade::on(request),
            state: state.clone(),
            permit: permit.map_err(full)?,
        })
    }

    /// Runs `work` over the client's connection, in a task, until it ends or must.
    fn spawn<W, F>(self, work: W)
    where
        W: FnOnce(TokioIo<hyper::upgrade::Upgraded>, Idle) -> F + Send + 'static,
        F: Future<Output = ()> + Send,
    {
        let Session { client, state, permit } = self;
        let tasks = state.tasks.clone();
        tasks.spawn(async move {
            // Held until the stream has ended.
            let _permit = permit;
            let client = match tokio::time::timeout(UPGRADE_TIMEOUT, client).await {
                Ok(Ok(c)) => TokioIo::new(c),
                Ok(Err(e)) => return tracing::debug!(error = %e, "upgrade of a client"),
                Err(_) => return tracing::debug!("a client did not upgrade in time"),
            };
            let idle = Idle::new(IDLE_TIMEOUT);
            tokio::select! {
                () = work(client, idle.clone()) => {}
                () = idle.expired() => tracing::info!("a stream was idle for too long"),
                () = state.agent.stop.cancelled() => {}
            }
        });
    }
}

/// `/exec` and `/attach`.
pub async fn remote_command(
    state: &Arc<State>,
    verb: Verb,
    pod: &Pod,
    container: &str,
    query: &Query,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let mut streams = Streams::parse(query)?;
    let asked = upgrade::asked(request.headers(), &REMOTE_COMMAND_PROTOCOLS)?;
    if verb == Verb::Attach {
        // Whether the process has a terminal was settled when it was started.
        streams.tty = target::declared(pod, container).is_some_and(|d| d.tty);
        streams.stderr &= !streams.tty;
    }
    let url = command_url(state, verb, pod, container, query, streams);
    match asked {
        Asked::Runtimes(headers) => {
            let session = Session::new(state, &mut request)?;
            let (answer, runtime) = dial::upgrade(&url.await?, request.method().clone(), headers).await?;
            session.spawn(move |client, idle| relay::copy(client, runtime, idle));
            Ok(answer)
        }
        Asked::WebSocket(accepted) => {
            let session = Session::new(state, &mut request)?;
            let runtime = async {
                let headers = upgrade::spdy_headers(RUNTIME_COMMAND_PROTOCOL);
                Ok(dial::upgrade(&url.await?, Method::POST, headers).await?.1)
            };
            // A refusal is told inside the WebSocket, where the client reads the command's status.
            let runtime: Result<_, Refusal> = runtime.await;
            let answer = accepted.answer();
            session.spawn(move |client, idle| async move {
                let socket = accepted.socket(client).await;
                match runtime {
                    Ok(runtime) => remote::serve(socket, runtime, streams, idle).await,
                    Err(r) => remote::refuse(socket, &format!("unable to upgrade connection: {r}")).await,
                }
            });
            Ok(answer)
        }
    }
}

async fn command_url(
    state: &State,
    verb: Verb,
    pod: &Pod,
    container: &str,
    query: &Query,
    streams: Streams,
) -> Result<String, Refusal> {
    let cri = &state.agent.cri;
    let container_id = target::container(cri, pod, container).await?.id;
    let Streams {
        stdin,
        stdout,
        stderr,
        tty,
    } = streams;
    Ok(match verb {
        Verb::Exec => {
            let cmd = query.all("command");
            if cmd.is_empty() || cmd.len() > COMMAND_ARGUMENTS_MAX {
                return Err(Refusal::bad_request("a command must be given, of at most 4096 words"));
            }
            let m = pb::ExecRequest {
                container_id,
                cmd,
                tty,
                stdin,
                stdout,
                stderr,
            };
            cri.exec(m).await?
        }
        Verb::Attach => {
            let m = pb::AttachRequest {
                container_id,
                stdin,
                tty,
                stdout,
                stderr,
            };
            cri.attach(m).await?
        }
    })
}

/// `/portForward`.
pub async fn port_forward(
    state: &Arc<State>,
    pod: &Pod,
    query: &Query,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let asked = upgrade::asked(request.headers(), &TUNNEL_PROTOCOLS)?;
    let mut ports = Vec::new();
    // Ports in the query are for WebSocket clients of old; SPDY names them in the headers of its streams.
    for p in query
        .all("port")
        .iter()
        .flat_map(|p| p.split(','))
        .filter(|p| !p.is_empty())
    {
        let port: u16 = p.parse().ok().filter(|p| *p > 0).ok_or_else(|| {
            let message = format!("port must be in the range 1-65535: {p:?}");
            Refusal::bad_request(message)
        })?;
        ports.push(i32::from(port));
    }
    tracing::debug!(pod = pod.full_name(), ?ports, "port-forward");
    let cri = &state.agent.cri;
    let sandbox = target::sandbox(cri, pod).await?;
    let url = cri.port_forward(&sandbox.id, ports).await?;
    let session = Session::new(state, &mut request)?;
    match asked {
        Asked::Runtimes(headers) => {
            let (answer, runtime) = dial::upgrade(&url, request.method().clone(), headers).await?;
            session.spawn(move |client, idle| relay::copy(client, runtime, idle));
            Ok(answer)
        }
        Asked::WebSocket(accepted) => {
            let headers = upgrade::spdy_headers(RUNTIME_FORWARD_PROTOCOL);
            let (_, runtime) = dial::upgrade(&url, Method::POST, headers).await?;
            let answer = accepted.answer();
            session.spawn(move |client, idle| async move {
                relay::tunnel(accepted.socket(client).await, runtime, idle).await;
            });
            Ok(answer)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn streams_of_a_query() {
        let of = |q: &str| Streams::parse(&Query::parse(q));
        let kubelets = of("input=1&output=1&error=1&command=x").unwrap();
        assert_eq!(kubelets, of("stdin=true&stdout=true&stderr=true").unwrap());
        let terminal = of("input=1&output=1&error=1&tty=1").unwrap();
        assert!(terminal.stdout && terminal.tty && !terminal.stderr);
        let none = of("tty=1&error=1").unwrap_err();
        assert_eq!(none.status, StatusCode::BAD_REQUEST);
        assert_eq!(none.message, "you must specify at least 1 of stdin, stdout, stderr");
    }
}
