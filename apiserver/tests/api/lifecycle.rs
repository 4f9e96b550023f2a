//! How objects end, and what stays.
use super::harness::Cluster;
use super::*;

#[tokio::test]
async fn finalizers_hold_an_object() {
    let c = Cluster::start().await;
    let admin = c.admin();
    let mut object = config_map("held", json!({}));
    object["metadata"]["finalizers"] = json!(["example.com/hold"]);
    admin.post(CONFIG_MAPS, object).await.ok();
    let path = format!("{CONFIG_MAPS}/held");
    let going = admin.delete(&path).await.ok();
    assert!(going["metadata"]["deletionTimestamp"].is_string());
    assert!(admin.get(&path).await.ok()["metadata"]["deletionTimestamp"].is_string());
    admin
        .patch(&path, "merge", json!({"metadata": {"finalizers": null}}))
        .await
        .ok();
    assert_eq!(admin.get(&path).await.err().0, 404);
    admin.post(CONFIG_MAPS, config_map("free", json!({}))).await.ok();
    let gone = admin.delete(&format!("{CONFIG_MAPS}/free")).await.ok();
    assert_eq!((&gone["kind"], &gone["status"]), (&json!("Status"), &json!("Success")));
    assert_eq!(
        (&gone["details"]["name"], &gone["details"]["kind"]),
        (&json!("free"), &json!("configmaps"))
    );
}

#[tokio::test]
async fn propagation_becomes_finalizers_and_preconditions_hold() {
    let c = Cluster::start().await;
    let admin = c.admin();
    for (name, policy, finalizer) in [("f", "Foreground", "foregroundDeletion"), ("o", "Orphan", "orphan")] {
        admin.post(DEPLOYMENTS, deployment(name, 1)).await.ok();
        let path = format!("{DEPLOYMENTS}/{name}");
        let body = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy}).to_string();
        let typed = [("content-type", "application/json")];
        let going = admin.send(http::Method::DELETE, &path, &typed, body.into()).await.ok();
        assert_eq!(going["metadata"]["finalizers"], json!([finalizer]));
    }
    admin.post(CONFIG_MAPS, config_map("a", json!({}))).await.ok();
    let body = json!({"preconditions": {"uid": "other"}}).to_string();
    let typed = [("content-type", "application/json")];
    let answer = admin
        .send(http::Method::DELETE, &format!("{CONFIG_MAPS}/a"), &typed, body.into())
        .await;
    let (code, message) = answer.err();
    assert_eq!(code, 409);
    assert!(
        message.contains("Precondition failed: UID in precondition: other"),
        "{message}"
    );
}

#[tokio::test]
async fn pods_end_gracefully_once_they_run() {
    let c = Cluster::start().await;
    let admin = c.admin();
    admin.post(PODS, pod("new", json!({}))).await.ok();
    admin.delete(&format!("{PODS}/new")).await.ok();
    assert_eq!(
        admin.get(&format!("{PODS}/new")).await.err().0,
        404,
        "a pod without node goes at once"
    );
    admin.post(PODS, pod("run", json!({}))).await.ok();
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": "run"},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "n1"},
    });
    assert_eq!(
        admin.post(&format!("{PODS}/run/binding"), binding.clone()).await.code,
        201
    );
    let bound = admin.get(&format!("{PODS}/run")).await.ok();
    assert_eq!(bound["spec"]["nodeName"], "n1");
    assert_eq!(bound["status"]["conditions"][0]["type"], "PodScheduled");
    assert_eq!(admin.post(&format!("{PODS}/run/binding"), binding).await.err().0, 409);
    let going = admin.delete(&format!("{PODS}/run")).await.ok();
    assert_eq!(going["metadata"]["deletionGracePeriodSeconds"], 30);
    let sooner = admin.delete(&format!("{PODS}/run?gracePeriodSeconds=5")).await.ok();
    assert_eq!(sooner["metadata"]["deletionGracePeriodSeconds"], 5);
    admin.delete(&format!("{PODS}/run?gracePeriodSeconds=0")).await.ok();
    assert_eq!(admin.get(&format!("{PODS}/run")).await.err().0, 404);
}

#[tokio::test]
async fn evictions_ask_the_budget() {
    let c = Cluster::start().await;
    let admin = c.admin();
    for name in ["a", "b"] {
        admin.post(PODS, pod(name, json!({"app": "x"}))).await.ok();
        let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        admin
            .patch(&format!("{PODS}/{name}/status"), "strategic-merge", ready)
            .await
            .ok();
    }
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}},
    });
    admin.post(budgets, budget).await.ok();
    let status = json!({"status": {
        "observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2,
    }});
    admin.patch(&format!("{budgets}/b/status"), "merge", status).await.ok();
    let evict = |name: &str| json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    assert_eq!(admin.post(&format!("{PODS}/a/eviction"), evict("a")).await.code, 201);
    let (code, message) = admin.post(&format!("{PODS}/b/eviction"), evict("b")).await.err();
    assert_eq!(
        (code, message.as_str()),
        (429, "Cannot evict pod as it would violate the pod's disruption budget.")
    );
}

#[tokio::test]
async fn a_collection_is_deleted_by_selector() {
    let c = Cluster::start().await;
    let admin = c.admin();
    for (name, app) in [("a", "x"), ("b", "x"), ("c", "y")] {
        let mut o = config_map(name, json!({}));
        o["metadata"]["labels"] = json!({"app": app});
        admin.post(CONFIG_MAPS, o).await.ok();
    }
    admin.delete(&format!("{CONFIG_MAPS}?labelSelector=app%3Dx")).await.ok();
    assert_eq!(admin.get(&format!("{CONFIG_MAPS}/a")).await.code, 404);
    assert_eq!(admin.get(&format!("{CONFIG_MAPS}/c")).await.code, 200);
}

#[tokio::test]
async fn a_namespace_ends_when_it_is_finalized() {
    let c = Cluster::start().await;
    let admin = c.admin();
    let made = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}});
    let made = admin.post("/api/v1/namespaces", made).await.ok();
    assert_eq!(made["spec"]["finalizers"], json!(["kubernetes"]));
    assert_eq!(
        (
            &made["status"]["phase"],
            &made["metadata"]["labels"]["kubernetes.io/metadata.name"]
        ),
        (&json!("Active"), &json!("n"))
    );
    let mut going = admin.delete("/api/v1/namespaces/n").await.ok();
    assert_eq!(going["status"]["phase"], "Terminating");
    let (code, message) = admin
        .post("/api/v1/namespaces/n/configmaps", config_map("a", json!({})))
        .await
        .err();
    assert_eq!(code, 403);
    assert!(
        message.contains("unable to create new content in namespace n because it is being terminated"),
        "{message}"
    );
    going["spec"]["finalizers"] = json!([]);
    admin.put("/api/v1/namespaces/n/finalize", going).await.ok();
    assert_eq!(admin.get("/api/v1/namespaces/n").await.code, 404);
}

#[tokio::test]
async fn nothing_is_lost_by_a_restart() {
    let c = Cluster::start().await;
    let before = c.admin().post(DEPLOYMENTS, deployment("web", 1)).await.ok();
    let c = Cluster::start_in(c.stop().await).await;
    assert_eq!(c.admin().get(&format!("{DEPLOYMENTS}/web")).await.ok(), before);
    let list = c.admin().get(DEPLOYMENTS).await.ok();
    let version = |v: &Value| {
        v["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    assert!(version(&list) >= version(&before));
}

#[tokio::test]
async fn nobody_may_what_no_role_allows() {
    let c = Cluster::start().await;
    let nobody = c.user("jane", &["system:authenticated"]);
    let (code, message) = nobody.get(PODS).await.err();
    assert_eq!(code, 403);
    assert_eq!(
        message,
        "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
    );
    assert_eq!(nobody.get("/api").await.code, 200);
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "list", "resource": "pods", "namespace": "default"}}});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    assert_eq!(nobody.post(path, review.clone()).await.ok()["status"]["allowed"], false);
    assert_eq!(c.admin().post(path, review).await.ok()["status"]["allowed"], true);
}
