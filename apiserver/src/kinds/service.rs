//! Services (upstream: pkg/registry/core/service, ValidateService). Addresses and node ports come from
//! [`super::allocator`].
use super::allocator::{is_headless, needs_cluster_ip, needs_node_port};
use super::{Context, Strategy, meta, names, standard, tree};
use keelson_machinery::status::FieldError;
use serde_json::Value;
use std::collections::HashSet;
use std::net::IpAddr;
use tree::{invalid_each, items, same, text};

pub struct Service;

fn kind(s: &Value) -> &str {
    text(&s["spec"]["type"])
}

fn externally_accessible(s: &Value) -> bool {
    matches!(kind(s), "LoadBalancer" | "NodePort")
        || (kind(s) == "ClusterIP" && !items(&s["spec"]["externalIPs"]).is_empty())
}

/// Makes `clusterIP` and `clusterIPs` agree where one of them was given or changed (KEP-563).
fn normalize_cluster_ips(s: &mut Value, old: Option<&Value>) {
    let (ip, ips) = (
        text(&s["spec"]["clusterIP"]).to_owned(),
        s["spec"]["clusterIPs"].clone(),
    );
    let Some(old) = old else {
        if ip.is_empty() && !items(&ips).is_empty() {
            tree::set(s, "spec", "clusterIP", ips[0].clone());
        } else if !ip.is_empty() && items(&ips).is_empty() {
            tree::set(s, "spec", "clusterIPs", vec![ip].into());
        }
        return;
    };
    let ip_changed = ip != text(&old["spec"]["clusterIP"]);
    let ips_same = same(&ips, &old["spec"]["clusterIPs"]);
    if ip_changed && ips_same {
        if ip.is_empty() {
            tree::remove(s, "spec", "clusterIPs");
        } else {
            tree::set(s, "spec", "clusterIPs", vec![ip].into());
        }
    } else if !ip_changed && !ips_same && items(&ips).is_empty() {
        tree::remove(s, "spec", "clusterIP");
    }
}

/// What an update leaves out and the server once chose stays as it is.
fn patch_allocated(s: &mut Value, old: &Value) {
    if needs_cluster_ip(s) && needs_cluster_ip(old) {
        if text(&s["spec"]["clusterIP"]).is_empty() {
            tree::keep_in(s, old, "spec", "clusterIP");
        }
        if items(&s["spec"]["clusterIPs"]).is_empty() && s["spec"]["clusterIP"] == old["spec"]["clusterIP"] {
            tree::keep_in(s, old, "spec", "clusterIPs");
        }
    }
    if needs_node_port(s) && needs_node_port(old) {
        let mut used: HashSet<i64> = items(&s["spec"]["ports"])
            .iter()
            .filter_map(|p| p["nodePort"].as_i64().filter(|n| *n != 0))
            .collect();
        let before = items(&old["spec"]["ports"]);
        let Some(ports) = s.pointer_mut("/spec/ports").and_then(Value::as_array_mut) else {
            return;
        };
        for p in ports {
            if p["nodePort"].as_i64().unwrap_or(0) != 0 {
                continue;
            }
            let same_port = before
                .iter()
                .find(|b| b["port"] == p["port"] && text(&b["protocol"]) == text(&p["protocol"]));
            if let Some(n) = same_port.and_then(|b| b["nodePort"].as_i64())
                && n != 0
                && used.insert(n)
                && let Some(p) = p.as_object_mut()
            {
                p.insert("nodePort".into(), n.into());
            }
        }
    }
}

/// A changed type clears what only the old type had, unless the update says otherwise.
fn drop_dependent(s: &mut Value, old: &Value) {
    let unchanged = |s: &Value, key: &str| same(&s["spec"][key], &old["spec"][key]);
    if needs_cluster_ip(old) && !needs_cluster_ip(s) {
        if unchanged(s, "clusterIPs") {
            tree::remove(s, "spec", "clusterIP");
            tree::remove(s, "spec", "clusterIPs");
        }
        for key in ["ipFamilies", "ipFamilyPolicy"] {
            if unchanged(s, key) {
                tree::remove(s, "spec", key);
            }
        }
    }
    if needs_node_port(old) && !needs_node_port(s) {
        let numbers = |v: &Value| -> Vec<Value> {
            let ports = items(&v["spec"]["ports"]);
            ports.iter().map(|p| p["nodePort"].clone()).collect()
        };
        let same_ports = numbers(s) == numbers(old);
        if let (true, Some(ports)) = (same_ports, s.pointer_mut("/spec/ports").and_then(Value::as_array_mut)) {
            for p in ports.iter_mut().filter_map(Value::as_object_mut) {
                p.remove("nodePort");
            }
        }
    }
    let balanced = |v: &Value| kind(v) == "LoadBalancer";
    if balanced(old) && !balanced(s) {
        for key in [
            "allocateLoadBalancerNodePorts",
            "loadBalancerClass",
            "healthCheckNodePort",
        ] {
            if unchanged(s, key) {
                tree::remove(s, "spec", key);
            }
        }
    }
    if externally_accessible(old) && !externally_accessible(s) && unchanged(s, "externalTrafficPolicy") {
        tree::remove(s, "spec", "externalTrafficPolicy");
    }
}

impl Strategy for Service {
    fn prepare_for_create(&self, c: &Context<'_>, object: &mut Value) {
        standard::prepare_for_create(c, object);
        tree::set(object, "status", "loadBalancer", serde_json::json!({}));
        normalize_cluster_ips(object, None);
    }

    fn prepare_for_update(&self, c: &Context<'_>, object: &mut Value, old: &Value) {
        standard::prepare_for_update(c, object, old);
        if c.subresource.is_empty() {
            normalize_cluster_ips(object, Some(old));
            drop_dependent(object, old);
            patch_allocated(object, old);
        }
    }

    fn validate(&self, _c: &Context<'_>, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let (e, spec) = (&mut errors, &object["spec"]);
        let external_name = kind(object) == "ExternalName";
        let headless = is_headless(object);
        super::pod::one_of(
            &spec["type"],
            "spec.type",
            &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
            e,
        );
        if items(&spec["ports"]).is_empty() && !headless && !external_name {
            e.push(FieldError::required("spec.ports", ""));
        }
        match kind(object) {
            "LoadBalancer" | "NodePort" if headless => e.push(FieldError::invalid(
                "spec.clusterIPs[0]",
                &"None".into(),
                &format!("may not be set to 'None' for {} services", kind(object)),
            )),
            "ExternalName" => {
                if !items(&spec["clusterIPs"]).is_empty() {
                    e.push(FieldError::forbidden(
                        "spec.clusterIPs",
                        "may not be set for ExternalName services",
                    ));
                }
                for key in ["ipFamilies", "ipFamilyPolicy"] {
                    if !tree::is_empty(&spec[key]) {
                        let at = format!("spec.{key}");
                        e.push(FieldError::forbidden(at, "may not be set for ExternalName services"));
                    }
                }
                let name = text(&spec["externalName"]);
                let name = name.strip_suffix('.').unwrap_or(name);
                if name.is_empty() {
                    e.push(FieldError::required("spec.externalName", ""));
                } else {
                    invalid_each("spec.externalName", name, names::dns_subdomain(name), e);
                }
            }
            _ => {}
        }
        ports(object, headless, e);
        meta::labels(&spec["selector"], "spec.selector", e);
        if text(&spec["sessionAffinity"]) != "None" || external_name {
            super::pod::one_of(
                &spec["sessionAffinity"],
                "spec.sessionAffinity",
                &["ClientIP", "None"],
                e,
            );
        }
        let timeout = &spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"];
        if timeout.as_i64().is_some_and(|n| !(1..=86400).contains(&n)) {
            e.push(FieldError::invalid(
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
                timeout,
                "must be greater than 0 and less than 86400",
            ));
        }
        cluster_ips(object, e);
        for (i, ip) in items(&spec["externalIPs"]).iter().enumerate() {
            valid_ip(text(ip), &format!("spec.externalIPs[{i}]"), e);
        }
        traffic_policies(object, e);
        errors
    }

    fn validate_update(&self, c: &Context<'_>, object: &Value, old: &Value) -> Vec<FieldError> {
        if !c.subresource.is_empty() {
            return Vec::new();
        }
        let mut errors = self.validate(c, object);
        if needs_cluster_ip(object) && needs_cluster_ip(old) {
            let (new, before) = (&object["spec"]["clusterIPs"], &old["spec"]["clusterIPs"]);
            let first = &before[0];
            if !first.is_null() && new[0] != *first {
                errors.push(FieldError::invalid(
                    "spec.clusterIPs[0]",
                    new,
                    "may not change once set",
                ));
            }
            let (new, before) = (&object["spec"]["ipFamilies"], &old["spec"]["ipFamilies"]);
            if !before[0].is_null() && new[0] != before[0] {
                errors.push(FieldError::invalid(
                    "spec.ipFamilies[0]",
                    new,
                    "may not change once set",
                ));
            }
        }
        if kind(object) == "LoadBalancer" && kind(old) == "LoadBalancer" {
            let key = "loadBalancerClass";
            let (new, before) = (&object["spec"][key], &old["spec"][key]);
            if !same(new, before) {
                let why = "may not change once set";
                errors.push(FieldError::invalid("spec.loadBalancerClass", new, why));
            }
        }
        errors
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["spec.clusterIP", "spec.type"]
    }

    fn name_rule(&self) -> names::Rule {
        names::Rule::Dns1035Label
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

fn valid_ip(ip: &str, field: &str, errors: &mut Vec<FieldError>) {
    if ip.parse::<IpAddr>().is_err() {
        let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        errors.push(FieldError::invalid(field, &ip.into(), why));
    }
}

fn ports(s: &Value, headless: bool, errors: &mut Vec<FieldError>) {
    let list = items(&s["spec"]["ports"]);
    let (mut seen_names, mut seen) = (HashSet::new(), HashSet::new());
    let mut node_ports = HashSet::new();
    for (i, p) in list.iter().enumerate() {
        let path = format!("spec.ports[{i}]");
        let name = text(&p["name"]);
        if name.is_empty() && list.len() > 1 {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        } else if !name.is_empty() {
            invalid_each(&format!("{path}.name"), name, names::dns_label(name), errors);
            if !seen_names.insert(name) {
                errors.push(FieldError::duplicate(format!("{path}.name"), &p["name"]));
            }
        }
        let number = p["port"].as_i64().unwrap_or(0);
        for m in names::port_number(number) {
            errors.push(FieldError::invalid(format!("{path}.port"), &number.into(), &m));
        }
        let protocol = format!("{path}.protocol");
        if text(&p["protocol"]).is_empty() {
            errors.push(FieldError::required(protocol, ""));
        } else if !matches!(text(&p["protocol"]), "TCP" | "UDP" | "SCTP") {
            errors.push(FieldError::not_supported(
                protocol,
                &p["protocol"],
                &["SCTP", "TCP", "UDP"],
            ));
        }
        super::pod::port(&p["targetPort"], &format!("{path}.targetPort"), errors);
        let app = text(&p["appProtocol"]);
        if !app.is_empty() {
            invalid_each(&format!("{path}.appProtocol"), app, names::qualified_name(app), errors);
        }
        let node_port = p["nodePort"].as_i64().unwrap_or(0);
        if node_port != 0 {
            if kind(s) == "ClusterIP" || headless {
                let why = "may not be used when `type` is 'ClusterIP'";
                errors.push(FieldError::forbidden(format!("{path}.nodePort"), why));
            } else if !node_ports.insert((text(&p["protocol"]), node_port)) {
                errors.push(FieldError::duplicate(format!("{path}.nodePort"), &p["nodePort"]));
            }
        }
        if !seen.insert((text(&p["protocol"]), number)) {
            let shown = serde_json::json!({"port": number, "protocol": p["protocol"]});
            errors.push(FieldError::duplicate(path, &shown));
        }
    }
}

fn cluster_ips(s: &Value, errors: &mut Vec<FieldError>) {
    if kind(s) == "ExternalName" {
        return;
    }
    let spec = &s["spec"];
    let (ip, ips) = (text(&spec["clusterIP"]), items(&spec["clusterIPs"]));
    if !ip.is_empty() {
        if ips.is_empty() {
            errors.push(FieldError::required("spec.clusterIPs", ""));
        } else if text(&ips[0]) != ip {
            let why = "first value must match `clusterIP`";
            errors.push(FieldError::invalid("spec.clusterIPs", &spec["clusterIPs"], why));
        }
    } else if !ips.is_empty() {
        let why = "must be empty when `clusterIP` is not specified";
        errors.push(FieldError::invalid("spec.clusterIPs", &spec["clusterIPs"], why));
    }
    if text(&ips.first().cloned().unwrap_or_default()) == "None" {
        if ips.len() > 1 {
            let why = "'None' must be the first and only value";
            errors.push(FieldError::invalid("spec.clusterIPs", &spec["clusterIPs"], why));
        }
    } else {
        for (i, ip) in ips.iter().enumerate() {
            valid_ip(text(ip), &format!("spec.clusterIPs[{i}]"), errors);
        }
    }
    if ips.len() > 2 {
        let why = "may only hold up to 2 values";
        errors.push(FieldError::invalid("spec.clusterIPs", &spec["clusterIPs"], why));
    }
    let mut seen = HashSet::new();
    for (i, f) in items(&spec["ipFamilies"]).iter().enumerate() {
        let at = format!("spec.ipFamilies[{i}]");
        if !matches!(text(f), "IPv4" | "IPv6") {
            errors.push(FieldError::not_supported(&at, f, &["IPv4", "IPv6"]));
        }
        if !seen.insert(text(f)) {
            errors.push(FieldError::duplicate(at, f));
        }
    }
    let policy = &spec["ipFamilyPolicy"];
    if !policy.is_null() && !matches!(text(policy), "SingleStack" | "PreferDualStack" | "RequireDualStack") {
        let allowed = ["PreferDualStack", "RequireDualStack", "SingleStack"];
        errors.push(FieldError::not_supported("spec.ipFamilyPolicy", policy, &allowed));
    }
}

fn traffic_policies(s: &Value, errors: &mut Vec<FieldError>) {
    let spec = &s["spec"];
    let policy = &spec["externalTrafficPolicy"];
    if externally_accessible(s) {
        super::pod::one_of(policy, "spec.externalTrafficPolicy", &["Cluster", "Local"], errors);
    } else if !text(policy).is_empty() {
        let why = "may only be set for externally-accessible services";
        errors.push(FieldError::invalid("spec.externalTrafficPolicy", policy, why));
    }
    let internal = &spec["internalTrafficPolicy"];
    if !internal.is_null() && !matches!(text(internal), "Cluster" | "Local") {
        let at = "spec.internalTrafficPolicy";
        errors.push(FieldError::not_supported(at, internal, &["Cluster", "Local"]));
    }
}
