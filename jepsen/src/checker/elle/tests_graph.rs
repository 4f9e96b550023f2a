#![allow(clippy::unwrap_used)]

use super::cycle;
use super::graph::{Edge, Graph, Kind, Kinds};
use super::intern::NONE;

/// A graph from `from kind to` lines.
fn graph(nodes: usize, edges: &[(usize, Kind, u32)]) -> Graph {
    let mut graph = Graph::new(nodes);
    for &(from, kind, to) in edges {
        graph.add(
            from,
            Edge {
                to,
                kind,
                key: NONE,
                value: None,
                next: None,
            },
        );
    }
    graph
}

fn names(graph: &Graph) -> Vec<String> {
    cycle::search(graph, 10).into_iter().map(|c| c.name).collect()
}

#[test]
fn components_are_found_without_recursion() {
    let long: Vec<_> = (0..200_000)
        .map(|n| (n, Kind::Ww, u32::try_from(n + 1).unwrap()))
        .collect();
    assert!(graph(200_001, &long).components(None, Kinds::ALL).is_empty());
    let ring: Vec<_> = (0..200_000)
        .map(|n| (n, Kind::Ww, u32::try_from((n + 1) % 200_000).unwrap()))
        .collect();
    assert_eq!(graph(200_000, &ring).components(None, Kinds::ALL)[0].len(), 200_000);
    let two = graph(
        5,
        &[
            (0, Kind::Ww, 1),
            (1, Kind::Ww, 0),
            (1, Kind::Ww, 2),
            (2, Kind::Rw, 3),
            (3, Kind::Ww, 2),
        ],
    );
    assert_eq!(two.components(None, Kinds::ALL).len(), 2);
    assert_eq!(two.components(None, Kinds::of(&[Kind::Ww])).len(), 1);
}

#[test]
fn cycles_are_named_by_their_edges() {
    use Kind::{Process, Realtime, Rw, Wr, Ww};
    assert_eq!(names(&graph(3, &[(0, Ww, 1), (1, Wr, 2)])), [""; 0]);
    assert_eq!(names(&graph(2, &[(0, Ww, 1), (1, Ww, 0), (0, Wr, 1)])), ["G0"]);
    assert_eq!(names(&graph(2, &[(0, Ww, 1), (1, Wr, 0)])), ["G1c"]);
    assert_eq!(names(&graph(3, &[(0, Ww, 1), (1, Wr, 2), (2, Rw, 0)])), ["G-single"]);
    assert_eq!(names(&graph(2, &[(0, Rw, 1), (1, Rw, 0)])), ["G2-item"]);
    assert_eq!(
        names(&graph(2, &[(0, Process, 1), (0, Realtime, 1), (1, Ww, 0)])),
        ["G0-process"]
    );
    assert_eq!(names(&graph(2, &[(0, Realtime, 1), (1, Wr, 0)])), ["G1c-realtime"]);
    assert_eq!(names(&graph(2, &[(0, Realtime, 1), (1, Rw, 0)])), ["G-single-realtime"]);
    assert_eq!(
        names(&graph(4, &[(0, Realtime, 1), (1, Rw, 2), (2, Realtime, 3), (3, Rw, 0)])),
        ["G2-item-realtime"]
    );
}

#[test]
fn the_worst_kind_counts_and_its_shortest_cycle_is_told() {
    use Kind::{Rw, Wr, Ww};
    let mixed = graph(
        5,
        &[
            (0, Ww, 1),
            (1, Ww, 2),
            (2, Ww, 3),
            (3, Wr, 0),
            (2, Wr, 0),
            (1, Rw, 0),
            (3, Rw, 4),
        ],
    );
    let found = cycle::search(&mixed, 10);
    assert_eq!(found[0].name, "G1c");
    assert_eq!(found[0].edges.len(), 3);
}

#[test]
fn steps_of_real_time_are_joined() {
    use Kind::{Realtime, Rw};
    let found = cycle::search(
        &graph(4, &[(0, Realtime, 1), (1, Realtime, 2), (2, Rw, 3), (3, Realtime, 0)]),
        10,
    );
    let edges: Vec<_> = found[0].edges.iter().map(|(from, e)| (*from, e.kind, e.to)).collect();
    assert_eq!(found[0].name, "G-single-realtime");
    assert_eq!(edges.len(), 2);
    assert!(edges.contains(&(3, Realtime, 2)) && edges.contains(&(2, Rw, 3)));
}
