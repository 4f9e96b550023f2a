//! The auth store as the log drives it: what is refused, what is kept, and who may do what.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use keelson_mvcc::{
    Access, Asker, AuthChange, AuthError, Command, Error, LogEntry, Options, Reply, Response, StateMachine, Store,
};
use keelson_proto::authpb::{self, permission::Type};
use keelson_proto::command::Authenticate;
use keelson_proto::etcdserverpb as pb;
use std::sync::{Arc, Mutex};

struct Fixture {
    // Closed before its folder goes.
    store: Arc<Store>,
    dir: tempfile::TempDir,
    changes: Arc<Mutex<Vec<AuthChange>>>,
}

fn open(dir: &tempfile::TempDir) -> Arc<Store> {
    Store::open(&Options {
        path: dir.path().to_owned(),
        cache_bytes: 1 << 20,
    })
    .unwrap()
}

impl Fixture {
    fn new() -> Self {
        let dir = common::tempdir();
        let store = open(&dir);
        let changes: Arc<Mutex<Vec<AuthChange>>> = Arc::default();
        let seen = changes.clone();
        store.on_auth_change(move |change| seen.lock().unwrap().push(change));
        Fixture { store, dir, changes }
    }

    fn apply_as(&self, asker: &Asker, command: Command) -> Response {
        let index = self.store.applied_state().index + 1;
        let entry = LogEntry {
            index,
            term: 1,
            leader: 1,
            command: command.encode_for(asker),
            membership: None,
        };
        self.store.apply(&[entry]).unwrap().remove(0)
    }

    fn apply(&self, command: Command) -> Response {
        self.apply_as(&Asker::Member, command)
    }

    fn refused(&self, command: Command) -> AuthError {
        refusal(self.apply(command))
    }

    fn revision(&self) -> u64 {
        self.store.with_auth(|auth| auth.revision())
    }

    fn user(&self, name: &str) -> Asker {
        Asker::User {
            name: name.into(),
            auth_revision: self.revision(),
        }
    }

    /// Root, and `alice` whose role `r` may do `permissions`; on.
    fn enabled(permissions: &[(&str, &str, Type)]) -> Fixture {
        let fixture = Fixture::new();
        let commands = [
            user_add("root"),
            grant_role("root", "root"),
            user_add("alice"),
            role_add("r"),
            grant_role("alice", "r"),
        ];
        for command in commands {
            fixture.apply(command).unwrap();
        }
        for (key, end, kind) in permissions {
            fixture.apply(grant("r", key, end, *kind)).unwrap();
        }
        fixture.apply(Command::AuthEnable(pb::AuthEnableRequest {})).unwrap();
        fixture
    }
}

fn refusal(response: Response) -> AuthError {
    match response.unwrap_err() {
        Error::Auth(error) => error,
        other => panic!("{other:?}"),
    }
}

fn user_add(name: &str) -> Command {
    Command::AuthUserAdd(pb::AuthUserAddRequest {
        name: name.to_owned(),
        hashed_password: "aGFzaA==".to_owned(),
        ..Default::default()
    })
}

fn user_delete(name: &str) -> Command {
    Command::AuthUserDelete(pb::AuthUserDeleteRequest { name: name.to_owned() })
}

fn change_password(name: &str, hashed: &str) -> Command {
    Command::AuthUserChangePassword(pb::AuthUserChangePasswordRequest {
        name: name.to_owned(),
        hashed_password: hashed.to_owned(),
        ..Default::default()
    })
}

fn grant_role(user: &str, role: &str) -> Command {
    Command::AuthUserGrantRole(pb::AuthUserGrantRoleRequest {
        user: user.to_owned(),
        role: role.to_owned(),
    })
}

fn revoke_role(name: &str, role: &str) -> Command {
    Command::AuthUserRevokeRole(pb::AuthUserRevokeRoleRequest {
        name: name.to_owned(),
        role: role.to_owned(),
    })
}

fn role_add(name: &str) -> Command {
    Command::AuthRoleAdd(pb::AuthRoleAddRequest { name: name.to_owned() })
}

fn role_delete(name: &str) -> Command {
    Command::AuthRoleDelete(pb::AuthRoleDeleteRequest { role: name.to_owned() })
}

fn grant(role: &str, key: &str, end: &str, kind: Type) -> Command {
    Command::AuthRoleGrantPermission(pb::AuthRoleGrantPermissionRequest {
        name: role.to_owned(),
        perm: Some(authpb::Permission {
            perm_type: kind as i32,
            key: key.to_owned().into(),
            range_end: end.to_owned().into(),
        }),
    })
}

fn revoke(role: &str, key: &str, end: &str) -> Command {
    Command::AuthRoleRevokePermission(pb::AuthRoleRevokePermissionRequest {
        role: role.to_owned(),
        key: key.to_owned().into(),
        range_end: end.to_owned().into(),
    })
}

fn login(name: &str, simple_token: &str) -> Command {
    Command::AuthAuthenticate(Authenticate {
        name: name.to_owned(),
        simple_token: simple_token.to_owned(),
    })
}

fn enable() -> Command {
    Command::AuthEnable(pb::AuthEnableRequest {})
}

fn disable() -> Command {
    Command::AuthDisable(pb::AuthDisableRequest {})
}

fn put(key: &str, lease: i64, prev_kv: bool) -> pb::PutRequest {
    pb::PutRequest {
        key: key.to_owned().into(),
        value: "v".into(),
        lease,
        prev_kv,
        ..Default::default()
    }
}

fn delete(key: &str, end: &str, prev_kv: bool) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest {
        key: key.to_owned().into(),
        range_end: end.to_owned().into(),
        prev_kv,
    }
}

#[test]
fn changes_that_make_no_sense_are_refused() {
    let f = Fixture::new();
    assert_eq!(f.refused(enable()), AuthError::RootUserNotFound);
    assert_eq!(f.refused(user_add("")), AuthError::UserEmpty);
    f.apply(user_add("root")).unwrap();
    assert_eq!(f.refused(user_add("root")), AuthError::UserExists);
    assert_eq!(f.refused(enable()), AuthError::RootRoleNotFound);
    assert_eq!(f.refused(user_delete("bob")), AuthError::UserNotFound);
    assert_eq!(f.refused(change_password("bob", "")), AuthError::UserNotFound);
    assert_eq!(f.refused(change_password("root", "!")), AuthError::NoPasswordUser);
    assert_eq!(f.refused(grant_role("bob", "r")), AuthError::UserNotFound);
    assert_eq!(f.refused(grant_role("root", "r")), AuthError::RoleNotFound);
    assert_eq!(f.refused(revoke_role("bob", "r")), AuthError::UserNotFound);
    assert_eq!(f.refused(revoke_role("root", "r")), AuthError::RoleNotGranted);
    assert_eq!(f.refused(role_add("")), AuthError::RoleEmpty);
    f.apply(role_add("r")).unwrap();
    assert_eq!(f.refused(role_add("r")), AuthError::RoleExists);
    assert_eq!(f.refused(role_delete("q")), AuthError::RoleNotFound);
    assert_eq!(f.refused(grant("q", "a", "", Type::Read)), AuthError::RoleNotFound);
    assert_eq!(f.refused(grant("r", "", "", Type::Read)), AuthError::InvalidManagement);
    assert_eq!(
        f.refused(grant("r", "b", "a", Type::Read)),
        AuthError::InvalidManagement
    );
    assert_eq!(f.refused(revoke("q", "a", "")), AuthError::RoleNotFound);
    assert_eq!(f.refused(revoke("r", "a", "")), AuthError::PermissionNotGranted);
    let nothing = Command::AuthRoleGrantPermission(pb::AuthRoleGrantPermissionRequest::default());
    assert_eq!(f.refused(nothing), AuthError::PermissionNotGiven);
    assert_eq!(f.refused(login("root", "t")), AuthError::NotEnabled);
    assert!(f.changes.lock().unwrap().is_empty());
    assert_eq!(f.revision(), 3);
}

#[test]
fn every_change_is_a_revision_and_nothing_else_is() {
    let f = Fixture::new();
    let mut revision = 1;
    assert_eq!(f.revision(), revision);
    let mut changes = |command, by| {
        f.apply(command).unwrap();
        revision += by;
        assert_eq!(f.revision(), revision);
    };
    changes(disable(), 0);
    changes(user_add("root"), 1);
    changes(grant_role("root", "root"), 1);
    changes(grant_role("root", "root"), 0);
    changes(enable(), 0);
    changes(enable(), 0);
    changes(role_add("r"), 1);
    changes(grant("r", "a", "", Type::Read), 1);
    changes(grant("r", "a", "", Type::Read), 1);
    changes(revoke("r", "a", ""), 1);
    changes(login("root", "t"), 0);
    changes(disable(), 1);
    assert_eq!(f.store.revision(), 1);
}

#[test]
fn root_stays_while_authentication_is_on() {
    let f = Fixture::enabled(&[]);
    f.apply(role_add("root")).unwrap();
    for command in [user_delete("root"), revoke_role("root", "root"), role_delete("root")] {
        assert_eq!(f.refused(command), AuthError::InvalidManagement);
    }
    f.apply(disable()).unwrap();
    for command in [revoke_role("root", "root"), role_delete("root"), user_delete("root")] {
        f.apply(command).unwrap();
    }
}

#[test]
fn a_login_is_a_token_until_the_user_changes() {
    let f = Fixture::enabled(&[]);
    let no_password = Command::AuthUserAdd(pb::AuthUserAddRequest {
        name: "cert".to_owned(),
        options: Some(authpb::UserAddOptions { no_password: true }),
        ..Default::default()
    });
    f.apply(no_password).unwrap();
    assert_eq!(f.refused(login("cert", "t")), AuthError::Failed);
    assert_eq!(f.refused(login("nobody", "t")), AuthError::Failed);
    let Ok(Reply::Authenticated(_, login_answer)) = f.apply(login("alice", "abc")) else {
        panic!()
    };
    let index = f.store.applied_state().index;
    assert_eq!(login_answer.token, format!("abc.{index}"));
    assert_eq!(login_answer.auth_revision, f.revision());
    let Ok(Reply::Authenticated(_, signed)) = f.apply(login("alice", "")) else {
        panic!()
    };
    assert_eq!(signed.token, "");
    f.apply(change_password("alice", "aGFzaA==")).unwrap();
    f.apply(user_delete("alice")).unwrap();
    f.apply(disable()).unwrap();
    let alice = || "alice".to_owned();
    let told = f.changes.lock().unwrap().clone();
    assert_eq!(
        told,
        [
            AuthChange::Authenticated {
                user: alice(),
                token: login_answer.token
            },
            AuthChange::UserChanged { user: alice() },
            AuthChange::UserChanged { user: alice() },
            AuthChange::Reset,
        ]
    );
}

#[test]
fn commands_are_judged_when_they_are_applied() {
    let f = Fixture::enabled(&[
        ("r", "s", Type::Read),
        ("w", "x", Type::Write),
        ("b", "", Type::Readwrite),
    ]);
    let alice = f.user("alice");
    let judge = |command| f.apply_as(&alice, command).map(drop).map_err(|e| refusal(Err(e)));
    let denied = Err(AuthError::PermissionDenied);
    assert_eq!(judge(Command::Put(put("w", 0, false))), Ok(()));
    assert_eq!(judge(Command::Put(put("w", 0, true))), denied);
    assert_eq!(judge(Command::Put(put("b", 0, true))), Ok(()));
    assert_eq!(judge(Command::Put(put("r", 0, false))), denied);
    assert_eq!(judge(Command::DeleteRange(delete("w", "x", false))), Ok(()));
    assert_eq!(judge(Command::DeleteRange(delete("w", "x", true))), denied);
    assert_eq!(judge(Command::DeleteRange(delete("w", "y", false))), denied);
    assert_eq!(judge(Command::DeleteRange(delete("w", "\0", false))), denied);
    assert_eq!(judge(user_add("eve")), denied);
    assert_eq!(
        judge(Command::LeaseGrant(pb::LeaseGrantRequest { ttl: 9, id: 7 })),
        Ok(())
    );

    // Nobody; a revision that is over; a user who is gone.
    let write = || Command::Put(put("w", 0, false));
    assert_eq!(refusal(f.apply_as(&Asker::Nobody, write())), AuthError::UserEmpty);
    assert_eq!(
        refusal(f.apply_as(&Asker::Nobody, user_add("eve"))),
        AuthError::UserEmpty
    );
    assert_eq!(
        refusal(f.apply_as(&f.user("eve"), write())),
        AuthError::PermissionDenied
    );
    assert_eq!(
        refusal(f.apply_as(&f.user("eve"), role_add("x"))),
        AuthError::UserNotFound
    );
    f.apply_as(&f.user("root"), user_add("carol")).unwrap();
    assert_eq!(refusal(f.apply_as(&alice, write())), AuthError::OldRevision);
    f.apply_as(&f.user("alice"), write()).unwrap();
    f.apply(disable()).unwrap();
    f.apply_as(&Asker::Nobody, write()).unwrap();
}

#[test]
fn transactions_need_everything_that_they_name() {
    use pb::request_op::Request;
    let f = Fixture::enabled(&[("r", "s", Type::Read), ("w", "x", Type::Write)]);
    let alice = f.user("alice");
    let op = |request| pb::RequestOp { request: Some(request) };
    let range = |key: &str| {
        Request::RequestRange(pb::RangeRequest {
            key: key.to_owned().into(),
            ..Default::default()
        })
    };
    let judge = |txn: pb::TxnRequest| {
        let judged = f.store.permit_txn(&alice, &txn);
        let applied = f
            .apply_as(&alice, Command::Txn(txn))
            .map(drop)
            .map_err(|e| refusal(Err(e)));
        assert_eq!(judged, applied);
        judged
    };
    let then = |ops: Vec<Request>| pb::TxnRequest {
        success: ops.into_iter().map(op).collect(),
        ..Default::default()
    };
    let other = |ops: Vec<Request>| pb::TxnRequest {
        failure: ops.into_iter().map(op).collect(),
        ..Default::default()
    };
    let guard = |key: &str, end: &str| pb::TxnRequest {
        compare: vec![pb::Compare {
            key: key.to_owned().into(),
            range_end: end.to_owned().into(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let denied = Err(AuthError::PermissionDenied);
    let write = |key: &str| Request::RequestPut(put(key, 0, false));
    assert_eq!(judge(pb::TxnRequest::default()), Ok(()));
    assert_eq!(judge(then(vec![range("r"), write("w")])), Ok(()));
    assert_eq!(judge(then(vec![write("r")])), denied);
    assert_eq!(judge(other(vec![range("w")])), denied);
    assert_eq!(judge(guard("r", "")), Ok(()));
    assert_eq!(judge(guard("w", "")), denied);
    assert_eq!(judge(guard("r", "t")), denied);
    assert_eq!(
        judge(then(vec![Request::RequestDeleteRange(delete("w", "", true))])),
        denied
    );
    assert_eq!(judge(then(vec![Request::RequestTxn(other(vec![write("x")]))])), denied);
    assert_eq!(judge(then(vec![Request::RequestTxn(guard("x", ""))])), denied);
    assert_eq!(judge(then(vec![Request::RequestTxn(then(vec![write("w")]))])), Ok(()));
}

#[test]
fn a_lease_belongs_to_whoever_may_write_its_keys() {
    let f = Fixture::enabled(&[("a", "b", Type::Readwrite), ("r", "s", Type::Read)]);
    let alice = f.user("alice");
    for id in 1..=3 {
        f.apply(Command::LeaseGrant(pb::LeaseGrantRequest { ttl: 60, id }))
            .unwrap();
    }
    f.apply(Command::Put(put("a1", 1, false))).unwrap();
    f.apply(Command::Put(put("r1", 2, false))).unwrap();
    f.apply(Command::Put(put("z1", 3, false))).unwrap();
    let denied = Err(AuthError::PermissionDenied);
    let attach = |lease| {
        f.apply_as(&alice, Command::Put(put("a", lease, false)))
            .map(drop)
            .map_err(|e| refusal(Err(e)))
    };
    assert_eq!(attach(1), Ok(()));
    assert_eq!(attach(2), denied);
    let may = |access, id| f.store.permit_lease(&alice, access, id);
    assert_eq!(may(Access::Write, 1), Ok(()));
    assert_eq!((may(Access::Write, 2), may(Access::Read, 2)), (denied, Ok(())));
    assert_eq!((may(Access::Write, 3), may(Access::Read, 3)), (denied, denied));
    assert_eq!(may(Access::Write, 99), Ok(()));
    assert_eq!(f.store.permit_all_leases(&alice), denied);
    assert_eq!(f.store.permit_all_leases(&f.user("root")), Ok(()));
    let revoke = |id| f.apply_as(&alice, Command::LeaseRevoke(pb::LeaseRevokeRequest { id }));
    assert_eq!(refusal(revoke(2)), AuthError::PermissionDenied);
    revoke(1).unwrap();
    // An expired lease is revoked by a member, whoever owns it.
    f.apply(Command::LeaseRevoke(pb::LeaseRevokeRequest { id: 3 })).unwrap();
}

#[test]
fn users_see_themselves_and_root_sees_all() {
    let f = Fixture::enabled(&[("a", "", Type::Read)]);
    f.apply(role_add("root")).unwrap();
    f.apply(role_add("q")).unwrap();
    let see = |who: &Asker, user: &str| f.store.with_auth(|auth| auth.user_get(who, user));
    let look = |who: &Asker, role: &str| f.store.with_auth(|auth| auth.role_get(who, role));
    let (root, alice, nobody) = (f.user("root"), f.user("alice"), Asker::Nobody);
    assert_eq!(see(&root, "alice"), Ok(vec!["r".to_owned()]));
    assert_eq!(see(&root, "nobody"), Err(AuthError::UserNotFound));
    assert_eq!(see(&alice, "alice"), Ok(vec!["r".to_owned()]));
    assert_eq!(see(&alice, "root"), Err(AuthError::PermissionDenied));
    assert_eq!(see(&nobody, "alice"), Err(AuthError::UserEmpty));
    assert_eq!(look(&alice, "r").unwrap().len(), 1);
    assert_eq!(look(&alice, "q"), Err(AuthError::PermissionDenied));
    assert_eq!(look(&nobody, "r"), Err(AuthError::UserEmpty));
    let everything = authpb::Permission {
        perm_type: Type::Readwrite as i32,
        key: Bytes::new(),
        range_end: Bytes::from_static(&[0]),
    };
    assert_eq!(look(&root, "root"), Ok(vec![everything]));
    assert_eq!(look(&root, "none"), Err(AuthError::RoleNotFound));
}

#[test]
fn a_role_taken_away_is_taken_from_everybody() {
    let f = Fixture::enabled(&[("a", "", Type::Read)]);
    let may = |asker: &Asker| {
        f.store
            .with_auth(|auth| auth.permit_keys(asker, Access::Read, b"a", b""))
    };
    assert_eq!(may(&f.user("alice")), Ok(()));
    f.apply(role_delete("r")).unwrap();
    assert_eq!(may(&f.user("alice")), Err(AuthError::PermissionDenied));
    assert_eq!(f.store.with_auth(|auth| auth.user("alice").unwrap().roles.len()), 0);
    f.apply(role_add("r")).unwrap();
    f.apply(grant("r", "a", "", Type::Read)).unwrap();
    assert_eq!(may(&f.user("alice")), Err(AuthError::PermissionDenied));
    f.apply(grant_role("alice", "r")).unwrap();
    assert_eq!(may(&f.user("alice")), Ok(()));
    f.apply(revoke("r", "a", "")).unwrap();
    assert_eq!(may(&f.user("alice")), Err(AuthError::PermissionDenied));
}

#[test]
fn everything_is_there_again_after_a_restart() {
    let f = Fixture::enabled(&[("a", "c", Type::Readwrite), ("b", "", Type::Read)]);
    let (stored, index) = (f.store.stored_auth(), f.store.applied_state().index);
    f.store.flush().unwrap();
    let after = common::copy_as_after_a_crash(&f.dir);
    let again = open(&after);
    assert_eq!(again.applied_state().index, index);
    assert!(again.auth_enabled());
    assert_eq!(again.stored_auth(), stored);
    assert_eq!(stored.rows().unwrap().len(), 5);
    let alice = f.user("alice");
    let may = again.with_auth(|auth| auth.permit_keys(&alice, Access::Write, b"bb", b""));
    assert_eq!(may, Ok(()));
    assert_eq!(
        String::from_utf8_lossy(&stored.users[0].password),
        "hash",
        "kept decoded, as etcd keeps it"
    );
}
