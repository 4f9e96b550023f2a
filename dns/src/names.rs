//! What a name below the cluster's domain asks for.

/// A question about the cluster, parsed from the labels in front of the domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// The domain itself, or a level that only has names below it.
    Branch,
    /// `dns-version.<domain>`
    Version,
    /// `<namespace>.svc.<domain>`
    Namespace(String),
    Service {
        namespace: String,
        service: String,
    },
    /// `_port._protocol.<service>…`
    Port {
        namespace: String,
        service: String,
        port: String,
        protocol: String,
    },
    /// `<endpoint>.<service>…`
    Endpoint {
        namespace: String,
        service: String,
        endpoint: String,
    },
    /// `a-b-c-d.<namespace>.pod.<domain>`
    Pod {
        address: std::net::Ipv4Addr,
    },
    Nothing,
}

/// `labels` are those in front of the domain, outermost (leftmost) first, in lower case.
pub fn parse(labels: &[&str]) -> Question {
    let own = |s: &str| s.to_owned();
    match labels {
        [] | ["svc"] | ["pod"] | [_, "pod"] => Question::Branch,
        ["dns-version"] => Question::Version,
        [namespace, "svc"] => Question::Namespace(own(namespace)),
        [service, namespace, "svc"] => Question::Service {
            namespace: own(namespace),
            service: own(service),
        },
        [port, protocol, service, namespace, "svc"] => match (port.strip_prefix('_'), protocol.strip_prefix('_')) {
            (Some(port), Some(protocol)) => Question::Port {
                namespace: own(namespace),
                service: own(service),
                port: own(port),
                protocol: own(protocol),
            },
            _ => Question::Nothing,
        },
        [endpoint, service, namespace, "svc"] if !endpoint.starts_with('_') => Question::Endpoint {
            namespace: own(namespace),
            service: own(service),
            endpoint: own(endpoint),
        },
        [address, _, "pod"] => match address.replace('-', ".").parse() {
            Ok(address) => Question::Pod { address },
            Err(_) => Question::Nothing,
        },
        _ => Question::Nothing,
    }
}

/// The address that a name below `in-addr.arpa` stands for.
pub fn reverse(name: &str) -> Option<std::net::Ipv4Addr> {
    let digits = name.trim_end_matches('.').strip_suffix(".in-addr.arpa")?;
    let mut parts: Vec<u8> = digits.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
    parts.reverse();
    <[u8; 4]>::try_from(parts).ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_specification() {
        let cases = [
            ("", "Branch"),
            ("svc", "Branch"),
            ("default.svc", "Namespace(\"default\")"),
            (
                "web.default.svc",
                "Service { namespace: \"default\", service: \"web\" }",
            ),
            (
                "_http._tcp.web.default.svc",
                "Port { namespace: \"default\", service: \"web\", port: \"http\", protocol: \"tcp\" }",
            ),
            (
                "a.web.default.svc",
                "Endpoint { namespace: \"default\", service: \"web\", endpoint: \"a\" }",
            ),
            ("10-0-0-7.default.pod", "Pod { address: 10.0.0.7 }"),
            ("x.default.pod", "Nothing"),
            ("a.b.c.d.e.svc", "Nothing"),
            ("example", "Nothing"),
        ];
        for (name, expected) in cases {
            let labels: Vec<&str> = name.split('.').filter(|l| !l.is_empty()).collect();
            assert_eq!(format!("{:?}", parse(&labels)), expected, "{name}");
        }
        assert_eq!(reverse("5.0.96.10.in-addr.arpa."), Some([10, 96, 0, 5].into()));
        assert_eq!(reverse("0.96.10.in-addr.arpa."), None);
    }
}
