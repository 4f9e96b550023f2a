//! Create, update, patch: what is filled in, what is refused, who wins.
use super::harness::Cluster;
use super::*;

#[tokio::test]
async fn a_created_object_is_filled_in_and_read_back() {
    let c = Cluster::start().await;
    let admin = c.admin();
    let made = admin.post(DEPLOYMENTS, deployment("web", 3)).await;
    assert_eq!(made.code, 201);
    let made = made.json();
    let meta = &made["metadata"];
    assert_eq!(
        (&meta["generation"], &meta["namespace"]),
        (&json!(1), &json!("default"))
    );
    assert_eq!(meta["uid"].as_str().unwrap().len(), 36);
    assert!(meta["creationTimestamp"].is_string());
    assert_eq!(made["spec"]["strategy"]["type"], "RollingUpdate");
    assert_eq!(
        made["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"],
        "Always"
    );
    assert_eq!(
        (&made["apiVersion"], &made["kind"]),
        (&json!("apps/v1"), &json!("Deployment"))
    );
    let read = admin.get(&format!("{DEPLOYMENTS}/web")).await.ok();
    assert_eq!(read, made);
    let again = admin.post(DEPLOYMENTS, deployment("web", 3)).await.err();
    assert_eq!(again, (409, "deployments.apps \"web\" already exists".into()));
    let absent = admin.get(&format!("{DEPLOYMENTS}/none")).await.err();
    assert_eq!(absent, (404, "deployments.apps \"none\" not found".into()));
    let nowhere = admin
        .post("/api/v1/namespaces/none/configmaps", config_map("a", json!({})))
        .await
        .err();
    assert_eq!(nowhere, (404, "namespaces \"none\" not found".into()));
}

#[tokio::test]
async fn names_are_generated_and_checked() {
    let c = Cluster::start().await;
    let admin = c.admin();
    let mut object = config_map("", json!({}));
    object["metadata"] = json!({"generateName": "made-"});
    let name = admin.post(CONFIG_MAPS, object.clone()).await.ok()["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(name.starts_with("made-") && name.len() == 10, "{name}");
    object["metadata"] = json!({});
    let (code, message) = admin.post(CONFIG_MAPS, object).await.err();
    assert_eq!(code, 422);
    assert!(
        message.contains("metadata.name: Required value: name or generateName is required"),
        "{message}"
    );
    let (code, message) = admin.post(CONFIG_MAPS, config_map("Bad_Name", json!({}))).await.err();
    assert_eq!(code, 422);
    assert!(
        message.starts_with("ConfigMap \"Bad_Name\" is invalid: metadata.name: Invalid value: \"Bad_Name\""),
        "{message}"
    );
}

#[tokio::test]
async fn updates_are_guarded_by_resource_version() {
    let c = Cluster::start().await;
    let admin = c.admin();
    let first = admin.post(CONFIG_MAPS, config_map("a", json!({"k": "1"}))).await.ok();
    let path = format!("{CONFIG_MAPS}/a");
    let mut next = first.clone();
    next["data"]["k"] = "2".into();
    let second = admin.put(&path, next.clone()).await.ok();
    assert_ne!(
        second["metadata"]["resourceVersion"],
        first["metadata"]["resourceVersion"]
    );
    assert_eq!(second["metadata"]["uid"], first["metadata"]["uid"]);
    let (code, message) = admin.put(&path, next.clone()).await.err();
    assert_eq!(code, 409);
    assert_eq!(
        message,
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again"
    );
    // The same content again is no write.
    let same = admin.put(&path, second.clone()).await.ok();
    assert_eq!(
        same["metadata"]["resourceVersion"],
        second["metadata"]["resourceVersion"]
    );
    // Without a version it is unconditional.
    next["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    next["data"]["k"] = "3".into();
    assert_eq!(admin.put(&path, next).await.ok()["data"]["k"], "3");
    let (code, _) = admin
        .put(&format!("{CONFIG_MAPS}/none"), config_map("none", json!({})))
        .await
        .err();
    assert_eq!(code, 404);
}

#[tokio::test]
async fn three_kinds_of_patches() {
    let c = Cluster::start().await;
    let admin = c.admin();
    admin.post(DEPLOYMENTS, deployment("web", 1)).await.ok();
    let path = format!("{DEPLOYMENTS}/web");
    let sidecar = json!({"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "busybox"}]}}}});
    let two = admin.patch(&path, "strategic-merge", sidecar.clone()).await.ok();
    assert_eq!(
        two["spec"]["template"]["spec"]["containers"].as_array().unwrap().len(),
        2
    );
    assert_eq!(two["metadata"]["generation"], 2);
    let one = admin.patch(&path, "merge", sidecar).await.ok();
    assert_eq!(
        one["spec"]["template"]["spec"]["containers"].as_array().unwrap().len(),
        1
    );
    let test = json!([{"op": "test", "path": "/spec/replicas", "value": 1}, {"op": "replace", "path": "/spec/replicas", "value": 4}]);
    assert_eq!(
        admin.patch(&path, "json", test.clone()).await.ok()["spec"]["replicas"],
        4
    );
    assert_eq!(admin.patch(&path, "json", test).await.err().0, 422);
    let labels = admin
        .patch(&path, "merge", json!({"metadata": {"labels": {"a": "b"}}}))
        .await
        .ok();
    assert_eq!(labels["metadata"]["generation"], 4, "labels are no new generation");
    let stale = json!({"metadata": {"resourceVersion": "1"}, "spec": {"replicas": 9}});
    assert_eq!(admin.patch(&path, "merge", stale).await.err().0, 409);
}

#[tokio::test]
async fn status_is_a_world_of_its_own() {
    let c = Cluster::start().await;
    let admin = c.admin();
    let mut made = deployment("web", 1);
    made["status"] = json!({"replicas": 7});
    let made = admin.post(DEPLOYMENTS, made).await.ok();
    assert!(made["status"]["replicas"].is_null());
    let path = format!("{DEPLOYMENTS}/web");
    let patch = json!({"status": {"replicas": 1, "observedGeneration": 1}, "spec": {"replicas": 5}});
    let patched = admin.patch(&format!("{path}/status"), "merge", patch).await.ok();
    assert_eq!(
        (&patched["status"]["replicas"], &patched["spec"]["replicas"]),
        (&json!(1), &json!(1))
    );
    let kept = admin
        .patch(
            &path,
            "merge",
            json!({"status": {"replicas": 9}, "spec": {"replicas": 2}}),
        )
        .await
        .ok();
    assert_eq!(
        (&kept["status"]["replicas"], &kept["spec"]["replicas"]),
        (&json!(1), &json!(2))
    );
}

#[tokio::test]
async fn scale_is_read_and_written() {
    let c = Cluster::start().await;
    let admin = c.admin();
    admin.post(DEPLOYMENTS, deployment("web", 1)).await.ok();
    let path = format!("{DEPLOYMENTS}/web/scale");
    let mut scale = admin.get(&path).await.ok();
    assert_eq!(
        (&scale["kind"], &scale["apiVersion"]),
        (&json!("Scale"), &json!("autoscaling/v1"))
    );
    assert_eq!(
        (&scale["spec"]["replicas"], &scale["status"]["selector"]),
        (&json!(1), &json!("app=web"))
    );
    scale["spec"]["replicas"] = 3.into();
    assert_eq!(admin.put(&path, scale).await.ok()["spec"]["replicas"], 3);
    assert_eq!(
        admin.patch(&path, "merge", json!({"spec": {"replicas": 0}})).await.ok()["kind"],
        "Scale"
    );
    assert_eq!(
        admin.get(&format!("{DEPLOYMENTS}/web")).await.ok()["spec"]["replicas"],
        0
    );
}

#[tokio::test]
async fn unknown_fields_by_validation() {
    let c = Cluster::start().await;
    let admin = c.admin();
    let mut bad = deployment("web", 1);
    bad["spec"]["foo"] = 1.into();
    let strict = admin
        .post(&format!("{DEPLOYMENTS}?fieldValidation=Strict"), bad.clone())
        .await
        .err();
    assert_eq!(strict.0, 400);
    assert!(
        strict.1.ends_with("strict decoding error: unknown field \"spec.foo\""),
        "{}",
        strict.1
    );
    let warned = admin.post(&format!("{DEPLOYMENTS}?dryRun=All"), bad.clone()).await;
    assert_eq!(warned.headers["warning"], "299 - \"unknown field \\\"spec.foo\\\"\"");
    assert!(warned.ok()["spec"]["foo"].is_null());
    assert_eq!(
        admin.get(&format!("{DEPLOYMENTS}/web")).await.err().0,
        404,
        "a dry run writes nothing"
    );
    let quiet = admin.post(&format!("{DEPLOYMENTS}?fieldValidation=Ignore"), bad).await;
    assert!(!quiet.headers.contains_key("warning"));
    let mut typed = deployment("typed", 1);
    typed["spec"]["replicas"] = "one".into();
    let (code, message) = admin.post(DEPLOYMENTS, typed).await.err();
    assert_eq!(code, 400, "{message}");
    assert!(
        message.contains("json: cannot unmarshal string into Go struct field"),
        "{message}"
    );
}

#[tokio::test]
async fn bodies_that_do_not_fit_their_address() {
    let c = Cluster::start().await;
    let admin = c.admin();
    let (code, message) = admin.post(CONFIG_MAPS, deployment("web", 1)).await.err();
    assert_eq!(code, 400, "{message}");
    let mut elsewhere = config_map("a", json!({}));
    elsewhere["metadata"]["namespace"] = "kube-system".into();
    let (code, message) = admin.post(CONFIG_MAPS, elsewhere).await.err();
    assert_eq!(code, 400);
    assert!(message.contains("the namespace of the provided object does not match the namespace sent on the request"));
    let (code, message) = admin
        .put(&format!("{CONFIG_MAPS}/b"), config_map("a", json!({})))
        .await
        .err();
    assert_eq!(code, 400);
    assert!(
        message.contains("the name of the object (a) does not match the name on the URL (b)"),
        "{message}"
    );
    let typed = [("content-type", "text/plain")];
    assert_eq!(
        admin
            .send(http::Method::POST, CONFIG_MAPS, &typed, b"x".to_vec())
            .await
            .code,
        415
    );
    let huge = vec![b' '; (3 << 20) + 1];
    let typed = [("content-type", "application/json")];
    assert_eq!(
        admin.send(http::Method::POST, CONFIG_MAPS, &typed, huge).await.code,
        413
    );
}

#[tokio::test]
async fn services_get_addresses_and_give_them_back() {
    let c = Cluster::start().await;
    let admin = c.admin();
    let services = "/api/v1/namespaces/default/services";
    let service = |name: &str, extra: Value| {
        let mut spec = json!({"selector": {"a": "b"}, "ports": [{"port": 80}]});
        for (k, v) in extra.as_object().unwrap() {
            spec[k] = v.clone();
        }
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
    };
    let one = admin
        .post(services, service("one", json!({"type": "NodePort"})))
        .await
        .ok();
    let ip = one["spec"]["clusterIP"].as_str().unwrap().to_owned();
    assert!(ip.starts_with("10.96."));
    let port = one["spec"]["ports"][0]["nodePort"].as_i64().unwrap();
    assert!((30000..=32767).contains(&port));
    let (code, _) = admin
        .post(services, service("two", json!({"clusterIP": ip})))
        .await
        .err();
    assert_eq!(code, 422);
    admin.delete(&format!("{services}/one")).await.ok();
    let two = admin
        .post(services, service("two", json!({"clusterIP": ip})))
        .await
        .ok();
    assert_eq!(two["spec"]["clusterIP"], *ip);
}
