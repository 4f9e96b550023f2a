//! What a kubelet may do (upstream: plugin/pkg/auth/authorizer/node): the rules of the role `system:node`,
//! narrowed to its own Node, Lease and CSINode where a request names one.
//!
//! Not built yet: the graph from nodes over pods to secrets and configmaps; reading those is allowed to every
//! node.
use super::{Attributes, UserInfo, rule::Rule};
use std::sync::LazyLock;

pub const GROUP: &str = "system:nodes";
pub const USER_PREFIX: &str = "system:node:";

static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| crate::bootstrap::policy::cluster_role_rules("system:node"));

/// The node that a user is, if it is one.
pub fn name_of(user: &UserInfo) -> Option<&str> {
    let name = user.name.strip_prefix(USER_PREFIX)?;
    user.groups.iter().any(|g| g == GROUP).then_some(name)
}

pub fn rules(user: &UserInfo) -> &'static [Rule] {
    if name_of(user).is_some() { &RULES } else { &[] }
}

pub fn allows(a: &Attributes) -> bool {
    let Some(node) = name_of(&a.user) else { return false };
    if a.is_resource && !own(a, node) {
        return false;
    }
    RULES.iter().any(|r| r.allows(a))
}

fn own(a: &Attributes, node: &str) -> bool {
    let names_another = !a.name.is_empty() && a.name != node;
    match (a.group.as_str(), a.resource.as_str()) {
        ("", "nodes") => !names_another || matches!(a.verb.as_str(), "get" | "list" | "watch"),
        ("coordination.k8s.io", "leases") => a.namespace == "kube-node-lease" && !names_another,
        ("storage.k8s.io", "csinodes") => !names_another,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(verb: &str, group: &str, resource: &str, namespace: &str, name: &str) -> bool {
        allows(&Attributes {
            user: UserInfo {
                name: "system:node:a".into(),
                groups: vec![GROUP.into()],
                ..UserInfo::default()
            },
            verb: verb.into(),
            group: group.into(),
            resource: resource.into(),
            namespace: namespace.into(),
            name: name.into(),
            is_resource: true,
            ..Attributes::default()
        })
    }

    #[test]
    fn a_node_writes_only_what_is_its_own() {
        assert!(ask("get", "", "nodes", "", "b"));
        assert!(ask("patch", "", "nodes", "", "a"));
        assert!(!ask("patch", "", "nodes", "", "b"));
        assert!(ask("update", "coordination.k8s.io", "leases", "kube-node-lease", "a"));
        assert!(!ask("update", "coordination.k8s.io", "leases", "kube-node-lease", "b"));
        assert!(!ask("update", "coordination.k8s.io", "leases", "kube-system", "a"));
        assert!(ask("list", "", "pods", "", ""));
        assert!(!ask("delete", "", "namespaces", "", "x"));
    }
}
