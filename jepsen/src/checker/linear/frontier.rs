//! A set of operations in the order of their calls that is nearly a prefix: all up to a first gap, and some behind it.

/// The set.
pub(super) struct Frontier {
    words: Vec<u64>,
    marks: Marks,
}

/// Where the interesting part of the set is.
#[derive(Clone, Copy)]
pub(super) struct Marks {
    /// The first that is not in the set.
    gap: usize,
    /// One more than the last in the set.
    end: usize,
}

impl Frontier {
    pub(super) fn new(ops: usize) -> Frontier {
        Frontier {
            // One more, so that the search of a gap ends.
            words: vec![0; ops / 64 + 1],
            marks: Marks { gap: 0, end: 0 },
        }
    }

    pub(super) fn marks(&self) -> Marks {
        self.marks
    }

    /// Puts one in; the marks from before undo it.
    pub(super) fn set(&mut self, op: usize) -> Marks {
        let before = self.marks;
        self.words[op / 64] |= 1 << (op % 64);
        while self.words[self.marks.gap / 64] >> (self.marks.gap % 64) & 1 == 1 {
            self.marks.gap += 1;
        }
        self.marks.end = self.marks.end.max(op + 1);
        before
    }

    /// Takes out the one that was put in last.
    pub(super) fn unset(&mut self, op: usize, before: Marks) {
        self.words[op / 64] &= !(1 << (op % 64));
        self.marks = before;
    }

    /// The same for equal sets, and for no others of the same history. Its length grows with the distance from the
    /// first gap to the last member alone.
    pub(super) fn key(&self) -> Box<[u64]> {
        let Marks { gap, end } = self.marks;
        let mut key = vec![gap as u64];
        if end > gap {
            key.extend_from_slice(&self.words[gap / 64..=(end - 1) / 64]);
        }
        key.into_boxed_slice()
    }
}
