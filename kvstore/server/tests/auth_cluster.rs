//! Authentication on three members: what one of them learns, all of them know, at once and also the one that lags.
#![allow(clippy::unwrap_used)]

mod free;
mod keys;

use keelson_kvstore::{Bootstrap, ListenAddr, Options, Peers, Server};
use keelson_proto::authpb::{self, permission::Type};
use keelson_proto::etcdserverpb as pb;
use keys::{get, put, with_token};
use pb::auth_client::AuthClient;
use pb::kv_client::KvClient;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Status};

const BOUND: Duration = Duration::from_secs(30);
const ROUNDS: usize = 9;

async fn start(dir: &Path) -> Vec<Server> {
    let ports = [(); 3].map(|()| SocketAddr::from(([127, 0, 0, 1], free::port())));
    let url = |addr: &SocketAddr| vec![format!("http://{addr}")];
    let members: BTreeMap<_, _> = ports
        .iter()
        .enumerate()
        .map(|(n, p)| (format!("m{n}"), url(p)))
        .collect();
    let starting = ports.iter().enumerate().map(|(n, port)| {
        let name = format!("m{n}");
        let mut o = Options::new(&name, dir.join(&name)).serve_at("127.0.0.1:0".parse().unwrap(), None);
        o.bootstrap = Bootstrap::New {
            members: members.clone(),
            token: "auth".to_owned(),
        };
        o.peers = Peers {
            listeners: vec![ListenAddr::Tcp(*port)],
            advertise_urls: url(port),
            ..Peers::default()
        };
        o.auth.bcrypt_cost = 4;
        Server::start(o)
    });
    let started = futures::future::join_all(starting).await;
    started.into_iter().map(Result::unwrap).collect()
}

/// To a member that can serve writes.
async fn connect(server: &Server) -> Channel {
    let url = format!("http://{}", server.client_addr().unwrap());
    let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
    let deadline = tokio::time::Instant::now() + BOUND;
    while let Err(status) = KvClient::new(channel.clone()).put(put("ready")).await {
        assert!(tokio::time::Instant::now() < deadline, "no leader: {status}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    channel
}

fn code<T>(answer: Result<T, Status>) -> Code {
    answer.err().map_or(Code::Ok, |status| status.code())
}

fn user(name: &str) -> pb::AuthUserAddRequest {
    pb::AuthUserAddRequest {
        name: name.to_owned(),
        password: "pw".to_owned(),
        ..Default::default()
    }
}

fn has(user: &str, role: &str) -> pb::AuthUserGrantRoleRequest {
    let (user, role) = (user.to_owned(), role.to_owned());
    pb::AuthUserGrantRoleRequest { user, role }
}

async fn login(channel: &Channel, name: &str) -> String {
    let request = pb::AuthenticateRequest {
        name: name.to_owned(),
        password: "pw".to_owned(),
    };
    let answer = AuthClient::new(channel.clone()).authenticate(request).await.unwrap();
    answer.into_inner().token
}

#[tokio::test]
async fn a_token_is_good_on_every_member_and_so_is_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let servers = start(dir.path()).await;
    let mut channels = Vec::new();
    for server in &servers {
        channels.push(connect(server).await);
    }
    // Each call goes to the next member, which has to know of the one before.
    let mut turn = (0..servers.len()).cycle();
    let mut auth = || AuthClient::new(channels[turn.next().unwrap()].clone());
    for name in ["root", "alice"] {
        auth().user_add(user(name)).await.unwrap();
    }
    let role = || "r".to_owned();
    auth().role_add(pb::AuthRoleAddRequest { name: role() }).await.unwrap();
    auth().user_grant_role(has("root", "root")).await.unwrap();
    auth().user_grant_role(has("alice", "r")).await.unwrap();
    auth().auth_enable(pb::AuthEnableRequest {}).await.unwrap();
    for channel in &channels {
        let mut kv = KvClient::new(channel.clone());
        assert_eq!(code(kv.range(get("a")).await), Code::InvalidArgument);
        assert_eq!(code(kv.put(put("a")).await), Code::InvalidArgument);
    }

    for round in 0..ROUNDS {
        let (here, there) = (&channels[round % 3], &channels[(round + 1) % 3]);
        let root = login(here, "root").await;
        let alice = login(here, "alice").await;
        // Right after the login, on another member.
        let perm = authpb::Permission {
            perm_type: Type::Readwrite as i32,
            key: format!("k{round}").into(),
            range_end: Default::default(),
        };
        let grant = pb::AuthRoleGrantPermissionRequest {
            name: role(),
            perm: Some(perm),
        };
        let key = format!("k{round}");
        AuthClient::new(there.clone())
            .role_grant_permission(with_token(&root, grant))
            .await
            .unwrap();
        // What was granted is so everywhere: a member that has not heard of it does not refuse.
        for channel in &channels {
            let mut kv = KvClient::new(channel.clone());
            let tried = kv.put(with_token(&alice, put(&key))).await;
            // A member that lags stamps an old revision, which the log refuses; clients try again.
            let old = matches!(&tried, Err(s) if s.message() == "etcdserver: revision of auth store is old");
            if old {
                kv.range(with_token(&alice, get(&key))).await.unwrap();
                kv.put(with_token(&alice, put(&key))).await.unwrap();
            } else {
                tried.unwrap();
            }
            assert_eq!(
                code(kv.put(with_token(&alice, put("other"))).await),
                Code::PermissionDenied
            );
        }
        // What is taken away is gone everywhere.
        let name = "alice".to_owned();
        let password = "pw".to_owned();
        let change = pb::AuthUserChangePasswordRequest {
            name,
            password,
            ..Default::default()
        };
        AuthClient::new(there.clone())
            .user_change_password(with_token(&root, change))
            .await
            .unwrap();
        for channel in &channels {
            let mut kv = KvClient::new(channel.clone());
            let read = kv.range(with_token(&alice, get(&key))).await;
            assert_eq!(code(read), Code::Unauthenticated, "round {round}");
        }
    }
    let stored: Vec<_> = futures::future::join_all(channels.iter().map(async |channel| {
        let root = login(channel, "root").await;
        let mut auth = AuthClient::new(channel.clone());
        let request = pb::AuthRoleGetRequest { role: role() };
        auth.role_get(with_token(&root, request))
            .await
            .unwrap()
            .into_inner()
            .perm
    }))
    .await;
    assert!(stored.iter().all(|perm| *perm == stored[0] && perm.len() == ROUNDS));
    for server in servers {
        server.shutdown().await;
    }
}
