//! The ServiceAccount `default` in every namespace.
use crate::common::{Context, Outcome, key};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keelson_client::{Api, Event, WorkQueue};

pub const NAME: &str = "serviceaccount-controller";
/// The ServiceAccount it acts as, whose role is bootstrapped under this name.
pub const ACCOUNT: &str = "service-account-controller";
const DEFAULT: &str = "default";

pub async fn run(ctx: Context) {
    let namespaces = ctx.factory.informer::<Namespace>();
    let accounts = ctx.factory.informer::<ServiceAccount>();
    let queue = WorkQueue::<String>::new("serviceaccount");
    let q = queue.clone();
    namespaces.on_event(move |e| {
        if !matches!(e, Event::Deleted(_)) {
            q.add(key(&e.object().metadata));
        }
    });
    let q = queue.clone();
    accounts.on_event(move |e| {
        if let Event::Deleted(a) = e
            && a.metadata.name.as_deref() == Some(DEFAULT)
        {
            q.add(a.metadata.namespace.clone().unwrap_or_default());
        }
    });
    namespaces.wait_synced().await;
    accounts.wait_synced().await;
    let (namespaces, accounts, client) = (namespaces.store(), accounts.store(), ctx.client.clone());
    ctx.work(&queue, move |namespace| {
        let (namespaces, accounts, client) = (namespaces.clone(), accounts.clone(), client.clone());
        async move {
            let there = accounts.contains(&format!("{namespace}/{DEFAULT}"));
            if there || !namespaces.get(&namespace).is_some_and(|n| is_active(&n)) {
                return Ok(None);
            }
            create(&client, &namespace).await
        }
    })
    .await;
}

pub fn is_active(n: &Namespace) -> bool {
    n.metadata.deletion_timestamp.is_none() && n.status.as_ref().and_then(|s| s.phase.as_deref()) != Some("Terminating")
}

async fn create(client: &keelson_client::Client, namespace: &str) -> Outcome {
    let account = ServiceAccount {
        metadata: ObjectMeta {
            name: Some(DEFAULT.into()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        ..ServiceAccount::default()
    };
    match Api::namespaced(client.clone(), namespace).create(&account).await {
        Err(e) if !e.is_already_exists() && !e.is_not_found() => Err(e.into()),
        _ => Ok(None),
    }
}
