#![allow(clippy::unwrap_used)]
use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn listed(pairs: &[(&str, &str)]) -> Listed {
    let mut all = Listed::new();
    for (name, url) in pairs {
        all.entry((*name).to_owned()).or_default().push((*url).to_owned());
    }
    all
}

fn options(dir: &Path, bootstrap: Bootstrap) -> Options {
    Options {
        bootstrap,
        ..Options::new("a", dir)
    }
}

fn as_new(pairs: &[(&str, &str)]) -> Bootstrap {
    Bootstrap::New {
        members: listed(pairs),
        token: "etcd-cluster-1".to_owned(),
    }
}

fn as_existing(pairs: &[(&str, &str)]) -> Bootstrap {
    Bootstrap::Existing {
        members: listed(pairs),
        token: "t".to_owned(),
    }
}

async fn refusal(options: &Options) -> String {
    identity(options).await.unwrap_err().to_string()
}

/// A peer port that gives one answer to everybody; its URL.
async fn peer(cluster_id: &str, body: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = format!(
        "HTTP/1.1 200 OK\r\n{CLUSTER_ID_HEADER}: {cluster_id}\r\n{PROTOCOL_HEADER}: {PROTOCOL}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let read = socket.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"GET /members HTTP/1.1\r\n"));
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    url
}

#[tokio::test]
async fn members_of_a_new_cluster_come_to_the_same_ids() {
    let cluster = [
        ("a", "http://127.0.0.1:12380"),
        ("b", "http://127.0.0.1:22380"),
        ("c", "http://127.0.0.1:32380"),
    ];
    let dir = tempfile::tempdir().unwrap();
    let (found, is_new) = identity(&options(dir.path(), as_new(&cluster))).await.unwrap();
    assert!(is_new);
    assert_eq!(format!("{:x}", found.member_id), "8211f1d0f64f3269");
    assert_eq!(format!("{:x}", found.cluster_id), "ef37ad9dc622a7c4");
    let Beginning::Form(founders) = &found.beginning else {
        panic!("{found:?}")
    };
    assert_eq!(founders.len(), 3);
    // Once it is written down, nothing else is asked.
    found.store(dir.path()).unwrap();
    let again = options(dir.path(), as_existing(&[]));
    assert_eq!(identity(&again).await.unwrap(), (found, false));
}

#[tokio::test]
async fn a_list_that_cannot_be_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |pairs: &[(&str, &str)]| {
        let options = options(dir.path(), as_new(pairs));
        async move { refusal(&options).await }
    };
    let missing = refused(&[("b", "http://b:1")]).await;
    assert_eq!(
        missing,
        "couldn't find local name \"a\" in the initial cluster configuration"
    );
    let twice = refused(&[("a", "http://a:1"), ("b", "http://a:1")]).await;
    assert!(twice.ends_with("has duplicate url"), "{twice}");
    let nonsense = refused(&[("a", "a:1")]).await;
    assert!(nonsense.contains("scheme"), "{nonsense}");
    let mut other = options(dir.path(), as_new(&[("a", "http://127.0.0.1:1")]));
    other.peers.advertise_urls = vec!["http://127.0.0.1:2".to_owned()];
    assert_eq!(
        refusal(&other).await,
        "--initial-cluster has a=http://127.0.0.1:1 but missing from --initial-advertise-peer-urls=http://127.0.0.1:2"
    );
    assert!(!dir.path().join(identity::FILE).exists());
}

#[tokio::test]
async fn a_member_whose_data_is_gone_does_not_come_back_as_new() {
    let own = "http://127.0.0.1:12380";
    let id = ids::member_id(&[own.to_owned()], "etcd-cluster-1", None);
    let body = format!(r#"[{{"id":{id},"peerURLs":["{own}"],"name":"a","clientURLs":["http://a:2379"]}}]"#);
    let other = peer("1f", &body).await;
    let dir = tempfile::tempdir().unwrap();
    let refused = refusal(&options(dir.path(), as_new(&[("a", own), ("b", &other)]))).await;
    assert!(refused.starts_with(&format!("member {id:x} has already been bootstrapped")));
}

#[tokio::test]
async fn a_member_that_is_expected_learns_its_ids_from_the_others() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let dir = tempfile::tempdir().unwrap();
    let own = "http://127.0.0.1:12380";
    let unreachable = options(dir.path(), as_existing(&[("a", own), ("b", &other)]));
    assert_eq!(
        refusal(&unreachable).await,
        "cannot fetch cluster info from peer urls: could not retrieve cluster information from the given URLs"
    );

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let its_own = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let body =
        format!(r#"[{{"id":7,"peerURLs":["{its_own}"],"name":"b"}},{{"id":9,"peerURLs":["{own}"],"isLearner":true}}]"#);
    let answering = peer("1f", &body).await;
    // It answers at another of its URLs, as behind an address translation.
    let pairs = [("a", own), ("b", its_own.as_str()), ("b", answering.as_str())];
    let refused = refusal(&options(dir.path(), as_existing(&pairs))).await;
    assert!(refused.contains("no match found for existing member (7,"), "{refused}");

    let body =
        format!(r#"[{{"id":7,"peerURLs":["PEER"],"name":"b"}},{{"id":9,"peerURLs":["{own}"],"isLearner":true}}]"#);
    let ours = format!("{PROTOCOL_HEADER}: {PROTOCOL}\r\n");
    let url = speaking(&body, "3.7.0", &ours).await;
    let uneven = options(dir.path(), as_existing(&[("a", own), ("b", &url), ("c", "http://c:1")]));
    assert!(refusal(&uneven).await.contains("member count is unequal"));
    let (found, _) = identity(&options(dir.path(), as_existing(&[("a", own), ("b", &url)])))
        .await
        .unwrap();
    let expected = Identity {
        member_id: 9,
        cluster_id: 0x1f,
        beginning: Beginning::Join,
    };
    assert_eq!(found, expected);

    let newer = speaking(&body, "3.8.0", &ours).await;
    let refused = refusal(&options(dir.path(), as_existing(&[("a", own), ("b", &newer)]))).await;
    assert_eq!(refused, "incompatible with current running cluster");
    let etcd = speaking(&body, "3.7.0", "").await;
    let refused = refusal(&options(dir.path(), as_existing(&[("a", own), ("b", &etcd)]))).await;
    assert!(refused.contains("do not speak keelson.peer.v1"), "{refused}");
}

/// A peer port that answers `/members` with `body`, in which PEER is its own URL, and speaks a version; its URL.
async fn speaking(body: &str, speaks: &'static str, protocol: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (body, own_url, protocol) = (body.to_owned(), url.clone(), protocol.to_owned());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let read = socket.read(&mut request).await.unwrap_or(0);
            let body = if request[..read].starts_with(b"GET /version ") {
                r#"{"etcdserver":"3.7.3","etcdcluster":"VERSION"}"#.replace("VERSION", speaks)
            } else {
                body.replace("PEER", &own_url)
            };
            let head = format!(
                "HTTP/1.1 200 OK\r\n{CLUSTER_ID_HEADER}: 1f\r\n{protocol}Content-Length: {}\r\n\r\n",
                body.len()
            );
            let _ = socket.write_all((head + &body).as_bytes()).await;
        }
    });
    url
}

#[tokio::test]
async fn folders_that_are_somebody_elses_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let etcds = dir.path().join("etcd");
    std::fs::create_dir_all(etcds.join("member/wal")).unwrap();
    let refused = refusal(&options(&etcds, Bootstrap::Alone)).await;
    assert!(
        refused.contains("snapshot save") && refused.contains("snapshot restore"),
        "{refused}"
    );
    let half = dir.path().join("half");
    std::fs::create_dir_all(half.join("state")).unwrap();
    std::fs::write(half.join("state/CURRENT"), "x").unwrap();
    let refused = refusal(&options(&half, Bootstrap::Alone)).await;
    assert!(refused.contains("identity.json was lost"), "{refused}");
    let empty = dir.path().join("empty");
    std::fs::create_dir_all(empty.join("state")).unwrap();
    identity(&options(&empty, Bootstrap::Alone)).await.unwrap();
}
