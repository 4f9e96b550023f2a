//! What to ask: every rule of the auth store that is known to surprise, then random calls from a seed.

use super::*;

/// xorshift64*: the same sequence everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % n
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn name(&mut self) -> String {
        self.one(&["alice", "bob", "carol", "root", "nobody"]).to_owned()
    }

    fn role(&mut self) -> String {
        self.one(&["r1", "r2", "r3", "root", "none"]).to_owned()
    }

    fn key(&mut self) -> String {
        self.one(&["a", "b", "c", "d", "e", "f"]).to_owned()
    }

    /// A key, or a range that is not empty: whether etcd allows an empty one hangs on the shape of a tree.
    fn span(&mut self) -> (String, String) {
        let (key, end) = (self.key(), self.one(&["", "", "", "\0", "c", "e", "g"]));
        let sensible = end.is_empty() || end == "\0" || *end > *key;
        let end = if sensible { end.to_owned() } else { String::new() };
        (key, end)
    }

    /// Without an open end, which etcd does not see when it looks for keys that are put and deleted at once.
    fn bounded_span(&mut self) -> (String, String) {
        let (key, end) = self.span();
        (key, end.replace('\0', "g"))
    }

    fn kind(&mut self) -> Type {
        [Type::Read, Type::Write, Type::Readwrite][self.below(3)]
    }

    fn flag(&mut self) -> bool {
        self.below(2) == 0
    }

    fn lease(&mut self) -> i64 {
        self.below(4) as i64
    }

    fn op(&mut self, depth: usize) -> Op {
        match self.below(if depth == 0 { 3 } else { 4 }) {
            0 => {
                let (key, end) = self.span();
                Op::RequestRange(range(&key, &end))
            }
            1 => Op::RequestPut(pb::PutRequest {
                prev_kv: self.flag(),
                ..put(&self.key())
            }),
            2 => {
                let (key, end) = self.bounded_span();
                Op::RequestDeleteRange(delete(&key, &end, self.flag()))
            }
            _ => Op::RequestTxn(self.txn(depth - 1)),
        }
    }

    fn txn(&mut self, depth: usize) -> pb::TxnRequest {
        let mut compares = Vec::new();
        for _ in 0..self.below(2) {
            let (key, end) = self.span();
            compares.push(compare(&key, &end));
        }
        let mut ops = || -> Vec<Op> { (0..self.below(3)).map(|_| self.op(depth)).collect() };
        let (success, failure) = (ops(), ops());
        txn(compares, success, failure)
    }

    /// Who asks, and what.
    pub fn step(&mut self) -> (String, Call) {
        let who = self.one(&["alice", "alice", "bob", "bob", "carol", "root", "root", "", "?"]);
        let (key, end) = self.span();
        let call = match self.below(26) {
            0..=2 => Call::Range(range(&key, &end)),
            3 => Call::RangeStream(range(&key, &end)),
            4..=6 => Call::Put(pb::PutRequest {
                prev_kv: self.flag(),
                lease: self.lease(),
                ..put(&self.key())
            }),
            7 | 8 => Call::Delete(delete(&key, &end, self.flag())),
            9..=11 => Call::Txn(self.txn(1)),
            12 => watch(&key, &end),
            13 => match self.below(5) {
                0 => Call::Revoke(self.lease()),
                1 => Call::KeepAlive(self.lease()),
                2 => Call::TimeToLive(self.lease(), self.flag()),
                3 => Call::Leases,
                _ => Call::Grant(1 + self.lease()),
            },
            14 => Call::UserGet(self.name()),
            15 => Call::RoleGet(self.role()),
            16 => {
                let call = [Call::UserList, Call::RoleList, Call::AuthStatus][self.below(3)].clone();
                return (who.to_owned(), call);
            }
            // Most logins are good, or nobody would get anywhere.
            17..=19 => {
                let password = self.one(&["pw", "pw", "pw", "pw", "pw", "other"]);
                return (
                    String::new(),
                    login(self.one(&["alice", "bob", "carol", "root"]), password),
                );
            }
            20 => grants(&self.role(), self.kind(), &key, &end),
            21 => revokes(&self.role(), &key, &end),
            22 => grant_role(&self.name(), &self.role()),
            23 => match self.below(3) {
                0 => revoke_role(&self.name(), &self.role()),
                // Never root's: without a password nobody would be root again.
                1 => change_password(self.one(&["alice", "bob", "carol"]), self.one(&["pw", "pw", ""]), ""),
                _ => Call::RoleAdd(self.role()),
            },
            24 => match self.below(4) {
                0 => Call::RoleDelete(self.role()),
                1 => Call::UserDelete(self.name()),
                _ => user(&self.name(), "pw"),
            },
            _ => [
                Call::MemberList,
                Call::Status,
                Call::HashKv,
                Call::Compact(0),
                Call::AlarmGet,
            ][self.below(5)]
            .clone(),
        };
        // Changes are mostly root's, or there would be none.
        let changes = !matches!(
            call,
            Call::Range(_) | Call::Put(_) | Call::Delete(_) | Call::Txn(_) | Call::Watch(_) | Call::RangeStream(_)
        );
        let who = if changes && self.below(3) > 0 { "root" } else { who };
        (who.to_owned(), call)
    }
}

/// The edges, on a fresh store: first with authentication off, then on.
pub fn edges() -> Vec<(&'static str, Call)> {
    use Type::{Read, Readwrite, Write};
    let role = |name: &str| Call::RoleAdd(name.to_owned());
    let role_get = |name: &str| Call::RoleGet(name.to_owned());
    let user_get = |name: &str| Call::UserGet(name.to_owned());
    let delete_user = |name: &str| Call::UserDelete(name.to_owned());
    let delete_role = |name: &str| Call::RoleDelete(name.to_owned());
    let prev = |key: &str| {
        Call::Put(pb::PutRequest {
            prev_kv: true,
            ..put(key)
        })
    };
    let leased = |key: &str, lease| Call::Put(pb::PutRequest { lease, ..put(key) });
    let hash = "JDJhJDA0JGFiY2RlZmdoaWprbG1ub3BxcnN0dXU=";
    let long = "x".repeat(73);
    let fits = "x".repeat(72);

    let off = vec![
        Call::AuthStatus,
        Call::Disable,
        Call::Enable,
        login("root", "pw"),
        user("", "pw"),
        user("long", &long),
        user("fits", &fits),
        user("root", "pw"),
        user("root", "pw"),
        Call::Enable,
        grant_role("root", "root"),
        grant_role("root", "root"),
        role(""),
        role("r1"),
        role("r1"),
        role("r2"),
        role("r3"),
        role_get("root"),
        role("root"),
        role_get("root"),
        grants("root", Read, "x", ""),
        role_get("root"),
        user("alice", "pw"),
        user("bob", "pw"),
        user("carol", ""),
        user_without_password("cert", "given all the same"),
        user_without_password("cert", ""),
        user_get("cert"),
        user_get("none"),
        role_get("none"),
        grant_role("none", "r1"),
        grant_role("alice", "none"),
        grant_role("alice", "r3"),
        grant_role("alice", "r1"),
        grant_role("bob", "r2"),
        user_get("alice"),
        revoke_role("none", "r1"),
        revoke_role("alice", "r2"),
        revoke_role("alice", "none"),
        revoke_role("alice", "r3"),
        Call::Grants("r1".to_owned(), None),
        Call::Grants("none".to_owned(), None),
        grants("none", Read, "a", ""),
        grants("none", Read, "", ""),
        grants("r1", Read, "", ""),
        grants("r1", Read, "", "\0"),
        grants("r1", Read, "b", "a"),
        grants("r1", Read, "b", "b"),
        grants("r1", Read, "r", "s"),
        grants("r1", Write, "w", "x"),
        grants("r1", Readwrite, "b", ""),
        grants("r1", Read, "b", ""),
        grants("r1", Readwrite, "b", ""),
        grants("r1", Readwrite, "b", "b1"),
        grants("r1", Write, "b", "b1"),
        grants("r1", Readwrite, "m", "n"),
        grants("r1", Readwrite, "n", "o"),
        grants("r1", Read, "l", "m1"),
        grants("r2", Readwrite, "x", "\0"),
        role_get("r1"),
        revokes("r1", "b", "b1"),
        role_get("r1"),
        revokes("r1", "b", "b1"),
        revokes("none", "b", ""),
        revokes("r1", "", ""),
        Call::UserList,
        Call::RoleList,
        change_password("none", "pw", ""),
        change_password("carol", "pw", ""),
        change_password("carol", "", ""),
        change_password("carol", "", hash),
        change_password("carol", "", "not base64!"),
        change_password("carol", &long, ""),
        change_password("cert", "pw", ""),
        delete_user("none"),
        delete_role("none"),
        delete_user("fits"),
        Call::Grant(1),
        Call::Grant(2),
        Call::Grant(3),
        Call::Grant(4),
        leased("w1", 1),
        leased("r1", 2),
        leased("z1", 3),
        Call::Put(put("m1")),
        Call::Put(put("b")),
        // A token means nothing while authentication is off.
        Call::Range(range("b", "")),
        Call::Enable,
        Call::Enable,
    ];
    let mut steps: Vec<(&'static str, Call)> = off.into_iter().map(|call| ("", call)).collect();
    steps.insert(steps.len() - 2, ("?", Call::Range(range("b", ""))));

    let logins = [
        login("root", "pw"),
        login("alice", "pw"),
        login("bob", "pw"),
        login("bob", "wrong"),
        login("bob", ""),
        login("none", "pw"),
        login("", ""),
        login("cert", "pw"),
        login("carol", ""),
        login("carol", "pw"),
    ];
    steps.extend(logins.into_iter().map(|call| ("", call)));
    steps.push(("?", login("alice", "pw")));

    for who in ["", "?", "alice", "bob", "root"] {
        let ops = |op: Op| Call::Txn(txn(vec![], vec![op], vec![]));
        let calls = vec![
            Call::Range(pb::RangeRequest::default()),
            Call::Range(range("r1", "")),
            Call::Range(range("r", "s")),
            Call::Range(range("r", "t")),
            Call::Range(range("r", "\0")),
            Call::Range(range("l", "o")),
            Call::Range(range("l", "o1")),
            Call::Range(range("b", "b\0")),
            Call::Range(range("b", "b1")),
            Call::Range(range("\0", "\0")),
            Call::Range(range("x", "\0")),
            Call::Range(range("y", "z")),
            Call::Range(pb::RangeRequest {
                serializable: true,
                ..range("w1", "")
            }),
            Call::Range(pb::RangeRequest {
                revision: 999,
                ..range("w1", "")
            }),
            Call::RangeStream(range("r", "s")),
            Call::RangeStream(range("q", "s")),
            Call::Put(put("")),
            Call::Put(put("w1")),
            Call::Put(put("r1")),
            prev("w1"),
            prev("b"),
            leased("b", 99),
            leased("w2", 1),
            leased("w2", 2),
            leased("w3", 3),
            leased("w3", 4),
            Call::Delete(delete("", "", false)),
            Call::Delete(delete("w", "x", false)),
            Call::Delete(delete("w", "y", false)),
            Call::Delete(delete("w", "x", true)),
            Call::Delete(delete("m", "o", true)),
            Call::Txn(txn(vec![], vec![], vec![])),
            Call::Txn(txn(vec![compare("r1", "")], vec![], vec![])),
            Call::Txn(txn(vec![compare("w1", "")], vec![], vec![])),
            Call::Txn(txn(vec![compare("r", "t")], vec![], vec![])),
            ops(Op::RequestRange(range("r1", ""))),
            ops(Op::RequestRange(range("w1", ""))),
            ops(Op::RequestPut(put("w1"))),
            ops(Op::RequestPut(put("q"))),
            ops(Op::RequestPut(pb::PutRequest { lease: 2, ..put("w1") })),
            ops(Op::RequestDeleteRange(delete("w1", "", true))),
            ops(Op::RequestDeleteRange(delete("w1", "", false))),
            Call::Txn(txn(vec![], vec![], vec![Op::RequestPut(put("q"))])),
            ops(Op::RequestTxn(txn(vec![compare("w1", "")], vec![], vec![]))),
            ops(Op::RequestTxn(txn(vec![], vec![Op::RequestPut(put("w1"))], vec![]))),
            ops(Op::RequestTxn(txn(
                vec![],
                vec![],
                vec![Op::RequestRange(range("w1", ""))],
            ))),
            watch("r", "s"),
            watch("r", "t"),
            watch("", ""),
            watch("", "\0"),
            watch("s", "r"),
            watch("rr", "ra"),
            Call::Watch(pb::WatchCreateRequest {
                start_revision: -1,
                ..Default::default()
            }),
            Call::Grant(10),
            Call::KeepAlive(10),
            Call::KeepAlive(1),
            Call::KeepAlive(2),
            Call::KeepAlive(77),
            Call::TimeToLive(1, false),
            Call::TimeToLive(1, true),
            Call::TimeToLive(2, true),
            Call::TimeToLive(3, true),
            Call::TimeToLive(77, true),
            Call::Leases,
            Call::Revoke(3),
            Call::Revoke(77),
            Call::Revoke(10),
            user_get("alice"),
            user_get("root"),
            user_get("none"),
            role_get("r1"),
            role_get("r2"),
            role_get("root"),
            role_get("none"),
            Call::UserList,
            Call::RoleList,
            Call::AuthStatus,
            Call::Enable,
        ];
        steps.extend(calls.into_iter().map(|call| (who, call)));
    }

    // Only alice, and not root: what is left of a token when its user or role changes.
    let changes = [
        ("alice", user("eve", "pw")),
        ("alice", change_password("alice", "pw", "")),
        ("alice", Call::Disable),
        ("root", delete_user("root")),
        ("root", delete_role("root")),
        ("root", revoke_role("root", "root")),
        ("root", revoke_role("root", "r1")),
        ("root", change_password("alice", "pw", "")),
        ("alice", Call::Range(range("r1", ""))),
        ("", login("alice", "pw")),
        ("alice", Call::Range(range("r1", ""))),
        ("root", revokes("r1", "r", "s")),
        ("alice", Call::Range(range("r1", ""))),
        ("root", grants("r1", Read, "r", "s")),
        ("alice", Call::Range(range("r1", ""))),
        ("root", delete_role("r1")),
        ("alice", Call::Range(range("r1", ""))),
        ("root", user_get("alice")),
        ("root", delete_user("alice")),
        ("alice", Call::Range(range("r1", ""))),
        ("alice", Call::AuthStatus),
        ("root", change_password("root", "new", "")),
        ("root", Call::UserList),
        ("", login("root", "pw")),
        ("", login("root", "new")),
        ("root", change_password("root", "pw", "")),
        ("", login("root", "pw")),
        ("", Call::Disable),
        ("root", Call::Disable),
        ("root", Call::AuthStatus),
        ("root", Call::UserList),
        ("", Call::Enable),
        ("root", Call::UserList),
        ("", login("root", "pw")),
        ("root", Call::UserList),
    ];
    steps.extend(changes);
    steps
}

/// Every RPC once, the way a plain user who may do nothing with this key would have it.
pub fn every_rpc() -> Vec<(&'static str, Call)> {
    let name = || "other".to_owned();
    vec![
        ("Range", Call::Range(range("secret", ""))),
        ("RangeStream", Call::RangeStream(range("secret", ""))),
        ("Put", Call::Put(put("secret"))),
        ("DeleteRange", Call::Delete(delete("secret", "", false))),
        ("Txn", Call::Txn(txn(vec![compare("secret", "")], vec![], vec![]))),
        ("Txn, empty", Call::Txn(txn(vec![], vec![], vec![]))),
        ("Compact", Call::Compact(-1)),
        ("Watch", watch("secret", "")),
        ("LeaseGrant", Call::Grant(55)),
        ("LeaseKeepAlive", Call::KeepAlive(55)),
        ("LeaseKeepAlive, others' keys", Call::KeepAlive(5)),
        ("LeaseTimeToLive", Call::TimeToLive(5, false)),
        ("LeaseTimeToLive, others' keys", Call::TimeToLive(5, true)),
        ("LeaseLeases", Call::Leases),
        ("LeaseRevoke", Call::Revoke(55)),
        ("LeaseRevoke, others' keys", Call::Revoke(5)),
        ("MemberList", Call::MemberList),
        ("MemberAdd", Call::MemberAdd),
        ("MemberRemove", Call::MemberRemove),
        ("MemberUpdate", Call::MemberUpdate),
        ("MemberPromote", Call::MemberPromote),
        ("Alarm, get", Call::AlarmGet),
        ("Alarm, activate", Call::AlarmRaise),
        ("Status", Call::Status),
        ("Defragment", Call::Defragment),
        ("Hash", Call::Hash),
        ("HashKV", Call::HashKv),
        ("Snapshot", Call::Snapshot),
        ("MoveLeader", Call::MoveLeader),
        ("Downgrade", Call::Downgrade),
        ("AuthEnable", Call::Enable),
        ("AuthDisable", Call::Disable),
        ("AuthStatus", Call::AuthStatus),
        ("Authenticate", login("plain", "pw")),
        ("UserAdd", user("other", "pw")),
        ("UserGet", Call::UserGet("root".to_owned())),
        ("UserGet, oneself", Call::UserGet("plain".to_owned())),
        ("UserList", Call::UserList),
        ("UserChangePassword", change_password("root", "pw", "")),
        ("UserGrantRole", grant_role("plain", "root")),
        ("UserRevokeRole", revoke_role("plain", "own")),
        ("UserDelete", Call::UserDelete(name())),
        ("RoleAdd", Call::RoleAdd(name())),
        ("RoleGet", Call::RoleGet("root".to_owned())),
        ("RoleGet, one's own", Call::RoleGet("own".to_owned())),
        ("RoleList", Call::RoleList),
        ("RoleGrantPermission", grants("own", Type::Read, "secret", "")),
        ("RoleRevokePermission", revokes("own", "a", "")),
        ("RoleDelete", Call::RoleDelete(name())),
    ]
}
