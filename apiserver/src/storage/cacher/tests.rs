//! The cache over the model store.
#![allow(clippy::unwrap_used)]
use super::*;
use crate::storage::{Guarded, memory::Memory};
use bytes::Bytes;
use keelson_machinery::{codec, resources};
use tokio::sync::mpsc::Receiver;

/// A wait that a test may take before it is a failure.
const WAIT_MAX: Duration = Duration::from_secs(10);

struct Fixture {
    store: Arc<Memory>,
    cacher: Arc<Cacher>,
}

fn fixture() -> Fixture {
    timed(TIMING)
}

fn timed(timing: Timing) -> Fixture {
    let store = Arc::new(Memory::default());
    let pods = resources::by_resource("", "v1", "pods").unwrap();
    let cacher = Cacher::timed(store.clone(), pods, CancellationToken::new(), timing);
    Fixture { store, cacher }
}

fn pod(namespace: &str, name: &str, app: &str, node: &str) -> Bytes {
    let pods = resources::by_resource("", "v1", "pods").unwrap();
    let tree = json!({
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": app}},
        "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}]},
    });
    let (mut raw, mut out) = (Vec::new(), Vec::new());
    codec::value_to_proto(pods.type_id, &tree, &mut raw).unwrap();
    codec::wrap_envelope("v1", "Pod", &raw, &mut out);
    out.into()
}

impl Fixture {
    /// Writes over whatever is there.
    async fn put(&self, namespace: &str, name: &str, app: &str, node: &str) -> Revision {
        let key = format!("/registry/pods/{namespace}/{name}");
        let expected = self
            .store
            .get(key.as_bytes())
            .await
            .unwrap()
            .0
            .map_or(0, |kv| kv.mod_revision);
        match self
            .store
            .put(key.as_bytes(), pod(namespace, name, app, node), expected, 0)
            .await
            .unwrap()
        {
            Guarded::Done(r) => r,
            g => panic!("{g:?}"),
        }
    }
    async fn delete(&self, namespace: &str, name: &str) -> Revision {
        let key = format!("/registry/pods/{namespace}/{name}");
        let current = self.store.get(key.as_bytes()).await.unwrap().0.unwrap();
        match self.store.delete(key.as_bytes(), current.mod_revision).await.unwrap() {
            Guarded::Done(r) => r,
            g => panic!("{g:?}"),
        }
    }
    async fn list(&self, o: ListOptions) -> Result<Page, ApiError> {
        tokio::time::timeout(WAIT_MAX, self.cacher.list(&o)).await.unwrap()
    }
    async fn watch(&self, o: WatchOptions) -> Receiver<WatchEvent> {
        tokio::time::timeout(WAIT_MAX, self.cacher.watch(o))
            .await
            .unwrap()
            .unwrap()
    }
}

fn names(p: &Page) -> Vec<&str> {
    p.items.iter().map(|o| o.meta.name.as_str()).collect()
}

/// One event in words: `ADDED a@5`, `BOOKMARK@7`, `END@7` for the initial events' bookmark, `ERROR 410`.
async fn next(w: &mut Receiver<WatchEvent>) -> String {
    match tokio::time::timeout(WAIT_MAX, w.recv()).await.unwrap() {
        None => "CLOSED".into(),
        Some(WatchEvent::Object { kind, object, .. }) => {
            format!(
                "{} {}@{}",
                format!("{kind:?}").to_uppercase(),
                object.meta.name,
                object.revision
            )
        }
        Some(WatchEvent::Bookmark {
            revision,
            initial_events_end: true,
        }) => format!("END@{revision}"),
        Some(WatchEvent::Bookmark { revision, .. }) => format!("BOOKMARK@{revision}"),
        Some(WatchEvent::Error(e)) => format!("ERROR {}", e.code),
    }
}

fn after(revision: Revision) -> WatchOptions {
    WatchOptions {
        resource_version: revision.to_string(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_list_sees_every_write_before_it() {
    let f = fixture();
    assert_eq!(f.list(ListOptions::default()).await.unwrap().items.len(), 0);
    for i in 0..20 {
        let written = f.put("ns", &format!("p{i:02}"), "x", "").await;
        let page = f.list(ListOptions::default()).await.unwrap();
        assert_eq!((page.items.len(), page.revision), (i + 1, written));
    }
    // A write of another kind moves the store on, but not this kind's watch: progress must be asked for.
    f.store.put(b"/registry/other/x", Bytes::new(), 0, 0).await.unwrap();
    let page = f.list(ListOptions::default()).await.unwrap();
    assert_eq!(page.revision, f.store.current_revision().await.unwrap());
}

#[tokio::test]
async fn selectors_and_namespaces() {
    let f = fixture();
    f.put("a", "one", "x", "n1").await;
    f.put("a", "two", "y", "n2").await;
    f.put("ab", "three", "x", "n1").await;
    let by = |namespace: &str, labels: &str, fields: &str| ListOptions {
        namespace: namespace.into(),
        labels: Selector::parse(labels).unwrap(),
        fields: FieldSelector::parse(fields).unwrap(),
        ..Default::default()
    };
    for (namespace, labels, fields, expected) in [
        ("", "", "", vec!["one", "two", "three"]),
        ("a", "", "", vec!["one", "two"]),
        ("", "app=x", "", vec!["one", "three"]),
        ("", "", "spec.nodeName=n1", vec!["one", "three"]),
        ("", "", "spec.nodeName!=n1", vec!["two"]),
        ("a", "", "metadata.name=two", vec!["two"]),
        ("", "", "metadata.name=three", vec!["three"]),
        ("", "", "metadata.namespace=a,metadata.name=three", vec![]),
        ("a", "app=x", "metadata.name=two", vec![]),
    ] {
        let page = f.list(by(namespace, labels, fields)).await.unwrap();
        assert_eq!(names(&page), expected, "{namespace} {labels} {fields}");
    }
}

#[tokio::test]
async fn pages_of_one_list_do_not_see_later_writes() {
    let f = fixture();
    for name in ["a", "b", "c", "d", "e"] {
        f.put("ns", name, "x", "").await;
    }
    let ask = |token: &str| ListOptions {
        namespace: "ns".into(),
        limit: 2,
        continue_token: token.into(),
        ..Default::default()
    };
    let one = f.list(ask("")).await.unwrap();
    assert_eq!((names(&one), one.remaining), (vec!["a", "b"], Some(3)));
    f.delete("ns", "c").await;
    f.put("ns", "bb", "x", "").await;
    let two = f.list(ask(&one.continue_token)).await.unwrap();
    assert_eq!(
        (names(&two), two.remaining, two.revision),
        (vec!["c", "d"], Some(1), one.revision)
    );
    // The same page from the store, once the copy is gone.
    f.cacher.snapshots.lock().clear();
    let again = f.list(ask(&one.continue_token)).await.unwrap();
    assert_eq!(
        (names(&again), again.remaining, again.revision),
        (vec!["c", "d"], Some(1), one.revision)
    );
    let three = f.list(ask(&two.continue_token)).await.unwrap();
    assert_eq!(
        (names(&three), three.remaining, three.continue_token.as_str()),
        (vec!["e"], None, "")
    );
}

#[tokio::test]
async fn pages_under_a_selector_have_no_empty_end() {
    let f = fixture();
    for (name, app) in [("a", "x"), ("b", "y"), ("c", "x"), ("d", "y")] {
        f.put("ns", name, app, "").await;
    }
    let ask = |limit, token: &str| ListOptions {
        labels: Selector::parse("app=x").unwrap(),
        limit,
        continue_token: token.into(),
        ..Default::default()
    };
    let one = f.list(ask(1, "")).await.unwrap();
    assert_eq!((names(&one), one.remaining), (vec!["a"], None));
    let stored = {
        f.cacher.snapshots.lock().clear();
        f.put("ns", "later", "x", "").await;
        f.list(ask(1, &one.continue_token)).await.unwrap()
    };
    assert_eq!((names(&stored), stored.continue_token.as_str()), (vec!["c"], ""));
}

#[tokio::test]
async fn a_compacted_continue_token_comes_with_another() {
    let f = fixture();
    for name in ["a", "b", "c"] {
        f.put("ns", name, "x", "").await;
    }
    let ask = |token: &str| ListOptions {
        limit: 1,
        continue_token: token.into(),
        ..Default::default()
    };
    let one = f.list(ask("")).await.unwrap();
    let last = f.put("ns", "d", "x", "").await;
    f.store.compact(last).await.unwrap();
    f.cacher.snapshots.lock().clear();
    let e = f.list(ask(&one.continue_token)).await.unwrap_err();
    assert_eq!((e.code, e.reason), (410, "Expired"));
    assert_eq!(e.to_status()["metadata"]["continue"], e.continue_token);
    let rest = f
        .list(ListOptions {
            limit: 0,
            ..ask(&e.continue_token)
        })
        .await
        .unwrap();
    assert_eq!((names(&rest), rest.revision), (vec!["b", "c", "d"], last));
}

#[tokio::test]
async fn lists_at_a_revision() {
    let f = timed(Timing {
        fresh_wait_max: Duration::from_millis(50),
        ..TIMING
    });
    let first = f.put("ns", "a", "x", "").await;
    let second = f.put("ns", "b", "x", "").await;
    let at = |version: String, matching: &str| ListOptions {
        resource_version: version,
        resource_version_match: matching.into(),
        ..Default::default()
    };
    let page = f.list(at(first.to_string(), "Exact")).await.unwrap();
    assert_eq!((names(&page), page.revision), (vec!["a"], first));
    let page = f.list(at(second.to_string(), "Exact")).await.unwrap();
    assert_eq!((names(&page), page.revision), (vec!["a", "b"], second));
    let page = f.list(at(first.to_string(), "NotOlderThan")).await.unwrap();
    assert_eq!(names(&page), ["a", "b"]);
    for matching in ["Exact", "NotOlderThan"] {
        let e = f.cacher.list(&at("999".into(), matching)).await.unwrap_err();
        assert_eq!(e.message, "Timeout: Too large resource version: 999, current: 3");
        assert_eq!(e.code, 504);
    }
}

#[tokio::test]
async fn watches_tell_transitions_of_their_selection() {
    let f = fixture();
    let start = f.put("ns", "a", "x", "").await;
    let labelled = |app: &str| WatchOptions {
        labels: Selector::parse(&format!("app={app}")).unwrap(),
        ..after(start)
    };
    let (mut x, mut y) = (f.watch(labelled("x")).await, f.watch(labelled("y")).await);
    let by_node = FieldSelector::parse("spec.nodeName=n").unwrap();
    let mut n = f
        .watch(WatchOptions {
            fields: by_node,
            ..after(start)
        })
        .await;
    let r1 = f.put("ns", "a", "x", "n").await;
    let r2 = f.put("ns", "a", "y", "n").await;
    let r3 = f.put("ns", "a", "y", "m").await;
    let r4 = f.delete("ns", "a").await;
    assert_eq!(next(&mut x).await, format!("MODIFIED a@{r1}"));
    assert_eq!(next(&mut x).await, format!("DELETED a@{r2}"));
    assert_eq!(next(&mut y).await, format!("ADDED a@{r2}"));
    assert_eq!(next(&mut y).await, format!("MODIFIED a@{r3}"));
    assert_eq!(next(&mut y).await, format!("DELETED a@{r4}"));
    assert_eq!(next(&mut n).await, format!("ADDED a@{r1}"));
    assert_eq!(next(&mut n).await, format!("MODIFIED a@{r2}"));
    assert_eq!(next(&mut n).await, format!("DELETED a@{r3}"));
    let mut past = f.watch(after(start)).await;
    for expected in [
        format!("MODIFIED a@{r1}"),
        format!("MODIFIED a@{r2}"),
        format!("MODIFIED a@{r3}"),
    ] {
        assert_eq!(next(&mut past).await, expected);
    }
    assert_eq!(next(&mut past).await, format!("DELETED a@{r4}"));
}

#[tokio::test]
async fn a_deleted_event_carries_the_last_state_under_the_new_revision() {
    let f = fixture();
    let start = f.put("ns", "a", "x", "n").await;
    let name = FieldSelector::parse("metadata.name=a").unwrap();
    let mut w = f
        .watch(WatchOptions {
            namespace: "ns".into(),
            fields: name,
            ..after(start)
        })
        .await;
    f.put("ns", "b", "x", "n").await;
    let gone = f.delete("ns", "a").await;
    match w.recv().await.unwrap() {
        WatchEvent::Object {
            kind: EventType::Deleted,
            object,
            ..
        } => {
            assert_eq!(
                (object.revision, object.value.clone()),
                (gone, pod("ns", "a", "x", "n"))
            );
        }
        e => panic!("{e:?}"),
    }
}

#[tokio::test]
async fn watch_list_ends_its_initial_events_with_a_bookmark() {
    let f = fixture();
    f.put("ns", "a", "x", "").await;
    let second = f.put("ns", "b", "x", "").await;
    let o = WatchOptions {
        send_initial_events: Some(true),
        resource_version_match: "NotOlderThan".into(),
        allow_bookmarks: true,
        ..Default::default()
    };
    let mut w = f.watch(o).await;
    assert_eq!(next(&mut w).await, "ADDED a@2");
    assert_eq!(next(&mut w).await, "ADDED b@3");
    assert_eq!(next(&mut w).await, format!("END@{second}"));
    let third = f.put("ns", "c", "x", "").await;
    assert_eq!(next(&mut w).await, format!("ADDED c@{third}"));
}

#[tokio::test]
async fn events_of_watchers_share_their_encodings() {
    let f = fixture();
    let start = f.put("ns", "a", "x", "").await;
    let (mut one, mut two) = (f.watch(after(start)).await, f.watch(after(start)).await);
    f.put("ns", "a", "y", "").await;
    let mut encodings = Vec::new();
    for w in [&mut one, &mut two] {
        match w.recv().await.unwrap() {
            WatchEvent::Object { encodings: e, .. } => encodings.push(e),
            e => panic!("{e:?}"),
        }
    }
    let mut runs = 0;
    for e in &encodings {
        let made = e.get_or_encode((1, 1), || {
            runs += 1;
            Ok::<_, ()>(Bytes::from_static(b"encoded"))
        });
        assert_eq!(made.unwrap(), "encoded");
    }
    assert_eq!(runs, 1);
}

#[tokio::test]
async fn a_watch_from_before_memory_is_refused() {
    let f = fixture();
    let first = f.put("ns", "a", "x", "").await;
    f.put("ns", "a", "y", "").await;
    f.list(ListOptions::default()).await.unwrap();
    assert_eq!(next(&mut f.watch(after(first)).await).await, "ERROR 410");
}

#[tokio::test]
async fn a_slow_watcher_is_closed_and_others_go_on() {
    let f = fixture();
    let start = f.put("ns", "a", "x", "").await;
    let (mut slow, mut quick) = (f.watch(after(start)).await, f.watch(after(start)).await);
    let mut told = 0;
    for i in 0..1100 {
        f.put("ns", "a", &format!("x{i}"), "").await;
        assert!(next(&mut quick).await.starts_with("MODIFIED"));
    }
    while next(&mut slow).await != "CLOSED" {
        told += 1;
    }
    assert_eq!(told, 1000);
    assert_eq!(f.cacher.state.lock().watcher_count(), 1);
}

#[tokio::test]
async fn a_cut_watch_of_the_store_is_resumed() {
    let f = fixture();
    let start = f.put("ns", "a", "x", "").await;
    let mut w = f.watch(after(start)).await;
    f.store.cut_watches();
    let next_revision = f.put("ns", "b", "x", "").await;
    assert_eq!(next(&mut w).await, format!("ADDED b@{next_revision}"));
    assert_eq!(f.list(ListOptions::default()).await.unwrap().items.len(), 2);
}

#[tokio::test]
async fn bookmarks_come_each_tick_and_before_the_end() {
    let ms = Duration::from_millis;
    let f = timed(Timing {
        tick: ms(200),
        last_bookmark: ms(50),
        ..TIMING
    });
    f.list(ListOptions::default()).await.unwrap();
    let o = WatchOptions {
        allow_bookmarks: true,
        timeout: ms(350),
        ..after(1)
    };
    let began = Instant::now();
    let mut w = f.cacher.watch(o).await.unwrap();
    let other = match f.store.put(b"/registry/other/x", Bytes::new(), 0, 0).await.unwrap() {
        Guarded::Done(r) => r,
        g => panic!("{g:?}"),
    };
    // At the tick, with a revision that the store was asked for; then shortly before the end.
    assert_eq!(next(&mut w).await, format!("BOOKMARK@{other}"));
    assert_eq!(next(&mut w).await, format!("BOOKMARK@{other}"));
    assert_eq!(next(&mut w).await, "CLOSED");
    assert!(began.elapsed() >= ms(350));
    assert_eq!(f.cacher.state.lock().watcher_count(), 0);
}

#[tokio::test]
async fn a_cache_that_nobody_uses_is_dropped_and_comes_back() {
    let f = timed(Timing {
        tick: Duration::from_millis(20),
        idle_max: Duration::ZERO,
        ..TIMING
    });
    f.put("ns", "a", "x", "").await;
    assert_eq!(f.list(ListOptions::default()).await.unwrap().items.len(), 1);
    let mut reached = f.cacher.reached.subscribe();
    tokio::time::timeout(WAIT_MAX, reached.wait_for(|r| *r == 0))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(f.cacher.state.lock().objects.len(), 0);
    assert_eq!(f.list(ListOptions::default()).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn a_watch_leaves_when_its_client_does() {
    let f = fixture();
    f.list(ListOptions::default()).await.unwrap();
    let w = f.watch(after(1)).await;
    assert_eq!(f.cacher.state.lock().watcher_count(), 1);
    drop(w);
    let left = async {
        while f.cacher.state.lock().watcher_count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(WAIT_MAX, left).await.unwrap();
}
