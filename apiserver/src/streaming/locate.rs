//! Which backend and path a request for a pod, a node or a service means
//! (upstream: pkg/registry/core/{pod,node,service}, ResourceLocation and its kin).
use super::query;
use crate::kinds::tree::{items, text};
use keelson_machinery::status::{ApiError, FieldError};
use serde_json::Value;

/// `kubelet` when a node does not say.
const KUBELET_PORT: u16 = 10250;

/// Names of all containers, in upstream's order.
fn containers(pod: &Value) -> Vec<&str> {
    ["initContainers", "containers", "ephemeralContainers"]
        .iter()
        .flat_map(|list| items(&pod["spec"][*list]))
        .map(|c| text(&c["name"]))
        .collect()
}

/// The container that is meant: the named one, or the only one.
pub fn container<'a>(pod: &'a Value, asked: &'a str) -> Result<&'a str, ApiError> {
    let name = text(&pod["metadata"]["name"]);
    let all = containers(pod);
    if !asked.is_empty() {
        if all.contains(&asked) {
            return Ok(asked);
        }
        return Err(ApiError::bad_request(format!(
            "container {asked} is not valid for pod {name}"
        )));
    }
    match items(&pod["spec"]["containers"]) {
        [one] => Ok(text(&one["name"])),
        [] => Err(ApiError::bad_request(format!(
            "a container name must be specified for pod {name}"
        ))),
        _ => Err(ApiError::bad_request(format!(
            "a container name must be specified for pod {name}, choose one of: [{}]",
            all.join(" ")
        ))),
    }
}

/// Path and query at the kubelet for `kubectl logs`.
pub fn log(pod: &Value, parameters: &[(String, String)]) -> Result<String, ApiError> {
    let name = text(&pod["metadata"]["name"]);
    let number = |key: &str| -> Result<Option<i64>, ApiError> {
        let Some(v) = query::get(parameters, key) else {
            return Ok(None);
        };
        v.parse()
            .map(Some)
            .map_err(|_| ApiError::bad_request(format!("strconv.ParseInt: parsing {v:?}: invalid syntax")))
    };
    let (tail, limit, since) = (number("tailLines")?, number("limitBytes")?, number("sinceSeconds")?);
    let since_time = query::get(parameters, "sinceTime");
    let mut errors = Vec::new();
    if let Some(n) = tail.filter(|n| *n < 0) {
        let why = "must be greater than or equal to 0";
        errors.push(FieldError::invalid("tailLines", &n.into(), why));
    }
    if let Some(n) = limit.filter(|n| *n < 1) {
        errors.push(FieldError::invalid("limitBytes", &n.into(), "must be greater than 0"));
    }
    if since.is_some() && since_time.is_some() {
        let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        errors.push(FieldError::forbidden("[]", why));
    } else if let Some(n) = since.filter(|n| *n < 1) {
        errors.push(FieldError::invalid("sinceSeconds", &n.into(), "must be greater than 0"));
    }
    let stream = query::get(parameters, "stream").unwrap_or("All");
    if !matches!(stream, "All" | "Stdout" | "Stderr") {
        errors.push(FieldError::not_supported(
            "stream",
            &stream.into(),
            &["All", "Stderr", "Stdout"],
        ));
    }
    if !errors.is_empty() {
        return Err(ApiError::invalid("", "PodLogOptions", name, &errors));
    }
    if let Some(t) = since_time
        && t.parse::<jiff::Timestamp>().is_err()
    {
        return Err(ApiError::bad_request(format!("parsing time {t:?}: not RFC 3339")));
    }
    let wanted = container(pod, query::get(parameters, "container").unwrap_or_default())?;
    let mut to: Vec<(&str, String)> = Vec::new();
    for key in ["follow", "previous", "timestamps"] {
        if query::flag(parameters, key, false) {
            to.push((key, "true".into()));
        }
    }
    for (key, value) in [("sinceSeconds", since), ("tailLines", tail), ("limitBytes", limit)] {
        if let Some(n) = value {
            to.push((key, n.to_string()));
        }
    }
    if let Some(t) = since_time {
        to.push(("sinceTime", t.to_owned()));
    }
    if stream != "All" {
        to.push(("stream", stream.to_owned()));
    }
    Ok(format!(
        "/containerLogs/{}/{name}/{wanted}{}",
        text(&pod["metadata"]["namespace"]),
        query::format(&to)
    ))
}

/// Path and query at the kubelet for `exec` and `attach`.
pub fn exec(pod: &Value, verb: &str, parameters: &[(String, String)]) -> Result<String, ApiError> {
    let wanted = container(pod, query::get(parameters, "container").unwrap_or_default())?;
    let mut to: Vec<(&str, String)> = Vec::new();
    for (ours, theirs, default) in [
        ("stdin", "input", false),
        ("stdout", "output", true),
        ("stderr", "error", true),
        ("tty", "tty", false),
    ] {
        if query::flag(parameters, ours, default) {
            to.push((theirs, "1".into()));
        }
    }
    if verb == "exec" {
        let command: Vec<_> = parameters.iter().filter(|(k, _)| k == "command").collect();
        if command.is_empty() {
            let name = text(&pod["metadata"]["name"]);
            let why = FieldError::required("command", "");
            return Err(ApiError::invalid("", "PodExecOptions", name, &[why]));
        }
        to.extend(command.into_iter().map(|(_, v)| ("command", v.clone())));
    }
    Ok(format!(
        "/{verb}/{}/{}/{wanted}{}",
        text(&pod["metadata"]["namespace"]),
        text(&pod["metadata"]["name"]),
        query::format(&to)
    ))
}

pub fn port_forward(pod: &Value, parameters: &[(String, String)]) -> String {
    let ports: Vec<&str> = parameters
        .iter()
        .filter(|(k, v)| k == "ports" && !v.is_empty())
        .map(|(_, v)| v.as_str())
        .collect();
    let to = if ports.is_empty() {
        Vec::new()
    } else {
        vec![("port", ports.join(","))]
    };
    format!(
        "/portForward/{}/{}{}",
        text(&pod["metadata"]["namespace"]),
        text(&pod["metadata"]["name"]),
        query::format(&to)
    )
}

/// Address and port of a node's kubelet; addresses come before names, which may not resolve here.
pub fn kubelet(node: &Value) -> Result<(String, u16), ApiError> {
    let addresses = items(&node["status"]["addresses"]);
    let preferred = ["InternalIP", "ExternalIP", "InternalDNS", "Hostname", "ExternalDNS"];
    let host = preferred
        .iter()
        .find_map(|kind| addresses.iter().find(|a| a["type"] == **kind))
        .map(|a| text(&a["address"]).to_owned());
    let Some(host) = host else {
        return Err(ApiError::internal(format!(
            "no preferred addresses found; known addresses: {}",
            node["status"]["addresses"]
        )));
    };
    let port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64();
    let port = port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0);
    Ok((host, port.unwrap_or(KUBELET_PORT)))
}

/// `[scheme:]name[:port]`
pub fn scheme_name_port(id: &str) -> Option<(&str, &str, &str)> {
    let parts: Vec<&str> = id.split(':').collect();
    let (scheme, name, port) = match parts.as_slice() {
        [name] => ("", *name, ""),
        [name, port] => ("", *name, *port),
        [scheme, name, port] => (*scheme, *name, *port),
        _ => return None,
    };
    (matches!(scheme, "" | "http" | "https") && !name.is_empty()).then_some((scheme, name, port))
}

/// The port of a pod: the asked one, by number or name, or the first that it declares.
pub fn pod_port(pod: &Value, asked: &str) -> Option<u16> {
    let declared = || {
        items(&pod["spec"]["containers"])
            .iter()
            .flat_map(|c| items(&c["ports"]))
    };
    let number = |p: &Value| p["containerPort"].as_u64().and_then(|n| u16::try_from(n).ok());
    if asked.is_empty() {
        return declared().find_map(number);
    }
    asked
        .parse()
        .ok()
        .or_else(|| declared().find(|p| p["name"] == asked).and_then(number))
}

/// An endpoint of a service at a port given by name or number.
pub fn endpoint(service: &Value, endpoints: &Value, id: &str, port: &str) -> Result<(String, u16), ApiError> {
    let name = text(&service["metadata"]["name"]);
    let unavailable = |why: String| ApiError::new(503, "ServiceUnavailable", why);
    let mut port = port.to_owned();
    if let Ok(n) = port.parse::<i64>() {
        let found = items(&service["spec"]["ports"]).iter().find(|p| p["port"] == n);
        let Some(p) = found else {
            return Err(unavailable(format!("no service port {n} found for service {name:?}")));
        };
        port = text(&p["name"]).to_owned();
    }
    let mut choices = Vec::new();
    for s in items(&endpoints["subsets"]) {
        for p in items(&s["ports"]).iter().filter(|p| text(&p["name"]) == port) {
            let number = p["port"].as_u64().and_then(|n| u16::try_from(n).ok());
            choices.extend(
                items(&s["addresses"])
                    .iter()
                    .filter_map(|a| Some((text(&a["ip"]), number?))),
            );
        }
    }
    if choices.is_empty() {
        return Err(unavailable(format!("no endpoints available for service {id:?}")));
    }
    let (ip, port) = choices[rand::Rng::random_range(&mut rand::rng(), 0..choices.len())];
    Ok((ip.to_owned(), port))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn pod() -> Value {
        json!({"metadata": {"name": "p", "namespace": "a"}, "spec": {"nodeName": "n",
            "initContainers": [{"name": "i"}],
            "containers": [{"name": "c", "ports": [{"containerPort": 8080, "name": "web"}]}]}})
    }

    fn two() -> Value {
        let mut p = pod();
        p["spec"]["containers"] = json!([{"name": "c"}, {"name": "d"}]);
        p
    }

    #[test]
    fn which_container() {
        assert_eq!(container(&pod(), "").unwrap(), "c");
        assert_eq!(container(&pod(), "i").unwrap(), "i");
        assert_eq!(
            container(&two(), "").unwrap_err().message,
            "a container name must be specified for pod p, choose one of: [i c d]"
        );
        assert_eq!(
            container(&pod(), "x").unwrap_err().message,
            "container x is not valid for pod p"
        );
    }

    #[test]
    fn log_parameters() {
        let to = |q: &str| log(&pod(), &query::parse(q));
        assert_eq!(
            to("follow=true&tailLines=10&timestamps=true&previous=false").unwrap(),
            "/containerLogs/a/p/c?follow=true&timestamps=true&tailLines=10"
        );
        assert_eq!(to("tailLines=-1").unwrap_err().code, 422);
        assert_eq!(to("tailLines=x").unwrap_err().code, 400);
        let both = to("sinceSeconds=5&sinceTime=2026-01-01T00:00:00Z").unwrap_err();
        assert!(
            both.message
                .contains("at most one of `sinceTime` or `sinceSeconds` may be specified")
        );
        assert!(
            to("sinceTime=2026-01-01T00:00:00Z")
                .unwrap()
                .contains("sinceTime=2026-01-01T00%3A00%3A00Z")
        );
    }

    #[test]
    fn exec_parameters() {
        let to = |q: &str| exec(&pod(), "exec", &query::parse(q));
        assert_eq!(
            to("command=sh&command=-c&stdin=true&tty=true&stderr=false").unwrap(),
            "/exec/a/p/c?input=1&output=1&tty=1&command=sh&command=-c"
        );
        assert_eq!(to("stdin=true").unwrap_err().code, 422);
        assert_eq!(
            exec(&pod(), "attach", &query::parse("")).unwrap(),
            "/attach/a/p/c?output=1&error=1"
        );
        assert_eq!(
            port_forward(&pod(), &query::parse("ports=80")),
            "/portForward/a/p?port=80"
        );
    }

    #[test]
    fn addresses() {
        let node = json!({"status": {"addresses": [{"type": "Hostname", "address": "h"},
            {"type": "InternalIP", "address": "192.0.2.7"}], "daemonEndpoints": {"kubeletEndpoint": {"Port": 10260}}}});
        assert_eq!(kubelet(&node).unwrap(), ("192.0.2.7".to_owned(), 10260));
        assert_eq!(kubelet(&json!({})).unwrap_err().code, 500);
        assert_eq!(scheme_name_port("https:x:443"), Some(("https", "x", "443")));
        assert_eq!(scheme_name_port("x:web"), Some(("", "x", "web")));
        assert_eq!(scheme_name_port("ftp:x:1"), None);
        assert_eq!(pod_port(&pod(), ""), Some(8080));
        assert_eq!(pod_port(&pod(), "web"), Some(8080));
        assert_eq!(pod_port(&pod(), "81"), Some(81));
    }

    #[test]
    fn endpoints_of_a_service() {
        let s = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"name": "http", "port": 80}]}});
        let e = json!({"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"name": "http", "port": 8080}]}]});
        assert_eq!(endpoint(&s, &e, "s:80", "80").unwrap(), ("10.0.0.1".to_owned(), 8080));
        assert_eq!(endpoint(&s, &e, "s:http", "http").unwrap().1, 8080);
        assert_eq!(endpoint(&s, &e, "s:81", "81").unwrap_err().code, 503);
        assert_eq!(
            endpoint(&s, &json!({}), "s:80", "80").unwrap_err().message,
            "no endpoints available for service \"s:80\""
        );
    }
}
