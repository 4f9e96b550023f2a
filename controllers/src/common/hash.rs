//! Names derived from content, as upstream's controllers derive them: FNV-1a, in an alphabet that spells no words.
use serde::Serialize;
use std::fmt::Write;

/// No vowels and nothing that looks like one (upstream `k8s.io/apimachinery/pkg/util/rand`).
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

pub fn fnv1a_32(bytes: &[u8], seed: u32) -> u32 {
    bytes
        .iter()
        .fold(seed, |h, b| (h ^ u32::from(*b)).wrapping_mul(0x0100_0193))
}
/// Offset basis of FNV-1a.
pub const FNV_BASIS: u32 = 0x811c_9dc5;

/// Upstream `rand.SafeEncodeString`.
pub fn safe_encode(s: &str) -> String {
    s.bytes()
        .filter_map(|b| ALPHABET.get(usize::from(b) % ALPHABET.len()))
        .map(|b| char::from(*b))
        .collect()
}

/// A short name for `object`'s content. The bytes hashed differ from upstream's (which prints Go structs), the
/// form does not; stability matters only within one cluster.
pub fn content_hash<T: Serialize>(object: &T, collision_count: Option<i32>) -> String {
    let bytes = serde_json::to_vec(object).unwrap_or_default();
    let mut h = fnv1a_32(&bytes, FNV_BASIS);
    if let Some(c) = collision_count {
        h = fnv1a_32(&u64::from(c.unsigned_abs()).to_le_bytes(), h);
    }
    let mut text = String::new();
    let _ = write!(text, "{h}");
    safe_encode(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv_and_encoding_match_the_published_values() {
        assert_eq!(fnv1a_32(b"", FNV_BASIS), 0x811c_9dc5);
        assert_eq!(fnv1a_32(b"foobar", FNV_BASIS), 0xbf9c_f968);
        assert_eq!(safe_encode("0123456789"), "4567".to_owned() + "89bcdf");
    }

    #[test]
    fn a_collision_count_changes_the_hash() {
        let h = |c| content_hash(&"x", c);
        assert_ne!(h(None), h(Some(1)));
        assert_ne!(h(Some(1)), h(Some(2)));
        assert_eq!(h(Some(1)), h(Some(1)));
    }
}
