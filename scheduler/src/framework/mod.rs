//! The scheduling framework (KEP-624): extension points as traits, and the profile that calls them in order.
//!
//! A decision runs PreFilter, Filter, PostFilter if nothing fits, Score, Reserve; then, off the scheduling loop,
//! PreBind, Bind, PostBind. A plugin implements the traits of the points it wants and registers for each.

pub mod affinity;
pub mod event;
pub mod profile;
pub mod resources;
pub mod status;
pub mod types;

pub use event::ClusterEvent;
pub use profile::{Profile, ProfileBuilder};
pub use status::{Code, Diagnosis, Rejection, Verdict};
pub use types::{NodeInfo, PodInfo, Snapshot};

use async_trait::async_trait;
use keelson_client::Client;
use std::any::{Any, TypeId};
use std::collections::{BTreeSet, HashMap};

/// Scores are from 0 to this after normalization, before weights.
pub const NODE_SCORE_MAX: i64 = 100;

/// What plugins remember between the points of one decision: one value a type.
#[derive(Default)]
pub struct CycleState {
    values: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
}

impl CycleState {
    pub fn write<T: Any + Send + Sync>(&mut self, value: T) {
        self.values.insert(TypeId::of::<T>(), Box::new(value));
    }
    pub fn read<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.values.get(&TypeId::of::<T>()).and_then(|v| v.downcast_ref())
    }
}

pub trait Plugin: Send + Sync + 'static {
    fn name(&self) -> &'static str;
    /// Whether `event` may make a pod fit that this plugin refused (KEP-4247, queueing hints). The default is
    /// the safe answer: yes.
    fn may_help(&self, _pod: &PodInfo, _event: &ClusterEvent) -> bool {
        true
    }
}

/// Decides whether a pod may enter the active queue at all.
pub trait PreEnqueue: Plugin {
    fn pre_enqueue(&self, pod: &PodInfo) -> Verdict;
}

/// Which nodes are worth a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Candidates {
    All,
    Only(BTreeSet<String>),
}

pub trait PreFilter: Plugin {
    fn pre_filter(&self, state: &mut CycleState, pod: &PodInfo, nodes: &Snapshot) -> Result<Candidates, Rejection>;
}

pub trait Filter: Plugin {
    fn filter(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Verdict;
}

/// Runs when no node fits; may make room, and says what came of it.
pub trait PostFilter: Plugin {
    fn post_filter(&self, state: &CycleState, pod: &PodInfo, nodes: &Snapshot, diagnosis: &Diagnosis) -> String;
}

pub trait Score: Plugin {
    /// False leaves the plugin out for this pod.
    fn pre_score(&self, _state: &mut CycleState, _pod: &PodInfo) -> bool {
        true
    }
    fn score(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> i64;
    /// Brings the scores of all nodes into 0..=[`NODE_SCORE_MAX`].
    fn normalize(&self, _scores: &mut [i64]) {}
}

pub trait Reserve: Plugin {
    fn reserve(&self, state: &mut CycleState, pod: &PodInfo, node: &str) -> Verdict;
    fn unreserve(&self, state: &mut CycleState, pod: &PodInfo, node: &str);
}

#[async_trait]
pub trait PreBind: Plugin {
    async fn pre_bind(&self, client: &Client, pod: &PodInfo, node: &str) -> Verdict;
}

#[async_trait]
pub trait Bind: Plugin {
    async fn bind(&self, client: &Client, pod: &PodInfo, node: &str) -> Result<(), keelson_client::Error>;
}

/// Scales scores so that the largest becomes [`NODE_SCORE_MAX`]; `reverse` turns low into high.
pub fn default_normalize(reverse: bool, scores: &mut [i64]) {
    let max = scores.iter().copied().max().unwrap_or(0);
    if max == 0 {
        if reverse {
            scores.fill(NODE_SCORE_MAX);
        }
        return;
    }
    for s in scores {
        *s = NODE_SCORE_MAX * *s / max;
        if reverse {
            *s = NODE_SCORE_MAX - *s;
        }
    }
}
