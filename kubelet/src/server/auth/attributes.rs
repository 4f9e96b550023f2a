//! What a request is in the words of authorization (upstream: pkg/kubelet/server/auth.go, with
//! KubeletFineGrainedAuthz).
use http::Method;

/// Subresources of `nodes`, any of which is enough.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attributes {
    pub verb: &'static str,
    pub subresources: Vec<&'static str>,
}

pub fn attributes(method: &Method, path: &str) -> Attributes {
    let verb = match *method {
        Method::POST => "create",
        Method::GET => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    };
    let below = |root: &str| {
        path.strip_prefix(root)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let fine = [
        ("/pods", "pods"),
        ("/healthz", "healthz"),
        ("/configz", "configz"),
        ("/runningpods", "pods"),
    ];
    let coarse = [
        ("/stats", "stats"),
        ("/metrics", "metrics"),
        ("/logs", "log"),
        ("/checkpoint", "checkpoint"),
        ("/statusz", "statusz"),
        ("/flagz", "configz"),
    ];
    let mut subresources = Vec::with_capacity(2);
    subresources.extend(fine.iter().find(|(root, _)| below(root)).map(|(_, s)| *s));
    let found = coarse.iter().find(|(root, _)| below(root));
    subresources.push(found.map_or("proxy", |(_, s)| *s));
    Attributes { verb, subresources }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_upstream() {
        let of = |m: Method, p: &str| {
            let a = attributes(&m, p);
            format!("{} {}", a.verb, a.subresources.join(","))
        };
        assert_eq!(of(Method::GET, "/stats/summary"), "get stats");
        assert_eq!(of(Method::GET, "/metrics"), "get metrics");
        assert_eq!(of(Method::GET, "/metrics/resource"), "get metrics");
        assert_eq!(of(Method::GET, "/metricsx"), "get proxy");
        assert_eq!(of(Method::GET, "/logs/x"), "get log");
        assert_eq!(of(Method::GET, "/pods"), "get pods,proxy");
        assert_eq!(of(Method::GET, "/runningpods/"), "get pods,proxy");
        assert_eq!(of(Method::GET, "/healthz"), "get healthz,proxy");
        assert_eq!(of(Method::GET, "/healthz/syncloop"), "get healthz,proxy");
        assert_eq!(of(Method::GET, "/configz"), "get configz,proxy");
        assert_eq!(of(Method::POST, "/exec/a/b/c"), "create proxy");
        assert_eq!(of(Method::GET, "/exec/a/b/c"), "get proxy");
        assert_eq!(of(Method::DELETE, "/"), "delete proxy");
        assert_eq!(of(Method::POST, "/checkpoint/a/b/c"), "create checkpoint");
        assert_eq!(of(Method::OPTIONS, "/pods"), " pods,proxy");
    }
}
