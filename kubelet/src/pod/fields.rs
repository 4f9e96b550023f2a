//! The downward API: fields and resources of a pod as text (upstream: pkg/fieldpath, pkg/api/v1/resource).
use super::{PodExt, ephemeral_as_container, resources};
use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use std::collections::BTreeMap;
use std::fmt::Write;

/// What a pod's own object does not say yet when its containers start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub host_ip: String,
    pub pod_ips: Vec<String>,
    /// Allocatable of the node: the default of limits.
    pub cpu_milli: i64,
    pub memory_bytes: i64,
    pub ephemeral_storage_bytes: i64,
}

/// `metadata.labels['key']` in parts.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (field, rest) = path.split_once("['")?;
    Some((field, rest.strip_suffix("']")?))
}

/// Labels or annotations as the downward volume writes them: `key="value"` lines, sorted.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let mut out = String::new();
    for (i, (k, v)) in map.into_iter().flatten().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        let _ = write!(out, "{k}={}", quoted(v));
    }
    out
}

/// Go's `%q` for what occurs in labels and annotations.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

pub fn field(pod: &Pod, path: &str, facts: &Facts) -> Result<String, String> {
    let meta = &pod.metadata;
    if let Some((field, key)) = subscript(path) {
        let map = match field {
            "metadata.labels" => meta.labels.as_ref(),
            "metadata.annotations" => meta.annotations.as_ref(),
            _ => return Err(format!("unsupported fieldPath: {path}")),
        };
        return Ok(map.and_then(|m| m.get(key)).cloned().unwrap_or_default());
    }
    let spec = pod.spec();
    Ok(match path {
        "metadata.name" => pod.name().to_owned(),
        "metadata.namespace" => pod.namespace().to_owned(),
        "metadata.uid" => pod.uid().to_owned(),
        "metadata.labels" => lines(meta.labels.as_ref()),
        "metadata.annotations" => lines(meta.annotations.as_ref()),
        "spec.nodeName" => spec.node_name.clone().unwrap_or_default(),
        "spec.serviceAccountName" => spec.service_account_name.clone().unwrap_or_default(),
        "status.hostIP" | "status.hostIPs" => facts.host_ip.clone(),
        "status.podIP" => facts.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => facts.pod_ips.join(","),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

/// A request or limit of one container, divided and rounded up.
pub fn resource(pod: &Pod, own: &Container, selector: &ResourceFieldSelector, facts: &Facts) -> Result<String, String> {
    let named = selector
        .container_name
        .as_deref()
        .filter(|n| !n.is_empty() && *n != own.name);
    let found = named
        .map(|n| container(pod, n).ok_or_else(|| format!("container {n} not found")))
        .transpose()?;
    let c = found.as_ref().unwrap_or(own);
    let list = |limits: bool| {
        let r = c.resources.as_ref()?;
        if limits { r.limits.as_ref() } else { r.requests.as_ref() }
    };
    let (limits, name) = match selector.resource.split_once('.') {
        Some(("limits", name)) => (true, name),
        Some(("requests", name)) => (false, name),
        _ => return Err(format!("unsupported container resource : {}", selector.resource)),
    };
    let said = list(limits).and_then(|l| l.get(name)).map_or(0, resources::nanos);
    let nanos = match (said, limits, name) {
        (0, true, "cpu") => i128::from(facts.cpu_milli) * 1_000_000,
        (0, true, "memory") => i128::from(facts.memory_bytes) * 1_000_000_000,
        (0, true, "ephemeral-storage") => i128::from(facts.ephemeral_storage_bytes) * 1_000_000_000,
        (n, _, _) => n,
    };
    let divisor = selector.divisor.as_ref().map_or(0, resources::nanos);
    let divisor = if divisor <= 0 { 1_000_000_000 } else { divisor };
    let whole = nanos / divisor + i128::from(nanos % divisor > 0);
    Ok(whole.to_string())
}

fn container(pod: &Pod, name: &str) -> Option<Container> {
    let spec = pod.spec();
    let main = spec
        .containers
        .iter()
        .chain(pod.init_containers())
        .find(|c| c.name == name)
        .cloned();
    let ephemeral = spec.ephemeral_containers.iter().flatten();
    main.or_else(|| ephemeral.filter(|e| e.name == name).map(ephemeral_as_container).next())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn fields_and_resources() {
        let pod: Pod = serde_json::from_str(
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","namespace":"n","labels":{"x":"1","a":"q\"z"}},
                "spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":"250m"},"requests":{"memory":"64Mi"}}}]}}"#,
        )
        .unwrap();
        let facts = Facts {
            memory_bytes: 1 << 30,
            pod_ips: vec!["10.0.0.3".into()],
            ..Default::default()
        };
        assert_eq!(field(&pod, "metadata.labels['x']", &facts).unwrap(), "1");
        assert_eq!(field(&pod, "metadata.labels", &facts).unwrap(), "a=\"q\\\"z\"\nx=\"1\"");
        assert_eq!(field(&pod, "status.podIP", &facts).unwrap(), "10.0.0.3");
        assert!(field(&pod, "status.nope", &facts).is_err());
        let c = &pod.spec().containers[0];
        let get = |r: &str, d: Option<&str>| {
            let selector = serde_json::json!({"resource": r, "divisor": d});
            resource(&pod, c, &serde_json::from_value(selector).unwrap(), &facts).unwrap()
        };
        assert_eq!(get("limits.cpu", None), "1");
        assert_eq!(get("limits.cpu", Some("1m")), "250");
        assert_eq!(get("requests.memory", Some("1Mi")), "64");
        assert_eq!(get("limits.memory", Some("1Gi")), "1");
    }
}
