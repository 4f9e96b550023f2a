//! How a node comes up: open the log, check it against the state machine, build the core, lead.
use crate::{
    Error, LeaderState, Options,
    log_store::LogStore,
    machine::{AnyMachine, MachineAdapter, Progress},
    network::NoPeers,
    node::RaftHandle,
    types::Types,
    watcher::{Published, from_fatal},
};
use keelson_mvcc::AppliedState;
use keelson_wal::{State, Wal};
use openraft::{Config, Raft, SnapshotPolicy, errors::RaftError};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Entries kept in the log below the newest snapshot. A group of one has no follower that could want them.
const KEEP_ENTRIES_BELOW_SNAPSHOT: u64 = 0;

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

/// Opening reads the whole log once, so it happens off the runtime.
pub(crate) async fn open_log(options: &Options) -> Result<Wal, Error> {
    let mut wal = keelson_wal::Options::new(&options.dir);
    wal.cluster_id = options.cluster_id;
    wal.node_id = options.node_id;
    wal.segment_bytes = options.segment_bytes;
    if let Some(disk) = &options.disk {
        wal.disk = disk.clone();
    }
    match tokio::task::spawn_blocking(move || Wal::open(wal)).await {
        Ok(opened) => opened.map_err(|e| Error::Fatal(e.to_string())),
        Err(e) => Err(Error::Fatal(format!("open the log: {e}"))),
    }
}

/// The machine stands inside the log, or one of the two is not what it was. Nothing is repaired here: an entry that is
/// gone was acknowledged.
pub(crate) fn check_against_machine(log: &State, applied: &AppliedState) -> Result<(), Error> {
    let holds_something = applied.index > 0;
    let last = log.last.map(|l| l.index);
    if holds_something && last.is_none_or(|l| l < applied.index) {
        return Err(Error::Fatal(format!(
            "the state has applied up to {} and the log ends at {last:?}: the log was lost or is another member's. \
             Restore this member from a snapshot",
            applied.index
        )));
    }
    if let Some(purged) = log.purged
        && (!holds_something || applied.index < purged.index)
    {
        return Err(Error::Fatal(format!(
            "the state has applied up to {} and the log before {} is purged: the state was lost or is another member's. \
             Restore this member from a snapshot",
            applied.index, purged.index
        )));
    }
    Ok(())
}

fn config(options: &Options) -> Result<Arc<Config>, Error> {
    let election = millis(options.timers.election);
    let config = Config {
        cluster_name: format!("{:x}", options.cluster_id),
        heartbeat_interval: millis(options.timers.heartbeat),
        election_timeout_min: election,
        election_timeout_max: election.saturating_mul(2),
        // Snapshots are asked for by bytes of log, see `machine`.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: KEEP_ENTRIES_BELOW_SNAPSHOT,
        enable_pre_vote: Some(true),
        // A leader that crashed may have sent entries which its own disk lost; leading on in the same term, it could
        // write others in their place. A new term cannot.
        enable_leader_restore: Some(false),
        // Turned on when there is a second voter: alone there is nobody to time out, and idle costs nothing.
        enable_tick: false,
        ..Config::default()
    };
    config
        .validate()
        .map(Arc::new)
        .map_err(|e| Error::Fatal(format!("raft configuration: {e}")))
}

pub(crate) async fn build(
    options: &Options,
    wal: &Wal,
    machine: Arc<dyn AnyMachine>,
    progress: Arc<Progress>,
) -> Result<RaftHandle, Error> {
    let config = config(options)?;
    let adapter = MachineAdapter::new(machine, progress, options.flush_log_bytes)
        .map_err(|e| Error::Fatal(format!("read the applied state: {e}")))?;
    Raft::<Types, MachineAdapter>::new(options.node_id, config, NoPeers, LogStore::new(wal.clone()), adapter)
        .await
        .map_err(|f| from_fatal(&f))
}

/// Forms the group if there is none, and waits until this member leads it.
pub(crate) async fn lead(raft: &RaftHandle, options: &Options, published: &Published) -> Result<(), Error> {
    if !raft.is_initialized().await.map_err(|f| from_fatal(&f))? {
        let members = BTreeMap::from([(options.node_id, options.member.clone())]);
        raft.initialize(members).await.map_err(|e| match e {
            RaftError::Fatal(f) => from_fatal(&f),
            RaftError::APIError(e) => Error::Fatal(format!("form the group: {e}")),
        })?;
    }
    // Asked of the core itself: its published view may still be the one before it formed the group.
    let voters: Vec<u64> = raft
        .with_raft_state(|s| s.membership_state.effective().voter_ids().collect())
        .await
        .map_err(|f| from_fatal(&f))?;
    if voters != [options.node_id] {
        // With others to ask, the timers decide; those messages are not built yet.
        return Err(Error::Unsupported("a group of several members"));
    }
    raft.trigger().elect(false).await.map_err(|f| from_fatal(&f))?;
    let mut leader = published.leader.subscribe();
    let mut failed = published.failed.subscribe();
    tokio::select! {
        led = leader.wait_for(|s: &LeaderState| s.is_leader) => led.map(|_| ()).map_err(|_| Error::Shutdown),
        why = failed.wait_for(|f| f.is_some()) => Err(match why {
            Ok(e) => e.clone().unwrap_or(Error::Shutdown),
            Err(_) => Error::Shutdown,
        }),
    }
}
