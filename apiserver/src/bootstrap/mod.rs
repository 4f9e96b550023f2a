//! The objects that every cluster starts with: namespaces, RBAC policy, priority classes, the Service
//! `default/kubernetes` and what delegated authentication reads. Written once; what exists is left alone,
//! except the addresses of this server.
//!
//! A crash in between leaves some of them; the next start writes the rest.
use crate::objects::Objects;
use ipnet::IpNet;
use keelson_machinery::{
    resources::{self, Resource},
    status::ApiError,
};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

pub mod policy;

/// What the objects say about this server.
pub struct Options {
    /// Where clients reach it.
    pub advertise: SocketAddr,
    /// Its Service gets the first address.
    pub service_cidr: IpNet,
    /// PEM of the CA for client certificates.
    pub client_ca: String,
}

/// Writes in flight at once: they wait for the disk, not for each other.
const CONCURRENT_WRITES_MAX: usize = 16;

fn resource(group: &str, version: &str, plural: &str) -> Result<&'static Resource, ApiError> {
    resources::by_resource(group, version, plural)
        .ok_or_else(|| ApiError::internal(format!("no such resource: {plural}")))
}

struct Wanted {
    resource: &'static Resource,
    namespace: &'static str,
    object: Value,
}

fn wanted(options: &Options) -> Result<(Vec<Wanted>, Vec<Wanted>), ApiError> {
    let mut namespaces = Vec::new();
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        namespaces.push(Wanted {
            resource: resource("", "v1", "namespaces")?,
            namespace: "",
            object: json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
        });
    }
    let mut rest = Vec::new();
    for e in policy::entries() {
        rest.push(Wanted {
            resource: resource("rbac.authorization.k8s.io", "v1", e.plural)?,
            namespace: e.namespace,
            object: e.object,
        });
    }
    for (name, value, description) in [
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
    ] {
        rest.push(Wanted {
            resource: resource("scheduling.k8s.io", "v1", "priorityclasses")?,
            namespace: "",
            object: json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
                "value": value, "description": description, "preemptionPolicy": "PreemptLowerPriority"}),
        });
    }
    rest.push(Wanted {
        resource: resource("", "v1", "configmaps")?,
        namespace: "kube-system",
        object: json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
            "data": {"client-ca-file": options.client_ca}}),
    });
    Ok((namespaces, rest))
}

/// Writes what is missing; fast when all is there.
pub async fn run(objects: Arc<dyn Objects>, options: &Options) -> Result<(), ApiError> {
    let (namespaces, rest) = wanted(options)?;
    ensure(&objects, namespaces).await?;
    ensure(&objects, rest).await?;
    for _ in 1..RACES_MAX {
        match addresses(&objects, options).await {
            // Another server was faster. Invalid: the address of the Service is the other's by now.
            Err(e) if matches!(e.reason, "AlreadyExists" | "Conflict" | "Invalid") => {}
            done => return done,
        }
    }
    addresses(&objects, options).await
}

/// Attempts at what another server that starts at the same time writes too: each loses at most one a write of it.
const RACES_MAX: usize = 5;

/// What tells where this server is.
async fn addresses(objects: &Arc<dyn Objects>, options: &Options) -> Result<(), ApiError> {
    service(objects, options).await?;
    endpoints(objects, options).await
}

/// Lists each kind once, then creates what the lists lack.
async fn ensure(objects: &Arc<dyn Objects>, wanted: Vec<Wanted>) -> Result<(), ApiError> {
    use futures::{StreamExt, TryStreamExt, stream};
    let mut there: HashSet<(&str, &str, String, String)> = HashSet::new();
    let mut listed: HashSet<(&str, &str, &str)> = HashSet::new();
    for w in &wanted {
        if !listed.insert((w.resource.group, w.resource.plural, w.namespace)) {
            continue;
        }
        for o in objects.list(w.resource, w.namespace).await? {
            let of = |k: &str| o["metadata"][k].as_str().unwrap_or_default().to_owned();
            there.insert((w.resource.group, w.resource.plural, of("namespace"), of("name")));
        }
    }
    let missing = wanted.into_iter().filter(|w| {
        let name = w.object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        !there.contains(&(w.resource.group, w.resource.plural, w.namespace.to_owned(), name))
    });
    stream::iter(missing)
        .map(|w| async move {
            match objects.create(w.resource, w.namespace, w.object).await {
                Err(e) if e.reason != "AlreadyExists" => Err(e),
                _ => Ok(()),
            }
        })
        .buffer_unordered(CONCURRENT_WRITES_MAX)
        .try_collect::<()>()
        .await
}

/// The first usable address of the Service range: the Service `kubernetes` has it.
pub fn kubernetes_service_ip(cidr: &IpNet) -> IpAddr {
    match cidr {
        IpNet::V4(n) => IpAddr::V4(u32::from(n.network()).saturating_add(1).into()),
        IpNet::V6(n) => IpAddr::V6(u128::from(n.network()).saturating_add(1).into()),
    }
}

async fn service(objects: &Arc<dyn Objects>, options: &Options) -> Result<(), ApiError> {
    let services = resource("", "v1", "services")?;
    let port = options.advertise.port();
    if let Some(mut old) = objects.get(services, "default", "kubernetes").await? {
        if old["spec"]["ports"][0]["targetPort"] != port
            && let Some(p) = old.pointer_mut("/spec/ports/0").and_then(Value::as_object_mut)
        {
            p.insert("targetPort".into(), port.into());
            objects.update(services, "default", "kubernetes", old).await?;
        }
        return Ok(());
    }
    let ip = kubernetes_service_ip(&options.service_cidr).to_string();
    let family = if options.service_cidr.addr().is_ipv4() {
        "IPv4"
    } else {
        "IPv6"
    };
    let object = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kubernetes", "namespace": "default",
            "labels": {"provider": "kubernetes", "component": "apiserver"}},
        "spec": {"type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip], "sessionAffinity": "None",
            "ipFamilies": [family], "ipFamilyPolicy": "SingleStack", "internalTrafficPolicy": "Cluster",
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": port}]}});
    objects.create(services, "default", object).await.map(|_| ())
}

async fn endpoints(objects: &Arc<dyn Objects>, options: &Options) -> Result<(), ApiError> {
    let (ip, port) = (options.advertise.ip().to_string(), options.advertise.port());
    let kind = if options.advertise.is_ipv4() { "IPv4" } else { "IPv6" };
    let metadata = json!({"name": "kubernetes", "namespace": "default",
        "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}});
    let wanted = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata,
        "subsets": [{"addresses": [{"ip": ip}], "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}]});
    replace(objects, resource("", "v1", "endpoints")?, wanted, &["subsets"]).await?;
    let wanted = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "kubernetes", "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": kind,
        "endpoints": [{"addresses": [ip], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}]});
    let slices = resource("discovery.k8s.io", "v1", "endpointslices")?;
    replace(objects, slices, wanted, &["endpoints", "ports"]).await
}

/// Creates the object, or brings these fields of what is there up to date.
async fn replace(
    objects: &Arc<dyn Objects>,
    resource: &'static Resource,
    wanted: Value,
    fields: &[&str],
) -> Result<(), ApiError> {
    let Some(mut old) = objects.get(resource, "default", "kubernetes").await? else {
        return objects.create(resource, "default", wanted).await.map(|_| ());
    };
    if fields.iter().all(|f| crate::kinds::tree::same(&old[*f], &wanted[*f])) {
        return Ok(());
    }
    if let Some(o) = old.as_object_mut() {
        for f in fields {
            o.insert((*f).to_owned(), wanted[*f].clone());
        }
    }
    objects.update(resource, "default", "kubernetes", old).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::auth::rbac::Rbac;
    use crate::auth::{Attributes, Authorizer, Decision, UserInfo};
    use crate::objects::Change;
    use crate::objects::memory::Memory;
    use tokio_util::sync::CancellationToken;

    fn options(port: u16) -> Options {
        Options {
            advertise: SocketAddr::new("192.0.2.1".parse().unwrap(), port),
            service_cidr: "10.96.0.0/16".parse().unwrap(),
            client_ca: "PEM".into(),
        }
    }

    #[tokio::test]
    async fn written_once_and_addresses_follow() {
        let m = Arc::new(Memory::default());
        run(m.clone(), &options(6443)).await.unwrap();
        let count = m.count();
        assert!(count > 140, "{count}");
        let find = |plural: &str| m.find("", plural, "default", "kubernetes").unwrap();
        assert_eq!(find("services")["spec"]["clusterIP"], "10.96.0.1");
        let before = find("services")["metadata"]["uid"].clone();
        run(m.clone(), &options(7443)).await.unwrap();
        assert_eq!(m.count(), count);
        assert_eq!(find("services")["metadata"]["uid"], before);
        assert_eq!(find("services")["spec"]["ports"][0]["targetPort"], 7443);
        assert_eq!(find("endpoints")["subsets"][0]["ports"][0]["port"], 7443);
        let slice = m
            .find("discovery.k8s.io", "endpointslices", "default", "kubernetes")
            .unwrap();
        assert_eq!(slice["ports"][0]["port"], 7443);
    }

    /// What a server sees that reads just before another writes: at the first look nothing is there.
    struct Late {
        inner: Memory,
        looked: parking_lot::Mutex<HashSet<&'static str>>,
    }

    #[async_trait::async_trait]
    impl Objects for Late {
        async fn get(&self, r: &'static Resource, namespace: &str, name: &str) -> Result<Option<Value>, ApiError> {
            if self.looked.lock().insert(r.plural) {
                return Ok(None);
            }
            self.inner.get(r, namespace, name).await
        }
        async fn list(&self, r: &'static Resource, namespace: &str) -> Result<Vec<Value>, ApiError> {
            self.inner.list(r, namespace).await
        }
        async fn create(&self, r: &'static Resource, namespace: &str, object: Value) -> Result<Value, ApiError> {
            self.inner.create(r, namespace, object).await
        }
        async fn update(&self, r: &'static Resource, namespace: &str, name: &str, o: Value) -> Result<Value, ApiError> {
            self.inner.update(r, namespace, name, o).await
        }
        async fn watch(&self, r: &'static Resource) -> Result<tokio::sync::mpsc::Receiver<Change>, ApiError> {
            self.inner.watch(r).await
        }
    }

    #[tokio::test]
    async fn two_servers_may_start_at_the_same_time() {
        let late = Late {
            inner: Memory::default(),
            looked: parking_lot::Mutex::default(),
        };
        let m = Arc::new(late);
        for r in ["services", "endpoints", "endpointslices"] {
            m.looked.lock().insert(r);
        }
        run(m.clone(), &options(6443)).await.unwrap();
        m.looked.lock().clear();
        run(m.clone(), &options(7443)).await.unwrap();
        let endpoints = m.inner.find("", "endpoints", "default", "kubernetes").unwrap();
        assert_eq!(endpoints["subsets"][0]["ports"][0]["port"], 7443);
    }

    #[tokio::test]
    async fn the_policy_lets_in_whom_it_should() {
        let m = Arc::new(Memory::default());
        run(m.clone(), &options(6443)).await.unwrap();
        let stop = CancellationToken::new();
        let _stop = stop.clone().drop_guard();
        let rbac = Rbac::start(m, stop).await.unwrap();
        let ask = |user: &str, group: &str, verb: &str, resource: &str, path: &str| {
            let a = Attributes {
                user: UserInfo {
                    name: user.into(),
                    groups: vec![group.into()],
                    ..UserInfo::default()
                },
                verb: verb.into(),
                resource: resource.into(),
                is_resource: path.is_empty(),
                path: path.into(),
                ..Attributes::default()
            };
            rbac.authorize(&a) == Decision::Allow
        };
        let nobody = "system:unauthenticated";
        for path in ["/healthz", "/livez", "/readyz", "/version"] {
            assert!(ask("system:anonymous", nobody, "get", "", path), "{path}");
        }
        assert!(!ask("system:anonymous", nobody, "get", "", "/api"));
        assert!(!ask("system:anonymous", nobody, "list", "pods", ""));
        assert!(ask("jane", "system:authenticated", "get", "", "/api"));
        assert!(!ask("jane", "system:authenticated", "list", "pods", ""));
        assert!(ask("system:kube-scheduler", "system:authenticated", "list", "pods", ""));
        assert!(ask(
            "system:kube-controller-manager",
            "system:authenticated",
            "list",
            "secrets",
            ""
        ));
        assert!(ask(
            "system:serviceaccount:kube-system:namespace-controller",
            "system:serviceaccounts",
            "deletecollection",
            "pods",
            ""
        ));
    }
}
