//! Shapes of partitions, and what they cut.

use crate::world::{End, Flow};
use rand::Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

/// Which peers do not reach which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// These and the others do not reach each other.
    Halves(Vec<usize>),
    /// The leader reaches nobody.
    Leader,
    /// These and the others do not reach each other, but all reach the bridge, which is among neither.
    Bridge { bridge: usize, side: Vec<usize> },
    /// The others' packets do not arrive at these.
    Deaf(Vec<usize>),
    /// These ones' packets do not arrive at the others.
    Mute(Vec<usize>),
    /// In this circle each reaches a majority, itself and those next to it, and no two the same.
    Ring(Vec<usize>),
}

impl Shape {
    /// Draws a shape for members 1 to `nodes`.
    pub(super) fn draw(rng: &mut impl Rng, nodes: usize) -> Shape {
        let mut order: Vec<usize> = (1..=nodes).collect();
        order.shuffle(rng);
        let minority = (nodes - 1) / 2;
        let side = |rng: &mut _, order: &[usize]| {
            let size = Rng::random_range(rng, 1..=minority.max(1));
            let mut side = order[..size.min(order.len())].to_vec();
            side.sort_unstable();
            side
        };
        match rng.random_range(0..6) {
            0 => Shape::Halves(side(rng, &order)),
            1 => Shape::Leader,
            2 if nodes >= 3 => {
                let half = (nodes - 1) / 2;
                let mut side = order[1..=half].to_vec();
                side.sort_unstable();
                Shape::Bridge { bridge: order[0], side }
            }
            3 => Shape::Deaf(side(rng, &order)),
            4 => Shape::Mute(side(rng, &order)),
            // Three in a circle all reach each other.
            5 if nodes >= 5 => Shape::Ring(order),
            _ => Shape::Halves(side(rng, &order)),
        }
    }

    /// What is dropped, and who is told to be struck.
    pub(super) fn flows(&self, nodes: usize, leader: Option<usize>) -> (Vec<usize>, Vec<Flow>) {
        let all = 1..=nodes;
        let others = |side: &[usize]| all.clone().filter(|n| !side.contains(n)).collect::<Vec<_>>();
        match self {
            Shape::Halves(side) => (side.clone(), both(side, &others(side))),
            Shape::Leader => {
                // Without one somebody else stands alone.
                let side = [leader.unwrap_or(1)];
                (side.to_vec(), both(&side, &others(&side)))
            }
            Shape::Bridge { bridge, side } => {
                let far: Vec<usize> = others(side).into_iter().filter(|n| n != bridge).collect();
                (side.clone(), both(side, &far))
            }
            Shape::Deaf(side) => (side.clone(), one_way(&others(side), side)),
            Shape::Mute(side) => (side.clone(), one_way(side, &others(side))),
            Shape::Ring(order) => {
                let reach = (nodes / 2) / 2;
                let mut flows = Vec::new();
                for (a, from) in order.iter().enumerate() {
                    for (b, to) in order.iter().enumerate() {
                        let apart = a.abs_diff(b);
                        if apart.min(order.len() - apart) > reach.max(1) {
                            flows.extend(one_way(&[*from], &[*to]));
                        }
                    }
                }
                (order.clone(), flows)
            }
        }
    }
}

fn one_way(from: &[usize], to: &[usize]) -> Vec<Flow> {
    from.iter()
        .flat_map(|&from| {
            to.iter().map(move |&to| Flow {
                from: End::Node(from),
                to: End::Node(to),
            })
        })
        .collect()
}

pub(super) fn both(a: &[usize], b: &[usize]) -> Vec<Flow> {
    let mut flows = one_way(a, b);
    flows.extend(one_way(b, a));
    flows
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn cuts(shape: &Shape, nodes: usize) -> Vec<(usize, usize)> {
        let mut all: Vec<_> = shape
            .flows(nodes, Some(2))
            .1
            .into_iter()
            .map(|flow| match (flow.from, flow.to) {
                (End::Node(a), End::Node(b)) => (a, b),
                other => panic!("clients in a partition of peers: {other:?}"),
            })
            .collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn shapes_cut_what_they_say() {
        let halves = [(1, 2), (1, 3), (2, 1), (3, 1)];
        assert_eq!(cuts(&Shape::Halves(vec![1]), 3), halves);
        assert_eq!(cuts(&Shape::Leader, 3), [(1, 2), (2, 1), (2, 3), (3, 2)]);
        let bridge = Shape::Bridge {
            bridge: 2,
            side: vec![1],
        };
        assert_eq!(cuts(&bridge, 3), [(1, 3), (3, 1)]);
        assert_eq!(cuts(&Shape::Deaf(vec![3]), 3), [(1, 3), (2, 3)]);
        assert_eq!(cuts(&Shape::Mute(vec![3]), 3), [(3, 1), (3, 2)]);
        let ring = [
            (1, 3),
            (1, 4),
            (2, 4),
            (2, 5),
            (3, 1),
            (3, 5),
            (4, 1),
            (4, 2),
            (5, 2),
            (5, 3),
        ];
        assert_eq!(cuts(&Shape::Ring(vec![1, 2, 3, 4, 5]), 5), ring);
    }

    #[test]
    fn every_drawn_shape_cuts_something_and_never_itself() {
        let mut rng = StdRng::seed_from_u64(1);
        for nodes in [3, 5] {
            for _ in 0..200 {
                let shape = Shape::draw(&mut rng, nodes);
                let cut = cuts(&shape, nodes);
                assert!(!cut.is_empty(), "{shape:?}");
                assert!(cut.iter().all(|(a, b)| a != b && (1..=nodes).contains(a)), "{shape:?}");
            }
        }
    }
}
