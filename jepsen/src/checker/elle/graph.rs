//! Dependencies between transactions, and their strongly connected components.

use super::intern::NONE;

/// Kinds of dependencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Ww,
    Wr,
    Rw,
    Process,
    Realtime,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Ww => "ww",
            Kind::Wr => "wr",
            Kind::Rw => "rw",
            Kind::Process => "process",
            Kind::Realtime => "realtime",
        }
    }
}

/// A set of kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kinds(u8);

impl Kinds {
    pub(super) const ALL: Kinds = Kinds(0b1_1111);

    pub(super) fn of(kinds: &[Kind]) -> Kinds {
        Kinds(kinds.iter().fold(0, |all, kind| all | 1 << *kind as u8))
    }

    pub(super) fn has(self, kind: Kind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }

    pub(super) fn with(self, other: Kinds) -> Kinds {
        Kinds(self.0 | other.0)
    }
}

/// A dependency: `to` comes after the node that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    pub to: u32,
    pub kind: Kind,
    /// [`NONE`] for those of time.
    pub key: u32,
    /// What was written (`ww`, `wr`) or seen last (`rw`).
    pub value: Option<i64>,
    /// What was written after it.
    pub next: Option<i64>,
}

impl Edge {
    /// Of data: `key` tells by which.
    pub(super) fn of(to: usize, kind: Kind, key: u32, value: Option<i64>, next: Option<i64>) -> Edge {
        Edge {
            to: u32::try_from(to).unwrap_or(NONE),
            kind,
            key,
            value,
            next,
        }
    }

    /// Of an order that no key tells.
    pub(super) fn of_order(to: usize, kind: Kind) -> Edge {
        Edge::of(to, kind, NONE, None, None)
    }
}

/// Transactions by number, with what comes after each.
#[derive(Debug, Default)]
pub(super) struct Graph {
    edges: Vec<Vec<Edge>>,
    count: usize,
}

impl Graph {
    pub(super) fn new(nodes: usize) -> Graph {
        Graph {
            edges: vec![Vec::new(); nodes],
            count: 0,
        }
    }

    pub(super) fn nodes(&self) -> usize {
        self.edges.len()
    }

    /// Edges.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Adds a dependency; none on itself.
    pub(super) fn add(&mut self, from: usize, edge: Edge) {
        if from != edge.to as usize {
            self.edges[from].push(edge);
            self.count += 1;
        }
    }

    pub(super) fn from(&self, node: u32) -> &[Edge] {
        &self.edges[node as usize]
    }

    /// Components of more than one node among `members` (all nodes when `None`), by edges of these kinds.
    /// Tarjan's algorithm, with its stack on the heap: a chain of transactions may be as long as a run.
    pub(super) fn components(&self, members: Option<&[u32]>, kinds: Kinds) -> Vec<Vec<u32>> {
        const NEW: u32 = u32::MAX;
        let every: Vec<u32>;
        let roots = match members {
            Some(members) => members,
            None => {
                every = (0..u32::try_from(self.nodes()).unwrap_or(NEW)).collect();
                &every
            }
        };
        let mut is_member = vec![members.is_none(); self.nodes()];
        for &node in roots {
            is_member[node as usize] = true;
        }
        let mut index = vec![NEW; self.nodes()];
        let mut low = vec![0; self.nodes()];
        let mut on_stack = vec![false; self.nodes()];
        let mut stack: Vec<u32> = Vec::new();
        let mut next_index = 0;
        let mut found = Vec::new();
        // Nodes that are being visited, each with the edge that is looked at next.
        let mut visits: Vec<(u32, usize)> = Vec::new();
        for &root in roots {
            if index[root as usize] != NEW {
                continue;
            }
            visits.push((root, 0));
            while let Some((node, edge)) = visits.last_mut() {
                let (v, at) = (*node as usize, *edge);
                if at == 0 {
                    index[v] = next_index;
                    low[v] = next_index;
                    next_index += 1;
                    stack.push(*node);
                    on_stack[v] = true;
                }
                *edge += 1;
                if let Some(edge) = self.edges[v].get(at) {
                    let w = edge.to as usize;
                    if !kinds.has(edge.kind) || !is_member[w] {
                        continue;
                    }
                    if index[w] == NEW {
                        visits.push((edge.to, 0));
                    } else if on_stack[w] {
                        low[v] = low[v].min(index[w]);
                    }
                    continue;
                }
                visits.pop();
                if let Some((parent, _)) = visits.last() {
                    let parent = *parent as usize;
                    low[parent] = low[parent].min(low[v]);
                }
                if low[v] == index[v] {
                    let begin = stack.iter().rposition(|&n| n as usize == v).unwrap_or(0);
                    let component = stack.split_off(begin);
                    for &n in &component {
                        on_stack[n as usize] = false;
                    }
                    if component.len() > 1 {
                        found.push(component);
                    }
                }
            }
        }
        found
    }
}
