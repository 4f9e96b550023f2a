//! What the parts of one node share: who it is, how it reaches others, what it counts and publishes.
use crate::{Error, Options, Timers, Transport, TransportError, WasRemoved, stats::Counters, watcher::Published};
use keelson_proto::peer as pb;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
};

pub(crate) struct Context {
    pub node_id: u64,
    pub cluster_id: u64,
    pub timers: Timers,
    pub transport: Arc<dyn Transport>,
    pub counters: Counters,
    pub published: Arc<Published>,
    was_removed: Option<WasRemoved>,
    /// Members that left while this process ran.
    left: Mutex<BTreeSet<u64>>,
    /// What the transport was told last.
    urls: Mutex<BTreeMap<u64, Vec<String>>>,
}

impl Context {
    pub(crate) fn new(options: &Options, transport: Arc<dyn Transport>, published: Arc<Published>) -> Arc<Self> {
        Arc::new(Context {
            node_id: options.node_id,
            cluster_id: options.cluster_id,
            timers: options.timers.clone(),
            transport,
            counters: Counters::default(),
            published,
            was_removed: options.was_removed.clone(),
            left: Mutex::default(),
            urls: Mutex::default(),
        })
    }

    pub(crate) fn head(&self, to: u64) -> pb::Head {
        pb::Head {
            cluster_id: self.cluster_id,
            from: self.node_id,
            to,
        }
    }

    /// Where everyone is.
    pub(crate) fn set_members(&self, urls: BTreeMap<u64, Vec<String>>) {
        let mut told = self.urls.lock();
        if *told != urls {
            *told = urls;
            self.transport.set_members(&told);
        }
    }

    /// Where one more is, or is now: openraft calls a new member before its addition is applied.
    pub(crate) fn set_member(&self, id: u64, urls: &[String]) {
        let mut all = self.urls.lock().clone();
        all.insert(id, urls.to_vec());
        self.set_members(all);
    }

    pub(crate) fn note_left(&self, id: u64) {
        self.left.lock().insert(id);
    }

    pub(crate) fn note_present(&self, id: u64) {
        self.left.lock().remove(&id);
    }

    pub(crate) fn was_removed(&self, id: u64) -> bool {
        self.left.lock().contains(&id) || self.was_removed.as_ref().is_some_and(|was| was(id))
    }

    /// Every failed message passes here: a peer that says that this member was removed ends it.
    pub(crate) fn note_failure(&self, to: u64, error: &TransportError) {
        self.counters.peer(to).sent_failures.fetch_add(1, Ordering::Relaxed);
        if *error == TransportError::Removed {
            self.published.fail(Error::Removed);
        }
    }

    /// Who sends: a member of this group that is still in it, and that means this one.
    pub(crate) fn check_head(&self, head: Option<pb::Head>) -> Result<u64, TransportError> {
        let Some(head) = head else {
            return Err(TransportError::Refused("the message names no sender".into()));
        };
        if head.cluster_id != self.cluster_id {
            return Err(TransportError::Refused(format!(
                "this is cluster {:x}, the message is for cluster {:x}",
                self.cluster_id, head.cluster_id
            )));
        }
        if head.to != self.node_id {
            return Err(TransportError::Refused(format!(
                "this is member {:x}, the message is for member {:x}",
                self.node_id, head.to
            )));
        }
        if self.was_removed(head.from) {
            return Err(TransportError::Removed);
        }
        Ok(head.from)
    }
}
