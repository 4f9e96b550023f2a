#![allow(clippy::unwrap_used)]
use super::*;
use serde_json::json;

fn apply_to(kind: &str, object: &Value, patch: &Value) -> Result<Value, String> {
    let id = schema::by_name(kind).unwrap();
    let mut o = object.clone();
    apply(id, &mut o, patch).map(|()| o).map_err(|e| e.to_string())
}
fn pod(object: Value, patch: Value) -> Value {
    apply_to("io.k8s.api.core.v1.PodSpec", &object, &patch).unwrap()
}
fn names(v: &Value, list: &str, key: &str) -> Vec<String> {
    v[list].as_array().unwrap().iter().map(|i| plain(&i[key])).collect()
}

#[test]
fn containers_merge_by_name_and_ports_by_number() {
    let live = json!({"containers": [
        {"name": "a", "image": "i:1", "ports": [{"containerPort": 80, "name": "web"}], "args": ["x"]},
        {"name": "b", "image": "j"},
    ]});
    let patch = json!({"containers": [
        {"name": "a", "image": "i:2", "ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 81}], "args": ["y"]},
        {"name": "c", "image": "k"},
    ]});
    assert_eq!(
        pod(live, patch),
        json!({"containers": [
            {"name": "a", "image": "i:2", "args": ["y"], "ports": [
                {"containerPort": 80, "name": "web", "protocol": "TCP"}, {"containerPort": 81}]},
            {"name": "c", "image": "k"},
            {"name": "b", "image": "j"},
        ]}),
        "as upstream: what only the server has comes behind a new item"
    );
}

#[test]
fn nulls_delete_and_new_values_lose_theirs() {
    let live = json!({"nodeName": "n", "securityContext": {"runAsUser": 1, "fsGroup": 2}});
    let patch = json!({"nodeName": null, "securityContext": {"fsGroup": null}, "affinity": {"podAffinity": null, "nodeAffinity": {}}});
    assert_eq!(
        pod(live, patch),
        json!({"securityContext": {"runAsUser": 1}, "affinity": {"nodeAffinity": {}}})
    );
}

#[test]
fn patch_directives() {
    let live = || json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}], "nodeSelector": {"x": "1", "y": "2"}});
    assert_eq!(
        names(
            &pod(live(), json!({"containers": [{"$patch": "delete", "name": "a"}]})),
            "containers",
            "name"
        ),
        ["b"]
    );
    assert_eq!(
        pod(live(), json!({"containers": [{"$patch": "replace"}, {"name": "z"}]}))["containers"],
        json!([{"name": "z"}])
    );
    assert_eq!(
        pod(live(), json!({"nodeSelector": {"$patch": "replace", "z": "3"}}))["nodeSelector"],
        json!({"z": "3"})
    );
    assert_eq!(
        pod(live(), json!({"nodeSelector": {"$patch": "delete"}}))["nodeSelector"],
        json!({})
    );
    assert_eq!(
        pod(live(), json!({"$patch": "replace", "nodeName": "n"})),
        json!({"nodeName": "n"})
    );
    assert_eq!(
        pod(
            live(),
            json!({"containers": [{"name": "a", "$patch": "replace", "image": "9"}]})
        )["containers"],
        json!([]),
        "as upstream: a replace in an item replaces the list by the items without one"
    );
    assert_eq!(
        pod(
            json!({}),
            json!({"containers": [{"name": "a", "$patch": "delete"}, {"name": "b", "image": null}]})
        ),
        json!({"containers": [{"name": "b"}]})
    );
}

#[test]
fn scalars_merge_as_sets_and_are_deleted_by_the_parallel_list() {
    let meta = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
    let live = json!({"finalizers": ["a", "b", "c"]});
    let to = |patch: Value| apply_to(meta, &live, &patch).unwrap()["finalizers"].clone();
    assert_eq!(to(json!({"finalizers": ["c", "d"]})), json!(["a", "b", "c", "d"]));
    assert_eq!(
        to(json!({"$deleteFromPrimitiveList/finalizers": ["b", "x"]})),
        json!(["a", "c"])
    );
    assert_eq!(
        to(
            json!({"$deleteFromPrimitiveList/finalizers": ["a"], "$setElementOrder/finalizers": ["d", "c"], "finalizers": ["d"]})
        ),
        json!(["d", "b", "c"]),
        "what the live list does not have comes first"
    );
    assert_eq!(
        to(json!({"$setElementOrder/finalizers": ["c", "b", "a"]})),
        json!(["c", "b", "a"])
    );
    assert!(apply_to(meta, &live, &json!({"finalizers": [1]})).is_err());
}

#[test]
fn lists_without_strategy_are_replaced() {
    let live = json!({"tolerations": [{"key": "a"}, {"key": "b"}]});
    assert_eq!(
        pod(live, json!({"tolerations": [{"key": "c"}]})),
        json!({"tolerations": [{"key": "c"}]})
    );
}

#[test]
fn element_order_is_kept() {
    let live = json!({"containers": [{"name": "srv"}, {"name": "a"}, {"name": "b"}, {"name": "srv2"}]});
    let order = |names: &[&str]| names.iter().map(|n| json!({"name": n})).collect::<Vec<_>>();
    let got = pod(
        live.clone(),
        json!({"$setElementOrder/containers": order(&["b", "c", "a"]), "containers": [{"name": "c", "image": "i"}]}),
    );
    assert_eq!(names(&got, "containers", "name"), ["srv", "b", "c", "a", "srv2"]);
    let got = pod(live.clone(), json!({"$setElementOrder/containers": order(&["b", "a"])}));
    assert_eq!(names(&got, "containers", "name"), ["srv", "b", "a", "srv2"]);
    let got = pod(
        live.clone(),
        json!({"$setElementOrder/containers": order(&["a"]), "containers": [{"name": "b", "$patch": "delete"}]}),
    );
    assert_eq!(names(&got, "containers", "name"), ["srv", "a", "srv2"]);
    let e = apply_to(
        "io.k8s.api.core.v1.PodSpec",
        &live,
        &json!({"$setElementOrder/containers": order(&["a", "b"]), "containers": [{"name": "b"}, {"name": "a"}]}),
    )
    .unwrap_err();
    assert!(e.contains("doesn't match $setElementOrder list"), "{e}");
    let got = pod(
        json!({}),
        json!({"$setElementOrder/containers": order(&["a"]), "containers": [{"name": "a", "image": "i"}]}),
    );
    assert_eq!(got, json!({"containers": [{"name": "a", "image": "i"}]}));
}

#[test]
fn retain_keys_clears_the_other_kinds_of_a_union() {
    let live = json!({"volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "hostPath": {"path": "/"}}]});
    let patch = json!({"volumes": [{"$retainKeys": ["name", "configMap"], "name": "v", "configMap": {"name": "c"}}]});
    assert_eq!(
        pod(live.clone(), patch)["volumes"],
        json!([{"name": "v", "configMap": {"name": "c"}}, {"name": "w", "hostPath": {"path": "/"}}])
    );
    let wrong = json!({"volumes": [{"$retainKeys": ["name"], "name": "v", "configMap": {}}]});
    assert_eq!(
        apply_to("io.k8s.api.core.v1.PodSpec", &live, &wrong).unwrap_err(),
        "invalid patch format of retainKeys"
    );
    let spec = "io.k8s.api.apps.v1.DeploymentSpec";
    let live = json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}});
    assert_eq!(
        apply_to(
            spec,
            &live,
            &json!({"strategy": {"$retainKeys": ["type"], "type": "Recreate"}})
        )
        .unwrap(),
        json!({"strategy": {"type": "Recreate"}})
    );
}

/// The patch that `kubectl apply` computes when an image changes, an environment variable goes and a port comes.
#[test]
fn what_kubectl_apply_sends() {
    let live = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "annotations": {"deployment.kubernetes.io/revision": "1",
            "kubectl.kubernetes.io/last-applied-configuration": "old"}, "labels": {"app": "web"}},
        "spec": {"replicas": 3, "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
            "containers": [{"name": "web", "image": "web:1", "imagePullPolicy": "IfNotPresent",
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                "ports": [{"containerPort": 80, "protocol": "TCP"}]},
                {"name": "injected", "image": "mesh"}],
            "dnsPolicy": "ClusterFirst"}}}});
    let patch = json!({
        "metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "new"}},
        "spec": {"replicas": null, "template": {"spec": {
            "$setElementOrder/containers": [{"name": "web"}],
            "containers": [{
                "$setElementOrder/env": [{"name": "A"}],
                "$setElementOrder/ports": [{"containerPort": 443}, {"containerPort": 80}],
                "env": [{"$patch": "delete", "name": "B"}],
                "image": "web:2", "name": "web",
                "ports": [{"containerPort": 443}]}]}}}});
    let got = apply_to("io.k8s.api.apps.v1.Deployment", &live, &patch).unwrap();
    let mut want = live;
    want["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = "new".into();
    want["spec"].as_object_mut().unwrap().remove("replicas");
    let c = &mut want["spec"]["template"]["spec"]["containers"][0];
    c["image"] = "web:2".into();
    c["env"] = json!([{"name": "A", "value": "1"}]);
    c["ports"] = json!([{"containerPort": 443}, {"containerPort": 80, "protocol": "TCP"}]);
    assert_eq!(got, want);
}

/// The status patches of kubelets and controllers.
#[test]
fn conditions_merge_by_type() {
    let live = json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "False", "reason": "x"}]});
    let patch = json!({"phase": "Running", "$setElementOrder/conditions": [{"type": "Ready"}, {"type": "PodScheduled"}],
        "conditions": [{"type": "Ready", "status": "True", "reason": null}]});
    assert_eq!(
        apply_to("io.k8s.api.core.v1.PodStatus", &live, &patch).unwrap(),
        json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}, {"type": "PodScheduled", "status": "True"}]})
    );
}

#[test]
fn service_ports_and_env_keys() {
    let live = json!({"ports": [{"port": 80, "targetPort": 8080}, {"port": 443}]});
    let got = apply_to(
        "io.k8s.api.core.v1.ServiceSpec",
        &live,
        &json!({"ports": [{"port": 80, "nodePort": 30000}]}),
    );
    assert_eq!(
        got.unwrap()["ports"],
        json!([{"port": 80, "targetPort": 8080, "nodePort": 30000}, {"port": 443}])
    );
    let e = apply_to(
        "io.k8s.api.core.v1.ServiceSpec",
        &live,
        &json!({"ports": [{"nodePort": 30000}]}),
    );
    assert_eq!(
        e.unwrap_err(),
        "map: {\"nodePort\":30000} does not contain declared merge key: port"
    );
}

#[test]
fn malformed_patches() {
    let e = |patch: Value| apply_to("io.k8s.api.core.v1.PodSpec", &json!({"containers": []}), &patch).unwrap_err();
    assert_eq!(e(json!([1])), "invalid JSON document");
    assert!(e(json!({"$patch": "upsert"})).starts_with("unknown patch type: upsert in map"));
    assert_eq!(
        e(json!({"$setElementOrder": []})),
        "invalid patch format of setElementOrder list"
    );
    assert_eq!(
        e(json!({"$deleteFromPrimitiveList": []})),
        "invalid patch format of primitive list"
    );
    assert_eq!(e(json!({"containers": [[1]]})), "lists of lists are not supported");
    assert_eq!(
        e(json!({"containers": [{"$patch": "merge"}]})),
        "merging lists cannot yet be specified in the patch"
    );
}
