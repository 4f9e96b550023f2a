//! Revisions and how they order records in the `data` column family.

/// Bytes of a `data` key: main (8), sub (4), kind (1), big endian so that bytes sort as revisions do.
pub const DATA_KEY_BYTES: usize = 13;

/// Bytes of an etcd revision key with its mark.
pub const ETCD_KEY_BYTES_MAX: usize = 18;

const KIND_PUT: u8 = 0;
const KIND_TOMBSTONE: u8 = 1;

/// One change: `main` counts transactions that changed something, `sub` the changes inside one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rev {
    pub main: i64,
    pub sub: u32,
}

impl Rev {
    pub const fn new(main: i64, sub: u32) -> Self {
        Rev { main, sub }
    }
}

/// A version of a key: where it is in `data`, and whether it is a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    pub rev: Rev,
    pub tombstone: bool,
}

impl Version {
    pub fn data_key(self) -> [u8; DATA_KEY_BYTES] {
        let mut out = [0; DATA_KEY_BYTES];
        out[..8].copy_from_slice(&self.rev.main.to_be_bytes());
        out[8..12].copy_from_slice(&self.rev.sub.to_be_bytes());
        out[12] = if self.tombstone { KIND_TOMBSTONE } else { KIND_PUT };
        out
    }

    /// The key under which etcd stores the version, and its length: main (8), `_`, sub (8), and a mark for a deletion.
    pub fn etcd_key(self) -> ([u8; ETCD_KEY_BYTES_MAX], usize) {
        let mut out = [0; ETCD_KEY_BYTES_MAX];
        out[..8].copy_from_slice(&self.rev.main.to_be_bytes());
        out[8] = b'_';
        out[9..17].copy_from_slice(&u64::from(self.rev.sub).to_be_bytes());
        out[17] = b't';
        (out, ETCD_KEY_BYTES_MAX - usize::from(!self.tombstone))
    }

    /// `None` is damage: no other keys are ever written to `data`.
    pub fn from_data_key(key: &[u8]) -> Option<Version> {
        let key: &[u8; DATA_KEY_BYTES] = key.try_into().ok()?;
        let main = i64::from_be_bytes(key[..8].try_into().ok()?);
        let sub = u32::from_be_bytes(key[8..12].try_into().ok()?);
        let tombstone = match key[12] {
            KIND_PUT => false,
            KIND_TOMBSTONE => true,
            _ => return None,
        };
        Some(Version {
            rev: Rev { main, sub },
            tombstone,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn data_keys_sort_as_revisions_and_read_back() {
        let versions = [
            (1, 0, false),
            (1, 1, true),
            (2, 0, false),
            (255, 0, false),
            (256, 7, true),
        ];
        let keys: Vec<_> = versions
            .iter()
            .map(|&(main, sub, tombstone)| {
                Version {
                    rev: Rev { main, sub },
                    tombstone,
                }
                .data_key()
            })
            .collect();
        assert!(keys.windows(2).all(|w| w[0] < w[1]));
        for (key, (main, sub, tombstone)) in keys.iter().zip(versions) {
            assert_eq!(
                Version::from_data_key(key).unwrap(),
                Version {
                    rev: Rev { main, sub },
                    tombstone
                }
            );
        }
        assert!(Version::from_data_key(b"short").is_none());
        assert!(Version::from_data_key(&[9; DATA_KEY_BYTES]).is_none());
    }
}
