//! Services, their endpoints, and what lets traffic in.
use super::{Row, created_since, items, labels, name, or, selector, some_of, text};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeSet;

const SHOWN_MAX: usize = 3;

fn strings(v: &Value) -> Vec<String> {
    items(v).iter().map(|s| text(s).to_owned()).collect()
}

/// Addresses of a load balancer, sorted.
fn balancer(o: &Value) -> Vec<String> {
    let ingress = items(&o["status"]["loadBalancer"]["ingress"]);
    let set: BTreeSet<String> = ingress
        .iter()
        .map(|i| or(&i["ip"], text(&i["hostname"])).to_owned())
        .filter(|a| !a.is_empty())
        .collect();
    set.into_iter().collect()
}

fn external(o: &Value) -> String {
    let given = strings(&o["spec"]["externalIPs"]);
    match text(&o["spec"]["type"]) {
        "ClusterIP" | "NodePort" if given.is_empty() => "<none>".into(),
        "ClusterIP" | "NodePort" => given.join(","),
        "LoadBalancer" => {
            let all = [balancer(o), given].concat();
            if all.is_empty() {
                "<pending>".into()
            } else {
                all.join(",")
            }
        }
        "ExternalName" => text(&o["spec"]["externalName"]).to_owned(),
        _ => "<unknown>".into(),
    }
}

pub(super) fn service(o: &Value, now: Timestamp) -> Row {
    let spec = &o["spec"];
    let ports: Vec<String> = items(&spec["ports"])
        .iter()
        .map(|p| {
            let (port, protocol) = (p["port"].as_i64().unwrap_or(0), text(&p["protocol"]));
            match p["nodePort"].as_i64().unwrap_or(0) {
                0 => format!("{port}/{protocol}"),
                n => format!("{port}:{n}/{protocol}"),
            }
        })
        .collect();
    let ports = if ports.is_empty() {
        "<none>".into()
    } else {
        ports.join(",")
    };
    Row::of(vec![
        name(o),
        text(&spec["type"]).into(),
        or(&spec["clusterIPs"][0], "<none>").into(),
        external(o).into(),
        ports.into(),
        created_since(o, now),
        labels(&spec["selector"]).into(),
    ])
}

/// `ip:port`, with brackets for IPv6.
fn host_port(ip: &str, port: i64) -> String {
    if ip.contains(':') {
        format!("[{ip}]:{port}")
    } else {
        format!("{ip}:{port}")
    }
}

pub(super) fn endpoints(o: &Value, now: Timestamp) -> Row {
    let mut list = Vec::new();
    for s in items(&o["subsets"]) {
        let addresses = items(&s["addresses"]).iter().map(|a| text(&a["ip"]));
        let ports = items(&s["ports"]);
        if ports.is_empty() {
            list.extend(addresses.map(str::to_owned));
            continue;
        }
        for p in ports {
            let port = p["port"].as_i64().unwrap_or(0);
            list.extend(addresses.clone().map(|ip| host_port(ip, port)));
        }
    }
    let none = if items(&o["subsets"]).is_empty() { "<none>" } else { "" };
    let shown = some_of(&list, SHOWN_MAX, none);
    Row::of(vec![name(o), shown.into(), created_since(o, now)])
}

pub(super) fn endpoint_slice(o: &Value, now: Timestamp) -> Row {
    let ports: Vec<String> = items(&o["ports"])
        .iter()
        .map(|p| match (p["port"].as_i64(), p["name"].as_str()) {
            (Some(n), _) => n.to_string(),
            (None, Some(name)) => name.to_owned(),
            _ => "*".to_owned(),
        })
        .collect();
    let endpoints = items(&o["endpoints"]).iter();
    let addresses: Vec<String> = endpoints.flat_map(|e| strings(&e["addresses"])).collect();
    Row::of(vec![
        name(o),
        text(&o["addressType"]).into(),
        some_of(&ports, SHOWN_MAX, "<unset>").into(),
        some_of(&addresses, SHOWN_MAX, "<unset>").into(),
        created_since(o, now),
    ])
}

pub(super) fn ingress(o: &Value, now: Timestamp) -> Row {
    let rules = items(&o["spec"]["rules"]);
    let mut hosts = Vec::new();
    let mut more = false;
    for r in rules {
        more |= hosts.len() == SHOWN_MAX;
        if !more && !text(&r["host"]).is_empty() {
            hosts.push(text(&r["host"]));
        }
    }
    let hosts = match (hosts.is_empty(), more) {
        (true, _) => "*".to_owned(),
        (_, true) => format!("{} + {} more...", hosts.join(","), rules.len() - SHOWN_MAX),
        _ => hosts.join(","),
    };
    let ports = if items(&o["spec"]["tls"]).is_empty() {
        "80"
    } else {
        "80, 443"
    };
    Row::of(vec![
        name(o),
        or(&o["spec"]["ingressClassName"], "<none>").into(),
        hosts.into(),
        balancer(o).join(",").into(),
        ports.into(),
        created_since(o, now),
    ])
}

pub(super) fn ingress_class(o: &Value, now: Timestamp) -> Row {
    let p = &o["spec"]["parameters"];
    let parameters = if p.is_object() {
        let group = p["apiGroup"].as_str().map(|g| format!(".{g}")).unwrap_or_default();
        format!("{}{group}/{}", text(&p["kind"]), text(&p["name"]))
    } else {
        "<none>".into()
    };
    let controller = text(&o["spec"]["controller"]).into();
    Row::of(vec![name(o), controller, parameters.into(), created_since(o, now)])
}

pub(super) fn policy(o: &Value, now: Timestamp) -> Row {
    let shown = match selector(&o["spec"]["podSelector"]) {
        None => "<error>".into(),
        Some(s) if s.is_empty() => "<none>".into(),
        Some(s) => s,
    };
    Row::of(vec![name(o), shown.into(), created_since(o, now)])
}

pub(super) fn service_cidr(o: &Value, now: Timestamp) -> Row {
    let cidrs = strings(&o["spec"]["cidrs"]).join(",");
    Row::of(vec![name(o), cidrs.into(), created_since(o, now)])
}

pub(super) fn ip_address(o: &Value, _now: Timestamp) -> Row {
    let p = &o["spec"]["parentRef"];
    let parent = if p.is_object() {
        let resource = match text(&p["group"]) {
            "" => text(&p["resource"]).to_owned(),
            group => format!("{}.{group}", text(&p["resource"])),
        };
        let namespace = match text(&p["namespace"]) {
            "" => String::new(),
            ns => format!("/{ns}"),
        };
        format!("{}{namespace}/{}", resource.to_lowercase(), text(&p["name"]))
    } else {
        "<none>".into()
    };
    Row::of(vec![name(o), parent.into()])
}
