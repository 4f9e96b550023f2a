//! What goes wrong, and when: the seed's choice.

use crate::cluster::{Cluster, member};
use crate::executor::WORLD;
use crate::network::Weather;
use keelson_mvcc::StateMachine;
use keelson_raft::{Start, runtime};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// Members at most, so that quorums stay small.
const MEMBERS_MAX: usize = 5;

/// Breaks things until `stop`.
pub async fn run(cluster: Rc<Cluster>, stop: Rc<Cell<bool>>) {
    let (mut next_id, mut flipped) = (cluster.options.members + 1, false);
    if cluster.options.voters_die_permille > 0 {
        let (cluster, stop) = (cluster.clone(), stop.clone());
        cluster.executor.clone().spawn(WORLD, bury_voters(cluster, stop));
    }
    while !stop.get() {
        let pause = cluster.executor.rng.borrow_mut().between(10, 400);
        runtime::sleep(Duration::from_millis(pause)).await;
        if stop.get() {
            return;
        }
        restart_failed(&cluster);
        let kind = cluster.executor.rng.borrow_mut().below(24);
        match kind {
            0..4 => crash_one(&cluster),
            4 => crash_all(&cluster),
            5..8 => cut(&cluster),
            8..10 => {
                cluster.executor.note("the network heals");
                cluster.network.heal();
            }
            10 => cluster.network.break_connections(),
            11 => weather(&cluster),
            12 => clocks(&cluster),
            13 => disks(&cluster),
            14 | 18 => transfer(&cluster),
            // After a flip nobody else is taken out: the group may already be one short for good.
            15 if cluster.options.members > 1 && !flipped => {
                change(&cluster, next_id);
                next_id += 1;
            }
            // One a seed: a group of three cannot lose two, and one of two cannot lose one.
            16 if !flipped && can_lose_one(&cluster) => flipped = flip(&cluster),
            17 => stop_one(&cluster, stop.clone()),
            _ => start_one(&cluster),
        }
    }
}

/// Whoever dies of its vote comes back with what it had written.
async fn bury_voters(cluster: Rc<Cluster>, stop: Rc<Cell<bool>>) {
    let mut deaths = cluster.network.let_voters_die(cluster.options.voters_die_permille);
    while let Some(id) = deaths.recv().await {
        if stop.get() {
            return;
        }
        cluster.executor.note(format!("member {id} dies of its vote"));
        cluster.crash(id);
        cluster.start(id);
    }
}

/// Three vote at least, and no change that is still in doubt can make them fewer.
fn can_lose_one(cluster: &Cluster) -> bool {
    let node = cluster.leader().and_then(|leader| cluster.node(leader));
    let voters = node.map_or(0, |n| n.members().members.values().filter(|m| m.votes).count());
    cluster.options.members > 2 && voters > 2 && cluster.open_changes.get() == 0
}

/// As whoever supervises the processes does.
fn restart_failed(cluster: &Rc<Cluster>) {
    let damaged = cluster.damaged();
    for id in cluster.failed() {
        if Some(id) == damaged {
            replace(cluster, id);
        } else {
            cluster.crash(id);
        }
    }
}

/// A member whose log is damaged is taken out of the group, as its message says.
pub fn replace(cluster: &Rc<Cluster>, id: u64) {
    let Some(leader) = cluster.leader() else { return };
    let cluster = cluster.clone();
    cluster.executor.clone().spawn(WORLD, async move {
        let done = cluster
            .on(leader, |node, _| async move { node.remove_member(id).await })
            .await;
        cluster
            .executor
            .note(format!("member {id}, damaged, is removed: {done:?}"));
        if matches!(done, Some(Ok(()) | Err(keelson_raft::Error::NotMember(_)))) {
            cluster.history.lock().counts.damaged += 1;
            cluster.remove_place(id);
        }
    });
}

/// SIGTERM and a start some time later.
fn stop_one(cluster: &Rc<Cluster>, calm: Rc<Cell<bool>>) {
    let Some(id) = pick(cluster, &cluster.ready()) else {
        return;
    };
    let Some(owner) = cluster.owner(id) else { return };
    cluster.allow_to_end(id);
    cluster.executor.note(format!("member {id} is told to stop"));
    let cluster = cluster.clone();
    cluster.executor.clone().spawn(WORLD, async move {
        let stopped = cluster.on(id, |node, _| async move { node.shutdown().await }).await;
        // It may have died, and even be back.
        if stopped.is_some() && cluster.owner(id) == Some(owner) {
            cluster.executor.note(format!("member {id} has stopped: {stopped:?}"));
            cluster.history.lock().counts.stopped += 1;
            cluster.crash(id);
            if calm.get() {
                cluster.start(id);
            }
        }
    });
}

/// A bit of what a member has on disk changes while it is down.
fn flip(cluster: &Rc<Cluster>) -> bool {
    let Some(id) = pick(cluster, &cluster.ids()) else {
        return false;
    };
    cluster.crash(id);
    match cluster.flip_bit(id) {
        Ok(flipped) => {
            if flipped {
                cluster.executor.note(format!("a bit of the log of member {id} flips"));
            }
            cluster.start(id);
            flipped
        }
        Err(e) => {
            cluster.executor.fail(format!("flip a bit of member {id}: {e}"));
            true
        }
    }
}

fn pick(cluster: &Cluster, from: &[u64]) -> Option<u64> {
    cluster.executor.rng.borrow_mut().pick(from).copied()
}

fn crash_one(cluster: &Rc<Cluster>) {
    let up: Vec<u64> = cluster.ids().into_iter().filter(|id| cluster.is_up(*id)).collect();
    if let Some(id) = pick(cluster, &up) {
        // RocksDB flushes when it likes, and so just before, too: the state may then be ahead of the log.
        if cluster.executor.rng.borrow_mut().chance(1, 2)
            && let Some(Err(e)) = cluster.store(id).map(|store| store.flush())
        {
            cluster.executor.fail(format!("flush member {id}: {e}"));
        }
        cluster.crash(id);
        // Often it is back at once: what it forgot shows then.
        if cluster.executor.rng.borrow_mut().chance(1, 2) {
            cluster.start(id);
        }
    }
}

/// The power of all goes, and comes back for all or for some.
fn crash_all(cluster: &Rc<Cluster>) {
    for id in cluster.ids() {
        cluster.crash(id);
    }
    for id in cluster.ids() {
        if cluster.executor.rng.borrow_mut().chance(2, 3) {
            cluster.start(id);
        }
    }
}

fn start_one(cluster: &Rc<Cluster>) {
    let down: Vec<u64> = cluster.ids().into_iter().filter(|id| !cluster.is_up(*id)).collect();
    if let Some(id) = pick(cluster, &down) {
        cluster.start(id);
    }
}

fn cut(cluster: &Rc<Cluster>) {
    let ids = cluster.ids();
    let one_way = cluster.executor.rng.borrow_mut().chance(1, 3);
    // One side of the cut; the leader is alone on it now and then.
    let mut side: Vec<u64> = ids
        .iter()
        .copied()
        .filter(|_| cluster.executor.rng.borrow_mut().chance(1, 3))
        .collect();
    if cluster.executor.rng.borrow_mut().chance(1, 2) {
        side = cluster.leader().into_iter().collect();
    }
    cluster.executor.note(format!(
        "the network is cut around {side:?}{}",
        if one_way { ", one way" } else { "" }
    ));
    for a in &side {
        for b in ids.iter().filter(|b| !side.contains(b)) {
            cluster.network.cut(*a, *b);
            if !one_way {
                cluster.network.cut(*b, *a);
            }
        }
    }
}

fn weather(cluster: &Rc<Cluster>) {
    let weather = {
        let mut rng = cluster.executor.rng.borrow_mut();
        Weather {
            delay_min: Duration::from_micros(rng.between(50, 2000)),
            delay_max: Duration::from_millis(rng.between(2, 60)),
            lost_permille: rng.below(150),
            breaks_permille: rng.below(50),
        }
    };
    cluster.executor.note(format!("{weather:?}"));
    cluster.network.set_weather(weather);
}

fn clocks(cluster: &Rc<Cluster>) {
    let Some(id) = pick(cluster, &cluster.ready()) else {
        return;
    };
    let Some(owner) = cluster.owner(id) else { return };
    let (drift, jump) = {
        let mut rng = cluster.executor.rng.borrow_mut();
        (rng.between(0, 600_000) as i64 - 300_000, rng.below(500))
    };
    cluster.executor.note(format!(
        "the clock of member {id} drifts by {drift} ppm and jumps {jump} ms"
    ));
    cluster.executor.set_drift(owner, drift);
    cluster.executor.jump(owner, Duration::from_millis(jump));
}

fn disks(cluster: &Rc<Cluster>) {
    let Some(id) = pick(cluster, &cluster.ready()) else {
        return;
    };
    if cluster.executor.rng.borrow_mut().chance(1, 3) {
        cluster.executor.note(format!("the disk of member {id} will fail"));
        cluster.fail_next_sync(id);
    } else if let Some(disk) = cluster.disk(id) {
        let ms = cluster.executor.rng.borrow_mut().below(80);
        cluster
            .executor
            .note(format!("syncs of member {id} take up to {ms} ms"));
        disk.set_delay_max_ns(ms * 1_000_000 + 1000);
    }
}

fn transfer(cluster: &Rc<Cluster>) {
    let Some(leader) = cluster.leader() else { return };
    let others: Vec<u64> = cluster.ready().into_iter().filter(|id| *id != leader).collect();
    let Some(to) = pick(cluster, &others) else { return };
    if cluster.executor.rng.borrow_mut().chance(1, 2) {
        // Whom it hands over to may die just then.
        let cluster = cluster.clone();
        cluster.executor.clone().spawn(WORLD, async move {
            let pause = cluster.executor.rng.borrow_mut().below(8000);
            runtime::sleep(Duration::from_micros(pause)).await;
            cluster.crash(to);
            cluster.start(to);
        });
    }
    let cluster = cluster.clone();
    cluster.executor.clone().spawn(WORLD, async move {
        let done = cluster
            .on(leader, |node, _| async move { node.transfer_leader(to).await })
            .await;
        cluster
            .executor
            .note(format!("member {leader} hands over to {to}: {done:?}"));
    });
}

/// Adds a member, removes one, or promotes a learner. It takes its time, so others happen meanwhile.
fn change(cluster: &Rc<Cluster>, next_id: u64) {
    let Some(leader) = cluster.leader() else { return };
    let Some(node) = cluster.node(leader) else { return };
    let members = node.members();
    let learner = members.members.iter().find(|(_, m)| m.is_learner()).map(|(id, _)| *id);
    let voters: Vec<u64> = members
        .members
        .iter()
        .filter(|(_, m)| m.votes)
        .map(|(id, _)| *id)
        .collect();
    let (grow, as_learner) = {
        let mut rng = cluster.executor.rng.borrow_mut();
        (rng.chance(1, 2), rng.chance(1, 3))
    };
    let cluster = cluster.clone();
    let executor = cluster.executor.clone();
    let settle = |cluster: &Cluster, is_done: bool| {
        if is_done {
            cluster.history.lock().counts.changes += 1;
            cluster.open_changes.set(cluster.open_changes.get() - 1);
        }
    };
    let begin = |cluster: &Cluster| cluster.open_changes.set(cluster.open_changes.get() + 1);
    if let Some(id) = learner {
        begin(&cluster);
        executor.spawn(WORLD, async move {
            let done = cluster
                .on(leader, |node, _| async move { node.promote_member(id).await })
                .await;
            cluster.executor.note(format!("member {id} is promoted: {done:?}"));
            settle(&cluster, matches!(done, Some(Ok(()))));
        });
    } else if grow && members.members.len() < MEMBERS_MAX {
        begin(&cluster);
        executor.spawn(WORLD, async move {
            let new = keelson_raft::Member {
                wants_vote: !as_learner,
                ..member(next_id)
            };
            let add = |node: keelson_raft::Node<_>, _| async move { node.add_member(next_id, new, as_learner).await };
            let done = cluster.on(leader, add).await;
            cluster.executor.note(format!("member {next_id} is added: {done:?}"));
            settle(&cluster, matches!(done, Some(Ok(()))));
            if matches!(done, Some(Ok(()))) {
                cluster.add_place(next_id, Start::Join);
                cluster.start(next_id);
            }
        });
    } else if voters.len() > 3 || members.members.len() > 3 {
        let Some(id) = pick(&cluster, &voters) else { return };
        begin(&cluster);
        executor.spawn(WORLD, async move {
            let done = cluster
                .on(leader, |node, _| async move { node.remove_member(id).await })
                .await;
            cluster.executor.note(format!("member {id} is removed: {done:?}"));
            settle(&cluster, matches!(done, Some(Ok(()))));
            if matches!(done, Some(Ok(()))) {
                cluster.remove_place(id);
            }
        });
    }
}
