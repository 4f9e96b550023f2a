//! Sets of completion indexes, as `status.completedIndexes` writes them: `1,3-5,7`.
use std::fmt;

/// Disjoint, ascending, with gaps between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Indexes(Vec<(i32, i32)>);

impl Indexes {
    /// What cannot be read, or is not below `completions`, is left out.
    pub fn parse(text: &str, completions: i32) -> Self {
        let mut set = Indexes::default();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            if let (Ok(first), Ok(last)) = (first.parse::<i32>(), last.parse::<i32>())
                && first >= 0
                && first < completions
            {
                set.insert_range(first, last.min(completions - 1));
            }
        }
        set
    }

    pub fn insert(&mut self, index: i32) {
        self.insert_range(index, index);
    }

    fn insert_range(&mut self, first: i32, last: i32) {
        if last < first {
            return;
        }
        let (mut first, mut last) = (first, last);
        let start = self.0.partition_point(|(_, l)| l.saturating_add(1) < first);
        let mut end = start;
        while let Some((f, l)) = self.0.get(end).filter(|(f, _)| *f <= last.saturating_add(1)) {
            first = first.min(*f);
            last = last.max(*l);
            end += 1;
        }
        self.0.splice(start..end, [(first, last)]);
    }

    pub fn contains(&self, index: i32) -> bool {
        let at = self.0.partition_point(|(_, l)| *l < index);
        self.0.get(at).is_some_and(|(f, _)| *f <= index)
    }

    pub fn len(&self) -> i32 {
        self.0.iter().map(|(f, l)| l - f + 1).sum()
    }

    /// Up to `count` indexes below `completions` that are not in the set, lowest first.
    pub fn missing(&self, count: usize, completions: i32) -> Vec<i32> {
        let mut out = Vec::new();
        let mut candidate = 0;
        for (f, l) in self.0.iter().copied().chain([(completions, completions)]) {
            while candidate < f.min(completions) && out.len() < count {
                out.push(candidate);
                candidate += 1;
            }
            candidate = candidate.max(l.saturating_add(1));
        }
        out
    }

    /// How many of `other` are in this set.
    pub fn count_common(&self, other: &Indexes) -> i32 {
        let (mut i, mut j, mut n) = (0, 0, 0);
        while let (Some((f1, l1)), Some((f2, l2))) = (self.0.get(i), other.0.get(j)) {
            n += (l1.min(l2) - f1.max(f2) + 1).max(0);
            if l1 < l2 {
                i += 1;
            } else {
                j += 1;
            }
        }
        n
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (first, last)) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            write!(f, "{first}")?;
            if *last == first + 1 {
                write!(f, ",{last}")?;
            } else if last > first {
                write!(f, "-{last}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_read_and_write_as_upstreams() {
        for text in ["", "1,3-5,7", "0", "0,1,4-9"] {
            assert_eq!(Indexes::parse(text, 100).to_string(), text);
        }
        assert_eq!(Indexes::parse("1-3,x,5-200", 10).to_string(), "1-3,5-9");
        let mut s = Indexes::parse("1,3-5,7", 100);
        s.insert(2);
        s.insert(6);
        assert_eq!(s.to_string(), "1-7");
        assert_eq!(s.len(), 7);
        assert!(s.contains(7) && !s.contains(8) && !s.contains(0));
        assert_eq!(s.missing(3, 10), [0, 8, 9]);
        assert_eq!(s.missing(2, 5), [0]);
        assert_eq!(s.count_common(&Indexes::parse("0-3,7-9", 10)), 4);
    }
}
