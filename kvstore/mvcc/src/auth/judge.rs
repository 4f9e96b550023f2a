//! Requests that never reach the log, judged by the state as it stands.

use super::permit::{lease_readable, lease_writable, permit, txn};
use super::{Access, Auth, AuthError};
use crate::command::{Asker, Command};
use crate::store::Store;
use keelson_proto::etcdserverpb as pb;

impl Store {
    /// Looks at the auth store while nothing is applied.
    pub fn with_auth<T>(&self, look: impl FnOnce(&Auth) -> T) -> T {
        look(&self.state.read().auth)
    }

    /// Whether the asker may run a transaction: all of its guards and both of its branches.
    pub fn permit_txn(&self, asker: &Asker, request: &pb::TxnRequest) -> Result<(), AuthError> {
        let state = self.state.read();
        if !state.auth.is_enabled() {
            return Ok(());
        }
        txn(&state.auth, &state.leases, asker, request)
    }

    /// Whether a command would be allowed if it were applied now.
    pub fn permit_command(&self, asker: &Asker, command: &Command) -> Result<(), AuthError> {
        let state = self.state.read();
        permit(&state.auth, &state.leases, asker, command)
    }

    /// Whether the asker may touch every key on a lease. One that is not there, or has no keys, is anybody's.
    pub fn permit_lease(&self, asker: &Asker, access: Access, id: i64) -> Result<(), AuthError> {
        let state = self.state.read();
        match access {
            Access::Read => lease_readable(&state.auth, asker, state.leases.get(id)),
            Access::Write => lease_writable(&state.auth, asker, state.leases.get(id)),
        }
    }

    /// Whether the asker may see the keys on all leases.
    pub fn permit_all_leases(&self, asker: &Asker) -> Result<(), AuthError> {
        let state = self.state.read();
        let mut leases = state.leases.iter();
        leases.try_for_each(|(_, lease)| lease_readable(&state.auth, asker, Some(lease)))
    }
}
