//! What a proxied name means: `name`, `name:port` or `scheme:name:port` of a pod, service or node
//! (upstream: the ResourceLocation of pkg/registry/core/{pod,service,node}).

use super::dial::Backend;
use super::tls::Trust;
use super::{Call, node, row, unavailable};
use keelson_machinery::status::ApiError;
use rand::Rng;
use serde_json::Value;
use std::fmt::Write;
use std::net::IpAddr;

/// The label of an EndpointSlice that names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Endpoints of one service that are looked at for one request.
const CANDIDATES_MAX: usize = 64;

/// A name in its parts (upstream: apimachinery/pkg/util/net, SplitSchemeNamePort).
#[derive(Debug, PartialEq, Eq)]
struct Id<'a> {
    scheme: &'a str,
    name: &'a str,
    port: &'a str,
}

impl<'a> Id<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let id = match parts.as_slice() {
            [name] => Id {
                scheme: "",
                name,
                port: "",
            },
            [name, port] => Id { scheme: "", name, port },
            [scheme, name, port] => Id { scheme, name, port },
            _ => return None,
        };
        (!id.name.is_empty() && matches!(id.scheme, "" | "http" | "https")).then_some(id)
    }

    fn trust(&self) -> Option<Trust> {
        (self.scheme == "https").then_some(Trust::Anyone)
    }

    fn default_port(&self) -> u16 {
        if self.scheme == "https" { 443 } else { 80 }
    }
}

pub(super) async fn find(call: &Call<'_>) -> Result<Backend, ApiError> {
    let text = call.info.name.as_str();
    let kind = call.info.resource.trim_end_matches('s');
    let id = Id::parse(text).ok_or_else(|| ApiError::bad_request(format!("invalid {kind} request {text:?}")))?;
    match call.info.resource.as_str() {
        "pods" => pod(call, &id).await,
        "services" => service(call, &id).await,
        _ => of_node(call, &id).await,
    }
}

async fn pod(call: &Call<'_>, id: &Id<'_>) -> Result<Backend, ApiError> {
    let pod = call.pod(id.name).await?;
    let port = match id.port {
        "" => first_port(&pod).unwrap_or_else(|| id.default_port()),
        text => parse_port(text)?,
    };
    let ip = pod["status"]["podIPs"][0]["ip"]
        .as_str()
        .or_else(|| pod["status"]["podIP"].as_str())
        .unwrap_or("");
    allowed(call, ip)?;
    Ok(Backend {
        host: ip.to_owned(),
        port,
        trust: id.trust(),
    })
}

fn first_port(pod: &Value) -> Option<u16> {
    let containers = pod["spec"]["containers"].as_array()?;
    let port = containers
        .iter()
        .find_map(|c| c["ports"][0]["containerPort"].as_u64())?;
    u16::try_from(port).ok()
}

fn parse_port(text: &str) -> Result<u16, ApiError> {
    match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(ApiError::bad_request(format!("invalid port {text:?}"))),
    }
}

async fn of_node(call: &Call<'_>, id: &Id<'_>) -> Result<Backend, ApiError> {
    let kubelet = node::kubelet(call, id.name).await?;
    if kubelet.host.parse::<IpAddr>().is_ok() {
        allowed(call, &kubelet.host)?;
    } else {
        // A name is as good as what it resolves to.
        let found = tokio::net::lookup_host((kubelet.host.as_str(), kubelet.port)).await;
        let found: Vec<_> = found.map_err(|e| ApiError::bad_request(e.to_string()))?.collect();
        if found.is_empty() {
            return Err(ApiError::bad_request("no addresses for hostname"));
        }
        if !found.iter().all(|a| (call.streaming.may_dial)(a.ip())) {
            return Err(ApiError::bad_request("address not allowed"));
        }
    }
    if id.port.is_empty() || id.port == kubelet.port.to_string() {
        return Ok(kubelet);
    }
    Ok(Backend {
        host: kubelet.host,
        port: parse_port(id.port)?,
        trust: id.trust(),
    })
}

async fn service(call: &Call<'_>, id: &Id<'_>) -> Result<Backend, ApiError> {
    let service = call.core("services", &call.info.namespace, id.name).await?;
    let port_name = match id.port.parse::<i64>() {
        Err(_) => id.port.to_owned(),
        Ok(number) => {
            let ports = service["spec"]["ports"]
                .as_array()
                .map(Vec::as_slice)
                .unwrap_or_default();
            let port = ports
                .iter()
                .find(|p| p["port"].as_i64() == Some(number))
                .ok_or_else(|| unavailable(format!("no service port {number} found for service {:?}", id.name)))?;
            port["name"].as_str().unwrap_or("").to_owned()
        }
    };
    let slices = call
        .streaming
        .objects
        .list(row("discovery.k8s.io", "v1", "endpointslices")?, &call.info.namespace)
        .await?;
    let candidates = candidates(&slices, id.name, &port_name);
    // From a random one on, so that requests spread.
    let start = if candidates.is_empty() {
        0
    } else {
        rand::rng().random_range(0..candidates.len())
    };
    for c in candidates
        .iter()
        .cycle()
        .skip(start)
        .take(candidates.len().min(CANDIDATES_MAX))
    {
        if is_of_pod(call, c).await && allowed(call, c.address).is_ok() {
            return Ok(Backend {
                host: c.address.to_owned(),
                port: c.port,
                trust: id.trust(),
            });
        }
    }
    Err(unavailable(format!(
        "no endpoints available for service {:?}",
        call.info.name
    )))
}

/// A ready endpoint.
#[derive(Debug, PartialEq, Eq)]
struct Candidate<'a> {
    address: &'a str,
    port: u16,
    namespace: &'a str,
    pod: &'a str,
}

fn candidates<'a>(slices: &'a [Value], service: &str, port_name: &str) -> Vec<Candidate<'a>> {
    let mut out = Vec::new();
    for slice in slices
        .iter()
        .filter(|s| s["metadata"]["labels"][SERVICE_NAME] == service)
    {
        let ports = slice["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
        let port = ports.iter().find(|p| p["name"].as_str().unwrap_or("") == port_name);
        let Some(port) = port
            .and_then(|p| p["port"].as_u64())
            .and_then(|p| u16::try_from(p).ok())
        else {
            continue;
        };
        for e in slice["endpoints"].as_array().into_iter().flatten() {
            if e["conditions"]["ready"] == false {
                continue;
            }
            let target = &e["targetRef"];
            if let (Some(address), Some("Pod")) = (e["addresses"][0].as_str(), target["kind"].as_str()) {
                let of = |k: &str| target[k].as_str().unwrap_or("");
                out.push(Candidate {
                    address,
                    port,
                    namespace: of("namespace"),
                    pod: of("name"),
                });
            }
        }
    }
    out
}

/// Slices are written by users too: only an address that a pod of the same namespace has is proxied to.
async fn is_of_pod(call: &Call<'_>, c: &Candidate<'_>) -> bool {
    if c.namespace != call.info.namespace {
        return false;
    }
    let Ok(pod) = call.pod(c.pod).await else { return false };
    let ips = pod["status"]["podIPs"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    ips.iter().any(|i| i["ip"] == c.address)
}

fn allowed(call: &Call<'_>, address: &str) -> Result<(), ApiError> {
    match address.parse::<IpAddr>() {
        Ok(ip) if (call.streaming.may_dial)(ip) => Ok(()),
        _ => Err(ApiError::bad_request("address not allowed")),
    }
}

/// Go's net.IP.IsGlobalUnicast: nothing of the machine itself, of its link, or of many.
pub(super) fn is_global_unicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            !(v4.is_unspecified() || v4.is_broadcast() || v4.is_loopback() || v4.is_multicast() || v4.is_link_local())
        }
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => is_global_unicast(IpAddr::V4(v4)),
            None => !(v6.is_unspecified() || v6.is_loopback() || v6.is_multicast() || v6.is_unicast_link_local()),
        },
    }
}

/// Percent-encodes all but RFC 3986's unreserved characters.
pub(super) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(b));
        } else {
            let _ = write!(out, "%{b:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn names_with_schemes_and_ports() {
        let parsed = |t| Id::parse(t).map(|i| (i.scheme, i.name, i.port));
        assert_eq!(parsed("a"), Some(("", "a", "")));
        assert_eq!(parsed("a:http"), Some(("", "a", "http")));
        assert_eq!(parsed("https:a:443"), Some(("https", "a", "443")));
        assert_eq!(parsed("https:a:"), Some(("https", "a", "")));
        for bad in ["", ":80", "ftp:a:1", "a:b:c:d"] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
    }

    #[test]
    fn addresses_that_lead_home_are_not_dialed() {
        for (ip, ok) in [
            ("10.0.0.1", true),
            ("fd00::1", true),
            ("127.0.0.1", false),
            ("::ffff:127.0.0.1", false),
            ("169.254.169.254", false),
            ("fe80::1", false),
            ("::1", false),
            ("0.0.0.0", false),
            ("224.0.0.1", false),
        ] {
            assert_eq!(is_global_unicast(ip.parse().unwrap()), ok, "{ip}");
        }
    }

    #[test]
    fn ready_endpoints_of_the_service_and_port() {
        let slice = |service: &str, port: Value| {
            json!({"metadata": {"labels": {SERVICE_NAME: service}}, "ports": [port], "endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": {"ready": true},
                    "targetRef": {"kind": "Pod", "namespace": "n", "name": "p"}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false},
                    "targetRef": {"kind": "Pod", "namespace": "n", "name": "q"}},
                {"addresses": ["10.0.0.3"], "conditions": {}},
            ]})
        };
        let slices = [
            slice("s", json!({"name": "web", "port": 8080})),
            slice("other", json!({"port": 1})),
        ];
        let found = candidates(&slices, "s", "web");
        assert_eq!(
            found,
            [Candidate {
                address: "10.0.0.1",
                port: 8080,
                namespace: "n",
                pod: "p"
            }]
        );
        assert_eq!(candidates(&slices, "s", ""), []);
    }

    #[test]
    fn encoding_keeps_what_is_plain() {
        assert_eq!(encode("sh -c 'a&b'=é"), "sh%20-c%20%27a%26b%27%3D%C3%A9");
        assert_eq!(encode("a-b.c_d~1"), "a-b.c_d~1");
    }
}
