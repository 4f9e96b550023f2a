//! Files that the writer makes, read back; and files that something has broken.
#![allow(clippy::unwrap_used)]

use keelson_bolt::{Error, Reader, Root, Tree, Value, Writer};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom, Write};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

fn write(buckets: &BTreeMap<Vec<u8>, Rows>) -> std::fs::File {
    let mut writer = Writer::create(tempfile::tempfile().unwrap()).unwrap();
    let mut done: Vec<(Vec<u8>, Root)> = Vec::new();
    for (name, rows) in buckets {
        let mut tree = Tree::new();
        for (key, value) in rows {
            tree.put(&mut writer, key, value).unwrap();
        }
        done.push((name.clone(), tree.finish(&mut writer).unwrap()));
    }
    writer.finish(done).unwrap()
}

fn read(reader: &Reader) -> Result<BTreeMap<Vec<u8>, Rows>, Error> {
    let mut buckets = BTreeMap::new();
    for element in reader.root().iter() {
        let element = element?;
        let Value::Bucket(bucket) = element.value else {
            return Err(Error::Refused("a row among the buckets".into()));
        };
        let mut rows = Rows::new();
        for row in bucket.iter() {
            let row = row?;
            let Value::Bytes(value) = row.value else {
                return Err(Error::Refused("a bucket among the rows".into()));
            };
            // In order is part of the contract.
            assert!(rows.last_key_value().is_none_or(|(last, _)| last[..] < row.key[..]));
            rows.insert(row.key.to_vec(), value.to_vec());
        }
        buckets.insert(element.key.to_vec(), rows);
    }
    Ok(buckets)
}

fn numbered(rows: u32, value_bytes: usize) -> Rows {
    (0..rows)
        .map(|n| (n.to_be_bytes().to_vec(), vec![n as u8; value_bytes]))
        .collect()
}

fn sample() -> BTreeMap<Vec<u8>, Rows> {
    BTreeMap::from([
        (b"empty".to_vec(), Rows::new()),
        (b"large values".to_vec(), numbered(7, 20_000)),
        (b"many".to_vec(), numbered(100_000, 5)),
        (b"small".to_vec(), numbered(3, 9)),
    ])
}

#[test]
fn what_was_written_is_read() {
    for buckets in [BTreeMap::new(), sample()] {
        let reader = Reader::from_file(write(&buckets)).unwrap();
        reader.check().unwrap();
        assert_eq!(read(&reader).unwrap(), buckets);
    }
    let reader = Reader::from_file(write(&sample())).unwrap();
    let small = reader.bucket(b"small").unwrap().unwrap();
    assert_eq!(small.get(&1u32.to_be_bytes()).unwrap().unwrap(), vec![1u8; 9]);
    assert_eq!(small.get(b"absent").unwrap(), None);
    assert!(reader.bucket(b"absent").unwrap().is_none());
}

#[test]
fn buckets_nest() {
    let mut writer = Writer::create(tempfile::tempfile().unwrap()).unwrap();
    let (mut outer, mut inner) = (Tree::new(), Tree::new());
    inner.put(&mut writer, b"k", b"v").unwrap();
    let inner = inner.finish(&mut writer).unwrap();
    outer.put(&mut writer, b"a row", b"1").unwrap();
    outer.put_bucket(&mut writer, b"inner", &inner).unwrap();
    let outer = outer.finish(&mut writer).unwrap();
    let reader = Reader::from_file(writer.finish(vec![(b"outer".to_vec(), outer)]).unwrap()).unwrap();
    reader.check().unwrap();
    let outer = reader.bucket(b"outer").unwrap().unwrap();
    let found: Vec<_> = outer.iter().map(Result::unwrap).collect();
    assert_eq!(found[0].key, "a row");
    let Value::Bucket(inner) = &found[1].value else {
        panic!("no bucket");
    };
    assert_eq!(inner.get(b"k").unwrap().unwrap(), "v");
}

#[test]
fn rows_out_of_order_or_without_a_key_are_refused() {
    let mut writer = Writer::create(tempfile::tempfile().unwrap()).unwrap();
    let mut tree = Tree::new();
    tree.put(&mut writer, b"b", b"").unwrap();
    for key in [b"".as_slice(), b"a", b"b", &[0xff; 40_000]] {
        assert!(matches!(tree.put(&mut writer, key, b""), Err(Error::Misuse(_))));
    }
}

#[test]
fn half_a_file_is_refused() {
    let mut file = write(&sample());
    let bytes = file.metadata().unwrap().len();
    file.set_len(bytes - 4096).unwrap();
    let error = Reader::from_file(file.try_clone().unwrap()).err().unwrap();
    assert!(matches!(error, Error::Damaged(_)), "{error}");
    file.seek(SeekFrom::Start(0)).unwrap();
    file.write_all(&[0; 8192]).unwrap();
    assert!(Reader::from_file(file).is_err());
    assert!(Reader::from_file(tempfile::tempfile().unwrap()).is_err());
}

#[test]
fn one_broken_meta_page_does_no_harm() {
    for page in [0, 4096] {
        let mut file = write(&sample());
        file.seek(SeekFrom::Start(page)).unwrap();
        file.write_all(&[0xaa; 100]).unwrap();
        let reader = Reader::from_file(file).unwrap();
        reader.check().unwrap();
        assert_eq!(read(&reader).unwrap(), sample());
    }
}

fn rows() -> impl Strategy<Value = Rows> {
    let key = prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 1..40),
        1 => prop::collection::vec(any::<u8>(), 1500..6000),
    ];
    let value = prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..300),
        1 => prop::collection::vec(any::<u8>(), 3000..20_000),
    ];
    prop::collection::btree_map(key, value, 0..250)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_rows_round_trip(
        buckets in prop::collection::btree_map(prop::collection::vec(any::<u8>(), 1..20), rows(), 0..5),
    ) {
        let reader = Reader::from_file(write(&buckets)).unwrap();
        reader.check().unwrap();
        prop_assert_eq!(read(&reader).unwrap(), buckets);
    }

    /// Damage is an error or goes unseen in a value; the walk ends either way, in order, and nothing panics.
    #[test]
    fn damage_never_panics(
        rows in rows(),
        blows in prop::collection::vec((any::<prop::sample::Index>(), any::<[u8; 4]>(), 1usize..5), 1..20),
    ) {
        let mut file = write(&BTreeMap::from([(b"key".to_vec(), rows.clone()), (b"meta".to_vec(), rows)]));
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        for (at, with, len) in blows {
            // Mostly where the structure is: the first bytes of a page.
            let at = at.index(bytes.len());
            let at = if with[0] % 3 == 0 { at } else { at / 4096 * 4096 + at % 64 };
            for (byte, with) in bytes[at..].iter_mut().zip(with).take(len) {
                *byte = with;
            }
        }
        file.seek(SeekFrom::Start(0)).unwrap();
        file.write_all(&bytes).unwrap();
        if let Ok(reader) = Reader::from_file(file) {
            let checked = reader.check();
            if let Err(error) = read(&reader) {
                prop_assert!(!matches!(error, Error::Io { .. }), "{}", error);
                prop_assert!(checked.is_err() || matches!(error, Error::Refused(_)), "only the walk saw: {}", error);
            }
        }
    }

    #[test]
    fn garbage_never_panics(head in any::<bool>(), bytes in prop::collection::vec(any::<u8>(), 0..20_000)) {
        let mut file = tempfile::tempfile().unwrap();
        if head {
            let mut whole = write(&BTreeMap::new());
            let mut pages = vec![0; 8192];
            whole.seek(SeekFrom::Start(0)).unwrap();
            whole.read_exact(&mut pages).unwrap();
            file.write_all(&pages).unwrap();
        }
        file.write_all(&bytes).unwrap();
        if let Ok(reader) = Reader::from_file(file) {
            prop_assert!(head, "garbage was taken for a file");
            prop_assert!(reader.check().is_err());
            prop_assert!(read(&reader).is_err());
        }
    }
}
