//! Endpoints, EndpointSlices and Ingresses.
use super::{Context, Strategy, names, tree};
use keelson_machinery::status::FieldError;
use serde_json::Value;
use std::net::IpAddr;
use tree::{immutable, invalid_each, items, text};

fn port(p: &Value, path: &str, named: bool, errors: &mut Vec<FieldError>) {
    let name = text(&p["name"]);
    if named && name.is_empty() {
        errors.push(FieldError::required(format!("{path}.name"), ""));
    } else if !name.is_empty() {
        invalid_each(&format!("{path}.name"), name, names::dns_label(name), errors);
    }
    let number = p["port"].as_i64().unwrap_or(0);
    for m in names::port_number(number) {
        errors.push(FieldError::invalid(format!("{path}.port"), &number.into(), &m));
    }
    super::pod::one_of(
        &p["protocol"],
        &format!("{path}.protocol"),
        &["SCTP", "TCP", "UDP"],
        errors,
    );
}

/// An address to which traffic may be sent.
fn endpoint_ip(ip: &str, field: &str, errors: &mut Vec<FieldError>) {
    let why = match ip.parse::<IpAddr>() {
        Err(_) => "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        Ok(a) if a.is_unspecified() => "may not be unspecified (0.0.0.0 or ::)",
        Ok(a) if a.is_loopback() => "may not be in the loopback range (127.0.0.0/8, ::1/128)",
        Ok(IpAddr::V4(a)) if a.is_link_local() => "may not be in the link-local range (169.254.0.0/16, fe80::/10)",
        Ok(IpAddr::V4(a)) if a.is_multicast() && a.octets()[..3] == [224, 0, 0] => {
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
        }
        Ok(_) => return,
    };
    errors.push(FieldError::invalid(field, &ip.into(), why));
}

pub struct Endpoints;

impl Strategy for Endpoints {
    fn validate(&self, _c: &Context<'_>, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (i, s) in items(&object["subsets"]).iter().enumerate() {
            let path = format!("subsets[{i}]");
            if items(&s["addresses"]).is_empty() && items(&s["notReadyAddresses"]).is_empty() {
                let why = "must specify `addresses` or `notReadyAddresses`";
                errors.push(FieldError::required(path.clone(), why));
            }
            for list in ["addresses", "notReadyAddresses"] {
                for (j, a) in items(&s[list]).iter().enumerate() {
                    endpoint_ip(text(&a["ip"]), &format!("{path}.{list}[{j}].ip"), &mut errors);
                }
            }
            let ports = items(&s["ports"]);
            for (j, p) in ports.iter().enumerate() {
                port(p, &format!("{path}.ports[{j}]"), ports.len() > 1, &mut errors);
            }
        }
        errors
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

pub struct EndpointSlice;

impl Strategy for EndpointSlice {
    fn validate(&self, _c: &Context<'_>, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let kind = text(&object["addressType"]);
        super::pod::one_of(
            &object["addressType"],
            "addressType",
            &["FQDN", "IPv4", "IPv6"],
            &mut errors,
        );
        for (i, e) in items(&object["endpoints"]).iter().enumerate() {
            let addresses = items(&e["addresses"]);
            if addresses.is_empty() {
                let why = "must contain at least 1 address";
                errors.push(FieldError::required(format!("endpoints[{i}].addresses"), why));
            }
            for (j, a) in addresses.iter().enumerate() {
                let at = format!("endpoints[{i}].addresses[{j}]");
                if kind == "FQDN" {
                    invalid_each(&at, text(a), names::dns_subdomain(text(a)), &mut errors);
                } else {
                    endpoint_ip(text(a), &at, &mut errors);
                }
            }
        }
        errors
    }

    fn validate_update(&self, c: &Context<'_>, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(c, object);
        immutable("addressType", &object["addressType"], &old["addressType"], &mut errors);
        errors
    }
}

pub struct Ingress;

impl Strategy for Ingress {
    fn validate(&self, _c: &Context<'_>, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let spec = &object["spec"];
        if items(&spec["rules"]).is_empty() && !spec["defaultBackend"].is_object() {
            let why = "either `defaultBackend` or `rules` must be specified";
            errors.push(FieldError::invalid("spec", &spec["rules"], why));
        }
        for (i, r) in items(&spec["rules"]).iter().enumerate() {
            let path = format!("spec.rules[{i}]");
            let host = text(&r["host"]);
            if host.parse::<IpAddr>().is_ok() {
                let why = "must be a DNS name, not an IP address";
                errors.push(FieldError::invalid(format!("{path}.host"), &host.into(), why));
            } else if host.contains('*') {
                invalid_each(&format!("{path}.host"), host, names::wildcard_dns(host), &mut errors);
            } else if !host.is_empty() {
                invalid_each(&format!("{path}.host"), host, names::dns_subdomain(host), &mut errors);
            }
            for (j, p) in items(&r["http"]["paths"]).iter().enumerate() {
                ingress_path(p, &format!("{path}.http.paths[{j}]"), &mut errors);
            }
        }
        errors
    }
}

fn ingress_path(p: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let (at, value) = (format!("{path}.path"), text(&p["path"]));
    match text(&p["pathType"]) {
        "" => errors.push(FieldError::required(
            format!("{path}.pathType"),
            "pathType must be specified",
        )),
        "Exact" | "Prefix" if !value.starts_with('/') => {
            errors.push(FieldError::invalid(at, &value.into(), "must be an absolute path"));
        }
        "Exact" | "Prefix" | "ImplementationSpecific" => {}
        _ => errors.push(FieldError::not_supported(
            format!("{path}.pathType"),
            &p["pathType"],
            &["Exact", "ImplementationSpecific", "Prefix"],
        )),
    }
    let backend = &p["backend"];
    match (backend["service"].is_object(), backend["resource"].is_object()) {
        (true, true) => {
            let why = "cannot set both resource and service backends";
            errors.push(FieldError::invalid(format!("{path}.backend"), &"".into(), why));
        }
        (false, false) => {
            let why = "resource or service backend is required";
            errors.push(FieldError::required(format!("{path}.backend"), why));
        }
        (true, false) => {
            let name = text(&backend["service"]["name"]);
            let at = format!("{path}.backend.service.name");
            if name.is_empty() {
                errors.push(FieldError::required(at, ""));
            } else {
                invalid_each(&at, name, names::dns_1035_label(name), errors);
            }
        }
        _ => {}
    }
}
