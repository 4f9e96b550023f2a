//! Gives each node that has none a /24 of the pod network; runs only where `cluster_cidr` is set.
use crate::common::{Context, Error, Outcome, key};
use k8s_openapi::api::core::v1::Node;
use keelson_client::events::object_ref;
use keelson_client::{Api, Event, Patch, PatchParams, Store, WorkQueue};
use parking_lot::Mutex;
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

pub const NAME: &str = "node-ipam-controller";
/// The ServiceAccount it acts as, whose role is bootstrapped under this name.
pub const ACCOUNT: &str = "node-controller";
/// Addresses that a node gets (`--node-cidr-mask-size` 24).
const NODE_ADDRESSES: u32 = 256;

/// An IPv4 network cut into pieces of [`NODE_ADDRESSES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pool {
    first: u32,
    pieces: u32,
}

fn network(text: &str) -> Option<(u32, u32)> {
    let (address, bits) = text.split_once('/')?;
    let (address, bits): (Ipv4Addr, u32) = (address.parse().ok()?, bits.parse().ok()?);
    let mask = u32::MAX.checked_shl(32u32.checked_sub(bits)?).unwrap_or(0);
    Some((u32::from(address) & mask, bits))
}

impl Pool {
    fn parse(text: &str) -> Option<Self> {
        let (first, bits) = network(text)?;
        let pieces = 1u32.checked_shl(24u32.checked_sub(bits)?)?;
        Some(Pool { first, pieces })
    }

    /// The lowest piece that no node has.
    fn free<'a>(&self, taken: impl Iterator<Item = &'a str>) -> Option<String> {
        let taken: BTreeSet<u32> = taken
            .filter_map(network)
            .filter_map(|(address, _)| address.checked_sub(self.first))
            .map(|offset| offset / NODE_ADDRESSES)
            .collect();
        let piece = (0..self.pieces).find(|p| !taken.contains(p))?;
        let address = self.first.checked_add(piece.checked_mul(NODE_ADDRESSES)?)?;
        Some(format!("{}/24", Ipv4Addr::from(address)))
    }
}

fn cidr(n: &Node) -> Option<&str> {
    let cidr = n.spec.as_ref()?.pod_cidr.as_deref();
    cidr.filter(|c| !c.is_empty())
}

struct Controller {
    ctx: Context,
    nodes: Store<Node>,
    pool: Pool,
    /// Given, and perhaps not yet seen on the node.
    given: Mutex<HashMap<String, String>>,
}

pub async fn run(ctx: Context) {
    let Some(text) = ctx.options.cluster_cidr.clone() else {
        return std::future::pending().await;
    };
    let Some(pool) = Pool::parse(&text) else {
        tracing::error!(
            cluster_cidr = text,
            "not an IPv4 network of /24 or larger; nodes get no pod network"
        );
        return std::future::pending().await;
    };
    let nodes = ctx.factory.informer::<Node>();
    let queue = WorkQueue::<String>::new("nodeipam");
    let c = Arc::new(Controller {
        nodes: nodes.store(),
        pool,
        given: Mutex::default(),
        ctx: ctx.clone(),
    });
    // What nodes have must be known before anything is given.
    nodes.wait_synced().await;
    let (h, q) = (c.clone(), queue.clone());
    nodes.on_event(move |e| match e {
        Event::Deleted(n) => {
            h.given.lock().remove(&key(&n.metadata));
        }
        e if cidr(e.object()).is_none() => q.add(key(&e.object().metadata)),
        _ => {}
    });
    ctx.work(&queue, move |k| {
        let c = c.clone();
        async move { c.reconcile(&k).await }
    })
    .await;
}

impl Controller {
    async fn reconcile(&self, name: &str) -> Outcome {
        let Some(node) = self.nodes.get(name).filter(|n| cidr(n).is_none()) else {
            return Ok(None);
        };
        let Some(cidr) = self.give(name) else {
            let about = object_ref(&*node);
            let message = format!("Node {name} status is now: CIDRNotAvailable");
            self.ctx.events.event(&about, "Normal", "CIDRNotAvailable", message);
            return Err(Error::Other(format!("no pod network is left for node {name}")));
        };
        let patch = json!({
            "metadata": {"uid": node.metadata.uid},
            "spec": {"podCIDR": cidr, "podCIDRs": [cidr]},
        });
        let api = Api::<Node>::all(self.ctx.client.clone());
        match api.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await {
            Err(e) if !e.is_not_found() => Err(e.into()),
            _ => Ok(None),
        }
    }

    fn give(&self, name: &str) -> Option<String> {
        let mut given = self.given.lock();
        if let Some(cidr) = given.get(name) {
            return Some(cidr.clone());
        }
        let nodes = self.nodes.list();
        let taken = nodes
            .iter()
            .filter_map(|n| cidr(n))
            .chain(given.values().map(String::as_str));
        let cidr = self.pool.free(taken)?;
        given.insert(name.to_owned(), cidr.clone());
        Some(cidr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_given_lowest_first_until_none_is_left() {
        let pool = Pool::parse("10.244.0.0/22");
        let free = |taken: &[&str]| pool.and_then(|p| p.free(taken.iter().copied()));
        assert_eq!(free(&[]).as_deref(), Some("10.244.0.0/24"));
        assert_eq!(
            free(&["10.244.0.0/24", "10.244.2.0/24"]).as_deref(),
            Some("10.244.1.0/24")
        );
        let all = ["10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24", "10.244.3.0/24"];
        assert_eq!(free(&all), None);
        assert_eq!(Pool::parse("10.0.0.0/25"), None);
        assert_eq!(Pool::parse("fd00::/48"), None);
        assert_eq!(Pool::parse("10.0.0.0/8").map(|p| p.pieces), Some(65_536));
    }
}
