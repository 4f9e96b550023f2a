//! One look at a Deployment: what to do, and what to say about it.
use super::conditions::{self, PROGRESSING};
use super::revision::{self, REVISION, find_new, set_replicas_annotations};
use super::scale;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStatus, ReplicaSet};
use k8s_openapi::jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// A change to make. Steps are made in order; the first that fails ends the reconcile.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Create(Box<ReplicaSet>),
    /// Annotations and minReadySeconds of the new set.
    Update {
        name: String,
        annotations: BTreeMap<String, String>,
        min_ready_seconds: i32,
    },
    Scale {
        name: String,
        from: i32,
        to: i32,
        annotations: BTreeMap<String, String>,
    },
    Delete {
        name: String,
    },
}

#[derive(Debug)]
pub struct Plan {
    pub steps: Vec<Step>,
    pub status: DeploymentStatus,
    /// The Deployment's revision annotation, when it changes.
    pub revision: Option<String>,
    pub check_after: Option<Duration>,
    /// The resourceVersions that the steps assume, by set: a set that changed meanwhile is planned for anew.
    pub versions: BTreeMap<String, String>,
}

/// The Deployment and its sets as the steps taken so far would leave them.
pub struct View {
    pub deployment: Deployment,
    pub new: Option<ReplicaSet>,
    /// Oldest first.
    pub old: Vec<ReplicaSet>,
    steps: Vec<Step>,
    revision: Option<String>,
    now: Timestamp,
}

static NO_SPEC: LazyLock<DeploymentSpec> = LazyLock::new(DeploymentSpec::default);

pub fn spec(d: &Deployment) -> &DeploymentSpec {
    d.spec.as_ref().unwrap_or(&NO_SPEC)
}

pub fn is_recreate(d: &Deployment) -> bool {
    spec(d).strategy.as_ref().and_then(|s| s.type_.as_deref()) == Some("Recreate")
}

pub fn replicas_of(rs: &ReplicaSet) -> i32 {
    rs.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
}

pub fn available_of(rs: &ReplicaSet) -> i32 {
    rs.status.as_ref().and_then(|s| s.available_replicas).unwrap_or(0)
}

impl View {
    pub fn all(&self) -> impl Iterator<Item = &ReplicaSet> {
        self.old.iter().chain(&self.new)
    }

    fn find(&mut self, name: &str) -> Option<&mut ReplicaSet> {
        self.old
            .iter_mut()
            .chain(&mut self.new)
            .find(|rs| rs.metadata.name.as_deref() == Some(name))
    }

    /// Returns whether the size changed.
    fn scale(&mut self, name: &str, to: i32) -> bool {
        let d = self.deployment.clone();
        let Some(rs) = self.find(name) else {
            return false;
        };
        let from = replicas_of(rs);
        let mut annotations = rs.metadata.annotations.clone().unwrap_or_default();
        let annotated = set_replicas_annotations(&mut annotations, &d);
        if from == to && !annotated {
            return false;
        }
        scale::set_size(rs, to);
        rs.metadata.annotations = Some(annotations.clone());
        self.steps.push(Step::Scale {
            name: name.to_owned(),
            from,
            to,
            annotations,
        });
        from != to
    }

    /// Scales a set that is not of that size.
    fn scale_if(&mut self, name: &str, to: i32) -> bool {
        match self.find(name) {
            Some(rs) if replicas_of(rs) != to => self.scale(name, to),
            _ => false,
        }
    }

    fn condition(&mut self, status: &str, reason: &str, message: String) {
        let c = conditions::new(PROGRESSING, status, reason, message, self.now);
        conditions::set(self.deployment.status.get_or_insert_default(), c);
    }

    /// Gives the new set its revision and the Deployment's annotations; creates it if wanted.
    fn sync_revision(&mut self, create: bool) {
        let next = self.old.iter().map(revision::revision).max().unwrap_or(0) + 1;
        let d = self.deployment.clone();
        let has_deadline = conditions::deadline_s(&d).is_some();
        if let Some(rs) = &mut self.new {
            let mut updated = revision::update_annotations(&d, rs, next, true);
            let min_ready = spec(&d).min_ready_seconds.unwrap_or(0);
            if let Some(s) = rs
                .spec
                .as_mut()
                .filter(|s| s.min_ready_seconds.unwrap_or(0) != min_ready)
            {
                s.min_ready_seconds = Some(min_ready);
                updated = true;
            }
            let name = rs.metadata.name.clone().unwrap_or_default();
            if updated {
                self.steps.push(Step::Update {
                    name: name.clone(),
                    annotations: rs.metadata.annotations.clone().unwrap_or_default(),
                    min_ready_seconds: min_ready,
                });
            }
            self.revision = revision::annotation(rs, REVISION).map(str::to_owned);
            let known = d
                .status
                .as_ref()
                .is_some_and(|s| conditions::get(s, PROGRESSING).is_some());
            if has_deadline && !known {
                self.condition("True", "FoundNewReplicaSet", format!("Found new replica set {name:?}"));
            }
            return;
        }
        if !create {
            return;
        }
        let mut rs = revision::build_new(&d, next);
        scale::set_size(&mut rs, scale::new_set_size(self, 0));
        let name = rs.metadata.name.clone().unwrap_or_default();
        self.steps.push(Step::Create(Box::new(rs.clone())));
        self.new = Some(rs);
        self.revision = Some(next.to_string());
        if has_deadline {
            self.condition(
                "True",
                "NewReplicaSetCreated",
                format!("Created new replica set {name:?}"),
            );
        }
    }

    /// Deletes sets beyond the history limit, oldest revision first.
    fn clean_up(&mut self) {
        let Some(limit) = spec(&self.deployment).revision_history_limit.filter(|l| *l != i32::MAX) else {
            return;
        };
        let mut candidates: Vec<&ReplicaSet> = self
            .old
            .iter()
            .filter(|rs| rs.metadata.deletion_timestamp.is_none())
            .collect();
        candidates.sort_by_key(|rs| revision::revision(rs));
        let surplus = candidates.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        let steps: Vec<Step> = candidates
            .into_iter()
            .take(surplus)
            .filter(|rs| {
                let s = rs.status.clone().unwrap_or_default();
                s.replicas == 0
                    && replicas_of(rs) == 0
                    && rs.metadata.generation.unwrap_or(0) <= s.observed_generation.unwrap_or(0)
            })
            .map(|rs| Step::Delete {
                name: rs.metadata.name.clone().unwrap_or_default(),
            })
            .collect();
        self.steps.extend(steps);
    }

    fn pause_conditions(&mut self) {
        if conditions::deadline_s(&self.deployment).is_none() {
            return;
        }
        let reason = self
            .deployment
            .status
            .as_ref()
            .and_then(|s| conditions::get(s, PROGRESSING))
            .and_then(|c| c.reason.clone());
        let paused = spec(&self.deployment).paused == Some(true);
        let known = reason.as_deref() == Some("DeploymentPaused");
        if reason.as_deref() == Some("ProgressDeadlineExceeded") {
            return;
        }
        if paused && !known {
            self.condition("Unknown", "DeploymentPaused", "Deployment is paused".into());
        } else if !paused && known {
            self.condition("Unknown", "DeploymentResumed", "Deployment is resumed".into());
        }
    }

    fn resize(&mut self) {
        for (name, size) in scale::resize(self) {
            self.scale(&name, size);
        }
    }

    fn rolling(&mut self) {
        self.sync_revision(true);
        let want = spec(&self.deployment).replicas.unwrap_or(1);
        let new = self
            .new
            .as_ref()
            .map(|rs| (rs.metadata.name.clone().unwrap_or_default(), replicas_of(rs)));
        if let Some((name, size)) = new {
            let to = if size > want {
                want
            } else {
                scale::new_set_size(self, size)
            };
            if self.scale_if(&name, to) {
                return;
            }
        }
        let smaller = scale::shrink_old(self);
        if smaller.is_empty() {
            let status = self.deployment.status.clone().unwrap_or_default();
            if conditions::is_complete(&self.deployment, &status) {
                self.clean_up();
            }
        }
        for (name, size) in smaller {
            self.scale_if(&name, size);
        }
    }

    fn recreate(&mut self, has_running_pods: impl Fn(&ReplicaSet) -> bool) {
        self.sync_revision(false);
        let active: Vec<String> = self
            .old
            .iter()
            .filter(|rs| replicas_of(rs) > 0)
            .filter_map(|rs| rs.metadata.name.clone())
            .collect();
        for name in &active {
            self.scale_if(name, 0);
        }
        let running = |rs: &ReplicaSet| rs.status.as_ref().is_some_and(|s| s.replicas > 0) || has_running_pods(rs);
        if !active.is_empty() || self.old.iter().any(running) {
            return;
        }
        if self.new.is_none() {
            self.sync_revision(true);
        }
        let want = spec(&self.deployment).replicas.unwrap_or(1);
        if let Some(name) = self.new.as_ref().and_then(|rs| rs.metadata.name.clone()) {
            self.scale_if(&name, want);
        }
        let status = self.deployment.status.clone().unwrap_or_default();
        if conditions::is_complete(&self.deployment, &status) {
            self.clean_up();
        }
    }
}

/// Plans the next steps of `d`, which controls `sets`.
pub fn plan(
    d: &Deployment,
    sets: &[Arc<ReplicaSet>],
    now: Timestamp,
    has_running_pods: impl Fn(&ReplicaSet) -> bool,
) -> Plan {
    let mut old: Vec<ReplicaSet> = sets.iter().map(|rs| (**rs).clone()).collect();
    old.sort_by(|a, b| {
        let by = |rs: &ReplicaSet| (rs.metadata.creation_timestamp.clone(), rs.metadata.name.clone());
        by(a).cmp(&by(b))
    });
    let versions = old
        .iter()
        .filter_map(|rs| Some((rs.metadata.name.clone()?, rs.metadata.resource_version.clone()?)))
        .collect();
    let new = find_new(d, &old).map(|i| old.remove(i));
    let mut v = View {
        deployment: d.clone(),
        new,
        old,
        steps: Vec::new(),
        revision: None,
        now,
    };
    let status = if d.metadata.deletion_timestamp.is_some() {
        conditions::calculate(&v, now)
    } else {
        v.pause_conditions();
        if spec(d).paused == Some(true) {
            v.sync_revision(false);
            v.resize();
            v.clean_up();
            conditions::calculate(&v, now)
        } else if scale::is_resized(&v) {
            v.sync_revision(false);
            v.resize();
            conditions::calculate(&v, now)
        } else {
            if is_recreate(d) {
                v.recreate(has_running_pods);
            } else {
                v.rolling();
            }
            conditions::rollout(&v, now)
        }
    };
    let current = d.metadata.annotations.as_ref().and_then(|a| a.get(REVISION));
    Plan {
        check_after: conditions::check_after(d, &status, now),
        revision: v.revision.filter(|r| Some(r) != current),
        steps: v.steps,
        status,
        versions,
    }
}
