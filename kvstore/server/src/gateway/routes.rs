//! Which path stands for which call: the HTTP routes that etcd documents for its API.

use keelson_proto::ETCD_DESCRIPTORS;
use prost_reflect::{DescriptorPool, MethodDescriptor};
use std::collections::HashMap;
use std::sync::OnceLock;

/// Below `/v3`: path, service, method. RangeStream has no route in etcd either.
const ROUTES: &[(&str, &str, &str)] = &[
    ("/kv/range", "etcdserverpb.KV", "Range"),
    ("/kv/put", "etcdserverpb.KV", "Put"),
    ("/kv/deleterange", "etcdserverpb.KV", "DeleteRange"),
    ("/kv/txn", "etcdserverpb.KV", "Txn"),
    ("/kv/compaction", "etcdserverpb.KV", "Compact"),
    ("/watch", "etcdserverpb.Watch", "Watch"),
    ("/lease/grant", "etcdserverpb.Lease", "LeaseGrant"),
    ("/lease/revoke", "etcdserverpb.Lease", "LeaseRevoke"),
    ("/kv/lease/revoke", "etcdserverpb.Lease", "LeaseRevoke"),
    ("/lease/keepalive", "etcdserverpb.Lease", "LeaseKeepAlive"),
    ("/lease/timetolive", "etcdserverpb.Lease", "LeaseTimeToLive"),
    ("/kv/lease/timetolive", "etcdserverpb.Lease", "LeaseTimeToLive"),
    ("/lease/leases", "etcdserverpb.Lease", "LeaseLeases"),
    ("/kv/lease/leases", "etcdserverpb.Lease", "LeaseLeases"),
    ("/cluster/member/add", "etcdserverpb.Cluster", "MemberAdd"),
    ("/cluster/member/remove", "etcdserverpb.Cluster", "MemberRemove"),
    ("/cluster/member/update", "etcdserverpb.Cluster", "MemberUpdate"),
    ("/cluster/member/list", "etcdserverpb.Cluster", "MemberList"),
    ("/cluster/member/promote", "etcdserverpb.Cluster", "MemberPromote"),
    ("/maintenance/alarm", "etcdserverpb.Maintenance", "Alarm"),
    ("/maintenance/status", "etcdserverpb.Maintenance", "Status"),
    ("/maintenance/defragment", "etcdserverpb.Maintenance", "Defragment"),
    ("/maintenance/hash", "etcdserverpb.Maintenance", "Hash"),
    ("/maintenance/hashkv", "etcdserverpb.Maintenance", "HashKV"),
    ("/maintenance/snapshot", "etcdserverpb.Maintenance", "Snapshot"),
    (
        "/maintenance/transfer-leadership",
        "etcdserverpb.Maintenance",
        "MoveLeader",
    ),
    ("/maintenance/downgrade", "etcdserverpb.Maintenance", "Downgrade"),
    ("/auth/enable", "etcdserverpb.Auth", "AuthEnable"),
    ("/auth/disable", "etcdserverpb.Auth", "AuthDisable"),
    ("/auth/status", "etcdserverpb.Auth", "AuthStatus"),
    ("/auth/authenticate", "etcdserverpb.Auth", "Authenticate"),
    ("/auth/user/add", "etcdserverpb.Auth", "UserAdd"),
    ("/auth/user/get", "etcdserverpb.Auth", "UserGet"),
    ("/auth/user/list", "etcdserverpb.Auth", "UserList"),
    ("/auth/user/delete", "etcdserverpb.Auth", "UserDelete"),
    ("/auth/user/changepw", "etcdserverpb.Auth", "UserChangePassword"),
    ("/auth/user/grant", "etcdserverpb.Auth", "UserGrantRole"),
    ("/auth/user/revoke", "etcdserverpb.Auth", "UserRevokeRole"),
    ("/auth/role/add", "etcdserverpb.Auth", "RoleAdd"),
    ("/auth/role/get", "etcdserverpb.Auth", "RoleGet"),
    ("/auth/role/list", "etcdserverpb.Auth", "RoleList"),
    ("/auth/role/delete", "etcdserverpb.Auth", "RoleDelete"),
    ("/auth/role/grant", "etcdserverpb.Auth", "RoleGrantPermission"),
    ("/auth/role/revoke", "etcdserverpb.Auth", "RoleRevokePermission"),
    ("/lock/lock", "v3lockpb.Lock", "Lock"),
    ("/lock/unlock", "v3lockpb.Lock", "Unlock"),
    ("/election/campaign", "v3electionpb.Election", "Campaign"),
    ("/election/proclaim", "v3electionpb.Election", "Proclaim"),
    ("/election/leader", "v3electionpb.Election", "Leader"),
    ("/election/observe", "v3electionpb.Election", "Observe"),
    ("/election/resign", "v3electionpb.Election", "Resign"),
];

/// The calls, described. That takes megabytes, which nobody pays who never asks: they are made with the first request.
#[derive(Default)]
pub struct Routes(OnceLock<Result<HashMap<&'static str, MethodDescriptor>, String>>);

fn describe() -> Result<HashMap<&'static str, MethodDescriptor>, String> {
    let pool = DescriptorPool::decode(ETCD_DESCRIPTORS).map_err(|e| format!("decode the API's descriptors: {e}"))?;
    let mut found = HashMap::with_capacity(ROUTES.len());
    for (path, service, method) in ROUTES {
        let descriptor = pool
            .get_service_by_name(service)
            .and_then(|s| s.methods().find(|m| m.name() == *method))
            .ok_or_else(|| format!("the API has no {service}/{method}"))?;
        found.insert(*path, descriptor);
    }
    Ok(found)
}

impl Routes {
    /// The call of a path below `/v3` or `/v3beta`. Fails where the table names what the API does not have.
    pub fn find(&self, path: &str) -> Result<Option<&MethodDescriptor>, &str> {
        let Some(below) = path.strip_prefix("/v3beta").or_else(|| path.strip_prefix("/v3")) else {
            return Ok(None);
        };
        if !ROUTES.iter().any(|(path, ..)| *path == below) {
            return Ok(None);
        }
        match self.0.get_or_init(describe) {
            Ok(calls) => Ok(calls.get(below)),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_route_names_a_call_of_the_api() {
        let routes = Routes::default();
        assert!(routes.find("/v3/kv/range/").unwrap().is_none());
        assert!(routes.find("/v2/keys").unwrap().is_none());
        assert!(routes.0.get().is_none(), "made when they are needed");
        let range = routes.find("/v3/kv/range").unwrap().unwrap();
        assert_eq!(range.full_name(), "etcdserverpb.KV.Range");
        assert!(routes.find("/v3beta/watch").unwrap().unwrap().is_client_streaming());
    }
}
