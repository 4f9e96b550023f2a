//! The keys that a user may touch: the union of the ranges of all permissions of all roles of that user.
//!
//! As in etcd, an end of one zero byte means no end, and a request is allowed when the union covers it, however many
//! permissions that takes.

use bytes::Bytes;
use keelson_proto::authpb::{Permission, permission::Type};

/// What stands for "no end" in permissions and requests.
const OPEN_END: &[u8] = &[0];

/// Disjoint ranges that do not touch, ascending. The start belongs to a range, the end does not; no end is unbounded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<(Bytes, Option<Bytes>)>);

fn after(key: &[u8]) -> Bytes {
    [key, &[0]].concat().into()
}

impl Ranges {
    fn of<'a>(permissions: impl Iterator<Item = &'a Permission>) -> Ranges {
        let range = |p: &Permission| {
            let end = match p.range_end.as_ref() {
                b"" => Some(after(&p.key)),
                OPEN_END => None,
                _ => Some(p.range_end.clone()),
            };
            (p.key.clone(), end)
        };
        // An empty key, or an end before the start, is refused when it is granted; from an old store it allows nothing.
        let sensible =
            |(start, end): &(Bytes, Option<Bytes>)| !start.is_empty() && end.as_ref().is_none_or(|end| start < end);
        let mut all: Vec<_> = permissions.map(range).filter(sensible).collect();
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let mut merged: Vec<(Bytes, Option<Bytes>)> = Vec::with_capacity(all.len());
        for (start, end) in all {
            match merged.last_mut() {
                Some((_, last_end)) if last_end.as_ref().is_none_or(|last| start <= *last) => {
                    let further = match (&*last_end, &end) {
                        (Some(last), Some(end)) => last < end,
                        (Some(_), None) => true,
                        (None, _) => false,
                    };
                    if further {
                        *last_end = end;
                    }
                }
                _ => merged.push((start, end)),
            }
        }
        Ranges(merged)
    }

    /// The end of the range that the key is in.
    fn end_at(&self, key: &[u8]) -> Option<&Option<Bytes>> {
        let behind = self.0.partition_point(|(start, _)| start.as_ref() <= key);
        let (_, end) = self.0.get(behind.checked_sub(1)?)?;
        end.as_ref().is_none_or(|end| key < end.as_ref()).then_some(end)
    }

    /// Whether everything that a request with this key and end names is in here. An end before the key names
    /// nothing; the key alone counts then.
    pub fn cover(&self, key: &[u8], range_end: &[u8]) -> bool {
        match (self.end_at(key), range_end) {
            (None, _) => false,
            (Some(None), _) => true,
            (Some(Some(_)), OPEN_END) => false,
            (Some(Some(end)), wanted) => wanted <= end.as_ref(),
        }
    }
}

/// What the roles of one user add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    pub read: Ranges,
    pub write: Ranges,
}

impl Permissions {
    pub fn of<'a>(permissions: impl Iterator<Item = &'a Permission> + Clone) -> Permissions {
        let allow = |wanted: Type| {
            let allows = move |p: &&Permission| p.perm_type == wanted as i32 || p.perm_type == Type::Readwrite as i32;
            Ranges::of(permissions.clone().filter(allows))
        };
        Permissions {
            read: allow(Type::Read),
            write: allow(Type::Write),
        }
    }
}

/// Whether a permission may be granted on this: a key, or a range that is not empty.
pub fn is_sensible(key: &[u8], range_end: &[u8]) -> bool {
    !key.is_empty() && (range_end.is_empty() || range_end == OPEN_END || key < range_end)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn permission(key: &[u8], end: &[u8]) -> Permission {
        Permission {
            perm_type: Type::Read as i32,
            key: Bytes::copy_from_slice(key),
            range_end: Bytes::copy_from_slice(end),
        }
    }

    fn allow(permissions: &[(&str, &str)]) -> Ranges {
        let permissions: Vec<_> = permissions
            .iter()
            .map(|(k, e)| permission(k.as_bytes(), e.as_bytes()))
            .collect();
        Ranges::of(permissions.iter())
    }

    #[test]
    fn ranges_are_covered_by_their_union() {
        let ranges = allow(&[("a", "c"), ("c", "e"), ("k", ""), ("k\0", "m"), ("x", "\0")]);
        let cover = |key: &str, end: &str| ranges.cover(key.as_bytes(), end.as_bytes());
        assert!(cover("a", "e") && cover("b", "d") && cover("k", "m") && cover("y", "\0") && cover("y", "z"));
        assert!(cover("k", "") && cover("d", "") && cover("zz", ""));
        assert!(!cover("e", "") && !cover("a", "f") && !cover("a", "\0") && !cover("d", "l") && !cover("w", ""));
        assert!(cover("x", "") && !cover("w", "\0") && cover("x", "\0"));
    }

    #[test]
    fn an_end_before_the_key_is_judged_by_the_key() {
        let ranges = allow(&[("b", "d")]);
        assert!(ranges.cover(b"c", b"a") && ranges.cover(b"c", b"c"));
        assert!(!ranges.cover(b"e", b"a"));
    }

    #[test]
    fn everything_is_everything() {
        let ranges = allow(&[("\0", "\0")]);
        assert!(ranges.cover(b"\0", b"\0") && ranges.cover(b"x", b"") && ranges.cover(&[255; 4], b"\0"));
        assert!(!allow(&[]).cover(b"\0", b""));
    }

    /// All keys of up to three letters out of two, and what is next to them.
    fn keys() -> Vec<Vec<u8>> {
        let mut keys: Vec<Vec<u8>> = vec![vec![0]];
        for length in 1..=3u32 {
            for n in 0..(3u32.pow(length)) {
                let letter = |at| [0u8, b'a', b'b'][(n / 3u32.pow(at) % 3) as usize];
                keys.push((0..length).map(letter).collect());
            }
        }
        keys.sort();
        keys.dedup();
        keys
    }

    fn names(key: &[u8], end: &[u8], asked: &[u8]) -> bool {
        match end {
            b"" => asked == key,
            [0] => asked >= key,
            _ => asked >= key && asked < end,
        }
    }

    fn bound() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(vec![b'a', b'b']), 1..3)
    }

    fn end() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![Just(Vec::new()), Just(vec![0]), bound()]
    }

    proptest! {
        /// Beside a model that looks at each key by itself. All keys that could tell two answers apart are tried: a
        /// range of this alphabet that is not covered misses one of them.
        #[test]
        fn as_a_naive_model(granted in prop::collection::vec((bound(), end()), 0..6), key in bound(), range_end in end()) {
            let granted: Vec<_> = granted.into_iter().filter(|(k, e)| is_sensible(k, e)).collect();
            let permissions: Vec<_> = granted.iter().map(|(k, e)| permission(k, e)).collect();
            let ranges = Ranges::of(permissions.iter());
            for (before, behind) in ranges.0.iter().zip(ranges.0.iter().skip(1)) {
                prop_assert!(before.1.as_ref().is_some_and(|end| *end < behind.0), "{ranges:?}");
            }
            let mut asked: Vec<_> = keys().into_iter().filter(|k| names(&key, &range_end, k)).collect();
            if range_end == [0] {
                asked.push(vec![255; 8]);
            }
            let inverted = !is_sensible(&key, &range_end);
            if inverted {
                asked = vec![key.clone()];
            }
            let all = asked.iter().all(|k| granted.iter().any(|(g, e)| names(g, e, k)));
            prop_assert_eq!(ranges.cover(&key, &range_end), all, "{:?} asked {:?}", ranges, asked);
        }
    }
}
