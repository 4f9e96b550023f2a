//! Lists and watches.
use super::harness::Cluster;
use super::*;

async fn fill(admin: &harness::User, n: usize) -> Vec<String> {
    let names: Vec<String> = (0..n).map(|i| format!("cm-{i:02}")).collect();
    for name in &names {
        admin.post(CONFIG_MAPS, config_map(name, json!({"n": name}))).await.ok();
    }
    names
}

fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().unwrap();
    items
        .iter()
        .map(|i| i["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_list_in_pages_is_the_list() {
    let c = Cluster::start().await;
    let admin = c.admin();
    let all = fill(&admin, 10).await;
    let path = format!("{CONFIG_MAPS}?labelSelector=!x&limit=4");
    let (mut got, mut token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = admin.get(&format!("{path}&continue={token}")).await.ok();
        assert_eq!(
            (&page["kind"], &page["apiVersion"]),
            (&json!("ConfigMapList"), &json!("v1"))
        );
        assert!(page["items"][0]["kind"].is_null());
        assert!(page["items"][0]["metadata"]["resourceVersion"].is_string());
        got.extend(names(&page));
        pages += 1;
        match page["metadata"]["continue"].as_str() {
            Some(t) => token = t.to_owned(),
            None => break,
        }
    }
    got.retain(|n| n.starts_with("cm-"));
    assert_eq!(got, all);
    assert!(pages >= 3);
    let first = admin.get(&format!("{CONFIG_MAPS}?limit=4")).await.ok();
    assert!(first["metadata"]["remainingItemCount"].as_i64().unwrap() >= 6);
}

#[tokio::test]
async fn a_watch_tells_what_happens() {
    let c = Cluster::start().await;
    let admin = c.admin();
    let list = admin.get(PODS).await.ok();
    let rv = list["metadata"]["resourceVersion"].as_str().unwrap();
    let mut all = admin.watch(&format!("{PODS}?watch=true&resourceVersion={rv}")).await;
    let mut some = admin
        .watch(&format!("{PODS}?watch=1&resourceVersion={rv}&labelSelector=app%3Dx"))
        .await;
    let mut old = admin
        .watch(&format!("/api/v1/watch/namespaces/default/pods/a?resourceVersion={rv}"))
        .await;
    admin.post(PODS, pod("a", json!({"app": "x"}))).await.ok();
    admin.post(PODS, pod("b", json!({"app": "y"}))).await.ok();
    let relabel = json!({"metadata": {"labels": {"app": "y"}}});
    admin.patch(&format!("{PODS}/a"), "merge", relabel).await.ok();
    admin.delete(&format!("{PODS}/a?gracePeriodSeconds=0")).await.ok();
    for expected in ["ADDED a", "ADDED b", "MODIFIED a", "DELETED a"] {
        assert_eq!(all.told().await, expected);
    }
    for expected in ["ADDED a", "DELETED a"] {
        assert_eq!(some.told().await, expected);
    }
    for expected in ["ADDED a", "MODIFIED a", "DELETED a"] {
        assert_eq!(old.told().await, expected);
    }
}

#[tokio::test]
async fn a_watch_list_ends_its_initial_events() {
    let c = Cluster::start().await;
    let admin = c.admin();
    admin.post(PODS, pod("a", json!({}))).await.ok();
    let query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut w = admin.watch(&format!("{PODS}?{query}")).await;
    assert_eq!(w.told().await, "ADDED a");
    let end = w.next().await;
    assert_eq!(end["type"], "BOOKMARK");
    assert_eq!(end["object"]["kind"], "Pod");
    assert_eq!(
        end["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
    admin.post(PODS, pod("b", json!({}))).await.ok();
    assert_eq!(w.told().await, "ADDED b");
    let wrong = admin.get(&format!("{PODS}?watch=true&sendInitialEvents=true")).await;
    assert_eq!(wrong.code, 422);
}

#[tokio::test]
async fn an_old_revision_is_gone() {
    let c = Cluster::start().await;
    let admin = c.admin();
    let mut w = admin.watch(&format!("{PODS}?watch=true&resourceVersion=1")).await;
    let e = w.next().await;
    assert_eq!(
        (&e["type"], &e["object"]["code"], &e["object"]["reason"]),
        (&json!("ERROR"), &json!(410), &json!("Expired"))
    );
    let (code, message) = admin
        .get(&format!("{PODS}?resourceVersion=999999999&resourceVersionMatch=Exact"))
        .await
        .err();
    assert_eq!(code, 504, "{message}");
    assert!(
        message.starts_with("Timeout: Too large resource version: 999999999, current: "),
        "{message}"
    );
}

#[tokio::test]
async fn field_selectors() {
    let c = Cluster::start().await;
    let admin = c.admin();
    for (name, node) in [("a", "n1"), ("b", "n2")] {
        let mut p = pod(name, json!({}));
        p["spec"]["nodeName"] = node.into();
        admin.post(PODS, p).await.ok();
    }
    let by = |s: &str| format!("/api/v1/pods?fieldSelector={}", s.replace('=', "%3D"));
    assert_eq!(names(&admin.get(&by("spec.nodeName=n1")).await.ok()), ["a"]);
    assert_eq!(names(&admin.get(&by("spec.nodeName!=n1")).await.ok()), ["b"]);
    assert_eq!(names(&admin.get(&by("metadata.name=b")).await.ok()), ["b"]);
    assert_eq!(names(&admin.get(&by("status.phase=Pending")).await.ok()), ["a", "b"]);
    let (code, message) = admin.get(&by("spec.what=1")).await.err();
    assert_eq!(code, 400);
    assert_eq!(message, "field label not supported: spec.what");
    let (code, message) = admin.get("/api/v1/configmaps?fieldSelector=data.k%3Dv").await.err();
    assert_eq!(code, 400);
    assert_eq!(
        message,
        "\"data.k\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
    );
}

#[tokio::test]
async fn events_are_one_kind_in_two_groups() {
    let c = Cluster::start().await;
    let admin = c.admin();
    let made = admin
        .post(
            "/apis/events.k8s.io/v1/namespaces/default/events",
            json!({
                "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"},
                "eventTime": "2026-01-02T03:04:05.000006Z", "action": "Bind", "reason": "Scheduled", "type": "Normal",
                "note": "hello", "reportingController": "sched", "reportingInstance": "sched-1",
                "regarding": {"kind": "Pod", "name": "a", "namespace": "default"},
            }),
        )
        .await
        .ok();
    assert_eq!(made["note"], "hello");
    let core = admin.get("/api/v1/namespaces/default/events/e").await.ok();
    assert_eq!(
        (&core["message"], &core["involvedObject"]["name"]),
        (&json!("hello"), &json!("a"))
    );
    assert_eq!(core["reportingComponent"], "sched");
    let selector = "fieldSelector=involvedObject.name%3Da,source%3Dsched";
    assert_eq!(
        names(
            &admin
                .get(&format!("/api/v1/namespaces/default/events?{selector}"))
                .await
                .ok()
        ),
        ["e"]
    );
    let list = admin.get("/apis/events.k8s.io/v1/events").await.ok();
    assert_eq!(
        (&list["kind"], &list["items"][0]["regarding"]["name"]),
        (&json!("EventList"), &json!("a"))
    );
}
