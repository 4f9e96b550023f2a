//! Which events are written, which count up an earlier one, and which are spam
//! (upstream: client-go/tools/record/events_cache.go, with its numbers).
use ahash::{AHashMap, AHashSet};
use k8s_openapi::api::core::v1::Event;
use std::hash::Hash;
use std::time::Duration;
use tokio::time::Instant;

/// Entries kept for each of the three memories.
const ENTRIES_MAX: usize = 4096;
/// Similar events, that differ in their message only, before they are combined into one.
const SIMILAR_MAX: usize = 10;
const SIMILAR_WINDOW: Duration = Duration::from_secs(600);
/// Events of one source about one object: a burst, then one in five minutes.
const SPAM_BURST: f64 = 25.0;
const SPAM_REFILL_SECONDS: f64 = 300.0;

pub(super) enum Outcome {
    Create(Event),
    /// An event written before, with its count raised.
    Repeat(Event),
    Drop,
}

/// Source, object, type; then reason; then message.
type Key = Vec<String>;

#[derive(Default)]
pub(super) struct Correlator {
    similar: Memory<Key, Similar>,
    seen: Memory<Key, Seen>,
    spam: Memory<Key, Bucket>,
}

struct Similar {
    messages: AHashSet<String>,
    last: Instant,
}

#[derive(Clone)]
struct Seen {
    count: i32,
    first: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>,
    name: Option<String>,
}

struct Bucket {
    tokens: f64,
    at: Instant,
}

fn spam_key(e: &Event) -> Key {
    let o = &e.involved_object;
    let s = e.source.clone().unwrap_or_default();
    [
        s.component,
        s.host,
        o.kind.clone(),
        o.namespace.clone(),
        o.name.clone(),
        o.uid.clone(),
        o.api_version.clone(),
        e.type_.clone(),
    ]
    .map(Option::unwrap_or_default)
    .to_vec()
}

fn similar_key(e: &Event) -> Key {
    let mut k = spam_key(e);
    k.push(e.reason.clone().unwrap_or_default());
    k
}

fn full_key(e: &Event) -> Key {
    let mut k = similar_key(e);
    k.push(e.involved_object.field_path.clone().unwrap_or_default());
    k.push(e.message.clone().unwrap_or_default());
    k
}

impl Correlator {
    pub fn correlate(&mut self, event: Event) -> Outcome {
        let now = Instant::now();
        let (mut event, key) = self.combine(event, now);
        let repeat = match self.seen.get(&key) {
            Some(s) => {
                event.metadata.name = s.name.clone();
                event.first_timestamp = s.first.clone();
                event.count = Some(s.count.saturating_add(1));
                true
            }
            None => false,
        };
        let seen = Seen {
            count: event.count.unwrap_or(1),
            first: event.first_timestamp.clone(),
            name: event.metadata.name.clone(),
        };
        self.seen.insert(key, seen);
        if self.is_spam(&event, now) {
            return Outcome::Drop;
        }
        match repeat {
            true => Outcome::Repeat(event),
            false => Outcome::Create(event),
        }
    }

    /// Takes what the server answered as the event to count up next time.
    pub fn written(&mut self, event: &Event) {
        let seen = Seen {
            count: event.count.unwrap_or(1),
            first: event.first_timestamp.clone(),
            name: event.metadata.name.clone(),
        };
        self.seen.insert(full_key(event), seen);
    }

    /// Many similar events become one whose message is that of the last.
    fn combine(&mut self, mut event: Event, now: Instant) -> (Event, Key) {
        let key = similar_key(&event);
        let message = event.message.clone().unwrap_or_default();
        let record = self.similar.entry(key.clone(), || Similar {
            messages: AHashSet::new(),
            last: now,
        });
        if now.duration_since(record.last) > SIMILAR_WINDOW {
            record.messages.clear();
        }
        record.last = now;
        record.messages.insert(message.clone());
        if record.messages.len() < SIMILAR_MAX {
            let full = full_key(&event);
            return (event, full);
        }
        if let Some(any) = record.messages.iter().next().cloned() {
            record.messages.remove(&any);
        }
        event.message = Some(format!("(combined from similar events): {message}"));
        (event, key)
    }

    fn is_spam(&mut self, event: &Event, now: Instant) -> bool {
        let b = self.spam.entry(spam_key(event), || Bucket {
            tokens: SPAM_BURST,
            at: now,
        });
        let refill = now.duration_since(b.at).as_secs_f64() / SPAM_REFILL_SECONDS;
        b.tokens = (b.tokens + refill).min(SPAM_BURST);
        b.at = now;
        if b.tokens < 1.0 {
            return true;
        }
        b.tokens -= 1.0;
        false
    }
}

/// A map that forgets its oldest half when full: cheaper than a strict LRU, and no worse for its use here.
struct Memory<K, V> {
    new: AHashMap<K, V>,
    old: AHashMap<K, V>,
}

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Memory {
            new: AHashMap::new(),
            old: AHashMap::new(),
        }
    }
}

impl<K: Eq + Hash, V> Memory<K, V> {
    fn insert(&mut self, key: K, value: V) {
        self.old.remove(&key);
        if self.new.len() >= ENTRIES_MAX / 2 {
            self.old = std::mem::take(&mut self.new);
        }
        self.new.insert(key, value);
    }
    fn get(&self, key: &K) -> Option<&V> {
        self.new.get(key).or_else(|| self.old.get(key))
    }
    fn entry(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        let value = self.old.remove(&key).or_else(|| self.new.remove(&key));
        if self.new.len() >= ENTRIES_MAX / 2 {
            self.old = std::mem::take(&mut self.new);
        }
        self.new.entry(key).or_insert_with(|| value.unwrap_or_else(make))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn event(message: &str) -> Event {
        Event {
            message: Some(message.into()),
            reason: Some("R".into()),
            count: Some(1),
            ..Default::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn similar_events_are_combined_after_ten() {
        let mut c = Correlator::default();
        for i in 0..9 {
            assert!(matches!(c.correlate(event(&i.to_string())), Outcome::Create(_)));
        }
        let Outcome::Create(e) = c.correlate(event("9")) else {
            panic!("created")
        };
        assert_eq!(e.message.as_deref(), Some("(combined from similar events): 9"));
        let Outcome::Repeat(e) = c.correlate(event("10")) else {
            panic!("repeated")
        };
        assert_eq!(e.message.as_deref(), Some("(combined from similar events): 10"));
        assert_eq!(e.count, Some(2));
        tokio::time::advance(SIMILAR_WINDOW + Duration::from_secs(1)).await;
        let Outcome::Create(e) = c.correlate(event("11")) else {
            panic!("created")
        };
        assert_eq!(e.message.as_deref(), Some("11"));
    }

    #[tokio::test(start_paused = true)]
    async fn spam_is_dropped_until_the_bucket_refills() {
        let mut c = Correlator::default();
        for i in 0..25 {
            assert!(!matches!(c.correlate(event("same")), Outcome::Drop), "{i}");
        }
        assert!(matches!(c.correlate(event("same")), Outcome::Drop));
        tokio::time::advance(Duration::from_secs(301)).await;
        let Outcome::Repeat(e) = c.correlate(event("same")) else {
            panic!("repeated")
        };
        assert_eq!(e.count, Some(27), "dropped ones are counted");
    }

    #[test]
    fn memory_is_bounded() {
        let mut m = Memory::default();
        for i in 0..100_000 {
            m.insert(i, i);
        }
        assert!(m.new.len() + m.old.len() <= ENTRIES_MAX);
        assert_eq!(m.get(&99_999), Some(&99_999));
    }
}
