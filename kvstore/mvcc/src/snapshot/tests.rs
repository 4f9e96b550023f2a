#![allow(clippy::unwrap_used)]
use super::chunk::{Parts, Position, Row};
use crate::db::Cf;
use bytes::Bytes;
use proptest::prelude::*;

fn row() -> impl Strategy<Value = Row> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
    (0..3u8, bytes(), bytes()).prop_map(|(cf, key, value)| Row {
        cf: Cf::from_u8(cf).unwrap(),
        key,
        value,
    })
}

fn parts(mut rows: Vec<Row>) -> Parts {
    rows.sort_by(|a, b| (a.cf, &a.key).cmp(&(b.cf, &b.key)));
    rows.dedup_by(|a, b| (a.cf, &a.key) == (b.cf, &b.key));
    let mut ends = Position::default();
    rows.iter().for_each(|row| ends.pass(row).unwrap());
    Parts {
        index: 7,
        term: 2,
        begins: Position::default(),
        ends,
        last: true,
        rows,
    }
}

proptest! {
    #[test]
    fn a_chunk_comes_back_and_damage_is_seen(
        rows in proptest::collection::vec(row(), 0..20),
        bit in any::<proptest::sample::Index>(),
        cut in any::<proptest::sample::Index>(),
    ) {
        let parts = parts(rows);
        let good = parts.encode().unwrap();
        prop_assert_eq!(&Parts::decode(good.clone()).unwrap(), &parts);
        prop_assert_eq!(&Position::decode(&parts.ends.encode()).unwrap(), &parts.ends);
        let mut flipped = good.to_vec();
        let bit = bit.index(good.len() * 8);
        flipped[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(Parts::decode(flipped.into()).is_err());
        prop_assert!(Parts::decode(good.slice(..cut.index(good.len()))).is_err());
    }

    #[test]
    fn garbage_is_refused_and_breaks_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        // With a right checksum, so that what comes after it is reached.
        let mut chunk = crc32fast::hash(&bytes).to_le_bytes().to_vec();
        chunk.extend_from_slice(&bytes);
        if let Ok(parts) = Parts::decode(chunk.into()) {
            prop_assert_eq!(parts.begins.rows + parts.rows.len() as u64, parts.ends.rows);
        }
        let _ = Position::decode(&bytes);
    }
}
