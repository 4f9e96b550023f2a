//! Which workloads a run has: all take their turns, alone and beside others.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

/// Most workloads of one run.
const SIDE_BY_SIDE_MAX: usize = 4;

/// A deck of workloads that is shuffled anew when it is empty.
pub(super) struct Rotation {
    all: Vec<String>,
    deck: Vec<String>,
}

impl Rotation {
    pub(super) fn new(all: &[String]) -> Rotation {
        Rotation {
            all: all.to_vec(),
            deck: Vec::new(),
        }
    }

    /// The next ones, at least one, each once.
    pub(super) fn next(&mut self, rng: &mut StdRng) -> Vec<String> {
        let count = rng.random_range(1..=SIDE_BY_SIDE_MAX);
        let mut chosen: Vec<String> = Vec::new();
        while chosen.len() < count.min(self.all.len()) {
            if self.deck.is_empty() {
                self.deck.clone_from(&self.all);
                self.deck.shuffle(rng);
            }
            match self.deck.pop() {
                // It was drawn for this run already, from the deck before: its turn has been.
                Some(name) if chosen.contains(&name) => {}
                Some(name) => chosen.push(name),
                None => break,
            }
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn all_take_their_turns() {
        let all: Vec<String> = ["a", "b", "c", "d", "e"].map(str::to_owned).into();
        let mut rotation = Rotation::new(&all);
        let mut rng = StdRng::seed_from_u64(3);
        let mut turns = vec![0; all.len()];
        for _ in 0..200 {
            let chosen = rotation.next(&mut rng);
            assert!((1..=SIDE_BY_SIDE_MAX).contains(&chosen.len()));
            for (at, name) in all.iter().enumerate() {
                let times = chosen.iter().filter(|c| *c == name).count();
                assert!(times <= 1);
                turns[at] += times;
            }
        }
        let (least, most) = (turns.iter().min(), turns.iter().max());
        assert!(
            least.zip(most).is_some_and(|(least, most)| most - least < 20),
            "{turns:?}"
        );
    }
}
