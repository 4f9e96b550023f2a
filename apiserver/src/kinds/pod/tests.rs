#![allow(clippy::unwrap_used)]
use super::*;
use crate::kinds::{Context, Strategy};
use keelson_machinery::resources;

fn context(subresource: &'static str) -> Context<'static> {
    Context {
        resource: resources::by_resource("", "v1", "pods").unwrap(),
        subresource,
        dry_run: false,
    }
}

fn container(name: &str) -> Value {
    json!({"name": name, "image": "busybox", "imagePullPolicy": "Always", "terminationMessagePolicy": "File"})
}

fn pod() -> Value {
    json!({"metadata": {"name": "p", "namespace": "default", "generation": 1},
        "spec": {"containers": [container("c")], "restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
            "terminationGracePeriodSeconds": 30, "serviceAccountName": "default"}})
}

fn told(p: &Value) -> Vec<String> {
    let errors = Pod.validate(&context(""), p);
    errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect()
}

#[test]
fn a_plain_pod_is_valid_and_starts_pending() {
    let mut p = pod();
    p["status"] = json!({"phase": "Running"});
    Pod.prepare_for_create(&context(""), &mut p);
    assert_eq!(p["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
    assert_eq!(told(&p), Vec::<String>::new());
}

#[test]
fn upstream_wording() {
    let mut p = pod();
    p["spec"]["containers"] = json!([]);
    assert_eq!(told(&p), ["spec.containers: Required value"]);

    let mut p = pod();
    p["spec"]["containers"] = json!([container("c"), container("c")]);
    p["spec"]["containers"][0]["image"] = "".into();
    p["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
    assert_eq!(
        told(&p),
        [
            "spec.containers[0].image: Required value",
            "spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
            "spec.containers[1].name: Duplicate value: \"c\"",
        ]
    );

    let mut p = pod();
    p["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}});
    p["spec"]["restartPolicy"] = "Sometimes".into();
    p["spec"]["containers"][0]["livenessProbe"] = json!({"periodSeconds": 1, "successThreshold": 2});
    assert_eq!(
        told(&p),
        [
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
            "spec.containers[0].livenessProbe: Required value: must specify a handler type",
            "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
            "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"",
        ]
    );
}

#[test]
fn an_image_may_change_and_a_command_may_not() {
    let (old, mut new) = (pod(), pod());
    new["spec"]["containers"][0]["image"] = "busybox:2".into();
    Pod.prepare_for_update(&context(""), &mut new, &old);
    assert_eq!(new["metadata"]["generation"], 2);
    assert!(Pod.validate_update(&context(""), &new, &old).is_empty());
    new["spec"]["containers"][0]["command"] = json!(["x"]);
    let errors = Pod.validate_update(&context(""), &new, &old);
    assert_eq!(errors.len(), 1);
    assert!(
        errors[0]
            .message
            .starts_with("Forbidden: pod updates may not change fields other than `spec.containers[*].image`,")
    );
}

#[test]
fn tolerations_may_be_added_only() {
    let (mut old, mut new) = (pod(), pod());
    old["spec"]["tolerations"] = json!([{"key": "a", "operator": "Exists"}]);
    new["spec"]["tolerations"] = json!([{"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Exists"}]);
    assert!(Pod.validate_update(&context(""), &new, &old).is_empty());
    new["spec"]["tolerations"] = json!([{"key": "b", "operator": "Exists"}]);
    let errors = Pod.validate_update(&context(""), &new, &old);
    assert!(errors[0].message.contains("existing toleration can not be modified"));
}

#[test]
fn status_updates_touch_status_only() {
    let mut old = pod();
    Pod.prepare_for_create(&context(""), &mut old);
    let mut new = old.clone();
    new["spec"]["nodeName"] = "x".into();
    new["metadata"]["labels"] = json!({"a": "b"});
    new["status"] = json!({"phase": "Running"});
    Pod.prepare_for_update(&context("status"), &mut new, &old);
    assert!(new["spec"].get("nodeName").is_none());
    assert!(new["metadata"].get("labels").is_none());
    assert_eq!(new["status"], json!({"phase": "Running", "qosClass": "BestEffort"}));
    assert!(Pod.validate_update(&context("status"), &new, &old).is_empty());
}

#[test]
fn a_finished_container_does_not_come_back() {
    let mut old = pod();
    old["spec"]["restartPolicy"] = "Never".into();
    old["status"] = json!({"containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 0}}}]});
    let mut new = old.clone();
    new["status"]["containerStatuses"][0]["state"] = json!({"running": {}});
    let errors = Pod.validate_update(&context("status"), &new, &old);
    assert_eq!(errors[0].field, "status.containerStatuses[0].state");
}

#[test]
fn quality_of_service() {
    let mut p = pod();
    assert_eq!(qos_class(&p), "BestEffort");
    p["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1"}});
    assert_eq!(qos_class(&p), "Burstable");
    let full = json!({"cpu": "1", "memory": "1Gi"});
    p["spec"]["containers"][0]["resources"] = json!({"requests": full, "limits": full});
    assert_eq!(qos_class(&p), "Guaranteed");
    p["spec"]["initContainers"] = json!([container("i")]);
    assert_eq!(qos_class(&p), "Burstable");
}

#[test]
fn grace() {
    let mut p = pod();
    assert_eq!(Pod.grace_period_seconds(&p, None), Some(0));
    p["spec"]["nodeName"] = "n".into();
    assert_eq!(Pod.grace_period_seconds(&p, None), Some(30));
    assert_eq!(Pod.grace_period_seconds(&p, Some(5)), Some(5));
    assert_eq!(Pod.grace_period_seconds(&p, Some(-1)), Some(1));
    p["status"] = json!({"phase": "Failed"});
    assert_eq!(Pod.grace_period_seconds(&p, None), Some(0));
}
