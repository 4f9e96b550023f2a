//! How many pods each ReplicaSet may have.
use super::plan::{View, available_of, replicas_of, spec};
use super::revision::{DESIRED_REPLICAS, MAX_REPLICAS, annotation, max_surge, max_unavailable};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

fn desired(d: &Deployment) -> i32 {
    spec(d).replicas.unwrap_or(1)
}

/// Replicas of the new set: as many as fit under desired plus surge.
pub fn new_set_size(view: &View, new: i32) -> i32 {
    let d = &view.deployment;
    if super::plan::is_recreate(d) {
        return desired(d);
    }
    let total: i32 = view.old.iter().map(replicas_of).sum::<i32>() + new;
    let room = desired(d) + max_surge(d) - total;
    if room <= 0 {
        return new;
    }
    new + room.min(desired(d) - new)
}

/// Whether the Deployment was resized since its sets were last scaled.
pub fn is_resized(view: &View) -> bool {
    view.all().filter(|rs| replicas_of(rs) > 0).any(|rs| {
        annotation(rs, DESIRED_REPLICAS)
            .and_then(|a| a.parse::<i32>().ok())
            .is_some_and(|n| n != desired(&view.deployment))
    })
}

fn is_saturated(view: &View) -> bool {
    let want = desired(&view.deployment);
    view.new.as_ref().is_some_and(|rs| {
        annotation(rs, DESIRED_REPLICAS).and_then(|a| a.parse().ok()) == Some(want)
            && replicas_of(rs) == want
            && available_of(rs) == want
    })
}

/// Sizes after a resize outside a rollout, or in the middle of one: proportional, so that risk stays spread as it was.
pub fn resize(view: &View) -> Vec<(String, i32)> {
    let d = &view.deployment;
    let name = |rs: &ReplicaSet| rs.metadata.name.clone().unwrap_or_default();
    let mut active: Vec<&ReplicaSet> = view.all().filter(|rs| replicas_of(rs) > 0).collect();
    if active.len() <= 1 {
        let newest = || view.new.as_ref().or_else(|| view.old.last());
        return active
            .first()
            .copied()
            .or_else(newest)
            .map(|rs| (name(rs), desired(d)))
            .into_iter()
            .collect();
    }
    if is_saturated(view) {
        return view
            .old
            .iter()
            .filter(|rs| replicas_of(rs) > 0)
            .map(|rs| (name(rs), 0))
            .collect();
    }
    if super::plan::is_recreate(d) {
        return Vec::new();
    }
    let allowed = if desired(d) > 0 { desired(d) + max_surge(d) } else { 0 };
    let to_add = allowed - active.iter().map(|rs| replicas_of(rs)).sum::<i32>();
    // The largest first; among equals the newer grows and the older shrinks.
    active.sort_by(|a, b| {
        let created = |rs: &ReplicaSet| rs.metadata.creation_timestamp.clone();
        let age = created(a).cmp(&created(b));
        replicas_of(b)
            .cmp(&replicas_of(a))
            .then(if to_add > 0 { age.reverse() } else { age })
    });
    let mut added = 0;
    let mut sizes: Vec<(String, i32)> = active
        .iter()
        .map(|rs| {
            let part = proportion(rs, d, to_add, added);
            added += part;
            (name(rs), replicas_of(rs) + part)
        })
        .collect();
    // What rounding left over goes to the largest.
    if let Some((_, size)) = sizes.first_mut().filter(|_| to_add != 0) {
        *size = (*size + to_add - added).max(0);
    }
    sizes
}

fn proportion(rs: &ReplicaSet, d: &Deployment, to_add: i32, added: i32) -> i32 {
    if replicas_of(rs) == 0 || to_add == 0 || to_add == added {
        return 0;
    }
    let part = fraction(rs, d);
    let allowed = to_add - added;
    if to_add > 0 {
        part.min(allowed)
    } else {
        part.max(allowed)
    }
}

fn fraction(rs: &ReplicaSet, d: &Deployment) -> i32 {
    let size = replicas_of(rs);
    if desired(d) == 0 {
        return -size;
    }
    let before = annotation(rs, MAX_REPLICAS)
        .and_then(|a| a.parse::<i32>().ok())
        .filter(|n| *n > 0)
        .or_else(|| d.status.as_ref().and_then(|s| s.replicas).filter(|n| *n > 0));
    let Some(before) = before else {
        return 0;
    };
    let after = f64::from(size) * f64::from(desired(d) + max_surge(d)) / f64::from(before);
    after.round() as i32 - size
}

/// Sizes of the old sets during a rolling update, by name, where they change. Never takes the available pods
/// below desired less maxUnavailable.
pub fn shrink_old(view: &View) -> Vec<(String, i32)> {
    let d = &view.deployment;
    let new = view.new.as_ref();
    let total: i32 = view.all().map(replicas_of).sum();
    let min_available = desired(d) - max_unavailable(d);
    let new_unavailable = new.map_or(0, |rs| replicas_of(rs) - available_of(rs));
    let budget = total - min_available - new_unavailable;
    let mut old: Vec<ReplicaSet> = view.old.iter().filter(|rs| replicas_of(rs) > 0).cloned().collect();
    if budget <= 0 || old.is_empty() {
        return Vec::new();
    }
    // Pods that are not available first: they only stand in the way.
    let mut cleaned = 0;
    for rs in &mut old {
        let unhealthy = replicas_of(rs) - available_of(rs);
        let n = unhealthy.min(budget - cleaned);
        if n > 0 {
            set_size(rs, replicas_of(rs) - n);
            cleaned += n;
        }
    }
    let available: i32 = old.iter().chain(new).map(available_of).sum();
    let mut left = (available - min_available).max(0);
    for rs in &mut old {
        let n = replicas_of(rs).min(left);
        if n > 0 {
            set_size(rs, replicas_of(rs) - n);
            left -= n;
        }
    }
    let before = |name: &Option<String>| view.old.iter().find(|o| o.metadata.name == *name).map(replicas_of);
    old.iter()
        .filter(|rs| before(&rs.metadata.name) != Some(replicas_of(rs)))
        .map(|rs| (rs.metadata.name.clone().unwrap_or_default(), replicas_of(rs)))
        .collect()
}

pub fn set_size(rs: &mut ReplicaSet, n: i32) {
    if let Some(s) = &mut rs.spec {
        s.replicas = Some(n);
    }
}
