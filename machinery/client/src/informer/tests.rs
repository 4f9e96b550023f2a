#![allow(clippy::unwrap_used)]
use super::*;
use crate::fake::{Fake, WatchEnd};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};
use tokio::sync::mpsc;

fn cm(name: &str, rv: u32) -> Value {
    json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {
        "name": name, "namespace": "d", "uid": format!("u-{name}"), "resourceVersion": rv.to_string(),
        "managedFields": [{"manager": "m"}],
    }})
}

fn text(e: &Event<ConfigMap>) -> String {
    let of = |o: &ConfigMap| {
        let m = &o.metadata;
        assert!(m.managed_fields.is_none(), "stripped");
        format!(
            "{}@{}",
            m.name.as_deref().unwrap(),
            m.resource_version.as_deref().unwrap()
        )
    };
    match e {
        Event::Added(o) => format!("+{}", of(o)),
        Event::Updated(a, b) => format!("{}>{}", of(a), of(b)),
        Event::Deleted(o) => format!("-{}", of(o)),
    }
}

struct Rig {
    fake: Fake,
    handle: InformerHandle<ConfigMap>,
    events: mpsc::UnboundedReceiver<String>,
    stop: CancellationToken,
}

fn rig() -> Rig {
    let fake = Fake::new();
    let stop = CancellationToken::new();
    let informer = Informer::new(Api::<ConfigMap>::all(fake.client()), ListParams::default());
    let (tx, events) = mpsc::unbounded_channel();
    let store = informer.store();
    informer.on_event(move |e| {
        let held = store.contains(&key_of(&**e.object()));
        assert_eq!(
            held,
            !matches!(e, Event::Deleted(_)),
            "the store is changed before handlers are told"
        );
        let _ = tx.send(text(e));
    });
    Rig {
        fake,
        handle: informer.run(stop.clone()),
        events,
        stop,
    }
}

impl Rig {
    async fn told(&mut self) -> String {
        self.events.recv().await.unwrap()
    }
    /// Answers the WatchList with one object.
    async fn synced(&mut self) -> WatchEnd {
        let w = self.fake.next().await.stream();
        w.send("ADDED", cm("a", 3));
        w.bookmark("5", true);
        self.handle.wait_synced().await;
        assert_eq!(self.told().await, "+a@3");
        w
    }
}

#[tokio::test(start_paused = true)]
async fn watch_list_fills_the_store_and_goes_on() {
    let mut r = rig();
    let q = r.fake.next().await;
    assert_eq!(q.path, "/api/v1/configmaps");
    for (key, want) in [
        ("watch", Some("true")),
        ("sendInitialEvents", Some("true")),
        ("resourceVersionMatch", Some("NotOlderThan")),
        ("allowWatchBookmarks", Some("true")),
        ("resourceVersion", None),
    ] {
        assert_eq!(q.param(key), want, "{key}");
    }
    let seconds: u32 = q.param("timeoutSeconds").unwrap().parse().unwrap();
    assert!((300..=600).contains(&seconds));
    let w = q.stream();
    w.send("ADDED", cm("a", 3));
    w.send("ADDED", cm("b", 4));
    assert!(r.fake.is_quiet().await);
    assert!(
        !r.handle.has_synced() && r.handle.store().is_empty(),
        "not before the closing bookmark"
    );
    w.bookmark("5", true);
    r.handle.wait_synced().await;
    assert_eq!((r.told().await, r.told().await), ("+a@3".into(), "+b@4".into()));
    w.send("MODIFIED", cm("a", 6));
    w.send("DELETED", cm("b", 7));
    assert_eq!((r.told().await, r.told().await), ("a@3>a@6".into(), "-b@7".into()));
    assert_eq!(r.handle.store().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_closed_watch_resumes_from_the_last_bookmark() {
    let mut r = rig();
    let w = r.synced().await;
    w.bookmark("9", false);
    drop(w);
    let q = r.fake.next().await;
    assert_eq!(
        (q.param("resourceVersion"), q.param("sendInitialEvents")),
        (Some("9"), None)
    );
    q.fail("connection reset");
    let q = r.fake.next().await;
    assert_eq!(
        q.param("resourceVersion"),
        Some("9"),
        "a broken connection loses nothing"
    );
    let w = q.stream();
    w.send("MODIFIED", cm("a", 10));
    assert_eq!(r.told().await, "a@3>a@10");
}

#[tokio::test(start_paused = true)]
async fn after_410_it_lists_anew_and_tells_what_was_missed() {
    let mut r = rig();
    let w = r.synced().await;
    w.error(410, "Expired");
    let q = r.fake.next().await;
    assert_eq!(
        (q.param("sendInitialEvents"), q.param("resourceVersion")),
        (Some("true"), None)
    );
    let w = q.stream();
    w.send("ADDED", cm("b", 20));
    w.bookmark("21", true);
    assert_eq!((r.told().await, r.told().await), ("-a@3".into(), "+b@20".into()));
    let mut again = cm("b", 22);
    again["metadata"]["uid"] = "other".into();
    w.error(410, "Expired");
    let w = r.fake.next().await.stream();
    w.send("ADDED", again);
    w.bookmark("22", true);
    assert_eq!(
        (r.told().await, r.told().await),
        ("-b@20".into(), "+b@22".into()),
        "another uid is another object"
    );
}

#[tokio::test(start_paused = true)]
async fn without_watch_list_it_lists_in_pages_and_watches() {
    let mut r = rig();
    r.fake.next().await.status(422, "Invalid");
    let q = r.fake.next().await;
    assert_eq!((q.param("watch"), q.param("limit")), (None, Some("500")));
    q.answer(
        200,
        json!({"metadata": {"resourceVersion": "8", "continue": "tok"}, "items": [cm("a", 3)]}),
    );
    let q = r.fake.next().await;
    assert_eq!(q.param("continue"), Some("tok"));
    assert!(!r.handle.has_synced());
    q.answer(
        200,
        json!({"metadata": {"resourceVersion": "8"}, "items": [cm("b", 4)]}),
    );
    assert_eq!((r.told().await, r.told().await), ("+a@3".into(), "+b@4".into()));
    let q = r.fake.next().await;
    assert_eq!(
        (q.param("watch"), q.param("resourceVersion")),
        (Some("true"), Some("8"))
    );
    q.status(410, "Expired");
    let q = r.fake.next().await;
    assert_eq!(
        q.param("sendInitialEvents"),
        None,
        "the server is not asked for WatchList again"
    );
    q.answer(200, json!({"metadata": {"resourceVersion": "9"}, "items": null}));
    assert_eq!((r.told().await, r.told().await), ("-a@3".into(), "-b@4".into()));
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_server_is_retried_with_backoff() {
    let mut r = rig();
    let start = tokio::time::Instant::now();
    for _ in 0..4 {
        r.fake.next().await.fail("connection refused");
    }
    let _w = r.synced().await;
    assert!(start.elapsed().as_millis() >= 800 * (1 + 2 + 4 + 8));
}

#[tokio::test(start_paused = true)]
async fn late_handlers_hear_what_is_there_and_stop_ends_the_watch() {
    let mut r = rig();
    let w = r.synced().await;
    let (tx, mut late) = mpsc::unbounded_channel();
    r.handle.on_event(|_| panic!("a bad handler"));
    r.handle.on_event(move |e| tx.send(text(e)).unwrap());
    assert_eq!(late.recv().await.unwrap(), "+a@3");
    w.send("ADDED", cm("a", 3));
    w.send("ADDED", cm("c", 6));
    assert_eq!(late.recv().await.unwrap(), "+c@6", "the repeat of a@3 is no event");
    assert_eq!(r.told().await, "+c@6");
    r.stop.cancel();
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert!(!w.is_open());
}

#[tokio::test(start_paused = true)]
async fn the_factory_shares_one_watch() {
    let fake = Fake::new();
    let f = InformerFactory::new(fake.client(), CancellationToken::new());
    let one = f.informer::<ConfigMap>();
    let two = f.clone().informer::<ConfigMap>();
    let w = fake.next().await.stream();
    let mut owned = cm("a", 1);
    owned["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "X", "name": "x", "uid": "own", "controller": true}]);
    w.send("ADDED", owned);
    w.bookmark("1", true);
    f.wait_synced().await;
    assert!(one.has_synced() && two.has_synced());
    assert_eq!(two.store().by_index(OWNER_INDEX, "own").len(), 1);
    assert_eq!(two.store().by_index(NAMESPACE_INDEX, "d").len(), 1);
    assert!(fake.is_quiet().await);
}

#[tokio::test(start_paused = true)]
async fn dynamic_kinds_have_informers_too() {
    let fake = Fake::new();
    let gvr = crate::GroupVersionResource {
        group: "x.io".into(),
        version: "v1".into(),
        resource: "things".into(),
    };
    let api = DynamicApi::new(fake.client(), gvr, None).metadata_only();
    let h = Informer::dynamic(api, ListParams::default()).run(CancellationToken::new());
    let q = fake.next().await;
    assert_eq!(q.path, "/apis/x.io/v1/things");
    assert!(
        q.headers["accept"]
            .to_str()
            .unwrap()
            .contains("as=PartialObjectMetadata")
    );
    let w = q.stream();
    w.send("ADDED", cm("a", 1));
    w.bookmark("1", true);
    h.wait_synced().await;
    assert_eq!(h.store().get("d/a").unwrap().kind, "ConfigMap");
}
