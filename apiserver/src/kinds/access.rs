//! RBAC roles and bindings (upstream: pkg/apis/rbac/validation). That nobody grants more than they hold is
//! checked by an admission plugin, which knows the user.
use super::{Context, Strategy, names, tree};
use keelson_machinery::status::FieldError;
use serde_json::Value;
use tree::{items, text};

const GROUP: &str = "rbac.authorization.k8s.io";

pub struct Role;

impl Strategy for Role {
    fn validate(&self, c: &Context<'_>, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (i, r) in items(&object["rules"]).iter().enumerate() {
            rule(r, c.resource.namespaced, &format!("rules[{i}]"), &mut errors);
        }
        let aggregation = &object["aggregationRule"];
        if aggregation.is_object() && items(&aggregation["clusterRoleSelectors"]).is_empty() {
            let why = "at least one clusterRoleSelector required if aggregationRule is non-nil";
            errors.push(FieldError::required("aggregationRule.clusterRoleSelectors", why));
        }
        errors
    }

    fn name_rule(&self) -> names::Rule {
        names::Rule::PathSegment
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

fn rule(r: &Value, namespaced: bool, path: &str, errors: &mut Vec<FieldError>) {
    if items(&r["verbs"]).is_empty() {
        let why = "verbs must contain at least one value";
        errors.push(FieldError::required(format!("{path}.verbs"), why));
    }
    if !items(&r["nonResourceURLs"]).is_empty() {
        let at = format!("{path}.nonResourceURLs");
        if namespaced {
            let why = "namespaced rules cannot apply to non-resource URLs";
            errors.push(FieldError::invalid(&at, &r["nonResourceURLs"], why));
        }
        if ["apiGroups", "resources", "resourceNames"]
            .iter()
            .any(|k| !items(&r[*k]).is_empty())
        {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            errors.push(FieldError::invalid(&at, &r["nonResourceURLs"], why));
        }
        return;
    }
    if items(&r["apiGroups"]).is_empty() {
        let why = "resource rules must supply at least one api group";
        errors.push(FieldError::required(format!("{path}.apiGroups"), why));
    }
    if items(&r["resources"]).is_empty() {
        let why = "resource rules must supply at least one resource";
        errors.push(FieldError::required(format!("{path}.resources"), why));
    }
}

pub struct Binding;

impl Strategy for Binding {
    fn validate(&self, c: &Context<'_>, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let r = &object["roleRef"];
        if text(&r["apiGroup"]) != GROUP {
            errors.push(FieldError::not_supported("roleRef.apiGroup", &r["apiGroup"], &[GROUP]));
        }
        let kinds: &[&str] = if c.resource.namespaced {
            &["Role", "ClusterRole"]
        } else {
            &["ClusterRole"]
        };
        if !kinds.contains(&text(&r["kind"])) {
            errors.push(FieldError::not_supported("roleRef.kind", &r["kind"], kinds));
        }
        if text(&r["name"]).is_empty() {
            errors.push(FieldError::required("roleRef.name", ""));
        }
        for (i, s) in items(&object["subjects"]).iter().enumerate() {
            subject(s, c.resource.namespaced, &format!("subjects[{i}]"), &mut errors);
        }
        errors
    }

    fn validate_update(&self, c: &Context<'_>, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(c, object);
        if object["roleRef"] != old["roleRef"] {
            errors.push(FieldError::invalid(
                "roleRef",
                &object["roleRef"],
                "cannot change roleRef",
            ));
        }
        errors
    }

    fn name_rule(&self) -> names::Rule {
        names::Rule::PathSegment
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

fn subject(s: &Value, namespaced: bool, path: &str, errors: &mut Vec<FieldError>) {
    if text(&s["name"]).is_empty() {
        errors.push(FieldError::required(format!("{path}.name"), ""));
    }
    let group = text(&s["apiGroup"]);
    match text(&s["kind"]) {
        "ServiceAccount" => {
            if !group.is_empty() {
                errors.push(FieldError::not_supported(
                    format!("{path}.apiGroup"),
                    &s["apiGroup"],
                    &[""],
                ));
            }
            if !namespaced && text(&s["namespace"]).is_empty() {
                errors.push(FieldError::required(format!("{path}.namespace"), ""));
            }
        }
        "User" | "Group" => {
            if group != GROUP {
                errors.push(FieldError::not_supported(
                    format!("{path}.apiGroup"),
                    &group.into(),
                    &[GROUP],
                ));
            }
        }
        _ => errors.push(FieldError::not_supported(
            format!("{path}.kind"),
            &s["kind"],
            &["ServiceAccount", "User", "Group"],
        )),
    }
}
