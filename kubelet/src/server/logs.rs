//! `/containerLogs/<namespace>/<pod>/<container>`
use super::Server;
use super::query::Query;
use super::routes::{Body, Refusal, Target};
use crate::logs::read::{self, LogOptions};
use crate::pod::PodExt;
use http::{Response, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use jiff::{SignedDuration, Timestamp};
use std::path::PathBuf;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

pub async fn serve(server: &Server, target: &Target, query: &Query) -> Result<Response<Body>, Refusal> {
    let options = options(query)?;
    let name = target.container.as_deref().unwrap_or_default();
    let pod = target.pod.name();
    let view = server
        .agent
        .cri
        .pod_view(target.pod.uid())
        .await
        .map_err(Refusal::internal)?;
    let found = match query.flag("previous") {
        true => view.previous(name),
        false => view.latest(name),
    };
    let Some(container) = found else {
        return Err(Refusal::bad(match query.flag("previous") {
            true => format!("previous terminated container {name:?} in pod {pod:?} not found"),
            false => waiting(target, name),
        }));
    };
    let path = PathBuf::from(&container.log_path);
    let chunks = read::stream(path, container.id.clone(), server.agent.cri.clone(), options).map_err(|e| {
        Refusal::bad(format!(
            "failed to open the log of container {name:?} in pod {pod:?}: {e}"
        ))
    })?;
    let body = StreamBody::new(ReceiverStream::new(chunks).map(|c| c.map(Frame::data)));
    let mut response = Response::new(BodyExt::boxed(body));
    let kind = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// What the pod's status says of a container that has not been started.
fn waiting(target: &Target, name: &str) -> String {
    let status = target.pod.status.as_ref();
    let all = status.into_iter().flat_map(|s| {
        [
            &s.container_statuses,
            &s.init_container_statuses,
            &s.ephemeral_container_statuses,
        ]
    });
    let found = all.flatten().flatten().find(|s| s.name == name);
    let reason = found.and_then(|s| s.state.as_ref()?.waiting.as_ref()?.reason.clone());
    let pod = target.pod.name();
    match reason.as_deref() {
        Some(r @ ("ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "InvalidImageName")) => {
            format!(
                "container {name:?} in pod {pod:?} is waiting to start: {}",
                image_words(r)
            )
        }
        Some(r) => format!("container {name:?} in pod {pod:?} is waiting to start: {r}"),
        None => format!("container {name:?} in pod {pod:?} is not available"),
    }
}

fn image_words(reason: &str) -> &'static str {
    match reason {
        "ImagePullBackOff" => "trying and failing to pull image",
        "ErrImageNeverPull" => "image is not present and never pulled",
        _ => "image can't be pulled",
    }
}

fn options(query: &Query) -> Result<LogOptions, Refusal> {
    let number = |name: &str| -> Result<Option<u64>, Refusal> {
        match query.get(name) {
            None | Some("") | Some("all") => Ok(None),
            Some(v) => match v.parse::<i64>().ok().and_then(|n| u64::try_from(n).ok()) {
                Some(n) => Ok(Some(n)),
                None => Err(Refusal::bad(format!(
                    "{name}: Invalid value: {v:?}: must be a non-negative integer"
                ))),
            },
        }
    };
    let since = match (
        query.get("sinceTime").filter(|t| !t.is_empty()),
        number("sinceSeconds")?,
    ) {
        (Some(t), _) => Some(
            t.parse::<Timestamp>()
                .map_err(|e| Refusal::bad(format!("sinceTime: {e}")))?,
        ),
        (None, Some(s)) => {
            let ago = SignedDuration::from_secs(i64::try_from(s).unwrap_or(i64::MAX));
            Timestamp::now().checked_sub(ago).ok()
        }
        (None, None) => None,
    };
    let stream = query.get("stream").unwrap_or("All");
    Ok(LogOptions {
        follow: query.flag("follow"),
        timestamps: query.flag("timestamps"),
        tail: number("tailLines")?,
        since,
        limit_bytes: number("limitBytes")?,
        stdout: stream != "Stderr",
        stderr: stream != "Stdout",
    })
}
