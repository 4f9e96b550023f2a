//! The default RBAC policy, from its table `policy.txt`.
use crate::auth::rule::Rule;
use serde_json::{Value, json};

const TABLE: &str = include_str!("policy.txt");
const AGGREGATE: &str = "rbac.authorization.k8s.io/aggregate-to-";

/// One object of the policy.
#[derive(Debug)]
pub struct Entry {
    /// clusterroles, roles, clusterrolebindings, rolebindings
    pub plural: &'static str,
    /// Empty for cluster-scoped kinds.
    pub namespace: &'static str,
    pub object: Value,
}

struct Role {
    namespace: &'static str,
    name: &'static str,
    /// Roles into which this one is aggregated.
    into: Vec<&'static str>,
    /// Aggregations of which this one is made.
    of: Vec<&'static str>,
    rules: Vec<Value>,
}

fn list(s: &str) -> Vec<&str> {
    s.split(',').collect()
}

fn rule(line: &'static str) -> Value {
    let mut f = line.split_whitespace();
    let mut next = || list(f.next().unwrap_or_default());
    let (verbs, groups, what) = (next(), next(), next());
    if groups == ["paths"] {
        return json!({"verbs": verbs, "nonResourceURLs": what});
    }
    let groups: Vec<&str> = groups.into_iter().map(|g| if g == "core" { "" } else { g }).collect();
    let mut rule = json!({"verbs": verbs, "apiGroups": groups, "resources": what});
    if let Some(names) = f.next() {
        rule["resourceNames"] = json!(list(names));
    }
    rule
}

fn roles() -> Vec<Role> {
    let mut roles: Vec<Role> = Vec::new();
    for line in TABLE.lines() {
        let mut f = line.split_whitespace();
        let (namespace, name) = match f.next() {
            _ if line.starts_with(' ') => {
                if let Some(r) = roles.last_mut() {
                    r.rules.push(rule(line));
                }
                continue;
            }
            Some("clusterrole") => ("", f.next().unwrap_or_default()),
            Some("role") => (f.next().unwrap_or_default(), f.next().unwrap_or_default()),
            _ => continue,
        };
        let marks: Vec<&str> = f.collect();
        let marked = |c: char| marks.iter().filter_map(move |m| m.strip_prefix(c)).collect();
        roles.push(Role {
            namespace,
            name,
            into: marked('+'),
            of: marked('='),
            rules: Vec::new(),
        });
    }
    // A role made of others is complete when all of those are: admin is made of edit, which is made of view.
    for round in ["view", "edit", "admin"] {
        let gathered: Vec<Value> = roles
            .iter()
            .filter(|r| r.into.contains(&round))
            .fold(Vec::new(), |mut all, r| {
                for x in &r.rules {
                    if !all.contains(x) {
                        all.push(x.clone());
                    }
                }
                all
            });
        for r in roles.iter_mut().filter(|r| r.of.contains(&round)) {
            r.rules.clone_from(&gathered);
        }
    }
    roles
}

fn metadata(namespace: &str, name: &str) -> Value {
    let mut m = json!({
        "name": name,
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
    });
    if !namespace.is_empty() {
        m["namespace"] = namespace.into();
    }
    m
}

fn role_object(r: &Role) -> Entry {
    let (plural, kind) = match r.namespace {
        "" => ("clusterroles", "ClusterRole"),
        _ => ("roles", "Role"),
    };
    let mut object = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind,
        "metadata": metadata(r.namespace, r.name), "rules": r.rules,
    });
    for to in &r.into {
        object["metadata"]["labels"][format!("{AGGREGATE}{to}")] = "true".into();
    }
    if !r.of.is_empty() {
        let selectors: Vec<Value> =
            r.of.iter()
                .map(|of| json!({"matchLabels": {format!("{AGGREGATE}{of}"): "true"}}))
                .collect();
        object["aggregationRule"] = json!({"clusterRoleSelectors": selectors});
    }
    Entry {
        plural,
        namespace: r.namespace,
        object,
    }
}

fn subject(s: &str) -> Option<Value> {
    let (kind, name) = s.split_once(':')?;
    Some(match kind {
        "user" => json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}),
        "group" => json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": name}),
        _ => {
            let (namespace, name) = name.split_once('/')?;
            json!({"kind": "ServiceAccount", "namespace": namespace, "name": name})
        }
    })
}

fn binding(line: &'static str) -> Option<Entry> {
    let mut f = line.split_whitespace();
    let (plural, kind, role, namespace) = match f.next()? {
        "clusterbinding" => ("clusterrolebindings", "ClusterRoleBinding", "ClusterRole", ""),
        "binding" => ("rolebindings", "RoleBinding", "Role", f.next()?),
        _ => return None,
    };
    let (name, role_name) = (f.next()?, f.next()?);
    let subjects: Vec<Value> = f.filter_map(subject).collect();
    let mut object = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata(namespace, name),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": role_name},
    });
    if !subjects.is_empty() {
        object["subjects"] = subjects.into();
    }
    Some(Entry {
        plural,
        namespace,
        object,
    })
}

/// Every role and binding, roles first.
pub fn entries() -> Vec<Entry> {
    roles()
        .iter()
        .map(role_object)
        .chain(TABLE.lines().filter_map(binding))
        .collect()
}

/// The rules of one of the default ClusterRoles; none when there is no such role.
pub fn cluster_role_rules(name: &str) -> Vec<Rule> {
    roles()
        .iter()
        .filter(|r| r.namespace.is_empty() && r.name == name)
        .flat_map(|r| r.rules.iter().map(Rule::from_json))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn find(plural: &str, name: &str) -> Value {
        let e = entries()
            .into_iter()
            .find(|e| e.plural == plural && e.object["metadata"]["name"] == name);
        e.unwrap().object
    }

    #[test]
    fn every_line_of_the_table_is_read() {
        for line in TABLE.lines().filter(|l| l.starts_with("  ")) {
            let fields = line.split_whitespace().count();
            assert!((3..=4).contains(&fields), "{line}");
        }
        let heads = TABLE
            .lines()
            .filter(|l| !l.is_empty() && !l.starts_with([' ', '#']))
            .count();
        assert_eq!(entries().len(), heads);
        assert!(heads > 130, "{heads}");
    }

    #[test]
    fn aggregation() {
        let (view, edit, admin) = (
            find("clusterroles", "view"),
            find("clusterroles", "edit"),
            find("clusterroles", "admin"),
        );
        let count = |v: &Value| v["rules"].as_array().unwrap().len();
        assert!(count(&view) > 5 && count(&edit) > count(&view) && count(&admin) > count(&edit));
        assert_eq!(
            view["aggregationRule"]["clusterRoleSelectors"][0]["matchLabels"]["rbac.authorization.k8s.io/aggregate-to-view"],
            "true"
        );
        let rules = view["rules"].to_string();
        assert!(!rules.contains("secrets") && !rules.contains("\"create\""));
        assert_eq!(
            view["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"],
            "true"
        );
    }

    #[test]
    fn known_entries() {
        assert_eq!(find("clusterroles", "cluster-admin")["rules"][0]["verbs"][0], "*");
        assert_eq!(
            find("clusterrolebindings", "cluster-admin")["subjects"][0]["name"],
            "system:masters"
        );
        assert!(find("clusterrolebindings", "system:node").get("subjects").is_none());
        let b = find("clusterrolebindings", "system:controller:job-controller");
        assert_eq!(b["subjects"][0]["namespace"], "kube-system");
        assert_eq!(b["subjects"][0]["name"], "job-controller");
        assert!(!cluster_role_rules("system:node").is_empty());
        assert!(cluster_role_rules("nope").is_empty());
    }
}
