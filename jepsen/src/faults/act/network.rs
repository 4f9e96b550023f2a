//! Networks that are cut, lossy, slow or stuck.

use crate::faults::scene::Act;
use crate::faults::shape::{Shape, both};
use crate::faults::step::{Victims, Way};
use crate::world::{End, Flow, Pace};
use serde_json::{Value, json};
use std::time::Duration;

pub(super) fn partition(act: &Act<'_>, shape: &Shape) {
    let leader = act.admin().leader();
    let (nodes, flows) = shape.flows(act.world().nodes().count(), leader);
    dropping(act, &nodes, &flows, 100, json!({"shape": shape, "leader": leader}));
}

pub(super) fn clients(act: &Act<'_>, victims: &Victims, way: Way) {
    let nodes = act.victims(victims);
    let flows: Vec<Flow> = nodes
        .iter()
        .flat_map(|&node| match way {
            Way::Both => Flow::between(End::Clients, End::Node(node)).to_vec(),
            Way::In => vec![Flow {
                from: End::Clients,
                to: End::Node(node),
            }],
            Way::Out => vec![Flow {
                from: End::Node(node),
                to: End::Clients,
            }],
        })
        .collect();
    dropping(act, &nodes, &flows, 100, json!({"way": way}));
}

pub(super) fn loss(act: &Act<'_>, victims: &Victims, percent: u8) {
    let nodes = act.victims(victims);
    let everybody: Vec<usize> = act.world().nodes().collect();
    let mut flows: Vec<Flow> = Vec::new();
    for &node in &nodes {
        let others: Vec<usize> = everybody.iter().copied().filter(|n| *n != node).collect();
        flows.extend(both(&[node], &others));
        flows.extend(Flow::between(End::Clients, End::Node(node)));
    }
    // What two victims lose between them is lost once.
    flows.sort_unstable();
    flows.dedup();
    dropping(act, &nodes, &flows, percent, json!({"percent": percent}));
}

pub(super) fn dropping(act: &Act<'_>, nodes: &[usize], flows: &[Flow], percent: u8, detail: Value) {
    if let Err(e) = act.world().drop_packets(act.step.id, flows, percent) {
        act.skipped(nodes, e);
        return;
    }
    act.begin(nodes, detail);
    act.last();
    let mended = act.world().drop_packets(act.step.id, &[], 0);
    // The healer tries once more.
    act.end(nodes, json!({"error": mended.err().map(|e| e.to_string())}));
}

pub(super) fn delay(act: &Act<'_>, victims: &Victims, delay_ms: u64, jitter_ms: u64) {
    let pace = Pace {
        delay: Duration::from_millis(delay_ms),
        jitter: Duration::from_millis(jitter_ms),
        stuck: false,
    };
    let detail = json!({"delay_ms": delay_ms, "jitter_ms": jitter_ms});
    pacing(act, &act.victims(victims), Way::Both, pace, detail);
}

pub(super) fn blackhole(act: &Act<'_>, victims: &Victims, way: Way) {
    let pace = Pace {
        stuck: true,
        ..Pace::default()
    };
    pacing(act, &act.victims(victims), way, pace, json!({"way": way}));
}

fn pacing(act: &Act<'_>, nodes: &[usize], way: Way, pace: Pace, detail: Value) {
    let world = act.world();
    let set = |pace: Pace| {
        act.each_softly(nodes, |node| {
            for peer in world.nodes().filter(|peer| *peer != node) {
                if way != Way::Out {
                    world.pace(peer, node, pace)?;
                }
                if way != Way::In {
                    world.pace(node, peer, pace)?;
                }
            }
            Ok(())
        })
    };
    let struck = set(pace);
    act.begin(&struck, detail);
    act.last();
    set(Pace::default());
    act.end(&struck, Value::Null);
}
