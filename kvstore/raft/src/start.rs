//! How a node comes up: open the log, check it against the state machine, seed what is new, build the core, lead.
use crate::{
    Error, LeaderState, Options, Start,
    context::Context,
    log_store::LogStore,
    machine::{MachineAdapter, Parts},
    network::Network,
    node::RaftHandle,
    options::Times,
    runtime,
    scribe::Demand,
    types::{Entry, Membership, Types, decode_membership, entry_from_wal, entry_to_wal, from_entry_id, voters},
    watcher::{Published, from_fatal},
};
use keelson_mvcc::AppliedState;
use keelson_wal::{EntryId, State, Vote, Wal};
use openraft::{Config, EntryPayload, Raft, SnapshotPolicy};
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};
use tokio::sync::oneshot;

/// Entries that one replication message carries at most; its bytes are bounded where they are read.
const MESSAGE_ENTRIES_MAX: u64 = 4096;
/// Payload bytes read at once while the log is searched for its last membership.
const SEARCH_BYTES: usize = 4 << 20;

/// Opening reads the whole log once, so it happens off the runtime.
pub(crate) async fn open_log(options: &Options) -> Result<Wal, Error> {
    let mut wal = keelson_wal::Options::new(&options.dir);
    wal.cluster_id = options.cluster_id;
    wal.node_id = options.node_id;
    wal.segment_bytes = options.segment_bytes;
    if let Some(disk) = &options.disk {
        wal.disk = disk.clone();
    }
    match runtime::spawn_blocking(move || Wal::open(wal)).await {
        Ok(opened) => opened.map_err(|e| Error::Fatal(e.to_string())),
        Err(e) => Err(Error::Fatal(format!("open the log: {e}"))),
    }
}

/// The machine stands inside the log, or one of the two is not what it was. Nothing is repaired here: an entry that is
/// gone was acknowledged. The one exception is a snapshot that was put in last: its mark names the place where the state
/// stands beyond the log.
pub(crate) fn check_against_machine(
    log: &State,
    applied: &AppliedState,
    installing: Option<EntryId>,
) -> Result<(), Error> {
    let stands = EntryId {
        term: applied.term,
        index: applied.index,
    };
    if applied.index > 0 && installing == Some(stands) {
        return Ok(());
    }
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
    let times = Times::of(&options.timers);
    let config = Config {
        cluster_name: format!("{:x}", options.cluster_id),
        heartbeat_interval: times.heartbeat,
        election_timeout_min: times.min,
        election_timeout_max: times.max,
        // Snapshots are asked for by bytes of log, see `machine`.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: options.catchup_entries,
        // A follower is sent the log for as long as the log reaches.
        replication_lag_threshold: u64::MAX >> 1,
        max_payload_entries: MESSAGE_ENTRIES_MAX,
        enable_pre_vote: Some(options.timers.pre_vote),
        // A leader that crashed may have sent entries which its own disk lost; leading on in the same term, it could
        // write others in their place. A new term cannot.
        enable_leader_restore: Some(false),
        // Turned on when there is a second member: alone there is nobody to time out, and idle costs nothing.
        enable_tick: false,
        // A leader that hears no quorum falls silent for a while, so that those whom it still reaches can elect another.
        quorum_loss_probe_interval: Some(times.max.saturating_mul(2).saturating_add(times.heartbeat)),
        ..Config::default()
    };
    config
        .validate()
        .map(Arc::new)
        .map_err(|e| Error::Fatal(format!("raft configuration: {e}")))
}

/// Makes a change of the log and waits until it is durable.
async fn durable(change: impl FnOnce(keelson_wal::Callback) -> Result<(), keelson_wal::Error>) -> Result<(), Error> {
    let fatal = |e: keelson_wal::Error| Error::Fatal(e.to_string());
    let (tx, rx) = oneshot::channel();
    change(Box::new(move |result| drop(tx.send(result)))).map_err(fatal)?;
    match rx.await {
        Ok(result) => result.map_err(fatal),
        Err(_) => Err(Error::Fatal("the log ended".into())),
    }
}

async fn append_membership(wal: &Wal, at: EntryId, membership: Membership) -> Result<(), Error> {
    let entry = Entry {
        log_id: from_entry_id(at),
        payload: EntryPayload::Membership(membership),
    };
    let entry = entry_to_wal(entry).map_err(|e| Error::Fatal(format!("write the members: {e}")))?;
    durable(|done| wal.append(vec![entry], done)).await
}

/// Writes what a member begins with: the first entry of a new group, the last of a group that becomes one of one.
/// Returns whether the group is new.
pub(crate) async fn seed(wal: &Wal, options: &Options, start: Start, applied: &AppliedState) -> Result<bool, Error> {
    let state = wal.state();
    let fresh = state.last.is_none() && applied.index == 0;
    match start {
        Start::Form(members) if fresh => {
            if !members.contains_key(&options.node_id) {
                return Err(Error::NotMember(options.node_id));
            }
            // The same entry at the same place for every member: whoever leads first finds it everywhere.
            append_membership(wal, EntryId { term: 0, index: 1 }, voters(&members)?).await?;
            Ok(true)
        }
        Start::ForceNew if fresh => {
            let alone = BTreeMap::from([(options.node_id, options.member.clone())]);
            append_membership(wal, EntryId { term: 0, index: 1 }, voters(&alone)?).await?;
            Ok(true)
        }
        Start::ForceNew => {
            force_new(wal, options, applied).await?;
            Ok(false)
        }
        Start::Form(_) | Start::Join => Ok(false),
    }
}

/// What is logged stays, committed or not: some of it may have been acknowledged. Then comes a membership of this member
/// alone, which counts from the moment it is in the log.
async fn force_new(wal: &Wal, options: &Options, applied: &AppliedState) -> Result<(), Error> {
    let log = wal.clone();
    let last_in_log = runtime::spawn_blocking(move || last_membership(&log)).await;
    let last_in_log = last_in_log.map_err(|e| Error::Fatal(format!("read the log: {e}")))??;
    let membership = match last_in_log {
        Some(membership) => membership,
        None => decode_membership(&applied.membership)?.membership().clone(),
    };
    let alone = membership.voter_ids().eq([options.node_id]) && membership.nodes().count() == 1;
    if alone && membership.get_joint_config().len() == 1 {
        return Ok(());
    }
    let mut me = membership.get_node(&options.node_id).cloned().unwrap_or_default();
    if !options.member.peer_urls.is_empty() {
        me.peer_urls = options.member.peer_urls.clone();
    }
    let stands = EntryId {
        term: applied.term,
        index: applied.index,
    };
    let last = wal.state().last.unwrap_or_default().max_by_index(stands);
    tracing::warn!(
        members = membership.nodes().count(),
        index = last.index + 1,
        "forcing a new group of this member alone"
    );
    if wal.state().last.is_none_or(|l| l.index < last.index) {
        durable(|done| wal.purge(last, done)).await?;
    }
    let at = EntryId {
        term: last.term,
        index: last.index.saturating_add(1),
    };
    append_membership(wal, at, voters(&BTreeMap::from([(options.node_id, me)]))?).await
}

trait MaxByIndex {
    fn max_by_index(self, other: Self) -> Self;
}

impl MaxByIndex for EntryId {
    fn max_by_index(self, other: Self) -> Self {
        if other.index > self.index { other } else { self }
    }
}

fn last_membership(wal: &Wal) -> Result<Option<Membership>, Error> {
    let state = wal.state();
    let (Some(mut at), Some(last)) = (state.first, state.last) else {
        return Ok(None);
    };
    let mut found = None;
    while at <= last.index {
        let part = wal
            .read(at, last.index.saturating_add(1), SEARCH_BYTES)
            .map_err(|e| Error::Fatal(e.to_string()))?;
        let Some(end) = part.last().map(|e| e.id.index) else {
            break;
        };
        for entry in part {
            let entry = entry_from_wal(entry).map_err(|e| Error::Fatal(e.to_string()))?;
            if let EntryPayload::Membership(m) = entry.payload {
                found = Some(m);
            }
        }
        at = end + 1;
    }
    Ok(found)
}

/// A state that came from elsewhere may be of a later term than this member has voted in; it must never lead an earlier
/// one.
pub(crate) async fn raise_term(wal: &Wal, options: &Options, applied: &AppliedState) -> Result<(), Error> {
    let state = wal.state();
    let term = applied.term.max(state.last.map_or(0, |l| l.term));
    if state.vote.map_or(0, |v| v.term) >= term || seeded!(VoteNotPersisted) {
        return Ok(());
    }
    let vote = Vote {
        term,
        node: options.node_id,
        committed: false,
    };
    durable(|done| wal.save_vote(vote, done)).await
}

pub(crate) async fn build(
    options: &Options,
    wal: &Wal,
    context: Arc<Context>,
    parts: Parts,
    demand: Arc<Demand>,
) -> Result<RaftHandle, Error> {
    let config = config(options)?;
    let (marker, progress) = (parts.marker.clone(), parts.progress.clone());
    let adapter = MachineAdapter::new(parts).map_err(|e| Error::Fatal(format!("read the applied state: {e}")))?;
    let store = LogStore::new(wal.clone(), marker.clone(), demand);
    let raft = Raft::<Types, MachineAdapter>::new(options.node_id, config, Network(context), store, adapter)
        .await
        .map_err(|f| from_fatal(&f))?;
    progress.running.store(true, Ordering::Release);
    // What it marked is over: the log goes on after the state by now.
    marker
        .clear()
        .map_err(|e| Error::Fatal(format!("clear the mark of a snapshot: {e}")))?;
    Ok(raft)
}

/// A group of one is led at once. A new group of several is given a first push by one of them; then the timers decide.
pub(crate) async fn lead(
    raft: &RaftHandle,
    options: &Options,
    formed: bool,
    published: &Published,
) -> Result<(), Error> {
    // Asked of the core itself: its published view may still be the one before it read its log.
    let (voters, nodes) = raft
        .with_raft_state(|s| {
            let membership = s.membership_state.effective().membership();
            (membership.voter_ids().collect::<Vec<_>>(), membership.nodes().count())
        })
        .await
        .map_err(|f| from_fatal(&f))?;
    if voters != [options.node_id] {
        if formed && voters.first() == Some(&options.node_id) {
            raft.trigger().elect(true).await.map_err(|f| from_fatal(&f))?;
        }
        return Ok(());
    }
    raft.trigger().elect(false).await.map_err(|f| from_fatal(&f))?;
    if nodes > 1 {
        raft.runtime_config().tick(true);
    }
    let mut leader = published.leader.subscribe();
    let mut failed = published.failed.subscribe();
    tokio::select! {
        biased;
        why = failed.wait_for(|f| f.is_some()) => Err(match why {
            Ok(e) => e.clone().unwrap_or(Error::Shutdown),
            Err(_) => Error::Shutdown,
        }),
        led = leader.wait_for(|s: &LeaderState| s.is_leader) => led.map(|_| ()).map_err(|_| Error::Shutdown),
    }
}
