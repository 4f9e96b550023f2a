//! Objects that this composition needs beside upstream's bootstrap ones: the DNS Service and two bindings.

use crate::fail::{Context, Result};
use crate::state::State;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use keelson_client::api::Object;
use keelson_client::{Api, Client};
use serde_json::{Value, json};

async fn create<K: Object>(api: Api<K>, object: Value) -> Result<()> {
    let typed: K = serde_json::from_value(object).context(|| "build an object of the cluster's own")?;
    let name = typed.metadata().name.clone().unwrap_or_default();
    // Asked first: creating the Service again would fail on its address, which it holds itself.
    let there = api
        .get_opt(&name)
        .await
        .context(|| format!("read {} {name:?}", K::KIND))?;
    if there.is_some() {
        return Ok(());
    }
    match api.create(&typed).await {
        Err(e) if !e.is_already_exists() => Err(crate::fail::Failure::new(format!("create {} {name:?}: {e}", K::KIND))),
        _ => Ok(()),
    }
}

fn binding(name: &str, role: &str, subject: Value) -> Value {
    json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [subject],
    })
}

/// Creates what is missing. Idempotent.
pub async fn ensure(client: &Client, state: &State) -> Result<()> {
    let user =
        json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "kube-apiserver-kubelet-client"});
    let kubelet_api = binding("keelson:kubelet-api-admin", "system:kubelet-api-admin", user);
    create::<ClusterRoleBinding>(Api::all(client.clone()), kubelet_api).await?;
    let role = json!({
        "metadata": {"name": "keelson:dns"},
        "rules": [
            {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
        ],
    });
    create::<ClusterRole>(Api::all(client.clone()), role).await?;
    let account = json!({"kind": "ServiceAccount", "namespace": "kube-system", "name": "kube-dns"});
    create::<ClusterRoleBinding>(Api::all(client.clone()), binding("keelson:dns", "keelson:dns", account)).await?;
    let user = json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "system:kube-proxy"});
    let role = json!({
        "metadata": {"name": "keelson:proxy"},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}],
    });
    create::<ClusterRole>(Api::all(client.clone()), role).await?;
    create::<ClusterRoleBinding>(
        Api::all(client.clone()),
        binding("keelson:proxy", "keelson:proxy", user),
    )
    .await?;
    dns_service(client, state).await
}

/// Service `kube-system/kube-dns` has no selector: the server runs on the node, not in a pod.
async fn dns_service(client: &Client, state: &State) -> Result<()> {
    let labels =
        json!({"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"});
    let ports = json!([
        {"name": "dns", "port": 53, "targetPort": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53, "targetPort": 53, "protocol": "TCP"},
    ]);
    let service = json!({
        "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": labels},
        "spec": {"clusterIP": state.dns_service_ip(), "ports": ports},
    });
    create::<Service>(Api::namespaced(client.clone(), "kube-system"), service).await?;
    let slice = json!({
        "metadata": {
            "name": "kube-dns-node", "namespace": "kube-system",
            "labels": {
                "kubernetes.io/service-name": "kube-dns",
                "endpointslice.kubernetes.io/managed-by": "keelson",
            },
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [state.link_ip()], "conditions": {"ready": true, "serving": true, "terminating": false}}],
        "ports": [
            {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
        ],
    });
    create::<EndpointSlice>(Api::namespaced(client.clone(), "kube-system"), slice).await
}
