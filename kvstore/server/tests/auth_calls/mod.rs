//! Calls with and without identity, and what a client sees of the answers.
#![allow(dead_code)]

pub mod script;

use crate::beside::{Answer, body, plain};
use bytes::Bytes;
use keelson_proto::authpb::{self, permission::Type};
use keelson_proto::etcdserverpb as pb;
use pb::auth_client::AuthClient;
use pb::cluster_client::ClusterClient;
use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use pb::maintenance_client::MaintenanceClient;
use pb::request_op::Request as Op;
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;
use std::collections::HashMap;
use tokio_stream::StreamExt;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

#[derive(Clone, Debug)]
pub enum Call {
    Range(pb::RangeRequest),
    RangeStream(pb::RangeRequest),
    Put(pb::PutRequest),
    Delete(pb::DeleteRangeRequest),
    Txn(pb::TxnRequest),
    Compact(i64),
    Watch(pb::WatchCreateRequest),
    Grant(i64),
    Revoke(i64),
    KeepAlive(i64),
    TimeToLive(i64, bool),
    Leases,
    MemberList,
    MemberAdd,
    MemberRemove,
    MemberUpdate,
    MemberPromote,
    AlarmGet,
    AlarmRaise,
    Status,
    Defragment,
    Hash,
    HashKv,
    Snapshot,
    MoveLeader,
    Downgrade,
    Enable,
    Disable,
    AuthStatus,
    Login(String, String),
    UserAdd(pb::AuthUserAddRequest),
    UserGet(String),
    UserList,
    UserDelete(String),
    ChangePassword(pb::AuthUserChangePasswordRequest),
    GrantRole(String, String),
    RevokeRole(String, String),
    RoleAdd(String),
    RoleGet(String),
    RoleList,
    RoleDelete(String),
    Grants(String, Option<authpb::Permission>),
    Revokes(String, Bytes, Bytes),
}

/// One server, and the tokens that it has given.
pub struct Side {
    channel: Channel,
    tokens: HashMap<String, String>,
}

/// A token that no server gave; `.0` so that nobody waits for a log index to come.
pub const BAD_TOKEN: &str = "qwertyuiopasdfgh.0";

fn leave_out<T>(answer: Result<T, Status>) -> Answer {
    plain(answer.map(|_| ()))
}

impl Side {
    pub fn new(channel: Channel) -> Self {
        Side {
            channel,
            tokens: HashMap::new(),
        }
    }

    pub fn token(&self, who: &str) -> Option<&str> {
        self.tokens.get(who).map(String::as_str)
    }

    /// From now on this is somebody's token.
    pub fn take(&mut self, who: &str, token: String) {
        self.tokens.insert(who.to_owned(), token);
    }

    /// The request of somebody: nobody with an empty name, a bad token for `?`, else whoever has logged in last
    /// under that name.
    fn of<T>(&self, who: &str, body: T) -> Request<T> {
        let mut request = Request::new(body);
        let token = match who {
            "" => return request,
            "?" => BAD_TOKEN,
            _ => self.tokens.get(who).map_or(BAD_TOKEN, String::as_str),
        };
        request.metadata_mut().insert("token", token.parse().unwrap());
        request
    }

    async fn watch(&self, who: &str, create: pb::WatchCreateRequest) -> Answer {
        let request = pb::WatchRequest {
            request_union: Some(RequestUnion::CreateRequest(create)),
        };
        let requests = tokio_stream::iter([request]).chain(tokio_stream::pending());
        let mut client = WatchClient::new(self.channel.clone());
        let mut answers = body(client.watch(self.of(who, requests)).await).unwrap();
        let first = answers.next().await.unwrap();
        plain(first.map(|mut answer| {
            answer.header = None;
            answer
        }))
    }

    async fn keep_alive(&self, who: &str, id: i64) -> Answer {
        let requests = tokio_stream::iter([pb::LeaseKeepAliveRequest { id }]);
        let mut client = LeaseClient::new(self.channel.clone());
        let mut answers = match client.lease_keep_alive(self.of(who, requests)).await {
            Ok(answers) => answers.into_inner(),
            Err(status) => return plain::<()>(Err(status)),
        };
        plain(answers.next().await.unwrap())
    }

    async fn range_stream(&self, who: &str, r: pb::RangeRequest) -> Answer {
        let mut kv = KvClient::new(self.channel.clone());
        let chunks: Result<Vec<_>, Status> = match kv.range_stream(self.of(who, r)).await {
            Ok(stream) => stream.into_inner().collect().await,
            Err(status) => Err(status),
        };
        plain(chunks.map(|chunks| chunks.into_iter().filter_map(|c| c.range_response).collect::<Vec<_>>()))
    }

    async fn login(&mut self, who: &str, name: String, password: String) -> Answer {
        let request = self.of(
            who,
            pb::AuthenticateRequest {
                name: name.clone(),
                password,
            },
        );
        let answer = body(AuthClient::new(self.channel.clone()).authenticate(request).await);
        plain(answer.map(|mut answer| {
            self.tokens.insert(name, std::mem::take(&mut answer.token));
            answer
        }))
    }

    pub async fn call(&mut self, who: &str, call: Call) -> Answer {
        let channel = || self.channel.clone();
        let (mut kv, mut lease) = (KvClient::new(channel()), LeaseClient::new(channel()));
        let (mut cluster, mut maintenance) = (ClusterClient::new(channel()), MaintenanceClient::new(channel()));
        let mut auth = AuthClient::new(channel());
        let urls = || vec!["http://127.0.0.1:9".to_owned()];
        match call {
            Call::Range(r) => plain(body(kv.range(self.of(who, r)).await)),
            Call::RangeStream(r) => self.range_stream(who, r).await,
            Call::Put(r) => plain(body(kv.put(self.of(who, r)).await)),
            Call::Delete(r) => plain(body(kv.delete_range(self.of(who, r)).await)),
            Call::Txn(r) => plain(body(kv.txn(self.of(who, r)).await)),
            Call::Compact(revision) => {
                let r = pb::CompactionRequest {
                    revision,
                    physical: false,
                };
                plain(body(kv.compact(self.of(who, r)).await))
            }
            Call::Watch(r) => self.watch(who, r).await,
            Call::Grant(id) => {
                let r = pb::LeaseGrantRequest { id, ttl: 1000 };
                plain(body(lease.lease_grant(self.of(who, r)).await))
            }
            Call::Revoke(id) => {
                let r = pb::LeaseRevokeRequest { id };
                plain(body(lease.lease_revoke(self.of(who, r)).await))
            }
            Call::KeepAlive(id) => self.keep_alive(who, id).await,
            Call::TimeToLive(id, keys) => {
                let r = pb::LeaseTimeToLiveRequest { id, keys };
                plain(body(lease.lease_time_to_live(self.of(who, r)).await).map(|mut r| {
                    // A second may pass between the two.
                    r.ttl = r.ttl.clamp(-1, 1);
                    r.keys.sort();
                    r
                }))
            }
            Call::Leases => {
                let r = pb::LeaseLeasesRequest {};
                plain(body(lease.lease_leases(self.of(who, r)).await).map(|mut r| {
                    r.leases.sort_by_key(|l| l.id);
                    r
                }))
            }
            Call::MemberList => {
                let r = pb::MemberListRequest { linearizable: true };
                leave_out(cluster.member_list(self.of(who, r)).await)
            }
            Call::MemberAdd => {
                let r = pb::MemberAddRequest {
                    peer_ur_ls: urls(),
                    is_learner: true,
                };
                leave_out(cluster.member_add(self.of(who, r)).await)
            }
            Call::MemberRemove => leave_out(
                cluster
                    .member_remove(self.of(who, pb::MemberRemoveRequest { id: 7 }))
                    .await,
            ),
            Call::MemberUpdate => {
                let r = pb::MemberUpdateRequest {
                    id: 7,
                    peer_ur_ls: urls(),
                };
                leave_out(cluster.member_update(self.of(who, r)).await)
            }
            Call::MemberPromote => leave_out(
                cluster
                    .member_promote(self.of(who, pb::MemberPromoteRequest { id: 7 }))
                    .await,
            ),
            Call::AlarmGet => plain(body(maintenance.alarm(self.of(who, pb::AlarmRequest::default())).await)),
            Call::AlarmRaise => {
                let r = pb::AlarmRequest {
                    action: 1,
                    member_id: 1,
                    alarm: 0,
                };
                leave_out(maintenance.alarm(self.of(who, r)).await)
            }
            Call::Status => leave_out(maintenance.status(self.of(who, pb::StatusRequest {})).await),
            Call::Defragment => leave_out(maintenance.defragment(self.of(who, pb::DefragmentRequest {})).await),
            Call::Hash => leave_out(maintenance.hash(self.of(who, pb::HashRequest {})).await),
            Call::HashKv => leave_out(
                maintenance
                    .hash_kv(self.of(who, pb::HashKvRequest { revision: 0 }))
                    .await,
            ),
            Call::Snapshot => match maintenance.snapshot(self.of(who, pb::SnapshotRequest {})).await {
                Ok(stream) => leave_out(stream.into_inner().next().await.unwrap()),
                Err(status) => plain::<()>(Err(status)),
            },
            Call::MoveLeader => {
                let r = pb::MoveLeaderRequest { target_id: 7 };
                leave_out(maintenance.move_leader(self.of(who, r)).await)
            }
            Call::Downgrade => {
                let r = pb::DowngradeRequest {
                    action: 0,
                    version: "3.6".to_owned(),
                };
                leave_out(maintenance.downgrade(self.of(who, r)).await)
            }
            Call::Enable => plain(body(auth.auth_enable(self.of(who, pb::AuthEnableRequest {})).await)),
            Call::Disable => plain(body(auth.auth_disable(self.of(who, pb::AuthDisableRequest {})).await)),
            Call::AuthStatus => plain(body(auth.auth_status(self.of(who, pb::AuthStatusRequest {})).await)),
            Call::Login(name, password) => self.login(who, name, password).await,
            Call::UserAdd(r) => plain(body(auth.user_add(self.of(who, r)).await)),
            Call::UserGet(name) => plain(body(auth.user_get(self.of(who, pb::AuthUserGetRequest { name })).await)),
            Call::UserList => plain(body(auth.user_list(self.of(who, pb::AuthUserListRequest {})).await)),
            Call::UserDelete(name) => plain(body(
                auth.user_delete(self.of(who, pb::AuthUserDeleteRequest { name })).await,
            )),
            Call::ChangePassword(r) => plain(body(auth.user_change_password(self.of(who, r)).await)),
            Call::GrantRole(user, role) => {
                let r = pb::AuthUserGrantRoleRequest { user, role };
                plain(body(auth.user_grant_role(self.of(who, r)).await))
            }
            Call::RevokeRole(name, role) => {
                let r = pb::AuthUserRevokeRoleRequest { name, role };
                plain(body(auth.user_revoke_role(self.of(who, r)).await))
            }
            Call::RoleAdd(name) => plain(body(auth.role_add(self.of(who, pb::AuthRoleAddRequest { name })).await)),
            Call::RoleGet(role) => plain(body(auth.role_get(self.of(who, pb::AuthRoleGetRequest { role })).await)),
            Call::RoleList => plain(body(auth.role_list(self.of(who, pb::AuthRoleListRequest {})).await)),
            Call::RoleDelete(role) => plain(body(
                auth.role_delete(self.of(who, pb::AuthRoleDeleteRequest { role })).await,
            )),
            Call::Grants(name, perm) => {
                let r = pb::AuthRoleGrantPermissionRequest { name, perm };
                plain(body(auth.role_grant_permission(self.of(who, r)).await))
            }
            Call::Revokes(role, key, range_end) => {
                let r = pb::AuthRoleRevokePermissionRequest { role, key, range_end };
                plain(body(auth.role_revoke_permission(self.of(who, r)).await))
            }
        }
    }
}

pub fn range(key: &str, end: &str) -> pb::RangeRequest {
    pb::RangeRequest {
        key: key.to_owned().into(),
        range_end: end.to_owned().into(),
        ..Default::default()
    }
}

pub fn put(key: &str) -> pb::PutRequest {
    pb::PutRequest {
        key: key.to_owned().into(),
        value: "v".into(),
        ..Default::default()
    }
}

pub fn delete(key: &str, end: &str, prev_kv: bool) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest {
        key: key.to_owned().into(),
        range_end: end.to_owned().into(),
        prev_kv,
    }
}

pub fn compare(key: &str, end: &str) -> pb::Compare {
    pb::Compare {
        key: key.to_owned().into(),
        range_end: end.to_owned().into(),
        ..Default::default()
    }
}

pub fn txn(compares: Vec<pb::Compare>, success: Vec<Op>, failure: Vec<Op>) -> pb::TxnRequest {
    let ops = |ops: Vec<Op>| ops.into_iter().map(|op| pb::RequestOp { request: Some(op) }).collect();
    pb::TxnRequest {
        compare: compares,
        success: ops(success),
        failure: ops(failure),
    }
}

pub fn watch(key: &str, end: &str) -> Call {
    Call::Watch(pb::WatchCreateRequest {
        key: key.to_owned().into(),
        range_end: end.to_owned().into(),
        ..Default::default()
    })
}

pub fn user(name: &str, password: &str) -> Call {
    Call::UserAdd(pb::AuthUserAddRequest {
        name: name.to_owned(),
        password: password.to_owned(),
        ..Default::default()
    })
}

pub fn user_without_password(name: &str, password: &str) -> Call {
    Call::UserAdd(pb::AuthUserAddRequest {
        name: name.to_owned(),
        password: password.to_owned(),
        options: Some(authpb::UserAddOptions { no_password: true }),
        ..Default::default()
    })
}

pub fn change_password(name: &str, password: &str, hashed: &str) -> Call {
    Call::ChangePassword(pb::AuthUserChangePasswordRequest {
        name: name.to_owned(),
        password: password.to_owned(),
        hashed_password: hashed.to_owned(),
    })
}

pub fn login(name: &str, password: &str) -> Call {
    Call::Login(name.to_owned(), password.to_owned())
}

pub fn grant_role(user: &str, role: &str) -> Call {
    Call::GrantRole(user.to_owned(), role.to_owned())
}

pub fn revoke_role(user: &str, role: &str) -> Call {
    Call::RevokeRole(user.to_owned(), role.to_owned())
}

pub fn grants(role: &str, kind: Type, key: &str, end: &str) -> Call {
    let perm = authpb::Permission {
        perm_type: kind as i32,
        key: key.to_owned().into(),
        range_end: end.to_owned().into(),
    };
    Call::Grants(role.to_owned(), Some(perm))
}

pub fn revokes(role: &str, key: &str, end: &str) -> Call {
    Call::Revokes(role.to_owned(), key.to_owned().into(), end.to_owned().into())
}

/// One word for an answer: what a table of them shows.
pub fn outcome(answer: &Answer) -> String {
    match answer {
        Ok(text) if text.contains("permission denied") => "denied in the answer".to_owned(),
        Ok(text) if text.contains("code = ") => "refused in the answer".to_owned(),
        Ok(_) => "ok".to_owned(),
        Err((Code::PermissionDenied, _)) => "denied".to_owned(),
        Err((code, message)) => {
            let words = message.strip_prefix("etcdserver: ").unwrap_or(message);
            format!("{code:?}: {words}")
        }
    }
}
