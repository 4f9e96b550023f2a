//! Writes of the kinds as the registry does them: prepare, allocate, validate.
#![allow(clippy::unwrap_used)]
use super::allocator::Allocators;
use super::*;
use crate::objects::memory::Memory;
use keelson_machinery::{defaults, resources};
use serde_json::json;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

struct Fixture {
    allocators: Allocators,
}

fn fixture(cidr: &str, ports: (u16, u16)) -> Fixture {
    Fixture {
        allocators: Allocators::new(cidr.parse().unwrap(), ports),
    }
}

fn context(group: &str, version: &str, plural: &str, subresource: &'static str) -> Context<'static> {
    Context {
        resource: resources::by_resource(group, version, plural).unwrap(),
        subresource,
        dry_run: false,
    }
}

fn told(errors: &[FieldError]) -> Vec<String> {
    errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect()
}

impl Fixture {
    fn create(&self, c: &Context<'_>, mut object: Value) -> Result<Value, Vec<String>> {
        object["metadata"]["namespace"] = "default".into();
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        object["metadata"]["uid"] = format!("uid-{name}").into();
        defaults::apply(c.resource, &mut object);
        strategy(c.resource).prepare_for_create(c, &mut object);
        let r = begin(&self.allocators, c, &mut object, None).map_err(|e| vec![e.message])?;
        match validate_create(c, &object) {
            e if e.is_empty() => {
                r.commit();
                object["metadata"]["resourceVersion"] = "1".into();
                Ok(object)
            }
            e => Err(told(&e)),
        }
    }
    fn update(&self, c: &Context<'_>, mut object: Value, old: &Value) -> Result<Value, Vec<String>> {
        defaults::apply(c.resource, &mut object);
        strategy(c.resource).prepare_for_update(c, &mut object, old);
        let r = begin(&self.allocators, c, &mut object, Some(old)).map_err(|e| vec![e.message])?;
        match validate_update(c, &object, old) {
            e if e.is_empty() => {
                r.commit();
                Ok(object)
            }
            e => Err(told(&e)),
        }
    }
}

fn service(name: &str, spec: Value) -> Value {
    let mut s = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}});
    for (k, v) in spec.as_object().unwrap() {
        s["spec"][k] = v.clone();
    }
    s
}

#[test]
fn services_get_addresses_and_keep_them() {
    let (f, c) = (
        fixture("10.96.0.0/16", (30000, 30010)),
        context("", "v1", "services", ""),
    );
    let a = f.create(&c, service("a", json!({}))).unwrap();
    let ip = a["spec"]["clusterIP"].as_str().unwrap().to_owned();
    assert!(ip.starts_with("10.96."));
    assert_eq!(a["spec"]["clusterIPs"], json!([ip]));
    assert_eq!(a["spec"]["ipFamilies"], json!(["IPv4"]));
    assert_eq!(a["spec"]["ipFamilyPolicy"], "SingleStack");
    let taken = f.create(&c, service("b", json!({"clusterIP": ip}))).unwrap_err();
    assert_eq!(
        taken,
        [format!(
            "Service \"b\" is invalid: spec.clusterIPs: Invalid value: [\"{ip}\"]: failed to allocate IP {ip}: provided IP is already allocated"
        )]
    );

    // An update that leaves the address out keeps it, one that changes it is refused.
    let mut plain = service("a", json!({"type": "NodePort"}));
    plain["metadata"] = a["metadata"].clone();
    let b = f.update(&c, plain.clone(), &a).unwrap();
    assert_eq!(b["spec"]["clusterIP"], *ip);
    let port = b["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    assert!((30000..=30010).contains(&port));
    let again = f.update(&c, plain.clone(), &b).unwrap();
    assert_eq!(again["spec"]["ports"][0]["nodePort"], port);
    plain["spec"]["clusterIP"] = "10.96.9.9".into();
    let moved = f.update(&c, plain, &b).unwrap_err();
    assert_eq!(
        moved,
        ["spec.clusterIPs[0]: Invalid value: [\"10.96.9.9\"]: may not change once set"]
    );

    // ExternalName gives all of it back.
    let mut external = json!({"metadata": b["metadata"], "spec": b["spec"].clone()});
    external["spec"]["type"] = "ExternalName".into();
    external["spec"]["externalName"] = "example.com".into();
    let x = f.update(&c, external, &b).unwrap();
    assert!(x["spec"].get("clusterIP").is_none() && x["spec"].get("clusterIPs").is_none());
    let asked = service(
        "c",
        json!({"clusterIP": ip, "type": "NodePort", "ports": [{"port": 1, "nodePort": port}]}),
    );
    assert_eq!(f.create(&c, asked).unwrap()["spec"]["clusterIP"], *ip);
}

#[test]
fn headless_and_exhausted() {
    let (f, c) = (
        fixture("10.96.0.0/29", (30000, 30001)),
        context("", "v1", "services", ""),
    );
    let h = f.create(&c, service("h", json!({"clusterIP": "None"}))).unwrap();
    assert_eq!(h["spec"]["clusterIPs"], json!(["None"]));
    for i in 0..6 {
        f.create(&c, service(&format!("s{i}"), json!({}))).unwrap();
    }
    let full = f.create(&c, service("s9", json!({}))).unwrap_err();
    assert!(full[0].contains("range is full"), "{full:?}");
    after_delete(&f.allocators, c.resource, &json!({"metadata": {"uid": "uid-s3"}}));
    f.create(&c, service("s9", json!({}))).unwrap();
}

#[test]
fn a_dropped_reservation_gives_back() {
    let (f, c) = (
        fixture("10.96.0.0/16", (30000, 30000)),
        context("", "v1", "services", ""),
    );
    let wrong = service("w", json!({"type": "NodePort", "sessionAffinity": "Sometimes"}));
    assert_eq!(
        f.create(&c, wrong).unwrap_err(),
        ["spec.sessionAffinity: Unsupported value: \"Sometimes\": supported values: \"ClientIP\", \"None\""]
    );
    let s = f.create(&c, service("s", json!({"type": "NodePort"}))).unwrap();
    assert_eq!(s["spec"]["ports"][0]["nodePort"], 30000);
    let dry = Context {
        dry_run: true,
        ..context("", "v1", "services", "")
    };
    after_delete(&f.allocators, c.resource, &s);
    f.create(&dry, service("d", json!({"type": "NodePort"}))).unwrap();
    f.create(&c, service("t", json!({"type": "NodePort"}))).unwrap();
    let e = f.create(
        &c,
        service(
            "u",
            json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 30000}]}),
        ),
    );
    assert!(
        e.unwrap_err()[0].ends_with("spec.ports[0].nodePort: Invalid value: 30000: provided port is already allocated")
    );
}

#[tokio::test]
async fn stored_services_hold_what_they_say() {
    let m = Arc::new(Memory::default());
    let held = json!({"metadata": {"name": "k", "namespace": "default", "uid": "k"},
        "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"]}});
    m.put("", "services", held);
    let (f, c) = (
        fixture("10.96.0.0/16", (30000, 30010)),
        context("", "v1", "services", ""),
    );
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    f.allocators.run(m, stop).await.unwrap();
    assert!(f.create(&c, service("a", json!({"clusterIP": "10.96.0.1"}))).is_err());
    f.create(&c, service("a", json!({"clusterIP": "10.96.0.2"}))).unwrap();
}

fn template() -> Value {
    json!({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

#[test]
fn deployments() {
    let (f, c) = (fixture("10.0.0.0/24", (1, 2)), context("apps", "v1", "deployments", ""));
    let spec = json!({"replicas": 1, "selector": {"matchLabels": {"app": "x"}}, "template": template()});
    let d = f
        .create(
            &c,
            json!({"metadata": {"name": "d"}, "spec": spec, "status": {"replicas": 4}}),
        )
        .unwrap();
    assert_eq!((&d["metadata"]["generation"], d.get("status")), (&json!(1), None));
    let mut scaled = d.clone();
    scaled["spec"]["replicas"] = 3.into();
    assert_eq!(f.update(&c, scaled, &d).unwrap()["metadata"]["generation"], 2);
    let mut labelled = d.clone();
    labelled["metadata"]["labels"] = json!({"a": "b"});
    assert_eq!(f.update(&c, labelled, &d).unwrap()["metadata"]["generation"], 1);
    let status = context("apps", "v1", "deployments", "status");
    let mut told = d.clone();
    told["status"] = json!({"replicas": 1, "readyReplicas": 1});
    told["spec"]["replicas"] = 9.into();
    let told = f.update(&status, told, &d).unwrap();
    assert_eq!(
        (&told["spec"]["replicas"], &told["status"]["readyReplicas"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(told["metadata"]["generation"], 1);
    let mut other = d.clone();
    other["spec"]["selector"] = json!({"matchLabels": {"app": "y"}});
    assert_eq!(
        f.update(&c, other, &d).unwrap_err(),
        [
            "spec.template.metadata.labels: Invalid value: {\"app\":\"x\"}: `selector` does not match template `labels`",
            "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"y\"}}: field is immutable",
        ]
    );
    let empty = json!({"metadata": {"name": "e"}, "spec": {"template": template()}});
    assert_eq!(f.create(&c, empty).unwrap_err(), ["spec.selector: Required value"]);
}

#[test]
fn jobs_find_their_pods() {
    let (f, c) = (fixture("10.0.0.0/24", (1, 2)), context("batch", "v1", "jobs", ""));
    let mut t = template();
    t["spec"]["restartPolicy"] = "Never".into();
    let j = f
        .create(&c, json!({"metadata": {"name": "j"}, "spec": {"template": t}}))
        .unwrap();
    let labels = &j["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels["batch.kubernetes.io/job-name"], "j");
    assert_eq!(labels["controller-uid"], "uid-j");
    assert_eq!(
        j["spec"]["selector"]["matchLabels"],
        json!({"batch.kubernetes.io/controller-uid": "uid-j"})
    );
    let mut changed = j.clone();
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = "other".into();
    let e = f.update(&c, changed, &j).unwrap_err();
    assert!(e[0].starts_with("spec.template: Invalid value: ") && e[0].ends_with(": field is immutable"));
    let always = json!({"metadata": {"name": "k"}, "spec": {"template": template()}});
    assert_eq!(
        f.create(&c, always).unwrap_err(),
        ["spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""]
    );
}

#[test]
fn secrets_and_config_maps() {
    let (f, c) = (fixture("10.0.0.0/24", (1, 2)), context("", "v1", "secrets", ""));
    let s = json!({"metadata": {"name": "s"}, "stringData": {"a": "b"}, "data": {"c": "ZA=="}});
    let s = f.create(&c, s).unwrap();
    assert_eq!(s["data"], json!({"a": "Yg==", "c": "ZA=="}));
    assert!(s.get("stringData").is_none());
    let mut typed = s.clone();
    typed["type"] = "kubernetes.io/tls".into();
    assert_eq!(
        f.update(&c, typed, &s).unwrap_err(),
        [
            "type: Invalid value: \"kubernetes.io/tls\": field is immutable",
            "data[tls.crt]: Required value",
            "data[tls.key]: Required value",
        ]
    );
    let c = context("", "v1", "configmaps", "");
    let m = f
        .create(
            &c,
            json!({"metadata": {"name": "m"}, "immutable": true, "data": {"k": "v"}}),
        )
        .unwrap();
    let mut changed = m.clone();
    changed["data"]["k"] = "w".into();
    assert_eq!(
        f.update(&c, changed, &m).unwrap_err(),
        ["data: Forbidden: field is immutable when `immutable` is set"]
    );
    let big = json!({"metadata": {"name": "b"}, "data": {"k": "x".repeat(1024 * 1024 + 1)}});
    assert_eq!(
        f.create(&c, big).unwrap_err(),
        ["[]: Too long: may not be more than 1048576 bytes"]
    );
}

#[test]
fn metadata_rules() {
    let (f, c) = (fixture("10.0.0.0/24", (1, 2)), context("", "v1", "configmaps", ""));
    let e = f
        .create(&c, json!({"metadata": {"name": "A_b", "labels": {"a/b/c": "-"}}}))
        .unwrap_err();
    assert_eq!(e.len(), 3, "{e:?}");
    assert!(e[0].starts_with("metadata.name: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain must consist"));
    let m = f.create(&c, json!({"metadata": {"name": "m"}})).unwrap();
    let mut moved = m.clone();
    moved["metadata"]["uid"] = "other".into();
    assert_eq!(
        f.update(&c, moved, &m).unwrap_err(),
        ["metadata.uid: Invalid value: \"other\": field is immutable"]
    );
    let n = context("", "v1", "namespaces", "");
    let mut ns = json!({"metadata": {"name": "a"}});
    strategy(n.resource).prepare_for_create(&n, &mut ns);
    assert_eq!(ns["status"]["phase"], "Active");
    assert_eq!(ns["spec"]["finalizers"], json!(["kubernetes"]));
    assert_eq!(ns["metadata"]["labels"]["kubernetes.io/metadata.name"], "a");
    assert!(validate_create(&n, &ns).is_empty());
}

/// What comes from the network may have any shape: no kind's rules may panic on it.
#[test]
fn any_shape_is_survived() {
    let f = fixture("10.0.0.0/24", (1, 2));
    let odd = [
        json!({"metadata": {"name": 1, "labels": [], "finalizers": {}}, "spec": []}),
        json!({"metadata": {"name": "x"}, "spec": {"template": [], "ports": {}, "containers": [1, null], "selector": 4}}),
        json!({"metadata": {"name": "x"}, "spec": {"ports": [1], "template": {"metadata": [], "spec": "s"}}, "status": 3}),
        json!({"metadata": {"name": "x"}, "data": [], "stringData": 3, "rules": [1], "subsets": [[]], "spec": "x"}),
        json!({}),
    ];
    for r in resources::all() {
        for subresource in ["", "status", "finalize", "approval", "ephemeralcontainers", "resize"] {
            let c = Context {
                resource: r,
                subresource,
                dry_run: false,
            };
            for old in &odd {
                let mut o = old.clone();
                strategy(r).prepare_for_create(&c, &mut o);
                let _ = begin(&f.allocators, &c, &mut o, None);
                let _ = validate_create(&c, &o);
                for new in &odd {
                    let mut o = new.clone();
                    strategy(r).prepare_for_update(&c, &mut o, old);
                    let _ = begin(&f.allocators, &c, &mut o, Some(old));
                    let _ = validate_update(&c, &o, old);
                    let _ = strategy(r).warnings(&c, &o);
                    let _ = strategy(r).grace_period_seconds(&o, None);
                    for field in strategy(r).selectable_fields() {
                        let _ = strategy(r).selectable_field(&o, field);
                    }
                }
            }
        }
    }
}
