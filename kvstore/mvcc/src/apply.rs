//! The state machine: committed entries in, answers out.

use crate::auth::{self, Authenticated};
use crate::cluster::{self, Attributes};
use crate::command::{Asker, Command};
use crate::compact;
use crate::counts::Commit;
use crate::error::Error;
use crate::keyrange::KeyRange;
use crate::leases::{self, LeaseChange, TTL_MAX_SECONDS, TTL_MIN_SECONDS};
use crate::meta;
use crate::read::ReadError;
use crate::snapshot::Install;
use crate::state_machine::{AppliedState, LogEntry, SnapshotReader, SnapshotWriter, StateMachine, StorageError};
use crate::store::Store;
use crate::txn;
use crate::writer::Writer;
use keelson_proto::command::MemberAttributes;
use keelson_proto::etcdserverpb as pb;
use pb::alarm_request::AlarmAction;
use prost::Message;

/// Entries applied while the state is locked once.
const BATCH_ENTRIES_MAX: usize = 128;
/// Bytes of changes after which a batch is written, entries of the same call notwithstanding.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// The answer to one command. Headers carry the revision; the server adds the rest.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Reply {
    /// The entry carried no command.
    #[default]
    None,
    Put(pb::PutResponse),
    DeleteRange(pb::DeleteRangeResponse),
    Txn(pb::TxnResponse),
    Compact(pb::CompactionResponse),
    LeaseGrant(pb::LeaseGrantResponse),
    LeaseRevoke(pb::LeaseRevokeResponse),
    LeaseCheckpoint(pb::LeaseCheckpointResponse),
    Alarm(pb::AlarmResponse),
    /// Commands that have nothing to say.
    Done,
    /// Users, roles or permissions have changed, or authentication is on or off.
    Auth(pb::ResponseHeader),
    Authenticated(pb::ResponseHeader, Authenticated),
}

pub type Response = Result<Reply, Error>;

fn header(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader {
        revision,
        ..Default::default()
    })
}

impl StateMachine for Store {
    type Response = Response;

    fn applied_state(&self) -> AppliedState {
        self.state.read().applied.clone()
    }

    fn apply(&self, entries: &[LogEntry]) -> Result<Vec<Response>, StorageError> {
        let mut responses = Vec::with_capacity(entries.len());
        while responses.len() < entries.len() {
            let rest = entries.get(responses.len()..).unwrap_or_default();
            self.apply_batch(rest, &mut responses)?;
        }
        Ok(responses)
    }

    fn durable_index(&self) -> Result<u64, StorageError> {
        match self.db.load().meta_persisted(meta::APPLIED)? {
            None => Ok(0),
            Some(value) => meta::decode_applied(&value)
                .map(|applied| applied.index)
                .ok_or_else(|| StorageError("the applied index is damaged".to_owned())),
        }
    }

    fn flush(&self) -> Result<(), StorageError> {
        self.db.load_full().flush()
    }

    fn snapshot(&self) -> Result<Box<dyn SnapshotReader>, StorageError> {
        Ok(Box::new(self.export()?))
    }

    fn begin_install(&self) -> Result<Box<dyn SnapshotWriter>, StorageError> {
        Ok(Box::new(Install::begin(self.this.upgrade().ok_or_else(closing)?)?))
    }
}

fn closing() -> StorageError {
    StorageError("the store is closing".to_owned())
}

impl Store {
    /// Applies as many entries as fit one batch.
    fn apply_batch(&self, entries: &[LogEntry], responses: &mut Vec<Response>) -> Result<(), StorageError> {
        let mut state = self.state.write();
        let (revision_before, compacted_before) = (state.revision, state.compacted);
        let db = self.db.load();
        let mut writer = Writer::new(&db, &mut state)?;
        for entry in entries.iter().take(BATCH_ENTRIES_MAX) {
            if entry.index <= writer.state.applied.index {
                return Err(StorageError(format!(
                    "entry {} comes after {} was applied",
                    entry.index, writer.state.applied.index
                )));
            }
            responses.push(apply_entry(&mut writer, entry)?);
            if writer.bytes() >= BATCH_BYTES_MAX {
                break;
            }
        }
        let auth_changes = std::mem::take(&mut writer.auth_changes);
        let (mut batch, state_ref, events, lease_changes) = writer.into_parts();
        batch.set_meta(meta::APPLIED, &meta::encode_applied(&state_ref.applied));
        if state_ref.revision != revision_before {
            let stored = if seeded!(RevisionRewindsAfterCrash) {
                revision_before
            } else {
                state_ref.revision
            };
            batch.set_meta(meta::REVISION, &stored.to_le_bytes());
        }
        if state_ref.compacted != compacted_before {
            batch.set_meta(meta::COMPACTED, &state_ref.compacted.to_le_bytes());
        }
        let timed = self.commit_observer.get();
        if let Some(observer) = timed {
            observer(Commit::Begins);
        }
        db.write(batch)?;
        if let Some(observer) = timed {
            observer(Commit::Ends);
        }
        self.counters.count_applied(&events);
        self.expose(&state);
        // Still under the lock: whoever sees the revision finds its events.
        self.ring.publish(events.into_iter());
        if let Some(observer) = self.lease_observer.get() {
            lease_changes.into_iter().for_each(observer);
        }
        if let Some(observer) = self.auth_observer.get() {
            auth_changes.into_iter().for_each(observer);
        }
        Ok(())
    }
}

fn apply_entry(writer: &mut Writer<'_>, entry: &LogEntry) -> Result<Response, StorageError> {
    let applied = &mut writer.state.applied;
    (applied.index, applied.term, applied.leader) = (entry.index, entry.term, entry.leader);
    if let Some(membership) = &entry.membership {
        applied.membership = membership.clone();
    }
    if entry.command.is_empty() {
        return Ok(Ok(Reply::None));
    }
    let Ok((command, asker)) = Command::decode_with_asker(entry.command.clone()) else {
        return Ok(Err(Error::Malformed));
    };
    let outcome = match execute(writer, command, &asker) {
        Ok(reply) => Ok(reply),
        Err(ReadError::Refused(error)) => Err(error),
        Err(ReadError::Storage(error)) => return Err(error),
    };
    writer.finish_command();
    Ok(outcome)
}

fn execute(writer: &mut Writer<'_>, command: Command, asker: &Asker) -> Result<Reply, ReadError> {
    check_alarms(writer, &command)?;
    auth::permit(&writer.state.auth, &writer.state.leases, asker, &command).map_err(Error::from)?;
    if let Some(reply) = change_auth(writer, &command)? {
        return Ok(reply);
    }
    Ok(match command {
        Command::Put(r) => {
            txn::check_put(&writer.view(), &r)?;
            Reply::Put(txn::put(writer, &r)?)
        }
        Command::DeleteRange(r) => Reply::DeleteRange(txn::delete_range(writer, &r)?),
        Command::Txn(r) => Reply::Txn(txn::run(writer, &r)?),
        Command::Compact(r) => Reply::Compact(compact(writer, &r)?),
        Command::LeaseGrant(r) => Reply::LeaseGrant(lease_grant(writer, &r)?),
        Command::LeaseRevoke(r) => Reply::LeaseRevoke(lease_revoke(writer, &r)?),
        Command::LeaseCheckpoint(r) => Reply::LeaseCheckpoint(lease_checkpoint(writer, &r)),
        Command::Alarm(r) => Reply::Alarm(alarm(writer, &r)),
        Command::MemberAttributes(r) => member_attributes(writer, r),
        Command::MemberRemoved(r) => member_removed(writer, r.member_id),
        Command::ClusterVersion(r) => cluster_version(writer, r.version),
        Command::Downgrade(r) => downgrade(writer, &r),
        // What else there is was taken above.
        _ => return Err(Error::Malformed.into()),
    })
}

/// Executes a command of the auth store; `None`: it is another one.
fn change_auth(writer: &mut Writer<'_>, command: &Command) -> Result<Option<Reply>, Error> {
    let index = writer.state.applied.index;
    let Some(done) = auth::execute(&mut writer.state.auth, command, index) else {
        return Ok(None);
    };
    let done = done?;
    for (key, value) in done.rows {
        match value {
            Some(value) => writer.batch.set_meta(&key, &value),
            None => writer.batch.remove_meta(&key),
        }
    }
    writer.auth_changes.extend(done.change);
    let header = pb::ResponseHeader {
        revision: writer.state.revision,
        ..Default::default()
    };
    Ok(Some(match done.authenticated {
        Some(authenticated) => Reply::Authenticated(header, authenticated),
        None => Reply::Auth(header),
    }))
}

/// While an alarm is raised, writes that take space are refused; deletions, compaction and revocation are not.
fn check_alarms(writer: &Writer<'_>, command: &Command) -> Result<(), Error> {
    let corrupt = writer.state.alarm(pb::AlarmType::Corrupt);
    let full = writer.state.alarm(pb::AlarmType::Nospace);
    if !corrupt && !full {
        return Ok(());
    }
    let takes_space = match command {
        Command::Put(_) | Command::LeaseGrant(_) => true,
        Command::Txn(r) => txn::has_put(r),
        _ => false,
    };
    let writes = takes_space
        || matches!(
            command,
            Command::DeleteRange(_) | Command::Txn(_) | Command::Compact(_) | Command::LeaseRevoke(_)
        );
    if corrupt && writes {
        return Err(Error::Corrupt);
    }
    if full && takes_space {
        Err(Error::NoSpace)
    } else {
        Ok(())
    }
}

fn compact(writer: &mut Writer<'_>, request: &pb::CompactionRequest) -> Result<pb::CompactionResponse, Error> {
    if request.revision <= writer.state.compacted {
        return Err(Error::Compacted);
    }
    if request.revision > writer.state.revision {
        return Err(Error::FutureRevision);
    }
    let before = std::mem::replace(&mut writer.state.compacted, request.revision);
    compact::due(&mut writer.state.compactions, before, request.revision);
    Ok(pb::CompactionResponse {
        header: header(writer.state.revision),
    })
}

fn lease_grant(writer: &mut Writer<'_>, request: &pb::LeaseGrantRequest) -> Result<pb::LeaseGrantResponse, Error> {
    // The server has chosen an id where the client had not.
    if request.id == 0 {
        return Err(Error::LeaseNotFound);
    }
    if request.ttl > TTL_MAX_SECONDS {
        return Err(Error::LeaseTtlTooLarge);
    }
    if writer.state.leases.get(request.id).is_some() {
        return Err(Error::LeaseExists);
    }
    let ttl = request.ttl.max(TTL_MIN_SECONDS);
    let row = writer.state.leases.insert(request.id, ttl).encode();
    writer.batch.set_meta(&leases::meta_key(request.id), &row);
    writer.lease_changes.push(LeaseChange::Granted {
        id: request.id,
        ttl_seconds: ttl,
    });
    Ok(pb::LeaseGrantResponse {
        header: header(writer.state.revision),
        id: request.id,
        ttl,
        error: String::new(),
    })
}

/// Deletes the attached keys in sorted order, at one revision; without keys there is no new revision.
fn lease_revoke(writer: &mut Writer<'_>, request: &pb::LeaseRevokeRequest) -> Result<pb::LeaseRevokeResponse, Error> {
    let lease = writer.state.leases.get(request.id).ok_or(Error::LeaseNotFound)?;
    let keys: Vec<_> = lease.keys.iter().cloned().collect();
    for key in keys {
        writer.delete_range(&KeyRange::single(key));
    }
    writer.state.leases.remove(request.id);
    writer.batch.remove_meta(&leases::meta_key(request.id));
    writer.lease_changes.push(LeaseChange::Revoked { id: request.id });
    Ok(pb::LeaseRevokeResponse {
        header: header(writer.revision()),
    })
}

fn lease_checkpoint(writer: &mut Writer<'_>, request: &pb::LeaseCheckpointRequest) -> pb::LeaseCheckpointResponse {
    for checkpoint in &request.checkpoints {
        if let Some(lease) = writer.state.leases.get_mut(checkpoint.id) {
            lease.remaining_ttl = checkpoint.remaining_ttl;
            let row = lease.encode();
            writer.batch.set_meta(&leases::meta_key(checkpoint.id), &row);
        }
    }
    pb::LeaseCheckpointResponse {
        header: header(writer.state.revision),
    }
}

fn alarm(writer: &mut Writer<'_>, request: &pb::AlarmRequest) -> pb::AlarmResponse {
    let asked = (request.member_id, request.alarm);
    let mut alarms = Vec::new();
    match AlarmAction::try_from(request.action) {
        Ok(AlarmAction::Activate) if request.alarm != pb::AlarmType::None as i32 => {
            writer.state.alarms.insert(asked);
            writer.batch.set_meta(&meta::alarm_key(asked.0, asked.1), &[]);
            alarms.push(asked);
        }
        Ok(AlarmAction::Deactivate) if writer.state.alarms.remove(&asked) => {
            writer.batch.remove_meta(&meta::alarm_key(asked.0, asked.1));
            alarms.push(asked);
        }
        _ => {}
    }
    let alarms = alarms
        .into_iter()
        .map(|(member_id, alarm)| pb::AlarmMember { member_id, alarm })
        .collect();
    pb::AlarmResponse {
        header: header(writer.state.revision),
        alarms,
    }
}

/// What a removed member says of itself comes too late.
fn member_attributes(writer: &mut Writer<'_>, said: MemberAttributes) -> Reply {
    let cluster = &mut writer.state.cluster;
    if !cluster.removed.contains(&said.member_id) {
        writer
            .batch
            .set_meta(&cluster::member_key(said.member_id), &said.encode_to_vec());
        let attributes = Attributes {
            name: said.name,
            client_urls: said.client_urls,
        };
        cluster.attributes.insert(said.member_id, attributes);
    }
    Reply::Done
}

fn member_removed(writer: &mut Writer<'_>, id: u64) -> Reply {
    let cluster = &mut writer.state.cluster;
    cluster.removed.insert(id);
    writer.batch.set_meta(&cluster::removed_key(id), &[]);
    if cluster.attributes.remove(&id).is_some() {
        writer.batch.remove_meta(&cluster::member_key(id));
    }
    Reply::Done
}

fn cluster_version(writer: &mut Writer<'_>, version: String) -> Reply {
    writer.batch.set_meta(cluster::VERSION, version.as_bytes());
    writer.state.cluster.version = version;
    Reply::Done
}

fn downgrade(writer: &mut Writer<'_>, request: &pb::DowngradeInfo) -> Reply {
    let target = request.enabled.then(|| request.target_version.clone());
    match &target {
        Some(target) => writer.batch.set_meta(cluster::DOWNGRADE, target.as_bytes()),
        None => writer.batch.remove_meta(cluster::DOWNGRADE),
    }
    writer.state.cluster.downgrade = target;
    Reply::Done
}
