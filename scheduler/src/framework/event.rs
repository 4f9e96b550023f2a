//! What happens in the cluster, as far as it can make a waiting pod fit.
use super::types::PodInfo;
use k8s_openapi::api::core::v1::Node;
use std::sync::Arc;

/// A change that may wake pods. Plugins look at it through [`super::Plugin::may_help`].
#[derive(Clone, Debug)]
pub enum ClusterEvent {
    NodeAdded(Arc<Node>),
    NodeUpdated {
        old: Arc<Node>,
        new: Arc<Node>,
    },
    /// A pod on a node went away, or stopped counting.
    AssignedPodRemoved(Arc<PodInfo>),
    /// A pod on a node changed its labels or requests.
    AssignedPodUpdated {
        old: Arc<PodInfo>,
        new: Arc<PodInfo>,
    },
    /// Too much happened to tell: wake everything.
    Unknown,
}
