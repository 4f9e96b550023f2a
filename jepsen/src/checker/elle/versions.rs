//! The order of one key's values, as far as it can be inferred.

use super::graph::{Edge, Graph, Kind, Kinds};

/// A value that a key had.
#[derive(Clone, Copy, Debug)]
pub(super) struct Version {
    /// `None` before the first write.
    pub value: Option<i64>,
    pub writer: Option<usize>,
    /// Before this it did not stand there.
    pub call_ns: u64,
    /// From this on it had stood there: its write had returned, or it had been seen.
    pub visible_ns: Option<u64>,
}

/// Which values come before which, by their number; only the nearest are kept.
pub(super) struct Order {
    after: Vec<Vec<usize>>,
}

impl Order {
    pub(super) fn new(versions: usize) -> Order {
        Order {
            after: vec![Vec::new(); versions],
        }
    }

    /// What had stood there when the write of another was called comes before it.
    pub(super) fn by_time(versions: &[Version]) -> Order {
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        enum What {
            Call,
            Visible,
        }
        let mut order = Order::new(versions.len());
        let mut moments: Vec<(u64, What, usize)> = Vec::with_capacity(2 * versions.len());
        // The first has been there always.
        let mut latest: Vec<(usize, u64)> = Vec::new();
        if !versions.is_empty() {
            latest.push((0, 0));
        }
        for (at, version) in versions.iter().enumerate().skip(1) {
            moments.push((version.call_ns, What::Call, at));
            if let Some(visible_ns) = version.visible_ns {
                moments.push((visible_ns, What::Visible, at));
            }
        }
        moments.sort_unstable();
        for (time_ns, what, at) in moments {
            match what {
                What::Call => {
                    for &(before, _) in &latest {
                        order.add(before, at);
                    }
                }
                What::Visible => {
                    // The first one comes before all, at whatever time.
                    latest.retain(|&(before, visible_ns)| before != 0 && visible_ns >= versions[at].call_ns);
                    latest.push((at, time_ns));
                }
            }
        }
        order
    }

    pub(super) fn add(&mut self, before: usize, after: usize) {
        if !self.after[before].contains(&after) {
            self.after[before].push(after);
        }
    }

    /// What comes right after one.
    pub(super) fn after(&self, version: usize) -> &[usize] {
        &self.after[version]
    }

    pub(super) fn clear(&mut self) {
        self.after.iter_mut().for_each(Vec::clear);
    }

    /// Values that come before each other.
    pub(super) fn circle(&self) -> Option<Vec<usize>> {
        let mut graph = Graph::new(self.after.len());
        for (from, after) in self.after.iter().enumerate() {
            for &to in after {
                graph.add(from, Edge::of_order(to, Kind::Ww));
            }
        }
        let circle = graph.components(None, Kinds::ALL).into_iter().min_by_key(Vec::len)?;
        let mut circle: Vec<usize> = circle.into_iter().map(|v| v as usize).collect();
        circle.sort_unstable();
        Some(circle)
    }
}
