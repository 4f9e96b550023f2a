//! What governs the cluster: rbac, networking, discovery, admission, extension, flow control, scheduling, tokens.
use super::Defaulter;
use super::fields::{Object, absent, empty, items, object, object_mut, text};
use serde_json::{Map, Value, json};

const RBAC: &str = "rbac.authorization.k8s.io";

pub(super) fn of(name: &str) -> Option<Defaulter> {
    Some(match name {
        "api.rbac.v1.ClusterRoleBinding" | "api.rbac.v1.RoleBinding" => role_binding,
        "api.rbac.v1.Subject" => subject,
        "api.networking.v1.NetworkPolicy" => network_policy,
        "api.networking.v1.NetworkPolicyPort" => |o| absent(o, "protocol", "TCP"),
        "api.networking.v1.IngressClassParametersReference" => |o| absent(o, "scope", "Cluster"),
        "api.discovery.v1.EndpointPort" => |o| {
            absent(o, "name", "");
            absent(o, "protocol", "TCP");
        },
        "api.scheduling.v1.PriorityClass" => |o| absent(o, "preemptionPolicy", "PreemptLowerPriority"),
        "api.authentication.v1.TokenRequestSpec" => |o| absent(o, "expirationSeconds", 3600),
        "api.admissionregistration.v1.ValidatingWebhook" => webhook,
        "api.admissionregistration.v1.MutatingWebhook" => |o| {
            webhook(o);
            absent(o, "reinvocationPolicy", "Never");
        },
        "api.admissionregistration.v1.Rule" => |o| absent(o, "scope", "*"),
        "api.admissionregistration.v1.ValidatingAdmissionPolicySpec" => |o| absent(o, "failurePolicy", "Fail"),
        "api.admissionregistration.v1.MatchResources" => match_resources,
        "api.admissionregistration.v1.ServiceReference"
        | "apiextensions-apiserver.pkg.apis.apiextensions.v1.ServiceReference"
        | "kube-aggregator.pkg.apis.apiregistration.v1.ServiceReference" => |o| absent(o, "port", 443),
        "apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition" => definition,
        "api.flowcontrol.v1.FlowSchemaSpec" => |o| empty(o, "matchingPrecedence", 1000),
        "api.flowcontrol.v1.ExemptPriorityLevelConfiguration" => |o| priority_level(o, 0),
        "api.flowcontrol.v1.LimitedPriorityLevelConfiguration" => |o| priority_level(o, 30),
        "api.flowcontrol.v1.QueuingConfiguration" => |o| {
            empty(o, "handSize", 8);
            empty(o, "queues", 64);
            empty(o, "queueLengthLimit", 50);
        },
        _ => return None,
    })
}

fn role_binding(o: &mut Object) {
    if let Some(role) = object_mut(o, "roleRef") {
        empty(role, "apiGroup", RBAC);
    }
}

fn subject(o: &mut Object) {
    if matches!(text(o, "kind"), "User" | "Group") {
        empty(o, "apiGroup", RBAC);
    }
}

fn network_policy(o: &mut Object) {
    let Some(spec) = object_mut(o, "spec") else { return };
    let egress = spec
        .get("egress")
        .and_then(Value::as_array)
        .is_some_and(|e| !e.is_empty());
    let types = if egress {
        json!(["Ingress", "Egress"])
    } else {
        json!(["Ingress"])
    };
    empty(spec, "policyTypes", types);
}

fn match_resources(o: &mut Object) {
    absent(o, "matchPolicy", "Equivalent");
    absent(o, "namespaceSelector", Map::new());
    absent(o, "objectSelector", Map::new());
}

fn webhook(o: &mut Object) {
    absent(o, "failurePolicy", "Fail");
    match_resources(o);
    absent(o, "timeoutSeconds", 10);
}

fn priority_level(o: &mut Object, shares: i32) {
    absent(o, "nominalConcurrencyShares", shares);
    absent(o, "lendablePercent", 0);
}

fn definition(o: &mut Object) {
    let Some(spec) = object_mut(o, "spec") else { return };
    let stored = items(spec, "versions").find(|v| v.get("storage") == Some(&Value::Bool(true)));
    let stored = stored.map(|v| text(v, "name").to_owned());
    let kind = object(spec, "names").map_or("", |n| text(n, "kind")).to_owned();
    if !kind.is_empty()
        && let Some(names) = object_mut(spec, "names")
    {
        empty(names, "singular", kind.to_lowercase());
        empty(names, "listKind", format!("{kind}List"));
    }
    absent(spec, "conversion", json!({"strategy": "None"}));
    if let (Some(version), Some(status)) = (stored, object_mut(o, "status")) {
        empty(status, "storedVersions", json!([version]));
    }
}
