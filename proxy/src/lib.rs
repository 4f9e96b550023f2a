//! Services on the node, by nftables: ClusterIP, NodePort, hostPort and session affinity.
//!
//! What it is not: it runs no CNI plugin and touches no table but its own.
//!
//! Invariants: a packet's way is found by one map lookup however many Services there are; a change rewrites the
//! chains of the Services that changed and nothing else, in one transaction; only addresses and numbers that
//! parsed as such reach a rule's text.
//!
//! Entry points: [`Options`], [`run`]. A crash leaves the rules standing; the next start replaces them whole.

mod host_ports;
mod nft;
mod options;
mod rules;
mod service;
mod table;
#[cfg(test)]
mod tests;

pub use options::Options;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use keelson_client::api::Object;
use keelson_client::informer::InformerHandle;
use keelson_client::{Api, Client, Event, Informer, ListParams};
use parking_lot::Mutex;
use rules::{Rules, Script};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Changes within this time are written together: a rollout comes in bursts.
const GATHER: Duration = Duration::from_millis(2);
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(10);
/// Index of EndpointSlices by `namespace/service`.
const BY_SERVICE: &str = "service";
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// Services with this label are another proxy's.
const OTHER_PROXY_LABEL: &str = "service.kubernetes.io/service-proxy-name";

/// What ends the proxy before its stop token does.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("nft: {0}")]
    Nft(String),
}

/// Whose rules are to be written again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Service(String),
    Pod(String),
}

#[derive(Default)]
struct Dirty {
    sources: Mutex<BTreeSet<Source>>,
    wake: Notify,
}

impl Dirty {
    fn mark(&self, source: Source) {
        self.sources.lock().insert(source);
        self.wake.notify_one();
    }
}

fn key<K: Object>(o: &K) -> String {
    let m = o.metadata();
    format!(
        "{}/{}",
        m.namespace.as_deref().unwrap_or(""),
        m.name.as_deref().unwrap_or("")
    )
}

fn service_of(slice: &EndpointSlice) -> Option<String> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME_LABEL)?;
    Some(format!("{}/{name}", slice.metadata.namespace.as_deref().unwrap_or("")))
}

fn on_each<K: Object>(
    informer: &Informer<K>,
    dirty: &Arc<Dirty>,
    source: impl Fn(&K) -> Option<Source> + Send + Sync + 'static,
) {
    let dirty = dirty.clone();
    informer.on_event(move |e| {
        let touched: &[&K] = match e {
            Event::Added(o) | Event::Deleted(o) => &[o],
            Event::Updated(old, new) => &[old, new],
        };
        for o in touched {
            if let Some(s) = source(o) {
                dirty.mark(s);
            }
        }
    });
}

struct Proxy {
    options: Options,
    services: InformerHandle<Service>,
    slices: InformerHandle<EndpointSlice>,
    pods: InformerHandle<Pod>,
    written: BTreeMap<Source, Rules>,
}

/// Keeps the node's rules in step with Services, EndpointSlices and this node's pods until `stop`.
pub async fn run(options: Options, client: Client, stop: CancellationToken) -> Result<(), Error> {
    let dirty = Arc::new(Dirty::default());
    let services = Informer::<Service>::new(Api::all(client.clone()), ListParams::default());
    on_each(&services, &dirty, |s| Some(Source::Service(key(s))));
    let slices = Informer::<EndpointSlice>::new(Api::all(client.clone()), ListParams::default())
        .with_index(BY_SERVICE, |s| service_of(s).into_iter().collect());
    on_each(&slices, &dirty, |s| service_of(s).map(Source::Service));
    let mine = ListParams {
        field_selector: format!("spec.nodeName={}", options.node_name),
        ..ListParams::default()
    };
    let pods = Informer::<Pod>::new(Api::all(client), mine);
    on_each(&pods, &dirty, |p| Some(Source::Pod(key(p))));

    let (services, slices, pods) = (
        services.run(stop.clone()),
        slices.run(stop.clone()),
        pods.run(stop.clone()),
    );
    tokio::select! {
        _ = async { tokio::join!(services.wait_synced(), slices.wait_synced(), pods.wait_synced()) } => {}
        () = stop.cancelled() => return Ok(()),
    }
    let mut proxy = Proxy {
        options,
        services,
        slices,
        pods,
        written: BTreeMap::new(),
    };
    let mut whole = true;
    let mut retry = RETRY_FIRST;
    loop {
        let sources = std::mem::take(&mut *dirty.sources.lock());
        match proxy.sync(sources.clone(), whole).await {
            Ok(()) => {
                whole = false;
                retry = RETRY_FIRST;
            }
            Err(error) => {
                // The kernel refused the difference, so what stands there is not what we think: start over.
                tracing::warn!(%error, "write rules; writing them all anew");
                whole = true;
                tokio::select! {
                    () = tokio::time::sleep(retry) => {}
                    () = stop.cancelled() => return Ok(()),
                }
                retry = (retry * 2).min(RETRY_MAX);
                continue;
            }
        }
        tokio::select! {
            () = dirty.wake.notified() => tokio::time::sleep(GATHER).await,
            () = stop.cancelled() => return Ok(()),
        }
    }
}

impl Proxy {
    fn rules(&self, source: &Source) -> Rules {
        match source {
            Source::Service(key) => {
                let Some(service) = self.services.store().get(key) else {
                    return Rules::default();
                };
                if service
                    .metadata
                    .labels
                    .as_ref()
                    .is_some_and(|l| l.contains_key(OTHER_PROXY_LABEL))
                {
                    return Rules::default();
                }
                let slices = self.slices.store().by_index(BY_SERVICE, key);
                service::rules(key, &service, &slices, &self.options.node_name)
            }
            Source::Pod(key) => match self.pods.store().get(key) {
                Some(pod) => host_ports::rules(key, &pod),
                None => Rules::default(),
            },
        }
    }

    /// Writes the difference for `sources`, or everything.
    async fn sync(&mut self, mut sources: BTreeSet<Source>, whole: bool) -> Result<(), Error> {
        let mut script = Script::default();
        let mut text = String::new();
        if whole {
            sources.extend(self.services.store().list().iter().map(|s| Source::Service(key(&**s))));
            sources.extend(self.pods.store().list().iter().map(|p| Source::Pod(key(&**p))));
            self.written.clear();
            text = table::skeleton(&self.options);
        }
        let mut changed = Vec::new();
        let nothing = Rules::default();
        for source in sources {
            let new = self.rules(&source);
            let old = self.written.get(&source).unwrap_or(&nothing);
            if *old == new {
                continue;
            }
            script.diff(&self.options.table, old, &new);
            changed.push((source, new));
        }
        if script.is_empty() && !whole {
            return Ok(());
        }
        text.push_str(&script.text());
        nft::apply(&text).await?;
        for (source, new) in changed {
            let old = self.written.remove(&source).unwrap_or_default();
            self.after(&old, &new).await;
            if new != nothing {
                self.written.insert(source, new);
            }
        }
        Ok(())
    }

    /// What a transaction cannot do: flows and affinities of backends that left.
    async fn after(&self, old: &Rules, new: &Rules) {
        for (service, backend) in old.udp.difference(&new.udp) {
            nft::forget_udp(service, backend).await;
        }
        let targets = |r: &Rules| -> BTreeSet<String> {
            r.chains
                .values()
                .flatten()
                .filter_map(|rule| Some(rule.split("{ ip saddr : ").nth(1)?.trim_end_matches(" }").to_owned()))
                .collect()
        };
        let left: Vec<String> = targets(old).difference(&targets(new)).cloned().collect();
        if left.is_empty() {
            return;
        }
        for map in new.affinity.keys() {
            let table = &self.options.table;
            let clients = nft::affinity_clients(table, map, &left).await;
            if clients.is_empty() {
                continue;
            }
            let script = format!("delete element inet {table} {map} {{ {} }}\n", clients.join(", "));
            if let Err(error) = nft::apply(&script).await {
                tracing::warn!(%error, map, "forget affinities of pods that left");
            }
        }
    }
}
