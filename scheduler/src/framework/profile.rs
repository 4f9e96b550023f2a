//! A profile: the plugins in the order in which they run, and one decision made with them.
use super::*;
use rand::Rng;
use std::sync::Arc;

/// From this many nodes on, a decision stops looking once it has found enough that fit.
const FEASIBLE_NODES_MIN: usize = 100;
/// Least share of nodes to find, in percent.
const FEASIBLE_PERCENT_MIN: usize = 5;

/// Why a decision ended without a node.
#[derive(Debug)]
pub enum Failure {
    NoNodes,
    NoFit(Box<Diagnosis>),
    Error(Rejection),
}

impl Failure {
    pub fn message(&self) -> String {
        match self {
            Failure::NoNodes => "no nodes available to schedule pods".to_owned(),
            Failure::NoFit(d) => d.message(),
            Failure::Error(r) => format!("running plugin {:?}: {}", r.plugin, r.reasons.join(", ")),
        }
    }
    /// `reason` of the PodScheduled condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Failure::Error(_) => "SchedulerError",
            _ => "Unschedulable",
        }
    }
}

/// Collects plugins for a [`Profile`].
#[derive(Default)]
pub struct ProfileBuilder {
    profile: Profile,
}

impl ProfileBuilder {
    fn known(&mut self, p: Arc<dyn Plugin>) {
        if !self.profile.plugins.iter().any(|q| q.name() == p.name()) {
            self.profile.plugins.push(p);
        }
    }
    pub fn pre_enqueue<P: PreEnqueue>(&mut self, p: &Arc<P>) -> &mut Self {
        self.known(p.clone());
        self.profile.pre_enqueue.push(p.clone());
        self
    }
    pub fn pre_filter<P: PreFilter>(&mut self, p: &Arc<P>) -> &mut Self {
        self.known(p.clone());
        self.profile.pre_filter.push(p.clone());
        self
    }
    pub fn filter<P: Filter>(&mut self, p: &Arc<P>) -> &mut Self {
        self.known(p.clone());
        self.profile.filter.push(p.clone());
        self
    }
    pub fn post_filter<P: PostFilter>(&mut self, p: &Arc<P>) -> &mut Self {
        self.known(p.clone());
        self.profile.post_filter.push(p.clone());
        self
    }
    pub fn score<P: Score>(&mut self, p: &Arc<P>, weight: i64) -> &mut Self {
        self.known(p.clone());
        if weight > 0 {
            self.profile.score.push((p.clone(), weight));
        }
        self
    }
    pub fn reserve<P: Reserve>(&mut self, p: &Arc<P>) -> &mut Self {
        self.known(p.clone());
        self.profile.reserve.push(p.clone());
        self
    }
    pub fn pre_bind<P: PreBind>(&mut self, p: &Arc<P>) -> &mut Self {
        self.known(p.clone());
        self.profile.pre_bind.push(p.clone());
        self
    }
    pub fn bind<P: Bind>(&mut self, p: &Arc<P>) -> &mut Self {
        self.known(p.clone());
        self.profile.bind.push(p.clone());
        self
    }
    pub fn build(self) -> Profile {
        self.profile
    }
}

/// The plugins of one scheduler name.
#[derive(Default)]
pub struct Profile {
    plugins: Vec<Arc<dyn Plugin>>,
    pre_enqueue: Vec<Arc<dyn PreEnqueue>>,
    pre_filter: Vec<Arc<dyn PreFilter>>,
    filter: Vec<Arc<dyn Filter>>,
    post_filter: Vec<Arc<dyn PostFilter>>,
    score: Vec<(Arc<dyn Score>, i64)>,
    reserve: Vec<Arc<dyn Reserve>>,
    pre_bind: Vec<Arc<dyn PreBind>>,
    bind: Vec<Arc<dyn Bind>>,
}

/// How many fitting nodes are enough (upstream `numFeasibleNodesToFind`, adaptive percentage).
fn nodes_enough(total: usize) -> usize {
    if total < FEASIBLE_NODES_MIN {
        return total;
    }
    let percent = 50usize.saturating_sub(total / 125).max(FEASIBLE_PERCENT_MIN);
    (total * percent / 100).max(FEASIBLE_NODES_MIN)
}

impl Profile {
    pub fn pre_enqueue(&self, pod: &PodInfo) -> Verdict {
        self.pre_enqueue.iter().try_for_each(|p| p.pre_enqueue(pod))
    }

    /// Whether `event` may make `pod` fit, given the plugins that refused it.
    pub fn may_help(&self, refused_by: &BTreeSet<&'static str>, pod: &PodInfo, event: &ClusterEvent) -> bool {
        matches!(event, ClusterEvent::Unknown)
            || refused_by.is_empty()
            || self
                .plugins
                .iter()
                .any(|p| refused_by.contains(p.name()) && p.may_help(pod, event))
    }

    /// Picks a node. `start` is where to begin among the nodes; it moves on so that all get their turn.
    pub fn decide(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &Snapshot,
        start: &mut usize,
    ) -> Result<Arc<NodeInfo>, Failure> {
        if nodes.nodes.is_empty() {
            return Err(Failure::NoNodes);
        }
        let mut diagnosis = Diagnosis {
            nodes_total: nodes.nodes.len(),
            ..Diagnosis::default()
        };
        let fitting = match self.find_fitting(state, pod, nodes, start, &mut diagnosis) {
            Ok(f) => f,
            Err(r) => return Err(Failure::Error(r)),
        };
        if fitting.is_empty() {
            let said: Vec<String> = self
                .post_filter
                .iter()
                .map(|p| p.post_filter(state, pod, nodes, &diagnosis))
                .filter(|m| !m.is_empty())
                .collect();
            diagnosis.post_filter = said.join(", ");
            return Err(Failure::NoFit(Box::new(diagnosis)));
        }
        Ok(self.best(state, pod, fitting))
    }

    fn find_fitting(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &Snapshot,
        start: &mut usize,
        diagnosis: &mut Diagnosis,
    ) -> Result<Vec<Arc<NodeInfo>>, Rejection> {
        let mut candidates = Candidates::All;
        for p in &self.pre_filter {
            match p.pre_filter(state, pod, nodes) {
                Ok(Candidates::All) => {}
                Ok(Candidates::Only(names)) => {
                    diagnosis.plugins.insert(p.name());
                    candidates = match candidates {
                        Candidates::All => Candidates::Only(names),
                        Candidates::Only(old) => Candidates::Only(old.intersection(&names).cloned().collect()),
                    };
                }
                Err(r) if r.code == Code::Error => return Err(r),
                Err(r) => {
                    diagnosis.plugins.insert(r.plugin);
                    diagnosis.pre_filter = Some(r);
                    return Ok(Vec::new());
                }
            }
        }
        match candidates {
            Candidates::Only(names) => {
                diagnosis.absent_reason = Some("node(s) didn't satisfy plugin(s) [NodeAffinity]".to_owned());
                let listed = names.iter().filter_map(|n| nodes.get(n));
                self.filter_nodes(state, pod, listed, usize::MAX, diagnosis)
                    .map(|(f, _)| f)
            }
            Candidates::All => {
                let n = nodes.nodes.len();
                let order = (0..n).filter_map(|i| nodes.nodes.get((*start + i) % n));
                let (found, seen) = self.filter_nodes(state, pod, order, nodes_enough(n), diagnosis)?;
                *start = (*start + seen) % n;
                Ok(found)
            }
        }
    }

    fn filter_nodes<'a>(
        &self,
        state: &CycleState,
        pod: &PodInfo,
        nodes: impl Iterator<Item = &'a Arc<NodeInfo>>,
        enough: usize,
        diagnosis: &mut Diagnosis,
    ) -> Result<(Vec<Arc<NodeInfo>>, usize), Rejection> {
        let mut found = Vec::new();
        let mut seen = 0;
        for node in nodes {
            if found.len() >= enough {
                break;
            }
            seen += 1;
            match self.filter.iter().try_for_each(|p| p.filter(state, pod, node)) {
                Ok(()) => found.push(node.clone()),
                Err(r) if r.code == Code::Error => return Err(r),
                Err(r) => {
                    diagnosis.plugins.insert(r.plugin);
                    diagnosis.by_node.insert(node.name.to_string(), r);
                }
            }
        }
        Ok((found, seen))
    }

    /// The node of the highest weighted score; a tie is broken at random, so that equal nodes share the load.
    fn best(&self, state: &mut CycleState, pod: &PodInfo, mut fitting: Vec<Arc<NodeInfo>>) -> Arc<NodeInfo> {
        if fitting.len() == 1 {
            return fitting.swap_remove(0);
        }
        let mut totals = vec![0i64; fitting.len()];
        for (plugin, weight) in &self.score {
            if !plugin.pre_score(state, pod) {
                continue;
            }
            let mut scores: Vec<i64> = fitting.iter().map(|n| plugin.score(state, pod, n)).collect();
            plugin.normalize(&mut scores);
            for (t, s) in totals.iter_mut().zip(scores) {
                *t += s * weight;
            }
        }
        let top = totals.iter().copied().max().unwrap_or(0);
        let mut best: Vec<usize> = (0..totals.len()).filter(|i| totals.get(*i) == Some(&top)).collect();
        let pick = if best.len() > 1 {
            rand::rng().random_range(0..best.len())
        } else {
            0
        };
        fitting.swap_remove(best.swap_remove(pick))
    }

    pub fn reserve(&self, state: &mut CycleState, pod: &PodInfo, node: &str) -> Verdict {
        for p in &self.reserve {
            if let Err(r) = p.reserve(state, pod, node) {
                self.unreserve(state, pod, node);
                return Err(r);
            }
        }
        Ok(())
    }

    pub fn unreserve(&self, state: &mut CycleState, pod: &PodInfo, node: &str) {
        for p in self.reserve.iter().rev() {
            p.unreserve(state, pod, node);
        }
    }

    /// PreBind and Bind; what it says on failure goes to the log and the pod's event.
    pub async fn bind(&self, client: &Client, pod: &PodInfo, node: &str) -> Result<(), String> {
        for p in &self.pre_bind {
            p.pre_bind(client, pod, node).await.map_err(|r| r.reasons.join(", "))?;
        }
        for p in &self.bind {
            p.bind(client, pod, node).await.map_err(|e| e.to_string())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_nodes_follow_upstreams_adaptive_share() {
        assert_eq!(nodes_enough(10), 10);
        assert_eq!(nodes_enough(100), 100);
        assert_eq!(nodes_enough(1000), 420);
        assert_eq!(nodes_enough(6000), 300);
    }
}
