//! Members that cannot start, or start as another group.

use crate::etcds::Etcds;
use crate::fixture::*;
use keelson_kvstore::{Bootstrap, ListenAddr, Options, Server};
use keelson_proto::etcdserverpb as pb;
use pb::cluster_client::ClusterClient;
use std::collections::BTreeMap;
use std::path::Path;

fn as_is(_: &mut Options) {}

fn alone(dir: &Path, peer_url: &str, bootstrap: Bootstrap) -> Options {
    let addr = peer_url.strip_prefix("http://").unwrap().parse().unwrap();
    let mut options = Options::new("a", dir).serve_at("127.0.0.1:0".parse().unwrap(), None);
    options.bootstrap = bootstrap;
    options.peers.listeners = vec![ListenAddr::Tcp(addr)];
    options.peers.advertise_urls = vec![peer_url.to_owned()];
    options
}

fn new(peer_url: &str, token: &str) -> Bootstrap {
    Bootstrap::New {
        members: BTreeMap::from([("a".to_owned(), vec![peer_url.to_owned()])]),
        token: token.to_owned(),
    }
}

async fn refused(options: Options) -> String {
    match Server::start(options).await {
        Ok(_) => panic!("it started"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_first_start_that_finds_its_port_taken_decides_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("http://{}", holder.local_addr().unwrap());
    let error = refused(alone(dir.path(), &taken, new(&taken, "one"))).await;
    assert!(error.contains("in use"), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let url = free_url();
    let server = Server::start(alone(dir.path(), &url, new(&url, "two"))).await.unwrap();
    let at = format!("http://{}", server.client_addr().unwrap());
    let mut cluster = ClusterClient::connect(at).await.unwrap();
    let members = cluster.member_list(pb::MemberListRequest::default()).await.unwrap();
    assert_eq!(members.into_inner().members[0].peer_ur_ls, [url]);
    server.shutdown().await;
}

#[tokio::test]
async fn the_log_can_live_elsewhere() {
    let (data, log) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let options = || {
        let mut options = Options::new("a", data.path());
        options.wal_dir = Some(log.path().join("wal"));
        options
    };
    let server = Server::start(options()).await.unwrap();
    server.kv().put(put("k", "v")).await.unwrap();
    server.shutdown().await;
    assert!(std::fs::read_dir(log.path().join("wal")).unwrap().count() > 0);
    assert!(!data.path().join("log").exists());
    let server = Server::start(options()).await.unwrap();
    assert_eq!(server.kv().range(get("k")).await.unwrap().count, 1);
    server.shutdown().await;
    // Without it there is a state and no log: that is not a member to start.
    let error = refused(Options::new("a", data.path())).await;
    assert!(error.contains("the log was lost"), "{error}");
}

#[tokio::test]
async fn a_member_of_three_becomes_a_cluster_of_its_own() {
    let mut cluster = Cluster::start(3, as_is).await;
    cluster.members[0].kv().put(put("k", "v")).await.unwrap();
    let lease = pb::LeaseGrantRequest { id: 5, ttl: 600 };
    cluster.members[0].lease().lease_grant(lease).await.unwrap();
    for member in &cluster.members {
        member.kv().range(get("k")).await.unwrap();
    }
    futures::future::join_all(cluster.members.iter_mut().map(Member::stop)).await;
    cluster.tune = |options| options.force_new_cluster = true;
    cluster.restart(1).await;
    let forced = &cluster.members[1];
    assert_eq!(forced.members().await.len(), 1);
    assert_eq!(forced.kv().range(get("k")).await.unwrap().into_inner().count, 1);
    forced.kv().put(put("k", "w")).await.unwrap();
    let leases = forced.lease().lease_leases(pb::LeaseLeasesRequest {}).await.unwrap();
    assert_eq!(leases.into_inner().leases.len(), 1);
    // And it stays one, also without the option; others can be added to it.
    cluster.members[1].stop().await;
    cluster.tune = as_is;
    cluster.restart(1).await;
    assert_eq!(cluster.members[1].members().await.len(), 1);
    assert_eq!(
        cluster.members[1].kv().range(get("k")).await.unwrap().into_inner().kvs[0].value,
        "w"
    );
    cluster.stop().await;
}

#[tokio::test]
async fn a_member_that_was_removed_while_away_ends_and_disturbs_nobody() {
    let mut cluster = Cluster::start(3, as_is).await;
    let leader = cluster.leader().await;
    let away = cluster.follower().await;
    let id = cluster.members[away].id().await;
    cluster.members[away].stop().await;
    eventually("the member may be removed", || async {
        let request = pb::MemberRemoveRequest { id };
        cluster.members[leader].cluster().member_remove(request).await.ok()
    })
    .await;
    let term = cluster.members[leader].status().await.raft_term;
    let reason = match cluster.try_restart(away).await {
        Err(error) => error.to_string(),
        Ok(()) => {
            let ended = cluster.members[away].server.as_ref().unwrap().failed();
            let reason = tokio::time::timeout(LONG, ended).await.unwrap();
            cluster.members[away].stop().await;
            reason
        }
    };
    assert!(
        reason.contains("the member has been permanently removed from the cluster"),
        "{reason}"
    );
    cluster.members[leader].kv().put(put("k", "v")).await.unwrap();
    let status = cluster.members[leader].status().await;
    assert_eq!(
        (status.raft_term, status.leader),
        (term, cluster.members[leader].id().await)
    );
    cluster.stop().await;
}

#[tokio::test]
async fn nobody_joins_a_real_etcd() {
    let etcds = Etcds::start(1).await;
    let (dir, own) = (tempfile::tempdir().unwrap(), free_url());
    let added = pb::MemberAddRequest {
        peer_ur_ls: vec![own.clone()],
        is_learner: true,
    };
    ClusterClient::new(etcds.channels[0].clone())
        .member_add(added)
        .await
        .unwrap();
    let members = BTreeMap::from([
        ("e0".to_owned(), vec![etcds.peer_urls[0].clone()]),
        ("a".to_owned(), vec![own.clone()]),
    ]);
    for bootstrap in [
        Bootstrap::Existing {
            members: members.clone(),
            token: "t".to_owned(),
        },
        Bootstrap::New {
            members: members.clone(),
            token: "t".to_owned(),
        },
    ] {
        let error = refused(alone(dir.path(), &own, bootstrap)).await;
        assert!(error.contains("do not speak keelson.peer.v1"), "{error}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
