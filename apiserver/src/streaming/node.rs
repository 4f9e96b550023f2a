//! Where a node's kubelet listens (upstream: pkg/kubelet/client/kubelet_client.go).

use super::Call;
use super::dial::Backend;
use super::tls::Trust;
use keelson_machinery::status::ApiError;
use serde_json::Value;

/// The port of a kubelet that has not said which one it has.
const KUBELET_PORT: u16 = 10250;
/// Addresses by preference. The kubelet's certificate must be for the address that is taken.
const ADDRESS_TYPES: [&str; 5] = ["InternalIP", "ExternalIP", "InternalDNS", "Hostname", "ExternalDNS"];

pub(super) async fn kubelet(call: &Call<'_>, node: &str) -> Result<Backend, ApiError> {
    locate(&call.core("nodes", "", node).await?)
}

fn locate(node: &Value) -> Result<Backend, ApiError> {
    let addresses = node["status"]["addresses"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let host = ADDRESS_TYPES
        .iter()
        .find_map(|t| addresses.iter().find(|a| a["type"] == **t)?["address"].as_str())
        .filter(|h| !h.is_empty())
        .ok_or_else(|| {
            let known: Vec<String> = addresses.iter().map(Value::to_string).collect();
            super::unknown(
                500,
                format!("no preferred addresses found; known addresses: [{}]", known.join(" ")),
            )
        })?;
    let port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64();
    let port = port
        .and_then(|p| u16::try_from(p).ok())
        .filter(|p| *p > 0)
        .unwrap_or(KUBELET_PORT);
    Ok(Backend {
        host: host.to_owned(),
        port,
        trust: Some(Trust::Kubelet),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn the_internal_address_and_the_port_that_the_kubelet_tells() {
        let mut node = json!({"status": {
            "addresses": [
                {"type": "Hostname", "address": "a"},
                {"type": "ExternalIP", "address": "192.0.2.1"},
                {"type": "InternalIP", "address": "10.0.0.1"},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 12345}},
        }});
        assert_eq!(locate(&node).unwrap().authority(), "10.0.0.1:12345");
        node["status"]["addresses"] = json!([{"type": "Hostname", "address": "a"}]);
        node["status"]["daemonEndpoints"] = json!({});
        assert_eq!(locate(&node).unwrap().authority(), "a:10250");
        node["status"]["addresses"] = json!([]);
        let e = locate(&node).unwrap_err();
        assert_eq!(
            (e.code, e.message.as_str()),
            (500, "no preferred addresses found; known addresses: []")
        );
    }
}
