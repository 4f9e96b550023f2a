//! What plain HTTP and metrics tell of this member, read where it is known.

use crate::core::Core;

/// Whether this member has no vote.
pub fn is_learner(core: &Core) -> bool {
    core.log.is_learner()
}

pub fn member_ids(core: &Core) -> Vec<u64> {
    core.log.members().members.into_keys().collect()
}

/// The cluster's version and the storage's, which follows it, as `/version` tells them.
pub fn versions(core: &Core) -> (String, String) {
    match core.cluster.version() {
        Some(version) => (version.clone(), version),
        None => ("not_decided".to_owned(), "unknown".to_owned()),
    }
}

/// Whether a client that sends no token is who its certificate names: not so through the gateway, which says so.
pub fn certificates_are_users(core: &Core) -> bool {
    core.certificates_are_users && core.store.auth_enabled()
}
