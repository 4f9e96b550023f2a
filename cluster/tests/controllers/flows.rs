use crate::world::{World, from, now, until};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Event, Namespace, Node, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use keelson_client::{Api, DeleteParams, ListParams, Patch, PatchParams, Propagation};
use serde_json::{Value, json};

fn deployment(name: &str, replicas: i32) -> Deployment {
    from(
        json!({"metadata": {"name": name}, "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "v1"}]}}}}),
    )
}

async fn available(api: &Api<Deployment>, name: &str, n: i32) -> Deployment {
    until(&format!("deployment {name} has {n} available"), || async {
        let d = api.get(name).await.unwrap();
        let s = d.status.clone().unwrap_or_default();
        let is = s.available_replicas.unwrap_or(0) == n
            && s.updated_replicas.unwrap_or(0) == n
            && s.replicas.unwrap_or(0) == n
            && s.observed_generation == d.metadata.generation;
        is.then_some(d)
    })
    .await
}

async fn merge<K: keelson_client::api::Object>(api: &Api<K>, name: &str, v: Value) -> K {
    api.patch(name, &PatchParams::default(), &Patch::Merge(v))
        .await
        .unwrap()
}

fn image(v: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": v}]}}}})
}

async fn set_image(api: &Api<Deployment>, name: &str, v: &str) {
    let patch = Patch::Strategic(image(v));
    api.patch(name, &PatchParams::default(), &patch).await.unwrap();
}

async fn gone<K: keelson_client::api::Object>(api: &Api<K>, selector: &str) {
    until(&format!("no {} with {selector}", K::KIND), || async {
        let l = api.list(&ListParams::labels(selector)).await.unwrap();
        l.items.is_empty().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_rolls_and_its_service_follows() {
    let w = World::start().await;
    w.node("n1").await;
    let deployments = w.api::<Deployment>("default");
    deployments.create(&deployment("web", 3)).await.unwrap();
    let d = available(&deployments, "web", 3).await;
    assert_eq!(
        d.metadata.annotations.unwrap()["deployment.kubernetes.io/revision"],
        "1"
    );
    let svc: Service = from(json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"},
        "ports": [{"port": 80, "targetPort": 8080}]}}));
    w.api::<Service>("default").create(&svc).await.unwrap();
    let slices = w.api::<EndpointSlice>("default");
    let of_web = ListParams::labels("kubernetes.io/service-name=web");
    let ready = |want: usize| {
        let (slices, of_web) = (slices.clone(), of_web.clone());
        async move {
            until("endpoints of the service", || async {
                let l = slices.list(&of_web).await.unwrap();
                let ready = l
                    .items
                    .iter()
                    .flat_map(|s| &s.endpoints)
                    .filter(|e| e.conditions.as_ref().and_then(|c| c.ready) == Some(true));
                (ready.count() == want).then_some(())
            })
            .await;
        }
    };
    ready(3).await;
    let endpoints = w.api::<Endpoints>("default");
    until("v1 endpoints", || async {
        let e = endpoints.get_opt("web").await.unwrap()?;
        (e.subsets?.first()?.addresses.as_ref()?.len() == 3).then_some(())
    })
    .await;

    // A rollout, watched: the promise holds at every state that the API shows.
    set_image(&deployments, "web", "v2").await;
    let pods = w.api::<Pod>("default");
    until("the rollout is done", || async {
        let l = pods.list(&ListParams::labels("app=web")).await.unwrap().items;
        let up = l.iter().filter(|p| {
            let ready = p.status.iter().flat_map(|s| s.conditions.iter().flatten());
            p.metadata.deletion_timestamp.is_none() && ready.clone().any(|c| c.type_ == "Ready" && c.status == "True")
        });
        assert!(up.count() >= 3, "maxUnavailable of 25% of 3 is 0");
        let d = deployments.get("web").await.unwrap();
        let s = d.status.clone().unwrap_or_default();
        (s.updated_replicas == Some(3) && s.replicas == Some(3) && s.observed_generation == d.metadata.generation)
            .then_some(())
    })
    .await;
    ready(3).await;
    set_image(&deployments, "web", "v1").await;
    let d = available(&deployments, "web", 3).await;
    assert_eq!(
        d.metadata.annotations.unwrap()["deployment.kubernetes.io/revision"],
        "3"
    );
    let sets = w.api::<ReplicaSet>("default");
    assert_eq!(sets.list(&ListParams::labels("app=web")).await.unwrap().items.len(), 2);

    merge(&deployments, "web", json!({"spec": {"replicas": 1}})).await;
    available(&deployments, "web", 1).await;
    ready(1).await;
    w.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owners_take_dependents_along_or_leave_them() {
    let w = World::start().await;
    w.node("n1").await;
    let deployments = w.api::<Deployment>("default");
    let (sets, pods) = (w.api::<ReplicaSet>("default"), w.api::<Pod>("default"));
    for (name, how) in [("bg", Propagation::Background), ("fg", Propagation::Foreground)] {
        deployments.create(&deployment(name, 2)).await.unwrap();
        available(&deployments, name, 2).await;
        let params = DeleteParams {
            propagation: Some(how),
            ..DeleteParams::default()
        };
        deployments.delete(name, &params).await.unwrap();
        if how == Propagation::Foreground {
            until("foreground deletion ends with the owner", || async {
                deployments.get_opt(name).await.unwrap().is_none().then_some(())
            })
            .await;
            let left = pods.list(&ListParams::labels("app=fg")).await.unwrap();
            assert!(left.items.is_empty());
        }
        gone(&sets, &format!("app={name}")).await;
        gone(&pods, &format!("app={name}")).await;
    }
    deployments.create(&deployment("or", 2)).await.unwrap();
    available(&deployments, "or", 2).await;
    let params = DeleteParams {
        propagation: Some(Propagation::Orphan),
        ..DeleteParams::default()
    };
    deployments.delete("or", &params).await.unwrap();
    until("the orphaning ends", || async {
        deployments.get_opt("or").await.unwrap().is_none().then_some(())
    })
    .await;
    let left = sets.list(&ListParams::labels("app=or")).await.unwrap().items;
    assert_eq!(left.len(), 1);
    assert!(left[0].metadata.owner_references.as_ref().is_none_or(Vec::is_empty));
    // A new Deployment adopts what is left, pods and all.
    deployments.create(&deployment("or", 2)).await.unwrap();
    available(&deployments, "or", 2).await;
    let adopted = sets.list(&ListParams::labels("app=or")).await.unwrap().items;
    assert_eq!(adopted.len(), 1);
    assert_eq!(adopted[0].metadata.uid, left[0].metadata.uid);
    w.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_complete_fail_and_expire() {
    let w = World::start().await;
    w.node("n1").await;
    let jobs = w.api::<Job>("default");
    let job = |name: &str, ends: &str, extra: Value| -> Job {
        let mut spec = json!({"template": {"metadata": {"annotations": {"test/ends": ends}},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "v1"}]}}});
        for (k, v) in extra.as_object().unwrap() {
            spec[k] = v.clone();
        }
        from(json!({"metadata": {"name": name}, "spec": spec}))
    };
    let many = json!({"completions": 5, "parallelism": 2});
    jobs.create(&job("good", "Succeeded", many)).await.unwrap();
    let indexed = json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed"});
    jobs.create(&job("indexed", "Succeeded", indexed)).await.unwrap();
    jobs.create(&job("bad", "Failed", json!({"backoffLimit": 0})))
        .await
        .unwrap();
    jobs.create(&job("short", "Succeeded", json!({"ttlSecondsAfterFinished": 0})))
        .await
        .unwrap();
    let ended = |name: &'static str, kind: &'static str| {
        let jobs = jobs.clone();
        async move {
            until(&format!("job {name} is {kind}"), || async {
                let j = jobs.get(name).await.unwrap();
                let s = j.status.clone().unwrap_or_default();
                let is = s
                    .conditions
                    .iter()
                    .flatten()
                    .any(|c| c.type_ == kind && c.status == "True");
                is.then_some(s)
            })
            .await
        }
    };
    let s = ended("good", "Complete").await;
    assert_eq!((s.succeeded, s.failed, s.active), (Some(5), None, None));
    assert!(s.completion_time.is_some() && s.start_time.is_some());
    let s = ended("indexed", "Complete").await;
    assert_eq!(s.completed_indexes.as_deref(), Some("0-2"));
    let s = ended("bad", "Failed").await;
    assert_eq!(s.failed, Some(1));
    let reason = s.conditions.iter().flatten().find(|c| c.type_ == "Failed").unwrap();
    assert_eq!(reason.reason.as_deref(), Some("BackoffLimitExceeded"));
    until("the job with a TTL is gone", || async {
        jobs.get_opt("short").await.unwrap().is_none().then_some(())
    })
    .await;
    // No pod is held by a finalizer once it is counted.
    let pods = w.api::<Pod>("default").list(&ListParams::default()).await.unwrap();
    assert!(
        pods.items
            .iter()
            .all(|p| p.metadata.finalizers.as_ref().is_none_or(Vec::is_empty))
    );
    assert_eq!(pods.items.len(), 5 + 3 + 1);
    let params = DeleteParams {
        propagation: Some(Propagation::Background),
        ..DeleteParams::default()
    };
    jobs.delete("good", &params).await.unwrap();
    gone(&w.api::<Pod>("default"), "job-name=good").await;
    w.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_comes_furnished_and_goes_with_all_in_it() {
    let w = World::start().await;
    w.node("n1").await;
    let namespaces = Api::<Namespace>::all(w.admin.clone());
    namespaces
        .create(&from(json!({"metadata": {"name": "x"}})))
        .await
        .unwrap();
    let (accounts, maps) = (w.api::<ServiceAccount>("x"), w.api::<ConfigMap>("x"));
    until("the default account", || async {
        accounts.get_opt("default").await.unwrap()
    })
    .await;
    let ca = until("the root CA", || async {
        maps.get_opt("kube-root-ca.crt").await.unwrap()
    })
    .await;
    assert!(ca.data.unwrap()["ca.crt"].contains("BEGIN"));
    let at_once = DeleteParams::default();
    maps.delete("kube-root-ca.crt", &at_once).await.unwrap();
    until("the root CA again", || async {
        maps.get_opt("kube-root-ca.crt").await.unwrap()
    })
    .await;
    let deployments = w.api::<Deployment>("x");
    deployments.create(&deployment("web", 2)).await.unwrap();
    available(&deployments, "web", 2).await;
    // A Job's running pod holds a finalizer that only the Job's controller takes away.
    let job: Job = from(json!({"metadata": {"name": "long"}, "spec": {"template": {"spec": {
        "restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "v1"}]}}}}));
    w.api::<Job>("x").create(&job).await.unwrap();
    until("the job runs", || async {
        let j = w.api::<Job>("x").get("long").await.unwrap();
        (j.status?.ready == Some(1)).then_some(())
    })
    .await;
    namespaces.delete("x", &at_once).await.unwrap();
    until("the namespace is gone", || async {
        namespaces.get_opt("x").await.unwrap().is_none().then_some(())
    })
    .await;
    assert!(
        w.api::<Pod>("x")
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    assert!(maps.list(&ListParams::default()).await.unwrap().items.is_empty());
    w.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_wait_for_a_node_that_fits_and_say_so() {
    let w = World::start().await;
    let pods = w.api::<Pod>("default");
    let accounts = w.api::<ServiceAccount>("default");
    until("the default account", || async {
        accounts.get_opt("default").await.unwrap()
    })
    .await;
    let big: Pod = from(
        json!({"metadata": {"name": "big"}, "spec": {"containers": [{"name": "c", "image": "v1",
        "resources": {"requests": {"cpu": "3"}}}]}}),
    );
    pods.create(&big).await.unwrap();
    let message = |name: &'static str| {
        let pods = pods.clone();
        async move {
            until("a message", || async {
                let p = pods.get(name).await.unwrap();
                let c = p.status?.conditions?.into_iter().find(|c| c.type_ == "PodScheduled")?;
                (c.status == "False" && c.reason.as_deref() == Some("Unschedulable")).then_some(c.message?)
            })
            .await
        }
    };
    assert_eq!(message("big").await, "no nodes available to schedule pods");
    w.node("n1").await;
    until("big is bound", || async {
        pods.get("big").await.unwrap().spec.unwrap().node_name
    })
    .await;
    let mut second = big.clone();
    second.metadata.name = Some("second".into());
    pods.create(&second).await.unwrap();
    assert_eq!(
        message("second").await,
        "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
    );
    let events = w.api::<Event>("default");
    until("events of both kinds", || async {
        let l = events.list(&ListParams::default()).await.unwrap().items;
        let has = |r: &str| l.iter().any(|e| e.reason.as_deref() == Some(r));
        (has("FailedScheduling") && has("Scheduled")).then_some(())
    })
    .await;
    let at_once = DeleteParams {
        grace_period_seconds: Some(0),
        ..DeleteParams::default()
    };
    pods.delete("big", &at_once).await.unwrap();
    until("second is bound", || async {
        pods.get("second").await.unwrap().spec.unwrap().node_name
    })
    .await;
    w.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_node_is_unknown_tainted_and_its_pods_move() {
    let w = World::start().await;
    let quiet = w.node("n1").await;
    let deployments = w.api::<Deployment>("default");
    let mut d = deployment("web", 1);
    let spec = d.spec.as_mut().unwrap().template.spec.as_mut().unwrap();
    spec.tolerations = Some(from(json!([
        {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}])));
    deployments.create(&d).await.unwrap();
    available(&deployments, "web", 1).await;
    w.node("n2").await;
    quiet.cancel();
    let nodes = Api::<Node>::all(w.admin.clone());
    let mut networks = Vec::new();
    for name in ["n1", "n2"] {
        let cidr = until("a pod network", || async {
            nodes.get(name).await.unwrap().spec?.pod_cidr
        })
        .await;
        networks.push(cidr);
    }
    networks.sort();
    assert_eq!(networks, ["10.244.0.0/24", "10.244.1.0/24"]);
    until("n1 is tainted", || async {
        let n = nodes.get("n1").await.unwrap();
        let taints = n.spec?.taints?;
        let has = |e: &str| {
            taints
                .iter()
                .any(|t| t.key == "node.kubernetes.io/unreachable" && t.effect == e)
        };
        (has("NoSchedule") && has("NoExecute")).then_some(())
    })
    .await;
    let pods = w.api::<Pod>("default");
    until("a pod on n2", || async {
        let l = pods.list(&ListParams::labels("app=web")).await.unwrap().items;
        l.iter()
            .any(|p| p.spec.as_ref().unwrap().node_name.as_deref() == Some("n2"))
            .then_some(())
    })
    .await;
    // n1's kubelet is back: its taints go.
    w.heartbeat("n1");
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": now()}]}});
    let patch = Patch::Strategic(ready);
    nodes.patch_status("n1", &PatchParams::default(), &patch).await.unwrap();
    until("n1 has no taints", || async {
        let n = nodes.get("n1").await.unwrap();
        n.spec?.taints.is_none_or(|t| t.is_empty()).then_some(())
    })
    .await;
    w.stop().await;
}
