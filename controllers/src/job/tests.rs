#![allow(clippy::unwrap_used)]
use super::pods::{build, to_delete};
use super::tally::{Backoff, Tally};
use super::track;
use expect_test::expect;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Arc;

fn job(spec: Value, status: Value) -> Job {
    let mut s = json!({"parallelism": 2, "completions": 3, "backoffLimit": 2,
        "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c"}]}}});
    for (k, v) in spec.as_object().unwrap() {
        s[k] = v.clone();
    }
    serde_json::from_value(
        json!({"metadata": {"name": "j", "namespace": "d", "uid": "j"}, "spec": s, "status": status}),
    )
    .unwrap()
}

fn pod(uid: &str, phase: &str, index: Option<i32>, end: &str) -> Arc<Pod> {
    let annotations = index.map(|i| json!({"batch.kubernetes.io/job-completion-index": i.to_string()}));
    let state = match end {
        "" => json!({}),
        t => json!({"terminated": {"exitCode": 1, "finishedAt": t}}),
    };
    Arc::new(
        serde_json::from_value(json!({"metadata": {"name": uid, "uid": uid, "annotations": annotations,
            "finalizers": ["batch.kubernetes.io/job-tracking"]},
            "status": {"phase": phase, "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false,
                "restartCount": 0, "state": state}]}}))
        .unwrap(),
    )
}

fn now() -> Timestamp {
    "2026-01-01T00:10:00Z".parse().unwrap()
}
fn tally(j: &Job, pods: &[Arc<Pod>]) -> Tally {
    Tally::new(j, pods, &HashSet::new(), Backoff::default())
}

#[test]
fn a_pod_is_named_first_and_counted_after() {
    let j = job(json!({}), json!({}));
    let pods = [
        pod("a", "Succeeded", None, ""),
        pod("b", "Failed", None, ""),
        pod("c", "Running", None, ""),
    ];
    let t = tally(&j, &pods);
    assert_eq!((t.active.len(), t.succeeded, t.failed), (1, 1, 1));
    assert_eq!(t.wanted(&j), 2);
    let s = track::step(&j, Default::default(), &pods, &HashSet::new(), None, now());
    expect![[r#"{"uncountedTerminatedPods":{"failed":["b"],"succeeded":["a"]}}"#]]
        .assert_eq(&serde_json::to_string(&s.status).unwrap());
    assert_eq!(s.release.len(), 2);
    // Looking again before the finalizers are gone changes nothing.
    let again = track::step(&j, s.status.clone(), &pods, &HashSet::new(), None, now());
    assert_eq!(again.status, s.status);
    let left = HashSet::from(["a".to_owned(), "b".to_owned()]);
    let mut after = s.status;
    track::settle(&mut after, &track::holding(&pods, &left));
    expect![[r#"{"failed":1,"succeeded":1,"uncountedTerminatedPods":{}}"#]]
        .assert_eq(&serde_json::to_string(&after).unwrap());
}

#[test]
fn completion_is_announced_and_then_made() {
    let j = job(json!({"completions": 1}), json!({}));
    let pods = [pod("a", "Succeeded", None, "")];
    let t = tally(&j, &pods);
    assert!(t.is_complete(&j, 0));
    let met = super::condition("SuccessCriteriaMet", "True", "CompletionsReached", "m", now());
    let s = track::step(&j, Default::default(), &pods, &HashSet::new(), Some(met), now());
    let kinds = |st: &k8s_openapi::api::batch::v1::JobStatus| -> Vec<String> {
        st.conditions.iter().flatten().map(|c| c.type_.clone()).collect()
    };
    assert_eq!(kinds(&s.status), ["SuccessCriteriaMet"]);
    let mut status = s.status;
    assert!(
        !track::finish(&mut status, s.finish.as_ref(), 0, now()),
        "one pod is not counted yet"
    );
    track::settle(&mut status, &HashSet::new());
    assert!(
        !track::finish(&mut status, s.finish.as_ref(), 1, now()),
        "one pod still terminates"
    );
    assert!(track::finish(&mut status, s.finish.as_ref(), 0, now()));
    assert_eq!(kinds(&status), ["SuccessCriteriaMet", "Complete"]);
    assert!(status.completion_time.is_some() && status.succeeded == Some(1));
}

#[test]
fn failures_deadlines_and_restarts_end_a_job() {
    let reason = |j: &Job, pods: &[Arc<Pod>]| {
        let (c, _) = tally(j, pods).verdict(j, pods, now());
        c.map(|c| format!("{} {}", c.type_, c.reason.unwrap()))
    };
    let failed: Vec<_> = ["a", "b", "c"].iter().map(|u| pod(u, "Failed", None, "")).collect();
    let j = job(json!({}), json!({}));
    assert_eq!(reason(&j, &failed[..2]), None);
    assert_eq!(
        reason(&j, &failed).as_deref(),
        Some("FailureTarget BackoffLimitExceeded")
    );
    let started = json!({"startTime": "2026-01-01T00:00:00Z"});
    let j = job(json!({"activeDeadlineSeconds": 600}), started.clone());
    assert_eq!(reason(&j, &[]).as_deref(), Some("FailureTarget DeadlineExceeded"));
    let j = job(json!({"activeDeadlineSeconds": 601}), started);
    assert_eq!(tally(&j, &[]).verdict(&j, &[], now()).1.unwrap().as_secs(), 1);
}

#[test]
fn indexes_get_one_pod_each() {
    let j = job(
        json!({"completionMode": "Indexed", "completions": 4, "parallelism": 3}),
        json!({"completedIndexes": "1", "succeeded": 1}),
    );
    let pods = [
        pod("a", "Succeeded", Some(0), ""),
        pod("b", "Running", Some(2), ""),
        pod("c", "Pending", Some(2), ""),
    ];
    let t = tally(&j, &pods);
    assert_eq!((t.succeeded, t.succeeded_indexes.to_string().as_str()), (2, "0,1"));
    assert_eq!(t.pending_indexes(&j, &pods, 5), [3]);
    let doubles = to_delete(&t.active, Some(4), 0);
    assert_eq!(doubles.len(), 1);
    assert_eq!(doubles[0].metadata.name.as_deref(), Some("c"));
    let s = track::step(&j, j.status.clone().unwrap(), &pods, &HashSet::new(), None, now());
    assert_eq!(s.status.completed_indexes.as_deref(), Some("0,1"));
    assert_eq!(s.status.succeeded, Some(2));
    let p = build(&j, Some(3)).unwrap();
    assert_eq!(p.metadata.generate_name.as_deref(), Some("j-3-"));
    assert_eq!(p.spec.as_ref().unwrap().hostname.as_deref(), Some("j-3"));
    assert_eq!(
        p.spec.unwrap().containers[0].env.as_ref().unwrap()[0].name,
        "JOB_COMPLETION_INDEX"
    );
}

#[test]
fn pods_back_off_by_failures_since_the_last_success() {
    let j = job(json!({"backoffLimit": 9}), json!({}));
    let f = |u: &str, t: &str| pod(u, "Failed", None, t);
    let t = tally(&j, &[f("a", "2026-01-01T00:09:40Z"), f("b", "2026-01-01T00:09:50Z")]);
    assert_eq!(t.backoff.failures, 2);
    assert_eq!(t.backoff.remaining(now()).unwrap().as_secs(), 10);
    let pods = [
        f("a", "2026-01-01T00:09:40Z"),
        pod("s", "Succeeded", None, "2026-01-01T00:09:45Z"),
        f("b", "2026-01-01T00:09:50Z"),
    ];
    let t = tally(&j, &pods);
    assert_eq!(t.backoff.failures, 1);
    assert_eq!(t.backoff.remaining(now()), None);
}
