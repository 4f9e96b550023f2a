//! The answers of plugins, and how they add up to the message a user reads.
use std::collections::{BTreeMap, BTreeSet};

/// Why a plugin says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Not now; removing other pods might help.
    Unschedulable,
    /// Not now, and no removal of pods helps.
    UnschedulableAndUnresolvable,
    /// The plugin itself failed; the pod is retried with backoff.
    Error,
}

/// A refusal. Agreement is the `Ok` of [`Verdict`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub code: Code,
    pub plugin: &'static str,
    pub reasons: Vec<String>,
}

pub type Verdict = Result<(), Rejection>;

impl Rejection {
    pub fn new(code: Code, plugin: &'static str, reason: impl Into<String>) -> Self {
        Rejection {
            code,
            plugin,
            reasons: vec![reason.into()],
        }
    }
}

/// Why no node fits one pod.
#[derive(Clone, Debug, Default)]
pub struct Diagnosis {
    pub nodes_total: usize,
    /// Refusals by node name.
    pub by_node: BTreeMap<String, Rejection>,
    /// Set when a PreFilter plugin refused for all nodes.
    pub pre_filter: Option<Rejection>,
    /// Reason that counts for nodes that a PreFilter result left out.
    pub absent_reason: Option<String>,
    /// Plugins that refused: only their events wake the pod.
    pub plugins: BTreeSet<&'static str>,
    pub post_filter: String,
}

/// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.`
pub fn histogram_message(nodes_total: usize, reasons: &BTreeMap<String, usize>) -> String {
    let mut lines: Vec<String> = reasons.iter().map(|(r, n)| format!("{n} {r}")).collect();
    // Upstream sorts the finished strings, count first, as text.
    lines.sort();
    let mut msg = format!("0/{nodes_total} nodes are available:");
    if !lines.is_empty() {
        msg.push_str(&format!(" {}.", lines.join(", ")));
    }
    msg
}

impl Diagnosis {
    /// The message of upstream's FitError.
    pub fn message(&self) -> String {
        let mut msg = match &self.pre_filter {
            Some(r) => format!("0/{} nodes are available: {}.", self.nodes_total, r.reasons.join(", ")),
            None => {
                let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
                for r in self.by_node.values().flat_map(|r| &r.reasons) {
                    *reasons.entry(r.clone()).or_default() += 1;
                }
                let absent = self.nodes_total.saturating_sub(self.by_node.len());
                if let (Some(reason), true) = (&self.absent_reason, absent > 0) {
                    *reasons.entry(reason.clone()).or_default() += absent;
                }
                histogram_message(self.nodes_total, &reasons)
            }
        };
        if !self.post_filter.is_empty() {
            msg.push(' ');
            msg.push_str(&self.post_filter);
        }
        msg
    }
}
