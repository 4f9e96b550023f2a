//! `pods/exec`, `pods/attach` and `pods/portforward` (upstream: pkg/registry/core/pod/rest/subresources.go).
//!
//! The kubelet speaks what the client speaks, WebSocket or SPDY: the request to upgrade is sent on with the
//! kubelet's path and parameters, and after its 101 bytes are copied.

use super::target::encode;
use super::{Call, Lease, container, headers, node, upgrade};
use http::{Method, Request, Response};
use keelson_client::Body;
use keelson_machinery::status::ApiError;
use serde_json::Value;

/// What a client calls each stream, and what a kubelet does.
const STREAMS: [(&str, &str); 4] = [
    ("stdin", "input"),
    ("stdout", "output"),
    ("stderr", "error"),
    ("tty", "tty"),
];

pub(super) async fn serve(call: &Call<'_>, request: Request<Body>, lease: Lease) -> Result<Response<Body>, ApiError> {
    let subresource = call.info.subresource.as_str();
    if !matches!(*request.method(), Method::GET | Method::POST) {
        return Err(ApiError::method_not_allowed(
            "",
            &format!("pods/{subresource}"),
            &call.info.verb,
        ));
    }
    let pod = call.pod(&call.info.name).await?;
    let path = match subresource {
        "portforward" => with_query(pod_path("portForward", &pod), ports(call)?),
        verb => {
            let container = container::choose(&pod, call.info.query.text("container"))?;
            with_query(
                format!("{}/{}", pod_path(verb, &pod), encode(&container)),
                streams(call)?,
            )
        }
    };
    let node = pod["spec"]["nodeName"].as_str().unwrap_or("");
    if node.is_empty() {
        let name = &call.info.name;
        return Err(ApiError::bad_request(format!(
            "pod {name} does not have a host assigned"
        )));
    }
    if let Some(phase @ ("Succeeded" | "Failed")) = pod["status"]["phase"].as_str() {
        let what = match subresource {
            "portforward" => "forward a port of",
            "attach" => "attach to a container in",
            _ => "exec into a container in",
        };
        return Err(ApiError::bad_request(format!(
            "cannot {what} a completed pod; current phase is {phase}"
        )));
    }
    if !headers::is_upgrade(request.headers()) {
        return Err(ApiError::bad_request("Upgrade request required"));
    }
    let backend = node::kubelet(call, node).await?;
    upgrade::pass(&call.streaming.tls, &backend, &path, request, lease).await
}

fn pod_path(verb: &str, pod: &Value) -> String {
    let of = |k: &str| encode(pod["metadata"][k].as_str().unwrap_or(""));
    format!("/{verb}/{}/{}", of("namespace"), of("name"))
}

fn with_query(path: String, pairs: Vec<String>) -> String {
    match pairs.is_empty() {
        true => path,
        false => format!("{path}?{}", pairs.join("&")),
    }
}

fn streams(call: &Call<'_>) -> Result<Vec<String>, ApiError> {
    let q = &call.info.query;
    if !["stdin", "stdout", "stderr"].iter().any(|s| q.flag(s)) {
        return Err(ApiError::bad_request(
            "you must specify at least 1 of stdin, stdout, stderr",
        ));
    }
    let mut pairs: Vec<String> = Vec::new();
    if call.info.subresource == "exec" {
        pairs.extend(q.all("command").map(|c| format!("command={}", encode(c))));
        if pairs.is_empty() {
            return Err(ApiError::bad_request(
                "you must specify at least one command for the container",
            ));
        }
    }
    pairs.extend(
        STREAMS
            .iter()
            .filter(|(ours, _)| q.flag(ours))
            .map(|(_, theirs)| format!("{theirs}=1")),
    );
    Ok(pairs)
}

/// SPDY clients name ports in their streams, WebSocket clients here; each value may be a list.
fn ports(call: &Call<'_>) -> Result<Vec<String>, ApiError> {
    let mut ports = Vec::new();
    for text in call
        .info
        .query
        .all("ports")
        .flat_map(|v| v.split(','))
        .filter(|v| !v.is_empty())
    {
        match text.trim().parse::<u16>() {
            Ok(port) if port > 0 => ports.push(port.to_string()),
            _ => return Err(ApiError::bad_request(format!("{text:?} is not a valid port"))),
        }
    }
    Ok(match ports.is_empty() {
        true => Vec::new(),
        false => vec![format!("port={}", encode(&ports.join(",")))],
    })
}
