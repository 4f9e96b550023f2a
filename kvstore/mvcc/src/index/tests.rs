#![allow(clippy::unwrap_used)]
use super::*;
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeMap;

type Model = BTreeMap<Vec<u8>, Vec<Version>>;

#[derive(Clone, Debug)]
enum Op {
    Put(u16),
    Delete(u16),
    Trim(u8),
}

/// Most have much in common, some are the beginning of others, some are followed by zeros.
fn key(n: u16) -> Vec<u8> {
    match n % 7 {
        0 => format!("/k/{:02}", n / 7).into_bytes(),
        1 => format!("/other/{n:05}").into_bytes(),
        2 => [format!("/k/{:02}", n / 7).as_bytes(), &[0; 9]].concat(),
        _ => format!("/k/{:02}/{n:05}", n / 7).into_bytes(),
    }
}

fn new(main: i64) -> NewVersion {
    NewVersion {
        rev: Rev::new(main, 0),
        value_bytes: main as usize % 300,
        lease: 0,
    }
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (0..600u16).prop_map(Op::Put),
        3 => (0..600u16).prop_map(Op::Delete),
        1 => any::<u8>().prop_map(Op::Trim),
    ];
    proptest::collection::vec(op, 1..1500)
}

fn record_bytes(key: &[u8], create: i64, main: i64, version: i64) -> u32 {
    let kv = keelson_proto::mvccpb::KeyValue {
        key: Bytes::copy_from_slice(key),
        create_revision: create,
        mod_revision: main,
        version,
        value: vec![1; main as usize % 300].into(),
        lease: 0,
    };
    prost::Message::encoded_len(&kv) as u32
}

/// The same index, made from its rows in two parts.
fn built(model: &Model, index: &KeyIndex) -> KeyIndex {
    let middle = model.keys().nth(model.len() / 2).cloned().unwrap_or_default();
    let mut parts = [Builder::from(b""), Builder::from(&middle)];
    for (key, versions) in model {
        let entry = index.get(key).unwrap();
        for version in versions {
            let recorded = entry.recorded_at(version.rev.main).unwrap();
            let part = &mut parts[usize::from(*key >= middle)];
            assert!(part.push(key, recorded, entry.create, entry.version));
        }
    }
    KeyIndex::of(parts.map(Builder::finish))
}

fn model_trim(model: &mut Model, bound: i64) -> usize {
    let mut dead = 0;
    model.retain(|_, versions| {
        let mut cut = versions
            .iter()
            .filter(|v| v.rev.main <= bound)
            .count()
            .saturating_sub(1);
        if versions.get(cut).is_some_and(|v| v.tombstone && v.rev.main < bound) {
            cut += 1;
        }
        dead += versions.drain(..cut).count();
        !versions.is_empty()
    });
    dead
}

fn trim_all(index: &mut KeyIndex, bound: i64) -> usize {
    let mut from = Vec::new();
    let mut dead = 0;
    loop {
        let slice = index.trim(&from, 7, bound);
        dead += slice.dead.len();
        match slice.next {
            Some(next) => from = next,
            None => return dead,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn agrees_with_a_sorted_map(ops in ops(), a in 0..600u16, b in 0..600u16) {
        let mut index = KeyIndex::default();
        let mut model = Model::new();
        let mut main = 1;
        for op in ops {
            match op {
                Op::Put(n) => {
                    main += 1;
                    index.put(&key(n), new(main));
                    model.entry(key(n)).or_default().push(Version { rev: Rev::new(main, 0), tombstone: false });
                }
                Op::Delete(n) => {
                    main += 1;
                    let live = model.get(&key(n)).is_some_and(|v| !v.last().unwrap().tombstone);
                    prop_assert_eq!(index.tombstone(&key(n), Rev::new(main, 0)).is_some(), live);
                    if live {
                        model.get_mut(&key(n)).unwrap().push(Version { rev: Rev::new(main, 0), tombstone: true });
                    }
                }
                Op::Trim(back) => {
                    let bound = main - i64::from(back);
                    prop_assert_eq!(trim_all(&mut index, bound), model_trim(&mut model, bound));
                }
            }
        }
        let live = |v: &Vec<Version>| !v.last().unwrap().tombstone;
        prop_assert_eq!(index.live(), model.values().filter(|v| live(v)).count());
        let range = KeyRange::new(key(a).into(), key(b).into());
        let mut expected = Weight::default();
        if key(a) < key(b) {
            for (key, versions) in model.range(key(a)..key(b)).filter(|(_, v)| live(v)) {
                let entry = index.get(key).unwrap();
                let bytes = record_bytes(key, entry.create, versions.last().unwrap().rev.main, entry.version);
                expected += Weight::of_record(bytes);
            }
        }
        prop_assert_eq!(index.weight(&range), expected);
        prop_assert_eq!(built(&model, &index).weight(&range), expected);
        let from = KeyRange::new(key(a).into(), Bytes::from_static(b"\0"));
        prop_assert_eq!(index.count_live(&from), model.range(key(a)..).filter(|(_, v)| live(v)).count());
        let mut walked = Vec::new();
        index.walk(&KeyRange::new(Bytes::new(), Bytes::from_static(b"\0")), b"", |k, _| {
            walked.push(k.to_vec());
            ControlFlow::Continue(())
        });
        prop_assert_eq!(walked, model.keys().cloned().collect::<Vec<_>>());
        for (k, versions) in &model {
            for at in [main, main - 10, main - 100] {
                let expected = versions.iter().rev().find(|v| v.rev.main <= at).copied();
                prop_assert_eq!(index.get(k).unwrap().at(at), expected);
            }
        }
    }
}

#[test]
fn versions_and_creation_start_over_after_a_deletion() {
    let mut index = KeyIndex::default();
    assert_eq!(
        index.put(b"a", new(2)),
        Changed {
            previous: None,
            create: 2,
            version: 1
        }
    );
    let first = Version {
        rev: Rev::new(2, 0),
        tombstone: false,
    };
    assert_eq!(
        index.put(b"a", new(3)),
        Changed {
            previous: Some(first),
            create: 2,
            version: 2
        }
    );
    assert!(index.tombstone(b"a", Rev::new(4, 0)).is_some());
    assert!(index.tombstone(b"a", Rev::new(5, 0)).is_none());
    assert_eq!(
        index.put(b"a", new(6)),
        Changed {
            previous: None,
            create: 6,
            version: 1
        }
    );
}

#[test]
fn a_deletion_at_the_bound_stays_and_goes_with_the_next_compaction() {
    let mut index = KeyIndex::default();
    index.put(b"a", new(2));
    index.tombstone(b"a", Rev::new(3, 0));
    assert_eq!(index.trim(b"", 10, 3).dead.len(), 1);
    assert!(index.get(b"a").is_some());
    assert_eq!(index.trim(b"", 10, 4).dead.len(), 1);
    assert!(index.get(b"a").is_none());
}

#[test]
fn a_builder_takes_nothing_out_of_order() {
    let recorded = |main| Recorded {
        version: Version {
            rev: Rev::new(main, 0),
            tombstone: false,
        },
        bytes: 10,
    };
    let mut builder = Builder::from(b"b");
    assert!(!builder.push(b"a", recorded(2), 2, 1), "below its part");
    assert!(builder.push(b"b", recorded(3), 3, 1));
    assert!(builder.push(b"d", recorded(4), 4, 1));
    assert!(builder.push(b"d", recorded(6), 4, 2));
    assert!(!builder.push(b"c", recorded(5), 5, 1));
    let index = KeyIndex::of([Builder::default().finish(), builder.finish()]);
    assert_eq!(index.live(), 2);
    assert_eq!(index.get(b"d").unwrap().at(5), Some(recorded(4).version));
}

#[test]
fn keys_that_are_put_in_order_leave_full_leaves() {
    let mut index = KeyIndex::default();
    for n in 0..10_000i64 {
        index.put(format!("/registry/pods/{n:08}").as_bytes(), new(n + 2));
    }
    let (leaves, entries) = index.root.leaves();
    assert_eq!(entries, 10_000);
    assert!(leaves <= 10_000usize.div_ceil(leaf::LEAF_MAX), "{leaves} leaves");
}
