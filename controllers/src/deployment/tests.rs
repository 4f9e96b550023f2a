#![allow(clippy::unwrap_used)]
use super::plan::{Plan, Step, plan, replicas_of};
use super::revision::{REVISION, REVISION_HISTORY, annotation};
use expect_test::{Expect, expect};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetStatus};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

/// A Deployment and its sets, with a world that does what it is told.
struct World {
    d: Deployment,
    sets: Vec<ReplicaSet>,
    now: Timestamp,
    log: Vec<String>,
}

fn deployment(replicas: i32, image: &str, strategy: Value) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "d", "uid": "u", "generation": 1},
        "spec": {"replicas": replicas, "strategy": strategy, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}},
                         "spec": {"containers": [{"name": "c", "image": image}]}}}}))
    .unwrap()
}

fn rolling(surge: Value, unavailable: Value) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
}

impl World {
    fn new(d: Deployment) -> Self {
        World {
            d,
            sets: Vec::new(),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            log: Vec::new(),
        }
    }

    /// One reconcile, its steps done.
    fn step(&mut self) -> Plan {
        let sets: Vec<Arc<ReplicaSet>> = self.sets.iter().cloned().map(Arc::new).collect();
        let p = plan(&self.d, &sets, self.now, |rs| status(rs).replicas > 0);
        for s in &p.steps {
            self.apply(s);
        }
        self.d.status = Some(p.status.clone());
        if let Some(r) = &p.revision {
            let a = self.d.metadata.annotations.get_or_insert_default();
            a.insert(REVISION.into(), r.clone());
        }
        p
    }

    fn apply(&mut self, s: &Step) {
        let i = self.sets.len();
        let get = |sets: &mut Vec<ReplicaSet>, n: &str| {
            sets.iter().position(|r| r.metadata.name.as_deref() == Some(n)).unwrap()
        };
        match s {
            Step::Create(rs) => {
                let mut rs = (**rs).clone();
                rs.metadata.uid = Some(format!("rs{i}"));
                self.now = self.now.checked_add(k8s_openapi::jiff::Span::new().seconds(1)).unwrap();
                rs.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(self.now));
                self.log
                    .push(format!("create {} at {}", self.short(&rs), replicas_of(&rs)));
                self.sets.push(rs);
            }
            Step::Update { name, annotations, .. } => {
                let i = get(&mut self.sets, name);
                self.sets[i].metadata.annotations = Some(annotations.clone());
            }
            Step::Scale {
                name,
                from,
                to,
                annotations,
            } => {
                let i = get(&mut self.sets, name);
                assert_eq!(replicas_of(&self.sets[i]), *from);
                super::scale::set_size(&mut self.sets[i], *to);
                self.sets[i].metadata.annotations = Some(annotations.clone());
                let line = format!("scale {} {from} -> {to}", self.short(&self.sets[i].clone()));
                self.log.push(line);
            }
            Step::Delete { name } => {
                let i = get(&mut self.sets, name);
                let rs = self.sets.remove(i);
                self.log.push(format!("delete {}", self.short(&rs)));
            }
        }
    }

    fn short(&self, rs: &ReplicaSet) -> String {
        let s = rs
            .spec
            .as_ref()
            .unwrap()
            .template
            .as_ref()
            .unwrap()
            .spec
            .as_ref()
            .unwrap();
        s.containers[0].image.clone().unwrap()
    }

    /// Pods come to the wanted number at once; `ready` of the new ones become available in this round.
    fn pods(&mut self, mut ready: i32) {
        for rs in &mut self.sets {
            let want = replicas_of(rs);
            let mut s = status(rs);
            s.replicas = want;
            let have = s.available_replicas.unwrap_or(0).min(want);
            let more = (want - have).min(ready);
            ready -= more;
            s.available_replicas = Some(have + more);
            s.ready_replicas = s.available_replicas;
            rs.status = Some(s);
        }
    }

    fn available(&self) -> i32 {
        self.sets
            .iter()
            .map(|r| status(r).available_replicas.unwrap_or(0).min(replicas_of(r)))
            .sum()
    }
    fn total(&self) -> i32 {
        self.sets.iter().map(replicas_of).sum()
    }
    fn settle(&mut self) {
        for _ in 0..100 {
            let p = self.step();
            self.pods(1000);
            if p.steps.is_empty() && super::conditions::is_complete(&self.d, &p.status) {
                return;
            }
        }
        panic!("does not settle: {:?}", self.log);
    }
    fn set_image(&mut self, image: &str) {
        let s = self.d.spec.as_mut().unwrap();
        s.template.spec.as_mut().unwrap().containers[0].image = Some(image.into());
        *self.d.metadata.generation.as_mut().unwrap() += 1;
    }
    fn condition(&self, kind: &str) -> String {
        let s = self.d.status.clone().unwrap_or_default();
        match super::conditions::get(&s, kind) {
            Some(c) => format!(
                "{}={} {}: {}",
                c.type_,
                c.status,
                c.reason.clone().unwrap_or_default(),
                c.message.clone().unwrap_or_default()
            ),
            None => String::new(),
        }
    }
    fn check_log(&mut self, want: Expect) {
        want.assert_eq(&self.log.join("\n"));
        self.log.clear();
    }
}

fn status(rs: &ReplicaSet) -> ReplicaSetStatus {
    rs.status.clone().unwrap_or_default()
}

#[test]
fn a_rollout_and_its_undo() {
    let mut w = World::new(deployment(3, "v1", rolling(json!("25%"), json!("25%"))));
    w.settle();
    w.check_log(expect!["create v1 at 3"]);
    let progressing = w.condition("Progressing");
    let name = w.sets[0].metadata.name.clone().unwrap();
    assert_eq!(
        progressing,
        format!("Progressing=True NewReplicaSetAvailable: ReplicaSet \"{name}\" has successfully progressed.")
    );
    expect!["Available=True MinimumReplicasAvailable: Deployment has minimum availability."]
        .assert_eq(&w.condition("Available"));
    w.set_image("v2");
    w.settle();
    w.check_log(expect![[r#"
        create v2 at 1
        scale v1 3 -> 2
        scale v2 1 -> 2
        scale v1 2 -> 1
        scale v2 2 -> 3
        scale v1 1 -> 0"#]]);
    // kubectl rollout undo patches the old template back: the old set serves again under a new revision.
    w.set_image("v1");
    w.settle();
    assert_eq!(annotation(&w.sets[0], REVISION), Some("3"));
    assert_eq!(annotation(&w.sets[0], REVISION_HISTORY), Some("1"));
    assert_eq!(w.d.metadata.annotations.as_ref().unwrap()[REVISION], "3");
    assert_eq!(w.sets.len(), 2);
}

#[test]
fn never_fewer_than_promised_nor_more_than_allowed() {
    for replicas in [1, 2, 3, 5, 10] {
        for (surge, unavailable) in [
            (json!(1), json!(0)),
            (json!(0), json!(1)),
            (json!("25%"), json!("25%")),
            (json!(3), json!(2)),
        ] {
            for speed in [1, 2, 100] {
                let mut w = World::new(deployment(replicas, "v1", rolling(surge.clone(), unavailable.clone())));
                w.settle();
                let least = replicas - super::revision::max_unavailable(&w.d);
                let most = replicas + super::revision::max_surge(&w.d);
                for image in ["v2", "v3"] {
                    w.set_image(image);
                    for _ in 0..3 {
                        w.step();
                        assert!(w.available() >= least && w.total() <= most, "{:?}", w.log);
                        w.pods(speed);
                    }
                }
                for _ in 0..200 {
                    w.step();
                    assert!(w.available() >= least && w.total() <= most, "{:?}", w.log);
                    w.pods(speed);
                }
                assert_eq!(w.available(), replicas);
                assert!(super::conditions::is_complete(&w.d, w.d.status.as_ref().unwrap()));
            }
        }
    }
}

#[test]
fn recreate_starts_nothing_before_the_last_old_pod_is_gone() {
    let mut w = World::new(deployment(2, "v1", json!({"type": "Recreate"})));
    w.settle();
    w.log.clear();
    w.set_image("v2");
    w.step();
    w.step();
    w.check_log(expect!["scale v1 2 -> 0"]);
    w.pods(100);
    w.settle();
    w.check_log(expect!["create v2 at 2"]);
}

#[test]
fn a_resize_is_proportional_in_the_middle_of_a_rollout() {
    let mut w = World::new(deployment(10, "v1", rolling(json!(3), json!(2))));
    w.settle();
    w.set_image("v2");
    w.step();
    w.step();
    w.log.clear();
    assert_eq!(w.sets.iter().map(replicas_of).collect::<Vec<_>>(), [8, 5]);
    w.pods(0);
    w.step();
    w.log.clear();
    w.d.spec.as_mut().unwrap().replicas = Some(20);
    w.step();
    assert_eq!(w.total(), 23);
    w.pods(1000);
    w.settle();
    assert_eq!(w.available(), 20);
    w.d.spec.as_mut().unwrap().replicas = Some(0);
    w.settle();
    assert_eq!(w.total(), 0);
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut w = World::new(deployment(2, "v1", rolling(json!(1), json!(0))));
    w.settle();
    w.log.clear();
    w.d.spec.as_mut().unwrap().paused = Some(true);
    w.set_image("v2");
    w.d.spec.as_mut().unwrap().replicas = Some(4);
    w.step();
    w.check_log(expect!["scale v1 2 -> 4"]);
    expect!["Progressing=Unknown DeploymentPaused: Deployment is paused"].assert_eq(&w.condition("Progressing"));
    w.d.spec.as_mut().unwrap().paused = None;
    w.pods(100);
    w.settle();
    assert_eq!(replicas_of(&w.sets[1]), 4);
}

#[test]
fn history_is_limited_and_the_deadline_told() {
    let mut w = World::new(deployment(1, "v1", rolling(json!(1), json!(0))));
    for image in ["v1", "v2", "v3", "v4", "v5"] {
        w.set_image(image);
        w.settle();
        for rs in &mut w.sets {
            rs.status.as_mut().unwrap().observed_generation = rs.metadata.generation;
        }
        w.step();
    }
    assert_eq!(w.sets.len(), 3, "the one in service and two old");
    w.set_image("bad");
    let p = w.step();
    assert_eq!(p.check_after.unwrap().as_secs(), 601);
    w.pods(0);
    w.step();
    w.now = w.now.checked_add(k8s_openapi::jiff::Span::new().seconds(700)).unwrap();
    w.step();
    assert!(
        w.condition("Progressing")
            .starts_with("Progressing=False ProgressDeadlineExceeded: ReplicaSet"),
        "{}",
        w.condition("Progressing")
    );
    assert!(w.condition("Progressing").ends_with("has timed out progressing."));
}
