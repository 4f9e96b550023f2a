//! What every Storage must do, the model among them.
#![allow(clippy::unwrap_used)]
use super::*;
use std::sync::Arc;
use std::time::Duration;

/// A wait that a test may take before it is a failure.
const WAIT_MAX: Duration = Duration::from_secs(10);

fn done(g: Guarded) -> Revision {
    match g {
        Guarded::Done(r) => r,
        Guarded::Conflict { .. } => panic!("guard failed: {g:?}"),
    }
}

fn value(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// The next item of the watch that is no progress notification.
async fn next(w: &mut WatchReceiver, queue: &mut Vec<WatchItem>) -> WatchItem {
    loop {
        while !queue.is_empty() {
            match queue.remove(0) {
                WatchItem::Progress(_) => {}
                item => return item,
            }
        }
        *queue = tokio::time::timeout(WAIT_MAX, w.recv())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}

pub async fn all(s: Arc<dyn Storage>) {
    guards(&*s).await;
    lists(&*s).await;
    watches(&*s).await;
    progress(&*s).await;
    versions(&*s).await;
    compaction(&*s).await;
}

async fn guards(s: &dyn Storage) {
    let key = b"/registry/guards/a";
    let (none, at) = s.get(key).await.unwrap();
    assert_eq!(none, None);
    let r1 = done(s.put(key, value("1"), 0, 0).await.unwrap());
    assert_eq!(r1, at + 1);
    match s.put(key, value("2"), 0, 0).await.unwrap() {
        Guarded::Conflict {
            current: Some(kv),
            revision,
        } => {
            assert_eq!((kv.value, kv.mod_revision, revision), (value("1"), r1, r1));
        }
        g => panic!("created twice: {g:?}"),
    }
    let r2 = done(s.put(key, value("2"), r1, 0).await.unwrap());
    assert!(matches!(
        s.delete(key, r1).await.unwrap(),
        Guarded::Conflict { current: Some(_), .. }
    ));
    let (kv, at) = s.get(key).await.unwrap();
    assert_eq!(
        kv.unwrap(),
        KeyValue {
            key: Bytes::from_static(key),
            value: value("2"),
            mod_revision: r2
        }
    );
    assert_eq!(at, r2);
    assert_eq!(done(s.delete(key, r2).await.unwrap()), r2 + 1);
    match s.put(key, value("3"), r2, 0).await.unwrap() {
        Guarded::Conflict { current: None, .. } => {}
        g => panic!("updated what is not there: {g:?}"),
    }
    let leased = done(s.put(key, value("leased"), 0, 3600).await.unwrap());
    assert_eq!(s.current_revision().await.unwrap(), leased);
    done(s.delete(key, leased).await.unwrap());
}

async fn lists(s: &dyn Storage) {
    let mut last = 0;
    for name in ["a", "b", "c"] {
        last = done(
            s.put(format!("/registry/lists/{name}").as_bytes(), value(name), 0, 0)
                .await
                .unwrap(),
        );
    }
    done(s.put(b"/registry/listt/x", value("x"), 0, 0).await.unwrap());
    let end = keys::prefix_end(b"/registry/lists/");
    let all = s.list(b"/registry/lists/", &end, 0, 0).await.unwrap();
    let names: Vec<_> = all.items.iter().map(|kv| kv.value.clone()).collect();
    assert_eq!(names, [value("a"), value("b"), value("c")]);
    assert_eq!((all.count, all.revision), (3, last + 1));
    let page = s.list(b"/registry/lists/", &end, 2, 0).await.unwrap();
    assert_eq!((page.items.len(), page.count), (2, 3));
    let rest = s.list(b"/registry/lists/b\0", &end, 2, 0).await.unwrap();
    assert_eq!((rest.items.len(), rest.count), (1, 1));
    let before = s.list(b"/registry/lists/", &end, 0, last - 1).await.unwrap();
    assert_eq!((before.items.len(), before.count, before.revision), (2, 2, last + 1));
    assert!(matches!(
        s.list(b"/registry/lists/", &end, 0, last + 100).await,
        Err(Error::Future)
    ));
}

async fn watches(s: &dyn Storage) {
    let (key, mut queue) = (b"/registry/watches/a", Vec::new());
    let from = s.current_revision().await.unwrap();
    let r1 = done(s.put(key, value("1"), 0, 0).await.unwrap());
    let mut w = s.watch(b"/registry/watches/", from).await.unwrap();
    done(s.put(b"/registry/watchet", value("other"), 0, 0).await.unwrap());
    let r2 = done(s.put(key, value("2"), r1, 0).await.unwrap());
    let r3 = done(s.delete(key, r2).await.unwrap());
    let kv = |text: &str, mod_revision| KeyValue {
        key: Bytes::from_static(key),
        value: value(text),
        mod_revision,
    };
    assert_eq!(
        next(&mut w, &mut queue).await,
        WatchItem::Put {
            kv: kv("1", r1),
            create: true,
            prev: None
        }
    );
    let changed = WatchItem::Put {
        kv: kv("2", r2),
        create: false,
        prev: Some(kv("1", r1)),
    };
    assert_eq!(next(&mut w, &mut queue).await, changed);
    let deleted = WatchItem::Delete {
        key: Bytes::from_static(key),
        revision: r3,
        prev: Some(kv("2", r2)),
    };
    assert_eq!(next(&mut w, &mut queue).await, deleted);
}

async fn progress(s: &dyn Storage) {
    let mut w = s
        .watch(b"/registry/progress/", s.current_revision().await.unwrap())
        .await
        .unwrap();
    let at = done(s.put(b"/registry/elsewhere", value("1"), 0, 0).await.unwrap());
    let told = async {
        loop {
            // A watch that has not started yet answers nothing, so the question is repeated as the cache does.
            s.request_progress(b"/registry/progress/").await.unwrap();
            let Ok(batch) = tokio::time::timeout(Duration::from_millis(50), w.recv()).await else {
                continue;
            };
            if batch
                .unwrap()
                .unwrap()
                .iter()
                .any(|i| matches!(i, WatchItem::Progress(r) if *r >= at))
            {
                return;
            }
        }
    };
    tokio::time::timeout(WAIT_MAX, told).await.unwrap();
}

async fn versions(s: &dyn Storage) {
    let first = s.put_version(b"versions", 0, value("1")).await.unwrap();
    assert_eq!((first.done, first.version), (true, 1));
    let lost = s.put_version(b"versions", 0, value("2")).await.unwrap();
    assert_eq!((lost.done, lost.version, lost.value), (false, 1, value("1")));
    let second = s.put_version(b"versions", 1, value("2")).await.unwrap();
    assert_eq!((second.done, second.version), (true, 2));
    assert_eq!(second.revision, first.revision + 1);
}

async fn compaction(s: &dyn Storage) {
    let key = b"/registry/compaction/a";
    let r1 = done(s.put(key, value("1"), 0, 0).await.unwrap());
    let r2 = done(s.put(key, value("2"), r1, 0).await.unwrap());
    let r3 = done(s.put(key, value("3"), r2, 0).await.unwrap());
    s.compact(r3).await.unwrap();
    let end = keys::prefix_end(b"/registry/compaction/");
    assert!(matches!(
        s.list(b"/registry/compaction/", &end, 0, r1).await,
        Err(Error::Compacted)
    ));
    assert_eq!(
        s.list(b"/registry/compaction/", &end, 0, r3).await.unwrap().items.len(),
        1
    );
    assert!(matches!(s.compact(r2).await, Err(Error::Compacted)));
    assert!(matches!(s.compact(r3 + 100).await, Err(Error::Future)));
    let mut w = s.watch(b"/registry/compaction/", r1).await.unwrap();
    let end = async {
        loop {
            match w.recv().await.unwrap() {
                Ok(batch) => assert!(batch.iter().all(|i| matches!(i, WatchItem::Progress(_)))),
                Err(e) => return e,
            }
        }
    };
    assert!(matches!(
        tokio::time::timeout(WAIT_MAX, end).await.unwrap(),
        Error::Compacted
    ));
}

#[tokio::test]
async fn the_model_conforms() {
    all(Arc::new(memory::Memory::default())).await;
}

#[tokio::test]
async fn the_embedded_store_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let server = open(dir.path(), None).await;
    all(Arc::new(embedded::Embedded::new(server.kv()))).await;
    server.shutdown().await;
}

#[tokio::test]
async fn the_etcd_client_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let server = open(dir.path(), Some(([127, 0, 0, 1], 0).into())).await;
    let url = format!("http://{}", server.client_addr().unwrap());
    let client = etcd::connect(&etcd::Options {
        endpoints: vec![url],
        ..Default::default()
    })
    .unwrap();
    all(Arc::new(client)).await;
    server.shutdown().await;
}

async fn open(dir: &std::path::Path, client_addr: Option<std::net::SocketAddr>) -> keelson_kvstore::Server {
    let mut options = keelson_kvstore::Options::new("test", dir);
    options.cache_bytes = 1 << 20;
    if let Some(addr) = client_addr {
        options = options.serve_at(addr, None);
    }
    keelson_kvstore::Server::start(options).await.unwrap()
}

/// Beside the real etcd that the test command builds.
#[tokio::test]
async fn a_real_etcd_conforms() {
    let etcd = std::env::var_os("ETCD").expect("set ETCD to what `bench/peers/build etcd` prints");
    let dir = tempfile::tempdir().unwrap();
    let url = |name: &str| format!("unix://{}", dir.path().join(name).display());
    let (client, peer) = (url("client"), url("peer"));
    let cluster = format!("default={peer}");
    let data = dir.path().join("data");
    let mut child = tokio::process::Command::new(etcd)
        .arg("--data-dir")
        .arg(&data)
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &cluster, "--log-outputs", "/dev/null"])
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let options = etcd::Options {
        endpoints: vec![client],
        ..Default::default()
    };
    let storage = Arc::new(etcd::connect(&options).unwrap());
    let up = async {
        while storage.current_revision().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(WAIT_MAX, up).await.unwrap();
    all(storage).await;
    child.kill().await.unwrap();
}
