//! The plugins, under upstream's names, and the default profile made of them.
mod balanced_allocation;
mod default_binder;
mod default_preemption;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_resources_fit;
mod node_unschedulable;
mod scheduling_gates;
mod taint_toleration;
#[cfg(test)]
mod tests;

use crate::config::PluginChoice;
use crate::framework::{Profile, ProfileBuilder};
use std::sync::Arc;

/// Every plugin there is.
pub const NAMES: &[&str] = &[
    scheduling_gates::NAME,
    node_unschedulable::NAME,
    node_name::NAME,
    taint_toleration::NAME,
    node_affinity::NAME,
    node_ports::NAME,
    node_resources_fit::NAME,
    default_preemption::NAME,
    balanced_allocation::NAME,
    default_binder::NAME,
];

/// Builds a profile from the defaults as `choice` changes them. The order and the weights are upstream's
/// (`pkg/scheduler/apis/config/v1/default_plugins.go`).
pub fn profile(choice: &PluginChoice) -> Profile {
    let mut b = ProfileBuilder::default();
    let on = |point, name| choice.runs(point, name);
    // A weight of zero leaves a score plugin out.
    let weight = |name, default| match on("score", name) {
        true => choice.weight(name).unwrap_or(default),
        false => 0,
    };
    if on("preEnqueue", scheduling_gates::NAME) {
        b.pre_enqueue(&Arc::new(scheduling_gates::SchedulingGates));
    }
    if on("filter", node_unschedulable::NAME) {
        b.filter(&Arc::new(node_unschedulable::NodeUnschedulable));
    }
    if on("filter", node_name::NAME) {
        b.filter(&Arc::new(node_name::NodeName));
    }
    let taints = Arc::new(taint_toleration::TaintToleration);
    if on("filter", taint_toleration::NAME) {
        b.filter(&taints);
    }
    b.score(&taints, weight(taint_toleration::NAME, 3));
    let affinity = Arc::new(node_affinity::NodeAffinity);
    if on("preFilter", node_affinity::NAME) {
        b.pre_filter(&affinity);
    }
    if on("filter", node_affinity::NAME) {
        b.filter(&affinity);
    }
    b.score(&affinity, weight(node_affinity::NAME, 2));
    if on("filter", node_ports::NAME) {
        b.filter(&Arc::new(node_ports::NodePorts));
    }
    let fit = Arc::new(node_resources_fit::NodeResourcesFit);
    if on("filter", node_resources_fit::NAME) {
        b.filter(&fit);
    }
    b.score(&fit, weight(node_resources_fit::NAME, 1));
    if on("postFilter", default_preemption::NAME) {
        b.post_filter(&Arc::new(default_preemption::DefaultPreemption));
    }
    b.score(
        &Arc::new(balanced_allocation::BalancedAllocation),
        weight(balanced_allocation::NAME, 1),
    );
    if on("bind", default_binder::NAME) {
        b.bind(&Arc::new(default_binder::DefaultBinder));
    }
    b.build()
}
