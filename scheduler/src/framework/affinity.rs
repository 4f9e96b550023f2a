//! Node selectors: `spec.nodeSelector`, required and preferred node affinity, compiled once per pod.
use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, Pod};
use keelson_machinery::labels::{Operator, Requirement, Selector};

/// One term: all of its label and field requirements must hold. A term with none matches nothing.
#[derive(Clone, Debug)]
pub struct Term {
    labels: Selector,
    fields: Selector,
    /// A term that cannot be understood matches nothing.
    valid: bool,
}

fn compile_requirements(list: Option<&Vec<NodeSelectorRequirement>>) -> Option<Selector> {
    let mut requirements = Vec::new();
    for r in list.into_iter().flatten() {
        let operator = match r.operator.as_str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            "Gt" => Operator::Gt,
            "Lt" => Operator::Lt,
            _ => return None,
        };
        requirements.push(Requirement {
            key: r.key.clone(),
            operator,
            values: r.values.clone().unwrap_or_default(),
        });
    }
    Some(Selector { requirements })
}

impl Term {
    pub fn new(t: &NodeSelectorTerm) -> Self {
        match (
            compile_requirements(t.match_expressions.as_ref()),
            compile_requirements(t.match_fields.as_ref()),
        ) {
            (Some(labels), Some(fields)) => Term {
                valid: !(labels.is_empty() && fields.is_empty()),
                labels,
                fields,
            },
            _ => Term {
                labels: Selector::default(),
                fields: Selector::default(),
                valid: false,
            },
        }
    }

    pub fn matches(&self, node: &Node) -> bool {
        self.valid
            && self.labels.matches_map(node.metadata.labels.as_ref())
            && self.fields.matches(|f| {
                if f == "metadata.name" {
                    node.metadata.name.as_deref()
                } else {
                    None
                }
            })
    }

    /// The node names to which the term is limited by `metadata.name In (…)`.
    fn names(&self) -> Option<&[String]> {
        self.fields
            .requirements
            .iter()
            .find(|r| r.key == "metadata.name" && r.operator == Operator::In)
            .map(|r| r.values.as_slice())
    }
}

/// What a pod demands of and prefers in the node it goes to.
#[derive(Clone, Debug, Default)]
pub struct NodeAffinity {
    node_selector: Vec<(String, String)>,
    /// `None` when nothing is required; otherwise one of the terms must match.
    required: Option<Vec<Term>>,
    preferred: Vec<(i64, Term)>,
}

impl NodeAffinity {
    pub fn of(pod: &Pod) -> Self {
        let Some(spec) = &pod.spec else {
            return Self::default();
        };
        let affinity = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
        NodeAffinity {
            node_selector: spec
                .node_selector
                .iter()
                .flatten()
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
            required: affinity
                .and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref())
                .map(|s| s.node_selector_terms.iter().map(Term::new).collect()),
            preferred: affinity
                .and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref())
                .into_iter()
                .flatten()
                .filter(|p| p.weight != 0)
                .map(|p| (i64::from(p.weight), Term::new(&p.preference)))
                .collect(),
        }
    }

    pub fn is_unrestricted(&self) -> bool {
        self.node_selector.is_empty() && self.required.is_none()
    }

    pub fn has_preferences(&self) -> bool {
        !self.preferred.is_empty()
    }

    pub fn allows(&self, node: &Node) -> bool {
        let labels = node.metadata.labels.as_ref();
        self.node_selector
            .iter()
            .all(|(k, v)| labels.and_then(|l| l.get(k)) == Some(v))
            && self
                .required
                .as_ref()
                .is_none_or(|terms| terms.iter().any(|t| t.matches(node)))
    }

    pub fn preference(&self, node: &Node) -> i64 {
        self.preferred
            .iter()
            .filter(|(_, t)| t.matches(node))
            .map(|(w, _)| *w)
            .sum()
    }

    /// Names of the only nodes that can match, when every required term names its nodes.
    pub fn node_names(&self) -> Option<Vec<String>> {
        let mut names = Vec::new();
        for t in self.required.as_ref()? {
            names.extend(t.names()?.iter().cloned());
        }
        Some(names)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn node(v: serde_json::Value) -> Node {
        serde_json::from_value(serde_json::json!({"metadata": v})).unwrap()
    }
    fn affinity(v: serde_json::Value) -> NodeAffinity {
        NodeAffinity::of(&serde_json::from_value(serde_json::json!({"spec": v})).unwrap())
    }

    #[test]
    fn terms_are_alternatives_and_requirements_a_conjunction() {
        let a = affinity(serde_json::json!({"containers": [],
        "nodeSelector": {"os": "linux"},
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]},
                                  {"key": "cores", "operator": "Gt", "values": ["3"]}]},
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n9"]}]},
            {}
        ]}}}}));
        let n = |name: &str, l: serde_json::Value| node(serde_json::json!({"name": name, "labels": l}));
        assert!(a.allows(&n("n1", serde_json::json!({"os": "linux", "zone": "a", "cores": "4"}))));
        assert!(!a.allows(&n("n1", serde_json::json!({"os": "linux", "zone": "a", "cores": "3"}))));
        assert!(!a.allows(&n("n1", serde_json::json!({"zone": "a", "cores": "4"}))));
        assert!(a.allows(&n("n9", serde_json::json!({"os": "linux"}))));
        assert!(a.node_names().is_none());
    }

    #[test]
    fn an_empty_term_matches_nothing() {
        let a = affinity(serde_json::json!({"containers": [],
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{}]}}}}));
        assert!(!a.allows(&node(serde_json::json!({"name": "x"}))));
        assert!(!a.is_unrestricted());
    }
}
