//! The RBAC authorizer: an index in memory over the four kinds, fed by their watches
//! (upstream: plugin/pkg/auth/authorizer/rbac).
use super::{Attributes, Authorizer, Decision, UserInfo, node, rule::Rule};
use crate::objects::{Change, Objects};
use keelson_machinery::{resources, status::ApiError};
use parking_lot::RwLock;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const GROUP: &str = "rbac.authorization.k8s.io";
/// Bypasses every rule, so that a broken policy can be mended.
pub const MASTERS: &str = "system:masters";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    ClusterRole,
    Role,
    ClusterRoleBinding,
    RoleBinding,
}

const KINDS: [(Kind, &str); 4] = [
    (Kind::ClusterRole, "clusterroles"),
    (Kind::Role, "roles"),
    (Kind::ClusterRoleBinding, "clusterrolebindings"),
    (Kind::RoleBinding, "rolebindings"),
];

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Subject {
    User(String),
    Group(String),
}

#[derive(Debug)]
struct Binding {
    /// Empty for cluster bindings.
    namespace: String,
    name: String,
    /// The role's namespace; empty for a ClusterRole.
    role: (String, String),
    subjects: Vec<Subject>,
}

#[derive(Default)]
struct Index {
    /// By namespace (empty: ClusterRole) and name.
    roles: HashMap<(String, String), Arc<[Rule]>>,
    bindings: HashMap<(String, String), Arc<Binding>>,
    /// By the namespace in which they hold (empty: everywhere) and subject.
    by_subject: HashMap<(String, Subject), Vec<Arc<Binding>>>,
}

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct Rbac {
    index: Arc<RwLock<Index>>,
}

impl Rbac {
    /// Loads the four kinds, then follows them until `stop`. Returns once all are loaded.
    pub async fn start(objects: Arc<dyn Objects>, stop: CancellationToken) -> Result<Self, ApiError> {
        let this = Rbac::default();
        for (kind, plural) in KINDS {
            let resource = resources::by_resource(GROUP, "v1", plural)
                .ok_or_else(|| ApiError::internal(format!("no such resource: {plural}")))?;
            let mut changes = objects.watch(resource).await?;
            match changes.recv().await {
                Some(c) => this.apply(kind, c),
                None => return Err(ApiError::internal(format!("watch of {plural} ended at its start"))),
            }
            tokio::spawn(this.clone().follow(kind, changes, stop.clone()));
        }
        Ok(this)
    }

    async fn follow(self, kind: Kind, mut changes: mpsc::Receiver<Change>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                c = changes.recv() => match c {
                    Some(c) => self.apply(kind, c),
                    None => return,
                },
            }
        }
    }

    fn apply(&self, kind: Kind, change: Change) {
        let mut index = self.index.write();
        match change {
            Change::Reset(objects) => {
                index.clear(kind);
                for o in &objects {
                    index.put(kind, o);
                }
            }
            Change::Put(o) => index.put(kind, &o),
            Change::Deleted(o) => index.remove(kind, &key(&o)),
        }
    }

    /// Calls `visit` with each rule that applies to the user in the namespace, until it returns false. Answers
    /// with the roles that bindings name but that do not exist.
    fn visit(&self, user: &UserInfo, namespace: &str, mut visit: impl FnMut(&Rule) -> bool) -> Vec<String> {
        let index = self.index.read();
        let mut missing = Vec::new();
        let mut subjects = Vec::with_capacity(user.groups.len() + 1);
        subjects.push(Subject::User(user.name.clone()));
        subjects.extend(user.groups.iter().cloned().map(Subject::Group));
        let scopes: &[&str] = if namespace.is_empty() { &[""] } else { &["", namespace] };
        for scope in scopes {
            for s in &subjects {
                let bindings = index.by_subject.get(&((*scope).to_owned(), s.clone()));
                for b in bindings.into_iter().flatten() {
                    let Some(rules) = index.roles.get(&b.role) else {
                        let kind = if b.role.0.is_empty() { "clusterrole" } else { "role" };
                        missing.push(format!("{kind}.{GROUP} {:?} not found", b.role.1));
                        continue;
                    };
                    for r in rules.iter() {
                        if !visit(r) {
                            return missing;
                        }
                    }
                }
            }
        }
        missing
    }

    /// Every rule that the user holds in the namespace, for escalation checks.
    pub fn rules(&self, user: &UserInfo, namespace: &str) -> Vec<Rule> {
        let mut rules = Vec::new();
        self.visit(user, namespace, |r| {
            rules.push(r.clone());
            true
        });
        rules
    }

    /// The rules of a role; `namespace` is empty for a ClusterRole.
    pub fn role(&self, namespace: &str, name: &str) -> Option<Arc<[Rule]>> {
        let key = (namespace.to_owned(), name.to_owned());
        self.index.read().roles.get(&key).cloned()
    }
}

fn text(v: &Value) -> String {
    v.as_str().unwrap_or_default().to_owned()
}

fn key(o: &Value) -> (String, String) {
    (text(&o["metadata"]["namespace"]), text(&o["metadata"]["name"]))
}

impl Index {
    fn clear(&mut self, kind: Kind) {
        match kind {
            Kind::ClusterRole => self.roles.retain(|(ns, _), _| !ns.is_empty()),
            Kind::Role => self.roles.retain(|(ns, _), _| ns.is_empty()),
            Kind::ClusterRoleBinding | Kind::RoleBinding => {
                let cluster = kind == Kind::ClusterRoleBinding;
                self.bindings.retain(|(ns, _), _| ns.is_empty() != cluster);
                self.by_subject.retain(|(ns, _), _| ns.is_empty() != cluster);
            }
        }
    }

    fn put(&mut self, kind: Kind, o: &Value) {
        let k = key(o);
        match kind {
            Kind::ClusterRole | Kind::Role => {
                let rules: Arc<[Rule]> = o["rules"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(Rule::from_json)
                    .collect();
                self.roles.insert(k, rules);
            }
            Kind::ClusterRoleBinding | Kind::RoleBinding => {
                self.remove(kind, &k);
                let b = Arc::new(binding(o));
                for s in &b.subjects {
                    let slot = self.by_subject.entry((b.namespace.clone(), s.clone())).or_default();
                    slot.push(b.clone());
                }
                self.bindings.insert(k, b);
            }
        }
    }

    fn remove(&mut self, kind: Kind, k: &(String, String)) {
        if matches!(kind, Kind::ClusterRole | Kind::Role) {
            self.roles.remove(k);
            return;
        }
        let Some(b) = self.bindings.remove(k) else { return };
        for s in &b.subjects {
            let slot = (b.namespace.clone(), s.clone());
            if let Some(list) = self.by_subject.get_mut(&slot) {
                list.retain(|x| x.name != b.name);
                if list.is_empty() {
                    self.by_subject.remove(&slot);
                }
            }
        }
    }
}

fn binding(o: &Value) -> Binding {
    let (namespace, name) = key(o);
    let role_namespace = match o["roleRef"]["kind"].as_str() {
        Some("Role") => namespace.clone(),
        _ => String::new(),
    };
    let subjects = o["subjects"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|s| match s["kind"].as_str()? {
            "User" => Some(Subject::User(text(&s["name"]))),
            "Group" => Some(Subject::Group(text(&s["name"]))),
            "ServiceAccount" => {
                let ns = match s["namespace"].as_str() {
                    Some(ns) if !ns.is_empty() => ns,
                    _ => &namespace,
                };
                Some(Subject::User(format!(
                    "system:serviceaccount:{ns}:{}",
                    s["name"].as_str()?
                )))
            }
            _ => None,
        })
        .collect();
    Binding {
        role: (role_namespace, text(&o["roleRef"]["name"])),
        namespace,
        name,
        subjects,
    }
}

impl Authorizer for Rbac {
    fn authorize(&self, a: &Attributes) -> Decision {
        if a.user.groups.iter().any(|g| g == MASTERS) || node::allows(a) {
            return Decision::Allow;
        }
        let mut allowed = false;
        let missing = self.visit(&a.user, &a.namespace, |r| {
            allowed = r.allows(a);
            !allowed
        });
        if allowed {
            return Decision::Allow;
        }
        match missing.as_slice() {
            [] => Decision::Deny(String::new()),
            [one] => Decision::Deny(format!("RBAC: {one}")),
            many => Decision::Deny(format!("RBAC: [{}]", many.join(", "))),
        }
    }

    fn rules_for(&self, user: &UserInfo, namespace: &str) -> Value {
        let (mut resource, mut other) = (Vec::new(), Vec::new());
        let mut add = |r: &Rule| {
            if r.urls.is_empty() {
                let mut v = json!({"verbs": r.verbs, "apiGroups": r.groups, "resources": r.resources});
                if !r.names.is_empty() {
                    v["resourceNames"] = json!(r.names);
                }
                resource.push(v);
            } else {
                other.push(json!({"verbs": r.verbs, "nonResourceURLs": r.urls}));
            }
            true
        };
        if user.groups.iter().any(|g| g == MASTERS) {
            add(&Rule::everything());
            add(&Rule::every_path());
        }
        node::rules(user).iter().for_each(|r| {
            add(r);
        });
        let missing = self.visit(user, namespace, add);
        let mut status =
            json!({"resourceRules": resource, "nonResourceRules": other, "incomplete": !missing.is_empty()});
        if !missing.is_empty() {
            status["evaluationError"] = missing.join(", ").into();
        }
        status
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn fixture() -> Rbac {
        let r = Rbac::default();
        r.apply(
            Kind::ClusterRole,
            Change::Reset(vec![
                json!({"metadata": {"name": "view"}, "rules": [
                    {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/log", "*/scale"]}]}),
                json!({"metadata": {"name": "info"}, "rules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/api/*"]}]}),
            ]),
        );
        r.apply(
            Kind::Role,
            Change::Reset(vec![json!({"metadata": {"name": "one", "namespace": "a"}, "rules": [
                {"verbs": ["*"], "apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["web"]}]})]),
        );
        r.apply(
            Kind::ClusterRoleBinding,
            Change::Reset(vec![
                json!({"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "info"},
                "subjects": [{"kind": "Group", "name": "system:authenticated"}]}),
            ]),
        );
        r.apply(
            Kind::RoleBinding,
            Change::Reset(vec![
                json!({"metadata": {"name": "v", "namespace": "a"}, "roleRef": {"kind": "ClusterRole", "name": "view"},
                    "subjects": [{"kind": "User", "name": "jane"}, {"kind": "ServiceAccount", "name": "bot", "namespace": "b"}]}),
                json!({"metadata": {"name": "o", "namespace": "a"}, "roleRef": {"kind": "Role", "name": "one"},
                    "subjects": [{"kind": "User", "name": "jane"}]}),
                json!({"metadata": {"name": "gone", "namespace": "c"}, "roleRef": {"kind": "Role", "name": "none"},
                    "subjects": [{"kind": "User", "name": "jane"}]}),
            ]),
        );
        r
    }

    fn ask(user: &str, verb: &str, namespace: &str, group: &str, resource: &str, name: &str) -> Attributes {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        Attributes {
            user: UserInfo {
                name: user.into(),
                groups: vec!["system:authenticated".into()],
                ..UserInfo::default()
            },
            verb: verb.into(),
            namespace: namespace.into(),
            group: group.into(),
            version: "v1".into(),
            resource: resource.into(),
            subresource: subresource.into(),
            name: name.into(),
            is_resource: true,
            path: String::new(),
        }
    }

    #[test]
    fn bindings_grant_within_their_namespace() {
        let r = fixture();
        let ok = |a: Attributes| r.authorize(&a) == Decision::Allow;
        assert!(ok(ask("jane", "list", "a", "", "pods", "")));
        assert!(ok(ask("jane", "get", "a", "", "pods/log", "x")));
        assert!(!ok(ask("jane", "get", "a", "", "pods/exec", "x")));
        assert!(!ok(ask("jane", "list", "b", "", "pods", "")));
        assert!(!ok(ask("jane", "list", "", "", "pods", "")));
        assert!(ok(ask("system:serviceaccount:b:bot", "list", "a", "", "pods", "")));
        assert!(ok(ask("jane", "delete", "a", "apps", "deployments", "web")));
        assert!(!ok(ask("jane", "delete", "a", "apps", "deployments", "db")));
        assert!(!ok(ask("jane", "get", "a", "apps", "deployments/scale", "web")));
        let mut master = ask("root", "delete", "a", "x", "y", "");
        master.user.groups.push(MASTERS.into());
        assert!(ok(master));
    }

    #[test]
    fn paths() {
        let r = fixture();
        let path = |p: &str| {
            let mut a = ask("jane", "get", "", "", "", "");
            a.is_resource = false;
            a.path = p.into();
            r.authorize(&a)
        };
        assert_eq!(path("/healthz"), Decision::Allow);
        assert_eq!(path("/api/v1"), Decision::Allow);
        assert_eq!(path("/metrics"), Decision::Deny(String::new()));
    }

    #[test]
    fn a_missing_role_is_told() {
        let r = fixture();
        assert_eq!(
            r.authorize(&ask("jane", "list", "c", "", "pods", "")),
            Decision::Deny("RBAC: role.rbac.authorization.k8s.io \"none\" not found".into())
        );
    }

    #[test]
    fn a_deleted_binding_no_longer_grants() {
        let r = fixture();
        r.apply(
            Kind::RoleBinding,
            Change::Deleted(json!({"metadata": {"name": "v", "namespace": "a"}})),
        );
        assert_ne!(r.authorize(&ask("jane", "list", "a", "", "pods", "")), Decision::Allow);
        r.apply(
            Kind::ClusterRole,
            Change::Deleted(json!({"metadata": {"name": "info"}})),
        );
        let rules = r.rules_for(&ask("jane", "", "", "", "", "").user, "a");
        assert_eq!(rules["incomplete"], true);
        assert_eq!(rules["resourceRules"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn the_words_of_a_refusal() {
        let e = super::super::forbidden(&ask("jane", "list", "default", "", "pods", ""), "");
        assert_eq!(
            e.message,
            "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
        );
        let e = super::super::forbidden(&ask("jane", "get", "", "apps", "deployments/scale", "x"), "");
        assert_eq!(
            e.message,
            "deployments.apps \"x\" is forbidden: User \"jane\" cannot get resource \"deployments/scale\" in API group \"apps\" at the cluster scope"
        );
    }
}
