//! Environment variables about Services (upstream: pkg/kubelet/envvars).
use k8s_openapi::api::core::v1::Service;
use std::collections::BTreeMap;

fn variable(name: &str) -> String {
    name.to_ascii_uppercase().replace('-', "_")
}

/// `FOO_SERVICE_HOST` and the names that Docker's links had.
pub fn environment<'a>(services: impl IntoIterator<Item = &'a Service>) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for service in services {
        let Some(spec) = &service.spec else { continue };
        let ip = spec.cluster_ip.as_deref().unwrap_or_default();
        let ports = spec.ports.as_deref().unwrap_or_default();
        if ip.is_empty() || ip == "None" || spec.type_.as_deref() == Some("ExternalName") {
            continue;
        }
        let Some(first) = ports.first() else { continue };
        let prefix = variable(service.metadata.name.as_deref().unwrap_or_default());
        let host = if ip.contains(':') {
            format!("[{ip}]")
        } else {
            ip.to_owned()
        };
        out.insert(format!("{prefix}_SERVICE_HOST"), ip.to_owned());
        out.insert(format!("{prefix}_SERVICE_PORT"), first.port.to_string());
        for port in ports {
            if let Some(name) = port.name.as_deref().filter(|n| !n.is_empty()) {
                out.insert(
                    format!("{prefix}_SERVICE_PORT_{}", variable(name)),
                    port.port.to_string(),
                );
            }
        }
        for (i, port) in ports.iter().enumerate() {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let url = format!("{}://{host}:{}", protocol.to_ascii_lowercase(), port.port);
            if i == 0 {
                out.insert(format!("{prefix}_PORT"), url.clone());
            }
            let link = format!("{prefix}_PORT_{}_{}", port.port, protocol.to_ascii_uppercase());
            out.insert(format!("{link}_PROTO"), protocol.to_ascii_lowercase());
            out.insert(format!("{link}_PORT"), port.port.to_string());
            out.insert(format!("{link}_ADDR"), ip.to_owned());
            out.insert(link, url);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_service() {
        let s: Service = serde_json::from_str(
            r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"my-db"},"spec":{"clusterIP":"10.0.0.9",
                "ports":[{"name":"sql","port":5432,"protocol":"TCP"}]}}"#,
        )
        .unwrap();
        let env = environment([&s]);
        let text: Vec<String> = env.iter().map(|(k, v)| format!("{k}={v}")).collect();
        expect_test::expect![[r#"
            MY_DB_PORT=tcp://10.0.0.9:5432
            MY_DB_PORT_5432_TCP=tcp://10.0.0.9:5432
            MY_DB_PORT_5432_TCP_ADDR=10.0.0.9
            MY_DB_PORT_5432_TCP_PORT=5432
            MY_DB_PORT_5432_TCP_PROTO=tcp
            MY_DB_SERVICE_HOST=10.0.0.9
            MY_DB_SERVICE_PORT=5432
            MY_DB_SERVICE_PORT_SQL=5432"#]]
        .assert_eq(&text.join("\n"));
    }
}
