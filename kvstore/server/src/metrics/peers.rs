//! What the log counts of its peers: messages there and back.

use super::page::Page;
use crate::core::Core;
use keelson_raft::{PeerStats, ROUND_TRIP_BUCKETS_MICROS};

const MICROS: f64 = 1e6;

pub fn write(core: &Core, page: &mut Page) {
    let stats = core.log.stats();
    let heartbeats = stats.peers.values().map(|p| p.heartbeat_failures);
    page.counter("etcd_server_heartbeat_send_failures_total", heartbeats.sum());
    let peers: Vec<_> = stats.peers.iter().map(|(id, p)| (format!("{id:x}"), p)).collect();
    // Plain etcd has no sample of these before it has a peer either.
    let mut each = |name: &str, label: &str, of: fn(&PeerStats) -> u64| {
        if !peers.is_empty() {
            page.family(name, "counter");
        }
        for (id, peer) in &peers {
            page.sample(name, &[(label, id)], of(peer) as f64);
        }
    };
    each("etcd_network_peer_sent_bytes_total", "To", |p| p.sent_bytes);
    each("etcd_network_peer_received_bytes_total", "From", |p| p.received_bytes);
    each("etcd_network_peer_sent_failures_total", "To", |p| p.sent_failures);
    round_trips(&peers, page);
}

fn round_trips(peers: &[(String, &PeerStats)], page: &mut Page) {
    const NAME: &str = "etcd_network_peer_round_trip_time_seconds";
    if !peers.is_empty() {
        page.family(NAME, "histogram");
    }
    for (id, peer) in peers {
        let mut below = 0;
        for (upto, count) in ROUND_TRIP_BUCKETS_MICROS.iter().zip(peer.round_trip_buckets) {
            below += count;
            let bound = (*upto as f64 / MICROS).to_string();
            page.sample(&format!("{NAME}_bucket"), &[("To", id), ("le", &bound)], below as f64);
        }
        page.sample(
            &format!("{NAME}_bucket"),
            &[("To", id), ("le", "+Inf")],
            peer.round_trips as f64,
        );
        page.sample(
            &format!("{NAME}_sum"),
            &[("To", id)],
            peer.round_trip_micros as f64 / MICROS,
        );
        page.sample(&format!("{NAME}_count"), &[("To", id)], peer.round_trips as f64);
    }
}
