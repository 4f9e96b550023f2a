//! `/containerLogs`: which container's file, and which part of it.
use super::answer::{self, Refusal};
use super::query::Query;
use super::{State, target};
use crate::cri::{ContainerView, PodView, RunState};
use crate::logs::read::{self, LogOptions};
use crate::pod::PodExt;
use http::{Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStateWaiting, ContainerStatus, Pod};
use keelson_client::Body;
use keelson_proto::cri as pb;
use std::path::PathBuf;

pub async fn serve(
    state: &State,
    namespace: &str,
    name: &str,
    container: &str,
    query: &Query,
) -> Result<Response<Body>, Refusal> {
    let (options, previous) = options(query, Timestamp::now())?;
    let missing = || Refusal::not_found(format!("pod {name:?} does not exist"));
    let pod = state.pods.find(namespace, name).ok_or_else(missing)?;
    if target::declared(&pod, container).is_none() {
        let message = format!("container {container:?} not found in pod {name:?}");
        return Err(Refusal::not_found(message));
    }
    let view = state.agent.cri.pod_view(pod.uid()).await?;
    let chosen = choose(&pod, &view, container, previous).map_err(Refusal::bad_request)?;
    let path = PathBuf::from(&chosen.log_path);
    let (cri, id) = (state.agent.cri.clone(), chosen.id.clone());
    let alive = move || -> futures::future::BoxFuture<'static, bool> {
        let (cri, id) = (cri.clone(), id.clone());
        Box::pin(async move { may_write(cri.container_status(&id).await) })
    };
    let chunks = read::stream(path, Box::new(alive), options);
    let chunks = chunks.map_err(|e| {
        let message = format!("failed to read the log of container {container:?} in pod {name:?}: {e}");
        Refusal::bad_request(message)
    })?;
    Ok(answer::stream(chunks))
}

/// A runtime that does not answer is not the end of its containers.
fn may_write(status: crate::Result<pb::ContainerStatus>) -> bool {
    let live = [
        pb::ContainerState::ContainerRunning,
        pb::ContainerState::ContainerCreated,
    ];
    match status {
        Ok(s) => live.iter().any(|l| *l as i32 == s.state),
        Err(e) => !e.is_cri_not_found(),
    }
}

/// As upstream: what cannot be decoded is a 400, what makes no sense a 422.
fn options(query: &Query, now: Timestamp) -> Result<(LogOptions, bool), Refusal> {
    let undecodable = || Refusal::bad_request(r#"{"message": "Unable to decode query."}"#);
    let invalid = || Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, r#"{"message": "Invalid request."}"#);
    let number = |key: &str, min: i64| -> Result<Option<u64>, Refusal> {
        let Some(text) = query.get(key) else { return Ok(None) };
        let n: i64 = text.parse().map_err(|_| undecodable())?;
        let n = Some(n).filter(|n| *n >= min).ok_or_else(invalid)?;
        Ok(u64::try_from(n).ok())
    };
    let tail = match query.get("tail") {
        Some("all") => None,
        Some(_) => number("tail", 0)?,
        None => number("tailLines", 0)?,
    };
    let since = match (number("sinceSeconds", 1)?, query.get("sinceTime")) {
        (Some(_), Some(_)) => return Err(invalid()),
        (Some(s), None) => {
            let ago = SignedDuration::from_secs(i64::try_from(s).unwrap_or(i64::MAX));
            Some(now.checked_sub(ago).unwrap_or(Timestamp::UNIX_EPOCH))
        }
        (None, Some(t)) => Some(t.parse().map_err(|_| undecodable())?),
        (None, None) => None,
    };
    let (stdout, stderr) = match query.get("stream") {
        None | Some("All") => (true, true),
        Some("Stdout") => (true, false),
        Some("Stderr") => (false, true),
        Some(_) => return Err(invalid()),
    };
    let options = LogOptions {
        follow: query.flag(&["follow"]),
        timestamps: query.flag(&["timestamps"]),
        tail,
        since,
        limit_bytes: number("limitBytes", 1)?,
        stdout,
        stderr,
    };
    Ok((options, query.flag(&["previous"])))
}

/// The run that is meant (upstream: validateContainerLogStatus in pkg/kubelet/kubelet_pods.go).
fn choose<'a>(pod: &Pod, view: &'a PodView, name: &str, previous: bool) -> Result<&'a ContainerView, String> {
    let pod_name = pod.name();
    let mut runs = view
        .containers
        .iter()
        .filter(|c| c.name == name && c.state != RunState::Created);
    let latest = runs.next();
    let waiting = status(pod, name).and_then(|s| s.state.as_ref()?.waiting.as_ref());
    if previous {
        // A container that waits for its restart: the run that ended is the one before.
        let ended = latest.filter(|c| c.exited() && waiting.is_some());
        let found = ended.or_else(|| runs.next());
        return found.ok_or_else(|| format!("previous terminated container {name:?} in pod {pod_name:?} not found"));
    }
    latest.ok_or_else(|| {
        let why = match waiting.and_then(|w: &ContainerStateWaiting| w.reason.as_deref()) {
            Some("ErrImagePull") => "image can't be pulled",
            Some("ImagePullBackOff") => "trying and failing to pull image",
            Some(reason) => reason,
            None if pod.init_containers().is_empty() => "ContainerCreating",
            None => "PodInitializing",
        };
        format!("container {name:?} in pod {pod_name:?} is waiting to start: {why}")
    })
}

fn status<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    let s = pod.status.as_ref()?;
    let lists = [
        &s.container_statuses,
        &s.init_container_statuses,
        &s.ephemeral_container_statuses,
    ];
    lists.into_iter().flatten().flatten().find(|c| c.name == name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn queries() {
        let now = Timestamp::from_second(1000).unwrap();
        let of = |q: &str| options(&Query::parse(q), now);
        let (o, previous) =
            of("follow=true&tailLines=3&limitBytes=9&sinceSeconds=10&stream=Stdout&previous=1").unwrap();
        assert!(previous && o.follow && o.stdout && !o.stderr && !o.timestamps);
        assert_eq!((o.tail, o.limit_bytes), (Some(3), Some(9)));
        assert_eq!(o.since, Timestamp::from_second(990).ok());
        assert_eq!(of("tail=all").unwrap().0.tail, None);
        assert_eq!(of("tail=5").unwrap().0.tail, Some(5));
        assert_eq!(
            of("sinceTime=1970-01-01T00:00:05Z").unwrap().0.since,
            Timestamp::from_second(5).ok()
        );
        let code = |q: &str| of(q).unwrap_err().status.as_u16();
        assert_eq!(code("tailLines=x"), 400);
        assert_eq!(code("sinceTime=yesterday"), 400);
        assert_eq!(code("tailLines=-1"), 422);
        assert_eq!(code("limitBytes=0"), 422);
        assert_eq!(code("stream=Both"), 422);
        assert_eq!(code("sinceSeconds=1&sinceTime=1970-01-01T00:00:05Z"), 422);
    }

    fn run(attempt: u32, state: pb::ContainerState) -> ContainerView {
        let status = pb::ContainerStatus {
            id: format!("c{attempt}"),
            metadata: Some(pb::ContainerMetadata {
                name: "c".into(),
                attempt,
            }),
            state: state as i32,
            ..Default::default()
        };
        ContainerView::new(status, "s")
    }

    fn pod(state: serde_json::Value) -> Pod {
        serde_json::from_value(
            json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]},
            "status": {"containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false,
                "restartCount": 0, "state": state}]}}),
        )
        .unwrap()
    }

    #[test]
    fn which_run() {
        use pb::ContainerState::{ContainerCreated, ContainerExited, ContainerRunning};
        let runs = |r: Vec<ContainerView>| PodView::new(Vec::new(), r);
        let running = pod(json!({"running": {}}));
        let chosen = |p: &Pod, v: &PodView, previous| choose(p, v, "c", previous).map(|c| c.id.clone());
        let two = runs(vec![run(0, ContainerExited), run(1, ContainerRunning)]);
        assert_eq!(chosen(&running, &two, false).unwrap(), "c1");
        assert_eq!(chosen(&running, &two, true).unwrap(), "c0");
        let one = runs(vec![run(0, ContainerRunning)]);
        assert_eq!(
            chosen(&running, &one, true).unwrap_err(),
            "previous terminated container \"c\" in pod \"p\" not found"
        );
        let crashed = pod(json!({"waiting": {"reason": "CrashLoopBackOff"}}));
        let ended = runs(vec![run(3, ContainerExited)]);
        assert_eq!(chosen(&crashed, &ended, true).unwrap(), "c3");
        assert_eq!(chosen(&crashed, &ended, false).unwrap(), "c3");
        let done = pod(json!({"terminated": {"exitCode": 0}}));
        assert_eq!(chosen(&done, &ended, false).unwrap(), "c3");
        assert!(chosen(&done, &ended, true).is_err());
        let fresh = runs(vec![run(0, ContainerCreated)]);
        let waiting = |reason: &str| chosen(&pod(json!({"waiting": {"reason": reason}})), &fresh, false).unwrap_err();
        assert_eq!(
            waiting("ErrImagePull"),
            "container \"c\" in pod \"p\" is waiting to start: image can't be pulled"
        );
        assert!(waiting("ContainerCreating").ends_with("waiting to start: ContainerCreating"));
    }
}
