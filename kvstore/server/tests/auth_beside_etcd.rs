//! Calls with and without identity to a member of ours and to a real etcd, answers side by side.
#![allow(clippy::unwrap_used)]

mod auth_calls;
mod beside;

use auth_calls::script::{Random, edges, every_rpc};
use auth_calls::{Call, Side, change_password, grant_role, grants, login, outcome, put, user};
use beside::{connect, start_etcd};
use keelson_kvstore::{Options, Server, TokenKind};
use keelson_proto::authpb::permission::Type;
use keelson_proto::etcdserverpb as pb;
use std::collections::BTreeMap;
use tonic::Code;

async fn ours() -> (Server, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new("default", dir.path()).serve_at("127.0.0.1:0".parse().unwrap(), None);
    options.auth.bcrypt_cost = 4;
    (Server::start(options).await.unwrap(), dir)
}

fn url(server: &Server) -> String {
    format!("http://{}", server.client_addr().unwrap())
}

#[tokio::test]
async fn answers_are_those_of_a_real_etcd() {
    let etcd = start_etcd(&["--bcrypt-cost", "4"]);
    let (server, _dir) = ours().await;
    let mut theirs = Side::new(connect(&etcd.url).await);
    let mut ours = Side::new(connect(&url(&server)).await);
    let mut steps: Vec<(String, Call)> = edges().into_iter().map(|(who, call)| (who.to_owned(), call)).collect();
    let mut random = Random::new(11);
    // Everybody is there again when the random part begins.
    for name in ["alice", "bob", "carol"] {
        steps.push(("root".to_owned(), user(name, "pw")));
        steps.push(("root".to_owned(), change_password(name, "pw", "")));
        steps.push((String::new(), login(name, "pw")));
    }
    steps.extend((0..1500).map(|_| random.step()));
    let mut different = Vec::new();
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for (n, (who, step)) in steps.into_iter().enumerate() {
        let (a, b) = (
            theirs.call(&who, step.clone()).await,
            ours.call(&who, step.clone()).await,
        );
        *outcomes.entry(outcome(&a)).or_default() += 1;
        if a != b {
            different.push(format!("call {n}, {who:?}: {step:?}\n  etcd: {a:?}\n  ours: {b:?}"));
        }
        assert!(different.len() < 12, "{}", different.join("\n"));
        // A client logs in again when its token is void; if its user is gone or has another password, root helps.
        if matches!(a, Err((Code::Unauthenticated, _))) && who != "?" {
            let help = [
                user(&who, "pw"),
                change_password(&who, "pw", ""),
                grant_role(&who, "r1"),
            ];
            for (helper, call) in help
                .map(|call| ("root", call))
                .into_iter()
                .chain([("", login(&who, "pw"))])
            {
                let (a, b) = (theirs.call(helper, call.clone()).await, ours.call(helper, call).await);
                assert_eq!(a, b, "{who:?} comes back after call {n}");
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    // The script is worth something only if much of it is allowed, and much of it is not.
    let count = |what: &str| outcomes.get(what).copied().unwrap_or(0);
    assert!(count("ok") > 700 && count("denied") > 250, "{outcomes:#?}");
    server.shutdown().await;
}

/// What nobody, a bad token and a plain user get from each RPC of a server.
async fn table(side: &mut Side) -> String {
    let steps = [
        user("root", "pw"),
        grant_role("root", "root"),
        user("plain", "pw"),
        Call::RoleAdd("own".to_owned()),
        grants("own", Type::Readwrite, "a", ""),
        grant_role("plain", "own"),
        Call::Grant(5),
        Call::Put(pb::PutRequest {
            lease: 5,
            ..put("secret")
        }),
        Call::Enable,
        login("root", "pw"),
        login("plain", "pw"),
    ];
    for step in steps {
        side.call("", step).await.unwrap();
    }
    let mut rows = Vec::new();
    for (name, call) in every_rpc() {
        let mut cells = Vec::new();
        for who in ["", "?", "plain"] {
            cells.push(outcome(&side.call(who, call.clone()).await));
        }
        rows.push(format!("{name}: {}\n", cells.join(" | ")));
    }
    rows.concat()
}

#[tokio::test]
async fn what_each_rpc_wants_is_what_a_real_etcd_wants() {
    let etcd = start_etcd(&["--bcrypt-cost", "4"]);
    let theirs = table(&mut Side::new(connect(&etcd.url).await)).await;
    let (server, _dir) = ours().await;
    let ours = table(&mut Side::new(connect(&url(&server)).await)).await;
    assert_eq!(theirs, include_str!("auth_calls/table.txt"), "etcd has changed");
    assert_eq!(ours, theirs);
    server.shutdown().await;
}

/// Makes a key the way people do.
fn openssl(arguments: &[&str]) {
    let done = std::process::Command::new("openssl").args(arguments).output();
    let done = done.expect("this test needs openssl");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[tokio::test]
async fn tokens_signed_by_one_are_good_for_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("secret"), "not so secret").unwrap();
    openssl(&["genrsa", "-out", &path("rsa"), "2048"]);
    openssl(&[
        "ecparam",
        "-name",
        "secp521r1",
        "-genkey",
        "-noout",
        "-out",
        &path("p521"),
    ]);
    openssl(&["genpkey", "-algorithm", "ed25519", "-out", &path("ed")]);
    let methods = [
        ("HS512", "secret"),
        ("RS256", "rsa"),
        ("PS384", "rsa"),
        ("ES512", "p521"),
        ("EdDSA", "ed"),
    ];
    for (method, key) in methods {
        let jwt = format!("sign-method={method},priv-key={}", path(key));
        let etcd = start_etcd(&["--bcrypt-cost", "4", "--auth-token", &format!("jwt,{jwt}")]);
        let data = tempfile::tempdir().unwrap();
        let mut options = Options::new("default", data.path()).serve_at("127.0.0.1:0".parse().unwrap(), None);
        options.auth.bcrypt_cost = 4;
        options.auth.token = TokenKind::Jwt { options: jwt };
        let server = Server::start(options).await.unwrap();
        let mut theirs = Side::new(connect(&etcd.url).await);
        let mut ours = Side::new(connect(&url(&server)).await);
        for side in [&mut theirs, &mut ours] {
            for call in [
                user("root", "pw"),
                grant_role("root", "root"),
                Call::Enable,
                login("root", "pw"),
            ] {
                side.call("", call).await.unwrap();
            }
        }
        // What each has given goes to the other.
        let (from_theirs, from_ours) = (theirs.token("root").unwrap(), ours.token("root").unwrap());
        let (from_theirs, from_ours) = (from_theirs.to_owned(), from_ours.to_owned());
        theirs.take("root", from_ours);
        ours.take("root", from_theirs);
        for side in [&mut theirs, &mut ours] {
            assert_eq!(outcome(&side.call("root", Call::Put(put("k"))).await), "ok", "{method}");
            assert_eq!(outcome(&side.call("root", Call::UserList).await), "ok", "{method}");
        }
        server.shutdown().await;
    }
}
