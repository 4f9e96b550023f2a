//! The Storage trait as plainly as it can be said: the model that the suite and the cache's tests stand on.
#![allow(clippy::unwrap_used)]
use super::*;
use parking_lot::Mutex;
use std::collections::BTreeMap;

type Map = BTreeMap<Bytes, (KeyValue, u64)>;

struct Watcher {
    prefix: Bytes,
    sender: mpsc::UnboundedSender<Vec<WatchItem>>,
}

struct State {
    revision: Revision,
    compacted: Revision,
    /// The whole keyspace at each revision since the compaction: keys with their versions.
    history: BTreeMap<Revision, Map>,
    log: Vec<(Revision, WatchItem)>,
    watchers: Vec<Watcher>,
}

pub struct Memory(Mutex<State>);

impl Default for Memory {
    fn default() -> Self {
        Memory(Mutex::new(State {
            revision: 1,
            compacted: 0,
            history: BTreeMap::from([(1, Map::new())]),
            log: Vec::new(),
            watchers: Vec::new(),
        }))
    }
}

impl State {
    fn now(&self) -> &Map {
        &self.history[&self.revision]
    }
    fn commit(&mut self, map: Map, item: WatchItem) -> Revision {
        self.revision += 1;
        self.history.insert(self.revision, map);
        self.log.push((self.revision, item.clone()));
        let key = key_of(&item).clone();
        self.watchers
            .retain(|w| !key.starts_with(&w.prefix) || w.sender.send(vec![item.clone()]).is_ok());
        self.revision
    }
    fn write(&mut self, key: &[u8], value: Bytes) -> Revision {
        let mut map = self.now().clone();
        let key = Bytes::copy_from_slice(key);
        let kv = KeyValue {
            key: key.clone(),
            value,
            mod_revision: self.revision + 1,
        };
        let (prev, version) = map.get(&key).map_or((None, 0), |(kv, v)| (Some(kv.clone()), *v));
        map.insert(key, (kv.clone(), version + 1));
        self.commit(
            map,
            WatchItem::Put {
                kv,
                create: prev.is_none(),
                prev,
            },
        )
    }
}

fn key_of(item: &WatchItem) -> &Bytes {
    match item {
        WatchItem::Put { kv, .. } => &kv.key,
        WatchItem::Delete { key, .. } => key,
        WatchItem::Progress(_) => unreachable!(),
    }
}

impl Memory {
    pub fn compacted(&self) -> Revision {
        self.0.lock().compacted
    }
    /// Cuts every watch, as a lost connection would.
    pub fn cut_watches(&self) {
        self.0.lock().watchers.clear();
    }
}

#[async_trait]
impl Storage for Memory {
    async fn get(&self, key: &[u8]) -> Result<(Option<KeyValue>, Revision), Error> {
        let s = self.0.lock();
        Ok((s.now().get(key).map(|(kv, _)| kv.clone()), s.revision))
    }

    async fn list(&self, start: &[u8], end: &[u8], limit: u64, at: Revision) -> Result<ListResult, Error> {
        let s = self.0.lock();
        let at = if at == 0 { s.revision } else { at };
        if at > s.revision {
            return Err(Error::Future);
        }
        if at < s.compacted {
            return Err(Error::Compacted);
        }
        let all: Vec<_> = s.history[&at]
            .range(Bytes::copy_from_slice(start)..Bytes::copy_from_slice(end))
            .map(|(_, (kv, _))| kv.clone())
            .collect();
        let take = if limit == 0 { all.len() } else { limit as usize };
        Ok(ListResult {
            count: all.len() as u64,
            items: all.into_iter().take(take).collect(),
            revision: s.revision,
        })
    }

    async fn put(&self, key: &[u8], value: Bytes, expected: Revision, _ttl_seconds: u64) -> Result<Guarded, Error> {
        let mut s = self.0.lock();
        let current = s.now().get(key).map(|(kv, _)| kv.clone());
        if current.as_ref().map_or(0, |kv| kv.mod_revision) != expected {
            return Ok(Guarded::Conflict {
                current,
                revision: s.revision,
            });
        }
        Ok(Guarded::Done(s.write(key, value)))
    }

    async fn delete(&self, key: &[u8], expected: Revision) -> Result<Guarded, Error> {
        let mut s = self.0.lock();
        let current = s.now().get(key).map(|(kv, _)| kv.clone());
        if current.as_ref().map_or(0, |kv| kv.mod_revision) != expected {
            return Ok(Guarded::Conflict {
                current,
                revision: s.revision,
            });
        }
        let Some(prev) = current else {
            return Ok(Guarded::Done(s.revision));
        };
        let mut map = s.now().clone();
        map.remove(key);
        let revision = s.revision + 1;
        let item = WatchItem::Delete {
            key: Bytes::copy_from_slice(key),
            revision,
            prev: Some(prev),
        };
        Ok(Guarded::Done(s.commit(map, item)))
    }

    async fn watch(&self, prefix: &[u8], from: Revision) -> Result<WatchReceiver, Error> {
        let (sender, mut queue) = mpsc::unbounded_channel();
        let (out, receiver) = mpsc::channel(16);
        let mut s = self.0.lock();
        if from + 1 < s.compacted {
            out.try_send(Err(Error::Compacted)).unwrap();
            return Ok(receiver);
        }
        for (revision, item) in &s.log {
            if *revision > from && key_of(item).starts_with(prefix) {
                sender.send(vec![item.clone()]).unwrap();
            }
        }
        s.watchers.push(Watcher {
            prefix: Bytes::copy_from_slice(prefix),
            sender,
        });
        drop(s);
        tokio::spawn(async move {
            loop {
                let next = tokio::select! {
                    () = out.closed() => return,
                    next = queue.recv() => next,
                };
                let cut = next.is_none();
                let next = next.ok_or_else(|| Error::Unavailable("cut".into()));
                if out.send(next).await.is_err() || cut {
                    return;
                }
            }
        });
        Ok(receiver)
    }

    async fn request_progress(&self, prefix: &[u8]) -> Result<(), Error> {
        let s = self.0.lock();
        for w in s.watchers.iter().filter(|w| w.prefix == prefix) {
            let _ = w.sender.send(vec![WatchItem::Progress(s.revision)]);
        }
        Ok(())
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        let mut s = self.0.lock();
        if revision <= s.compacted {
            return Err(Error::Compacted);
        }
        if revision > s.revision {
            return Err(Error::Future);
        }
        s.compacted = revision;
        s.history = s.history.split_off(&revision);
        s.log.retain(|(r, _)| *r >= revision);
        Ok(())
    }

    async fn current_revision(&self) -> Result<Revision, Error> {
        Ok(self.0.lock().revision)
    }

    async fn put_version(&self, key: &[u8], version: u64, value: Bytes) -> Result<VersionTxn, Error> {
        let mut s = self.0.lock();
        let (now, current) = s
            .now()
            .get(key)
            .map_or((0, Bytes::new()), |(kv, v)| (*v, kv.value.clone()));
        if now != version {
            return Ok(VersionTxn {
                done: false,
                version: now,
                value: current,
                revision: s.revision,
            });
        }
        let revision = s.write(key, value.clone());
        Ok(VersionTxn {
            done: true,
            version: version + 1,
            value,
            revision,
        })
    }
}
