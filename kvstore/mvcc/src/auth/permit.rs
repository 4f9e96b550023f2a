//! Commands judged when they are applied, and requests that only read, by the same rules (as etcd's authApplierV3).

use super::{Access, Auth, AuthError};
use crate::command::{Asker, Command};
use crate::leases::{Lease, Leases};
use keelson_proto::etcdserverpb as pb;
use pb::request_op::Request;

/// Whether the asker may have this done. What is not named here is judged where the request comes in, or by nobody.
pub(crate) fn permit(auth: &Auth, leases: &Leases, asker: &Asker, command: &Command) -> Result<(), AuthError> {
    if !auth.enabled || *asker == Asker::Member {
        return Ok(());
    }
    match command {
        Command::Put(r) => put(auth, leases, asker, r),
        Command::DeleteRange(r) => delete_range(auth, asker, r),
        Command::Txn(r) => txn(auth, leases, asker, r),
        Command::LeaseRevoke(r) => lease_writable(auth, asker, leases.get(r.id)),
        Command::AuthEnable(_)
        | Command::AuthDisable(_)
        | Command::AuthUserAdd(_)
        | Command::AuthUserDelete(_)
        | Command::AuthUserChangePassword(_)
        | Command::AuthUserGrantRole(_)
        | Command::AuthUserRevokeRole(_)
        | Command::AuthRoleAdd(_)
        | Command::AuthRoleDelete(_)
        | Command::AuthRoleGrantPermission(_)
        | Command::AuthRoleRevokePermission(_) => auth.permit_admin(asker),
        _ => Ok(()),
    }
}

fn put(auth: &Auth, leases: &Leases, asker: &Asker, r: &pb::PutRequest) -> Result<(), AuthError> {
    auth.permit_keys(asker, Access::Write, &r.key, b"")?;
    // Who could not revoke the lease must not hang keys on it.
    lease_writable(auth, asker, leases.get(r.lease))?;
    if r.prev_kv {
        auth.permit_keys(asker, Access::Read, &r.key, b"")?;
    }
    Ok(())
}

fn delete_range(auth: &Auth, asker: &Asker, r: &pb::DeleteRangeRequest) -> Result<(), AuthError> {
    auth.permit_keys(asker, Access::Write, &r.key, &r.range_end)?;
    if r.prev_kv {
        auth.permit_keys(asker, Access::Read, &r.key, &r.range_end)?;
    }
    Ok(())
}

/// Both branches count, whichever is taken, or the answer would tell what a compare found. Nesting is bounded by what
/// the decoder lets in.
pub(crate) fn txn(auth: &Auth, leases: &Leases, asker: &Asker, r: &pb::TxnRequest) -> Result<(), AuthError> {
    for compare in &r.compare {
        auth.permit_keys(asker, Access::Read, &compare.key, &compare.range_end)?;
    }
    for op in r.success.iter().chain(&r.failure) {
        match &op.request {
            Some(Request::RequestRange(r)) => auth.permit_keys(asker, Access::Read, &r.key, &r.range_end)?,
            Some(Request::RequestPut(r)) => put(auth, leases, asker, r)?,
            Some(Request::RequestDeleteRange(r)) => delete_range(auth, asker, r)?,
            Some(Request::RequestTxn(r)) => txn(auth, leases, asker, r)?,
            None => {}
        }
    }
    Ok(())
}

fn lease_keys(auth: &Auth, asker: &Asker, access: Access, lease: Option<&Lease>) -> Result<(), AuthError> {
    if auth.permit_admin(asker).is_ok() {
        return Ok(());
    }
    let mut keys = lease.into_iter().flat_map(|lease| lease.keys.iter());
    keys.try_for_each(|key| auth.permit_keys(asker, access, key, b""))
}

/// Whether the asker may change what hangs on the lease. A lease that is not there, or has no keys, is anybody's.
pub(crate) fn lease_writable(auth: &Auth, asker: &Asker, lease: Option<&Lease>) -> Result<(), AuthError> {
    lease_keys(auth, asker, Access::Write, lease)
}

/// Whether the asker may see what hangs on the lease.
pub(crate) fn lease_readable(auth: &Auth, asker: &Asker, lease: Option<&Lease>) -> Result<(), AuthError> {
    lease_keys(auth, asker, Access::Read, lease)
}
