//! Nobody grants by RBAC what they do not hold, unless they may `escalate` or `bind`
//! (upstream: pkg/registry/rbac, escalation_check.go and policybased storages).
use super::{Operation, Plugin, Request};
use crate::auth::rbac::{MASTERS, Rbac};
use crate::auth::rule::Rule;
use crate::auth::{Attributes, Authorizer, Decision};
use crate::kinds::tree::{items, same, text};
use keelson_machinery::status::ApiError;
use serde_json::Value;

const GROUP: &str = "rbac.authorization.k8s.io";

pub struct Escalation {
    rbac: Rbac,
}

impl Escalation {
    pub fn new(rbac: Rbac) -> Self {
        Escalation { rbac }
    }

    fn may(&self, r: &Request<'_>, verb: &str, resource: &str, name: &str) -> bool {
        let asked = Attributes {
            user: r.user.clone(),
            verb: verb.into(),
            namespace: r.namespace.into(),
            group: GROUP.into(),
            version: "*".into(),
            resource: resource.into(),
            name: name.into(),
            is_resource: true,
            ..Attributes::default()
        };
        self.rbac.authorize(&asked) == Decision::Allow
    }

    /// The rules among `wanted` that the user does not hold.
    fn missing(&self, r: &Request<'_>, wanted: &[Rule]) -> Vec<Rule> {
        let held = self.rbac.rules(r.user, r.namespace);
        wanted.iter().filter(|w| !w.covered_by(&held)).cloned().collect()
    }

    fn confirm(&self, r: &Request<'_>, object: &Value, wanted: &[Rule]) -> Result<(), ApiError> {
        let missing = self.missing(r, wanted);
        if missing.is_empty() {
            return Ok(());
        }
        let list: Vec<String> = missing.iter().map(shown).collect();
        let why = format!(
            "user {:?} (groups={:?}) is attempting to grant RBAC permissions not currently held:\n{}",
            r.user.name,
            r.user.groups,
            list.join("\n")
        );
        Err(r.forbidden(object, &why))
    }
}

/// `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`
fn shown(rule: &Rule) -> String {
    let mut parts = Vec::new();
    for (name, list) in [
        ("APIGroups", &rule.groups),
        ("Resources", &rule.resources),
        ("ResourceNames", &rule.names),
        ("NonResourceURLs", &rule.urls),
        ("Verbs", &rule.verbs),
    ] {
        if !list.is_empty() {
            parts.push(format!("{name}:{list:?}"));
        }
    }
    format!("{{{}}}", parts.join(", "))
}

#[async_trait::async_trait]
impl Plugin for Escalation {
    fn name(&self) -> &'static str {
        "RBACEscalation"
    }

    async fn validate(&self, r: &Request<'_>, object: &Value) -> Result<(), ApiError> {
        let writes = matches!(r.operation, Operation::Create | Operation::Update);
        if r.resource.group != GROUP || !writes || r.user.groups.iter().any(|g| g == MASTERS) {
            return Ok(());
        }
        let plural = r.resource.plural;
        if matches!(plural, "roles" | "clusterroles") {
            let unchanged = |o: &Value| {
                same(&o["rules"], &object["rules"]) && same(&o["aggregationRule"], &object["aggregationRule"])
            };
            if r.old.is_some_and(unchanged) || self.may(r, "escalate", plural, r.name) {
                return Ok(());
            }
            let wanted: Vec<Rule> = items(&object["rules"]).iter().map(Rule::from_json).collect();
            self.confirm(r, object, &wanted)?;
            if object["aggregationRule"].is_object()
                && !self.missing(r, &[Rule::everything(), Rule::every_path()]).is_empty()
            {
                return Err(r.forbidden(object, "must have cluster-admin privileges to use the aggregationRule"));
            }
            return Ok(());
        }
        let unchanged =
            |o: &Value| same(&o["roleRef"], &object["roleRef"]) && same(&o["subjects"], &object["subjects"]);
        let reference = &object["roleRef"];
        let name = text(&reference["name"]);
        let (referred, namespace) = match text(&reference["kind"]) {
            "Role" => ("roles", r.namespace),
            _ => ("clusterroles", ""),
        };
        if r.old.is_some_and(unchanged) || self.may(r, "bind", referred, name) {
            return Ok(());
        }
        match self.rbac.role(namespace, name) {
            Some(rules) => self.confirm(r, object, &rules),
            None => Err(ApiError::not_found(GROUP, referred, name)),
        }
    }
}
