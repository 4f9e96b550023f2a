//! Which path is what (upstream: pkg/kubelet/server/server.go).
use super::answer::{self, Refusal};
use super::auth::{self, User};
use super::query::{Query, segments};
use super::streams::{self, Verb};
use super::{State, container_logs, metrics, stats, target};
use crate::pod::PodExt;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use keelson_client::Body;
use std::sync::Arc;
use std::time::Duration;

/// A command of `/run`.
const RUN_TIMEOUT: Duration = Duration::from_secs(120);

pub async fn handle(state: &Arc<State>, user: Option<&User>, request: Request<Incoming>) -> Response<Body> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let answer = authorized(state, user, request).await.unwrap_or_else(|r| r.response());
    tracing::debug!(%method, path, status = answer.status().as_u16(), "request");
    answer
}

async fn authorized(
    state: &Arc<State>,
    user: Option<&User>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let asked = auth::attributes(request.method(), request.uri().path());
    state.auth.check(user, request.headers(), &asked).await?;
    dispatch(state, request).await
}

async fn dispatch(state: &Arc<State>, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let parts = segments(request.uri().path());
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let method = request.method().clone();
    match (&method, parts.as_slice()) {
        (&Method::GET, ["healthz"] | ["healthz", "ping" | "log" | "syncloop"]) => Ok(answer::text("ok")),
        (&Method::GET, ["pods"]) => pods(state.pods.list()),
        (&Method::GET, ["runningpods"]) => pods(target::running(&state.agent.cri).await?),
        (&Method::GET, ["configz"]) => answer::json(&stats::config(&state.agent.options)),
        (&Method::GET, ["metrics"]) => Ok(metrics::own(state).await),
        (&Method::GET, ["metrics", "resource"]) => Ok(metrics::resource(state).await),
        (&Method::GET, ["metrics", "probes" | "cadvisor"]) => Ok(answer::text("")),
        (&Method::GET, ["stats"] | ["stats", "summary"]) => answer::json(&stats::summary(state).await?),
        (&Method::GET, ["containerLogs", namespace, pod, container]) => {
            container_logs::serve(state, namespace, pod, container, &query).await
        }
        (&Method::POST, ["run", namespace, pod, rest @ ..]) if matches!(rest.len(), 1 | 2) => {
            let (uid, container) = uid_and_name(rest);
            run(state, namespace, pod, uid, container, &query).await
        }
        (&Method::GET | &Method::POST, ["exec", namespace, pod, rest @ ..]) if matches!(rest.len(), 1 | 2) => {
            let (uid, container) = uid_and_name(rest);
            let pod = target::pod(&state.pods, namespace, pod, uid)?;
            streams::remote_command(state, Verb::Exec, &pod, container, &query, request).await
        }
        (&Method::GET | &Method::POST, ["attach", namespace, pod, rest @ ..]) if matches!(rest.len(), 1 | 2) => {
            let (uid, container) = uid_and_name(rest);
            let pod = target::pod(&state.pods, namespace, pod, uid)?;
            streams::remote_command(state, Verb::Attach, &pod, container, &query, request).await
        }
        (&Method::GET | &Method::POST, ["portForward", namespace, pod, rest @ ..]) if rest.len() < 2 => {
            let pod = target::pod(&state.pods, namespace, pod, rest.first().copied())?;
            streams::port_forward(state, &pod, &query, request).await
        }
        (_, ["logs", ..]) => Err(disabled("logs endpoint is disabled.")),
        (_, ["debug", ..]) => Err(disabled("profiling endpoint is disabled.")),
        (
            _,
            [
                "pods" | "stats" | "metrics" | "run" | "exec" | "attach" | "portForward" | "containerLogs",
                ..,
            ],
        ) if !matches!(method, Method::GET | Method::POST) => {
            Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed"))
        }
        _ => Err(Refusal::not_found("404 page not found")),
    }
}

fn disabled(message: &str) -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, message)
}

/// `[uid/]name`
fn uid_and_name<'a>(rest: &[&'a str]) -> (Option<&'a str>, &'a str) {
    match rest {
        [uid, name, ..] => (Some(uid), name),
        [name] => (None, name),
        [] => (None, ""),
    }
}

fn pods(pods: Vec<Arc<Pod>>) -> Result<Response<Body>, Refusal> {
    let mut items: Vec<Pod> = pods.iter().map(|p| Pod::clone(p)).collect();
    items.sort_by(|a, b| (a.namespace(), a.name()).cmp(&(b.namespace(), b.name())));
    answer::json(&k8s_openapi::List {
        items,
        metadata: ListMeta::default(),
    })
}

async fn run(
    state: &State,
    namespace: &str,
    pod: &str,
    uid: Option<&str>,
    container: &str,
    query: &Query,
) -> Result<Response<Body>, Refusal> {
    let pod = target::pod(&state.pods, namespace, pod, uid)?;
    let found = target::container(&state.agent.cri, &pod, container).await?;
    let command = query.get("cmd").unwrap_or_default();
    let command = command.split(' ').map(str::to_owned).collect();
    let done = state.agent.cri.exec_sync(&found.id, command, RUN_TIMEOUT).await?;
    let output = [done.stdout.as_ref(), done.stderr.as_ref()].concat();
    if done.exit_code != 0 {
        // Upstream tells the code and drops the output.
        let message = format!("command terminated with exit code {}", done.exit_code);
        return Err(Refusal::internal(message));
    }
    Ok(answer::text(output))
}
