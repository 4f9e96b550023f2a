//! The store and the handlers of one informer, changed together.
use super::Event;
use super::source::HasMeta;
use super::store::{Store, key_of};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tokio::sync::watch;

type Handler<K> = Box<dyn Fn(&Event<K>) + Send + Sync>;
type Transform<K> = Arc<dyn Fn(&mut K) + Send + Sync>;

pub(super) struct Shared<K> {
    pub store: Store<K>,
    /// Held while a change is put into the store and told: a handler that comes late sees a store that
    /// no change is half-way through.
    handlers: Mutex<Vec<Handler<K>>>,
    pub transform: Mutex<Option<Transform<K>>>,
    pub synced: watch::Sender<bool>,
}

impl<K: HasMeta> Shared<K> {
    pub fn new() -> Self {
        Shared {
            store: Store::default(),
            handlers: Mutex::default(),
            transform: Mutex::default(),
            synced: watch::Sender::new(false),
        }
    }

    /// Adds a handler and first tells it what the store holds.
    pub fn add_handler(&self, f: impl Fn(&Event<K>) + Send + Sync + 'static) {
        let mut handlers = self.handlers.lock();
        let f: Handler<K> = Box::new(f);
        for o in self.store.list() {
            call(&f, &Event::Added(o));
        }
        handlers.push(f);
    }

    fn prepare(&self, o: &mut K) {
        // Nobody reads these from a cache, and they are often half of an object. A write of an object without
        // them leaves them as they are.
        o.meta_mut().managed_fields = None;
        if let Some(t) = &*self.transform.lock() {
            t(o);
        }
    }

    pub fn put(&self, mut o: K) {
        self.prepare(&mut o);
        let handlers = self.handlers.lock();
        self.put_and_tell(&handlers, key_of(&o), o);
    }

    fn put_and_tell(&self, handlers: &[Handler<K>], key: String, o: K) {
        let o = Arc::new(o);
        let event = match self.store.put(key, o.clone()) {
            None => Event::Added(o),
            // Seen before: a relist or a resumed watch repeats it.
            Some(old) if same_version(&*old, &*o) => return,
            Some(old) => Event::Updated(old, o),
        };
        tell(handlers, &event);
    }

    /// Removes the object; the event carries its last state, as the server sent it.
    pub fn delete(&self, mut o: K) {
        self.prepare(&mut o);
        let handlers = self.handlers.lock();
        if self.store.remove(&key_of(&o)).is_some() {
            tell(&handlers, &Event::Deleted(Arc::new(o)));
        }
    }

    /// Makes the store hold exactly `objects`: what it held and they lack was deleted unseen. An object of
    /// another uid under the same name is a delete and an add.
    pub fn replace(&self, objects: BTreeMap<String, K>) {
        let handlers = self.handlers.lock();
        for key in self.store.keys() {
            let gone = match (objects.get(&*key), self.store.get(&key)) {
                (None, _) => true,
                (Some(new), Some(old)) => new.meta().uid != old.meta().uid,
                (Some(_), None) => false,
            };
            if gone && let Some(old) = self.store.remove(&key) {
                tell(&handlers, &Event::Deleted(old));
            }
        }
        for (key, mut o) in objects {
            self.prepare(&mut o);
            self.put_and_tell(&handlers, key, o);
        }
        drop(handlers);
        self.synced.send_replace(true);
    }
}

fn same_version<K: HasMeta>(a: &K, b: &K) -> bool {
    let (a, b) = (&a.meta().resource_version, &b.meta().resource_version);
    a.is_some() && a == b
}

fn tell<K>(handlers: &[Handler<K>], event: &Event<K>) {
    for h in handlers {
        call(h, event);
    }
}

/// One handler's panic must not stop the watch that others share.
fn call<K>(handler: &Handler<K>, event: &Event<K>) {
    if std::panic::catch_unwind(AssertUnwindSafe(|| handler(event))).is_err() {
        tracing::error!("an informer's handler panicked");
    }
}
