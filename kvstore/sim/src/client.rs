//! Clients: requests of every kind to members of the seed's choice, and what came of them.

use crate::cluster::Cluster;
use crate::options::Bug;
use crate::rng::Rng;
use bytes::Bytes;
use keelson_mvcc::{Asker, Command, Error as Refused, KeyRange, ReadError};
use keelson_proto::etcdserverpb as pb;
use keelson_raft::{Error, runtime};
use pb::request_op::Request;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

const KEYS: u64 = 10;
const LEASES: u64 = 4;

fn key(rng: &mut Rng) -> Bytes {
    format!("k{}", rng.below(KEYS)).into()
}

/// One key, a few, or all.
fn range(rng: &mut Rng) -> (Bytes, Bytes) {
    match rng.below(4) {
        0 => (Bytes::from_static(b"\0"), Bytes::from_static(b"\0")),
        1 => (key(rng), Bytes::from_static(b"k9")),
        _ => (key(rng), Bytes::new()),
    }
}

fn lease(rng: &mut Rng) -> i64 {
    rng.between(1, LEASES) as i64
}

fn put(rng: &mut Rng, value: &str) -> pb::PutRequest {
    // Now and then a large one, so that the log rotates.
    let padding = if rng.chance(1, 20) { 2000 } else { 0 };
    let mut r = pb::PutRequest {
        key: key(rng),
        value: format!("{value}{}", "-".repeat(padding)).into(),
        lease: if rng.chance(1, 5) { lease(rng) } else { 0 },
        prev_kv: rng.chance(1, 3),
        ..Default::default()
    };
    if rng.chance(1, 12) {
        (r.ignore_value, r.value) = (true, Bytes::new());
    } else if rng.chance(1, 12) {
        (r.ignore_lease, r.lease) = (true, 0);
    }
    r
}

fn delete(rng: &mut Rng) -> pb::DeleteRangeRequest {
    let (key, range_end) = range(rng);
    pb::DeleteRangeRequest {
        key,
        range_end,
        prev_kv: rng.chance(1, 2),
    }
}

fn get(rng: &mut Rng, known: i64) -> pb::RangeRequest {
    let (key, range_end) = range(rng);
    let past = if rng.chance(1, 4) {
        rng.between(1, known.max(1) as u64 + 1) as i64
    } else {
        0
    };
    pb::RangeRequest {
        key,
        range_end,
        revision: past,
        limit: if rng.chance(1, 3) { 2 } else { 0 },
        count_only: rng.chance(1, 10),
        ..Default::default()
    }
}

fn compare(rng: &mut Rng) -> pb::Compare {
    use pb::compare::{CompareResult, CompareTarget, TargetUnion};
    let (target, union) = match rng.below(3) {
        0 => (CompareTarget::Version, TargetUnion::Version(rng.below(3) as i64)),
        1 => (CompareTarget::Mod, TargetUnion::ModRevision(rng.below(60) as i64)),
        _ => (CompareTarget::Lease, TargetUnion::Lease(0)),
    };
    let result = *rng
        .pick(&[CompareResult::Equal, CompareResult::Greater, CompareResult::NotEqual])
        .unwrap_or(&CompareResult::Equal);
    pb::Compare {
        result: result as i32,
        target: target as i32,
        key: key(rng),
        target_union: Some(union),
        ..Default::default()
    }
}

fn txn(rng: &mut Rng, value: &str) -> pb::TxnRequest {
    let op = |request| pb::RequestOp { request: Some(request) };
    let nested = pb::TxnRequest {
        compare: vec![compare(rng)],
        success: vec![op(Request::RequestDeleteRange(pb::DeleteRangeRequest {
            key: Bytes::from_static(b"k0"),
            ..Default::default()
        }))],
        failure: Vec::new(),
    };
    let mut first = put(rng, value);
    first.key = Bytes::from_static(b"k1");
    pb::TxnRequest {
        compare: (0..rng.below(3)).map(|_| compare(rng)).collect(),
        success: vec![
            op(Request::RequestPut(first)),
            op(Request::RequestRange(get(rng, 0))),
            op(Request::RequestTxn(nested)),
        ],
        failure: vec![op(Request::RequestPut(put(rng, value)))],
    }
}

fn command(rng: &mut Rng, value: &str, known: i64) -> Command {
    match rng.below(20) {
        0..9 => Command::Put(put(rng, value)),
        9..11 => Command::DeleteRange(delete(rng)),
        11..16 => Command::Txn(txn(rng, value)),
        16 => Command::LeaseRevoke(pb::LeaseRevokeRequest { id: lease(rng) }),
        17 | 18 => Command::LeaseGrant(pb::LeaseGrantRequest {
            id: lease(rng),
            ttl: rng.between(2, 60) as i64,
        }),
        _ => Command::Compact(pb::CompactionRequest {
            revision: (known - rng.below(20) as i64).max(1),
            physical: false,
        }),
    }
}

/// Whether the answer says for sure that nothing was done.
fn is_refusal(error: &Error) -> bool {
    matches!(
        error,
        Error::NotLeader { .. } | Error::Unavailable | Error::TooManyPending | Error::TooLarge { .. }
    )
}

/// Sends its share of requests, one after the other.
pub async fn run(cluster: Rc<Cluster>, id: u64, requests: u64) {
    for n in 0..requests {
        let pause = cluster.executor.rng.borrow_mut().below(120_000);
        runtime::sleep(Duration::from_micros(pause)).await;
        let ready = cluster.ready();
        let Some(member) = cluster.executor.rng.borrow_mut().pick(&ready).copied() else {
            runtime::sleep(Duration::from_millis(20)).await;
            continue;
        };
        if cluster.executor.rng.borrow_mut().chance(1, 3) {
            read(&cluster, member).await;
        } else {
            write(&cluster, member, &format!("c{id}-{n}")).await;
        }
    }
}

pub async fn write(cluster: &Cluster, member: u64, name: &str) -> bool {
    let known = cluster.history.lock().known();
    let command = {
        let revision = cluster.history.lock().model.revision();
        command(&mut cluster.executor.rng.borrow_mut(), name, revision)
    };
    // The asker's name makes every command another one.
    let bytes = command.encode_for(&Asker::User {
        name: Arc::from(name),
        auth_revision: 0,
    });
    let sent = bytes.clone();
    let answer = cluster
        .on(member, |node, _| async move { node.propose(sent).await })
        .await;
    let mut history = cluster.history.lock();
    match answer {
        Some(Ok((index, response))) => {
            cluster
                .executor
                .note(format!("{name} at member {member}: entry {index}"));
            history.acked(&bytes, known, index, &response);
            return true;
        }
        Some(Err(e)) if is_refusal(&e) => {
            cluster
                .executor
                .note(format!("{name} at member {member}: refused, {e}"));
            history.refused(bytes);
        }
        other => {
            let why = other.map_or("it died".to_owned(), |r| {
                r.map_or_else(|e| e.to_string(), |_| String::new())
            });
            cluster
                .executor
                .note(format!("{name} at member {member}: unknown, {why}"));
            history.counts.unknown += 1;
        }
    }
    false
}

async fn read(cluster: &Cluster, member: u64) {
    let known = cluster.history.lock().known();
    let revision = cluster.history.lock().model.revision();
    let (request, serializable) = {
        let mut rng = cluster.executor.rng.borrow_mut();
        (get(&mut rng, revision), rng.chance(1, 4))
    };
    let asked = request.clone();
    let confirm = !serializable && cluster.options.bug != Bug::ReadWithoutQuorum;
    let answer = cluster.on(member, |node, store| async move {
        if confirm {
            node.read_index().await?;
        }
        Ok::<_, Error>(store.range(&asked))
    });
    let Some(Ok(answer)) = answer.await else { return };
    let answer = match answer {
        Ok(answer) => Ok(answer),
        Err(ReadError::Refused(error)) => Err(error),
        Err(ReadError::Storage(error)) => {
            cluster.executor.fail(format!("a read at member {member}: {error}"));
            return;
        }
    };
    let known = (!serializable).then_some(known);
    cluster.history.lock().read(&request, known, answer);
}

/// Follows a range from a revision on, at one member after the other, until `stop` says to and everything is seen.
pub async fn watch(cluster: Rc<Cluster>, stop: Rc<std::cell::Cell<bool>>) {
    let (range, mut from) = {
        let mut rng = cluster.executor.rng.borrow_mut();
        let (start, end) = range(&mut rng);
        (KeyRange::new(start, end), 1)
    };
    let mut member = 0;
    loop {
        let (pause, moves) = {
            let mut rng = cluster.executor.rng.borrow_mut();
            (rng.between(1, 60), rng.chance(1, 30))
        };
        runtime::sleep(Duration::from_millis(pause)).await;
        if moves || cluster.store(member).is_none() {
            let ready = cluster.ready();
            member = cluster.executor.rng.borrow_mut().pick(&ready).copied().unwrap_or(0);
        }
        let Some(store) = cluster.store(member) else { continue };
        match store.catch_up(&range, from) {
            Ok(caught) => {
                cluster.history.lock().watched(&store, &range, from, &caught);
                from = caught.next;
            }
            Err(ReadError::Refused(Refused::Compacted)) => {
                let mut history = cluster.history.lock();
                if from >= store.compacted() || from >= history.model.compacted {
                    cluster
                        .executor
                        .fail(format!("a watch from {from} is told that it is compacted"));
                }
                history.counts.compacted_watches += 1;
                from = store.compacted();
            }
            Err(e) => {
                cluster
                    .executor
                    .fail(format!("a watch from {from} at member {member}: {e}"));
                return;
            }
        }
        if stop.get() && from > cluster.history.lock().model.revision() {
            return;
        }
    }
}
