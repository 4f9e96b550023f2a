//! Log entries: an envelope around the request as it arrived.

use bytes::Bytes;
use keelson_proto::command::{
    Authenticate, ClusterVersion, Command as Envelope, MemberAttributes, MemberRemoved, command::Kind,
};
use keelson_proto::etcdserverpb as pb;
use prost::Message;
use std::sync::Arc;

/// What the log can carry.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    Put(pb::PutRequest),
    DeleteRange(pb::DeleteRangeRequest),
    Txn(pb::TxnRequest),
    Compact(pb::CompactionRequest),
    LeaseGrant(pb::LeaseGrantRequest),
    LeaseRevoke(pb::LeaseRevokeRequest),
    LeaseCheckpoint(pb::LeaseCheckpointRequest),
    Alarm(pb::AlarmRequest),
    MemberAttributes(MemberAttributes),
    ClusterVersion(ClusterVersion),
    /// A downgrade begun, or given up when it is not enabled.
    Downgrade(pb::DowngradeInfo),
    MemberRemoved(MemberRemoved),
    AuthEnable(pb::AuthEnableRequest),
    AuthDisable(pb::AuthDisableRequest),
    AuthAuthenticate(Authenticate),
    AuthUserAdd(pb::AuthUserAddRequest),
    AuthUserDelete(pb::AuthUserDeleteRequest),
    AuthUserChangePassword(pb::AuthUserChangePasswordRequest),
    AuthUserGrantRole(pb::AuthUserGrantRoleRequest),
    AuthUserRevokeRole(pb::AuthUserRevokeRoleRequest),
    AuthRoleAdd(pb::AuthRoleAddRequest),
    AuthRoleDelete(pb::AuthRoleDeleteRequest),
    AuthRoleGrantPermission(pb::AuthRoleGrantPermissionRequest),
    AuthRoleRevokePermission(pb::AuthRoleRevokePermissionRequest),
}

/// Who asks for a command, as the member that got the request has verified it. It is judged when the command is
/// applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A member itself, of its own accord: it may do everything.
    Member,
    /// A client that has shown nothing.
    Nobody,
    /// A client whose token or certificate was good at this revision of the auth store.
    User { name: Arc<str>, auth_revision: u64 },
}

/// The tag of [`Envelope`]'s payload on the wire: field 2, bytes.
const PAYLOAD_TAG: u8 = 2 << 3 | 2;

/// The envelope around a request, written at once: the payload is not encoded apart and copied.
fn wrap(kind: Kind, request: &impl Message, asker: &Asker) -> Bytes {
    let mut head = Envelope {
        kind: kind as i32,
        ..Envelope::default()
    };
    match asker {
        Asker::Member => head.trusted = true,
        Asker::Nobody => {}
        Asker::User { name, auth_revision } => {
            head.user = name.as_ref().to_owned();
            head.auth_revision = *auth_revision;
        }
    }
    let payload_bytes = request.encoded_len();
    let length_bytes = prost::length_delimiter_len(payload_bytes);
    let mut out = Vec::with_capacity(head.encoded_len() + 1 + length_bytes + payload_bytes);
    // A vector grows: encoding into it cannot fail.
    let _ = head.encode(&mut out);
    out.push(PAYLOAD_TAG);
    let _ = request.encode_length_delimited(&mut out);
    out.into()
}

impl Command {
    /// As a member asks for it of its own accord. What a client asks for is encoded by [`Command::encode_for`].
    pub fn encode(&self) -> Bytes {
        self.encode_for(&Asker::Member)
    }

    pub fn encode_for(&self, asker: &Asker) -> Bytes {
        match self {
            Command::Put(r) => wrap(Kind::Put, r, asker),
            Command::DeleteRange(r) => wrap(Kind::DeleteRange, r, asker),
            Command::Txn(r) => wrap(Kind::Txn, r, asker),
            Command::Compact(r) => wrap(Kind::Compact, r, asker),
            Command::LeaseGrant(r) => wrap(Kind::LeaseGrant, r, asker),
            Command::LeaseRevoke(r) => wrap(Kind::LeaseRevoke, r, asker),
            Command::LeaseCheckpoint(r) => wrap(Kind::LeaseCheckpoint, r, asker),
            Command::Alarm(r) => wrap(Kind::Alarm, r, asker),
            Command::MemberAttributes(r) => wrap(Kind::MemberAttributes, r, asker),
            Command::ClusterVersion(r) => wrap(Kind::ClusterVersion, r, asker),
            Command::Downgrade(r) => wrap(Kind::Downgrade, r, asker),
            Command::MemberRemoved(r) => wrap(Kind::MemberRemoved, r, asker),
            Command::AuthEnable(r) => wrap(Kind::AuthEnable, r, asker),
            Command::AuthDisable(r) => wrap(Kind::AuthDisable, r, asker),
            Command::AuthAuthenticate(r) => wrap(Kind::AuthAuthenticate, r, asker),
            Command::AuthUserAdd(r) => wrap(Kind::AuthUserAdd, r, asker),
            Command::AuthUserDelete(r) => wrap(Kind::AuthUserDelete, r, asker),
            Command::AuthUserChangePassword(r) => wrap(Kind::AuthUserChangePassword, r, asker),
            Command::AuthUserGrantRole(r) => wrap(Kind::AuthUserGrantRole, r, asker),
            Command::AuthUserRevokeRole(r) => wrap(Kind::AuthUserRevokeRole, r, asker),
            Command::AuthRoleAdd(r) => wrap(Kind::AuthRoleAdd, r, asker),
            Command::AuthRoleDelete(r) => wrap(Kind::AuthRoleDelete, r, asker),
            Command::AuthRoleGrantPermission(r) => wrap(Kind::AuthRoleGrantPermission, r, asker),
            Command::AuthRoleRevokePermission(r) => wrap(Kind::AuthRoleRevokePermission, r, asker),
        }
    }

    /// Keys and values of the result are slices of `entry`.
    pub fn decode(entry: Bytes) -> Result<Command, prost::DecodeError> {
        Self::decode_with_asker(entry).map(|(command, _)| command)
    }

    /// As [`Command::decode`], and who asked.
    pub fn decode_with_asker(entry: Bytes) -> Result<(Command, Asker), prost::DecodeError> {
        let envelope = Envelope::decode(entry)?;
        let asker = if envelope.trusted {
            Asker::Member
        } else if envelope.user.is_empty() && envelope.auth_revision == 0 {
            Asker::Nobody
        } else {
            Asker::User {
                name: envelope.user.into(),
                auth_revision: envelope.auth_revision,
            }
        };
        let payload = envelope.payload;
        let kind = Kind::try_from(envelope.kind).unwrap_or(Kind::Unknown);
        let command = match kind {
            Kind::Put => Command::Put(Message::decode(payload)?),
            Kind::DeleteRange => Command::DeleteRange(Message::decode(payload)?),
            Kind::Txn => Command::Txn(Message::decode(payload)?),
            Kind::Compact => Command::Compact(Message::decode(payload)?),
            Kind::LeaseGrant => Command::LeaseGrant(Message::decode(payload)?),
            Kind::LeaseRevoke => Command::LeaseRevoke(Message::decode(payload)?),
            Kind::LeaseCheckpoint => Command::LeaseCheckpoint(Message::decode(payload)?),
            Kind::Alarm => Command::Alarm(Message::decode(payload)?),
            Kind::MemberAttributes => Command::MemberAttributes(Message::decode(payload)?),
            Kind::ClusterVersion => Command::ClusterVersion(Message::decode(payload)?),
            Kind::Downgrade => Command::Downgrade(Message::decode(payload)?),
            Kind::MemberRemoved => Command::MemberRemoved(Message::decode(payload)?),
            Kind::AuthEnable => Command::AuthEnable(Message::decode(payload)?),
            Kind::AuthDisable => Command::AuthDisable(Message::decode(payload)?),
            Kind::AuthAuthenticate => Command::AuthAuthenticate(Message::decode(payload)?),
            Kind::AuthUserAdd => Command::AuthUserAdd(Message::decode(payload)?),
            Kind::AuthUserDelete => Command::AuthUserDelete(Message::decode(payload)?),
            Kind::AuthUserChangePassword => Command::AuthUserChangePassword(Message::decode(payload)?),
            Kind::AuthUserGrantRole => Command::AuthUserGrantRole(Message::decode(payload)?),
            Kind::AuthUserRevokeRole => Command::AuthUserRevokeRole(Message::decode(payload)?),
            Kind::AuthRoleAdd => Command::AuthRoleAdd(Message::decode(payload)?),
            Kind::AuthRoleDelete => Command::AuthRoleDelete(Message::decode(payload)?),
            Kind::AuthRoleGrantPermission => Command::AuthRoleGrantPermission(Message::decode(payload)?),
            Kind::AuthRoleRevokePermission => Command::AuthRoleRevokePermission(Message::decode(payload)?),
            #[allow(deprecated)]
            _ => return Err(prost::DecodeError::new("unknown kind of command")),
        };
        Ok((command, asker))
    }
}
