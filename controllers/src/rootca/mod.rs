//! The ConfigMap `kube-root-ca.crt` in every namespace, by which pods know the API server.
use crate::common::{Context, Outcome, key};
use crate::serviceaccount::is_active;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keelson_client::{Api, Event, Informer, ListParams, Store, WorkQueue};
use std::collections::BTreeMap;
use std::sync::Arc;

pub const NAME: &str = "root-ca-certificate-publisher-controller";
/// The ServiceAccount it acts as, whose role is bootstrapped under this name.
pub const ACCOUNT: &str = "root-ca-cert-publisher";
const CONFIG_MAP: &str = "kube-root-ca.crt";
const DATA_KEY: &str = "ca.crt";
const DESCRIPTION: &str = "kubernetes.io/description";
const DESCRIPTION_TEXT: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

pub async fn run(ctx: Context) {
    if ctx.options.root_ca_pem.is_empty() {
        return std::future::pending().await;
    }
    let namespaces = ctx.factory.informer::<Namespace>();
    // Only these: a copy of every ConfigMap in the cluster would cost memory for nothing.
    let maps = Informer::new(
        Api::<ConfigMap>::all(ctx.factory.client.clone()),
        ListParams::fields(format!("metadata.name={CONFIG_MAP}")),
    );
    let queue = WorkQueue::<String>::new("root-ca");
    let q = queue.clone();
    namespaces.on_event(move |e| {
        if !matches!(e, Event::Deleted(_)) {
            q.add(key(&e.object().metadata));
        }
    });
    let q = queue.clone();
    maps.on_event(move |e| {
        if !matches!(e, Event::Added(_)) {
            q.add(e.object().metadata.namespace.clone().unwrap_or_default());
        }
    });
    let maps = maps.run(ctx.factory.stop.clone());
    namespaces.wait_synced().await;
    maps.wait_synced().await;
    let (namespaces, maps) = (namespaces.store(), maps.store());
    let wanted: Arc<BTreeMap<String, String>> =
        Arc::new(BTreeMap::from([(DATA_KEY.to_owned(), ctx.options.root_ca_pem.clone())]));
    let client = ctx.client.clone();
    ctx.work(&queue, move |namespace| {
        let (namespaces, maps, client, wanted) = (namespaces.clone(), maps.clone(), client.clone(), wanted.clone());
        async move {
            if !namespaces.get(&namespace).is_some_and(|n| is_active(&n)) {
                return Ok(None);
            }
            publish(&Api::namespaced(client, &namespace), &maps, &namespace, &wanted).await
        }
    })
    .await;
}

async fn publish(
    api: &Api<ConfigMap>,
    maps: &Store<ConfigMap>,
    namespace: &str,
    wanted: &BTreeMap<String, String>,
) -> Outcome {
    let current = maps.get(&format!("{namespace}/{CONFIG_MAP}"));
    let mut map = match current {
        Some(c) if c.data.as_ref() == Some(wanted) => return Ok(None),
        Some(c) => (*c).clone(),
        None => ConfigMap {
            metadata: ObjectMeta {
                name: Some(CONFIG_MAP.into()),
                namespace: Some(namespace.to_owned()),
                annotations: Some(BTreeMap::from([(DESCRIPTION.to_owned(), DESCRIPTION_TEXT.to_owned())])),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        },
    };
    map.data = Some(wanted.clone());
    let result = if map.metadata.resource_version.is_some() {
        api.replace(CONFIG_MAP, &map).await
    } else {
        api.create(&map).await
    };
    match result {
        Err(e) if !e.is_already_exists() && !e.is_not_found() => Err(e.into()),
        _ => Ok(None),
    }
}
