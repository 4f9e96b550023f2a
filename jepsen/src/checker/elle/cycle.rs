//! Cycles: the shortest of the worst kinds in each component.

use super::graph::{Edge, Graph, Kind, Kinds};
use std::collections::{HashMap, VecDeque};

/// Nodes, or `rw` edges, from which a component is searched. More of them only find shorter cycles.
const STARTS_MAX: usize = 200;

/// Kinds of cycles, the worst first.
const KINDS: [&str; 4] = ["G0", "G1c", "G-single", "G2-item"];

/// A cycle: each edge with where it begins; the last leads to the first.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cycle {
    /// `G0`, `G1c`, `G-single`, `G2-item`, perhaps with `-process` or `-realtime`.
    pub name: String,
    pub edges: Vec<(u32, Edge)>,
}

/// The shortest cycles of the worst kinds, for each component; the smallest components first.
pub(super) fn search(graph: &Graph, max: usize) -> Vec<Cycle> {
    let mut components = graph.components(None, Kinds::ALL);
    components.sort_by_key(Vec::len);
    components
        .iter()
        .take(max)
        .flat_map(|members| worst(graph, members))
        .collect()
}

/// From the kind that the weakest isolation forbids to the one that only strict serializability does. What shows only with
/// the times of transactions is told beside what shows without, when it is of a worse kind: neither implies the other.
fn worst(graph: &Graph, members: &[u32]) -> Vec<Cycle> {
    let times = [
        ("", Kinds::of(&[])),
        ("-process", Kinds::of(&[Kind::Process])),
        ("-realtime", Kinds::of(&[Kind::Process, Kind::Realtime])),
    ];
    let mut found: Vec<Cycle> = Vec::new();
    // Kinds that are still worth a search: those before the worst one that was found.
    let mut worse = KINDS.len();
    for (suffix, time) in times {
        let forward = time.with(Kinds::of(&[Kind::Ww, Kind::Wr]));
        let cycle = (0..worse).find_map(|rank| {
            let edges = match rank {
                0 => shortest(graph, members, time.with(Kinds::of(&[Kind::Ww]))),
                1 => shortest(graph, members, forward),
                2 => single(graph, members, forward),
                _ => shortest(graph, members, forward.with(Kinds::of(&[Kind::Rw]))),
            };
            edges.map(|edges| (rank, edges))
        });
        if let Some((rank, edges)) = cycle {
            worse = rank;
            found.push(Cycle {
                name: format!("{}{suffix}", KINDS[rank]),
                edges: join_times(edges),
            });
        }
    }
    found
}

/// The shortest cycle by edges of these kinds.
fn shortest(graph: &Graph, members: &[u32], kinds: Kinds) -> Option<Vec<(u32, Edge)>> {
    let components = graph.components(Some(members), kinds);
    let component = components.iter().min_by_key(|c| c.len())?;
    let inside = marks(graph, component);
    let mut best: Option<Vec<(u32, Edge)>> = None;
    for &start in component.iter().take(STARTS_MAX) {
        let bound = best.as_ref().map_or(usize::MAX, |b| b.len() - 1);
        if let Some(path) = path(graph, &inside, kinds, start, start, bound) {
            best = Some(path);
        }
    }
    best
}

/// The shortest cycle of one `rw` edge and others of these kinds.
fn single(graph: &Graph, members: &[u32], kinds: Kinds) -> Option<Vec<(u32, Edge)>> {
    let inside = marks(graph, members);
    let mut best: Option<Vec<(u32, Edge)>> = None;
    let edges = members
        .iter()
        .flat_map(|&from| graph.from(from).iter().map(move |edge| (from, *edge)));
    for (from, edge) in edges
        .filter(|(_, e)| e.kind == Kind::Rw && inside[e.to as usize])
        .take(STARTS_MAX)
    {
        let bound = best.as_ref().map_or(usize::MAX, |b| b.len() - 2);
        if let Some(back) = path(graph, &inside, kinds, edge.to, from, bound) {
            best = Some([(from, edge)].into_iter().chain(back).collect());
        }
    }
    best
}

fn marks(graph: &Graph, members: &[u32]) -> Vec<bool> {
    let mut inside = vec![false; graph.nodes()];
    for &node in members {
        inside[node as usize] = true;
    }
    inside
}

/// A shortest way of at least one and at most `bound` edges, breadth first.
fn path(graph: &Graph, inside: &[bool], kinds: Kinds, from: u32, to: u32, bound: usize) -> Option<Vec<(u32, Edge)>> {
    let mut came: HashMap<u32, (u32, Edge)> = HashMap::new();
    let mut queue = VecDeque::from([(from, 0)]);
    while let Some((node, depth)) = queue.pop_front() {
        if depth >= bound {
            return None;
        }
        for edge in graph
            .from(node)
            .iter()
            .filter(|e| kinds.has(e.kind) && inside[e.to as usize])
        {
            if edge.to == to {
                let mut way = vec![(node, *edge)];
                let mut at = node;
                while at != from {
                    let step = came[&at];
                    at = step.0;
                    way.push(step);
                }
                way.reverse();
                return Some(way);
            }
            if edge.to != from && !came.contains_key(&edge.to) {
                came.insert(edge.to, (node, *edge));
                queue.push_back((edge.to, depth + 1));
            }
        }
    }
    None
}

/// `realtime` is transitive, and only its shortest steps are in the graph: several in a row are told as one.
fn join_times(edges: Vec<(u32, Edge)>) -> Vec<(u32, Edge)> {
    let mut joined: Vec<(u32, Edge)> = Vec::with_capacity(edges.len());
    for (from, edge) in edges {
        match joined.last_mut() {
            Some((_, last)) if last.kind == Kind::Realtime && edge.kind == Kind::Realtime => last.to = edge.to,
            _ => joined.push((from, edge)),
        }
    }
    // The first and the last meet as well.
    if joined.len() > 2
        && let (Some(first), Some(last)) = (joined.first().copied(), joined.last().copied())
        && first.1.kind == Kind::Realtime
        && last.1.kind == Kind::Realtime
    {
        joined.pop();
        joined[0] = (last.0, first.1);
    }
    joined
}
