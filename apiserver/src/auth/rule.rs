//! One RBAC rule, and what it allows (upstream: pkg/apis/rbac/v1/evaluation_helpers.go).
use super::Attributes;
use serde_json::Value;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    pub verbs: Vec<String>,
    pub groups: Vec<String>,
    pub resources: Vec<String>,
    pub names: Vec<String>,
    pub urls: Vec<String>,
}

fn strings(v: &Value) -> Vec<String> {
    let items = v.as_array().into_iter().flatten();
    items.filter_map(|s| s.as_str().map(str::to_owned)).collect()
}

fn has(list: &[String], what: &str) -> bool {
    list.iter().any(|x| x == what || x == "*")
}

impl Rule {
    pub fn from_json(v: &Value) -> Self {
        Rule {
            verbs: strings(&v["verbs"]),
            groups: strings(&v["apiGroups"]),
            resources: strings(&v["resources"]),
            names: strings(&v["resourceNames"]),
            urls: strings(&v["nonResourceURLs"]),
        }
    }

    pub fn everything() -> Self {
        let all = || vec!["*".to_owned()];
        Rule {
            verbs: all(),
            groups: all(),
            resources: all(),
            ..Rule::default()
        }
    }

    pub fn every_path() -> Self {
        Rule {
            verbs: vec!["*".into()],
            urls: vec!["*".into()],
            ..Rule::default()
        }
    }

    pub fn allows(&self, a: &Attributes) -> bool {
        if !has(&self.verbs, &a.verb) {
            return false;
        }
        if a.is_resource {
            has(&self.groups, &a.group)
                && self.resource_matches(&a.resource, &a.subresource)
                && (self.names.is_empty() || self.names.contains(&a.name))
        } else {
            self.urls.iter().any(|u| url_matches(u, &a.path))
        }
    }

    fn resource_matches(&self, resource: &str, subresource: &str) -> bool {
        self.resources.iter().any(|r| {
            if r == "*" {
                return true;
            }
            match r.split_once('/') {
                None => r == resource && subresource.is_empty(),
                Some(("*", sub)) => !subresource.is_empty() && sub == subresource,
                Some((res, sub)) => res == resource && sub == subresource,
            }
        })
    }

    /// Whether these rules together hold everything that `wanted` grants (upstream: component-helpers
    /// auth/rbac/validation.Covers): the check that nobody grants more than they have.
    pub fn covered_by(&self, held: &[Rule]) -> bool {
        let names: Vec<&str> = if self.names.is_empty() {
            vec![""]
        } else {
            self.names.iter().map(String::as_str).collect()
        };
        let one = |verb: &String| {
            self.urls.iter().all(|u| {
                held.iter()
                    .any(|h| has(&h.verbs, verb) && h.urls.iter().any(|x| url_covers(x, u)))
            }) && self.groups.iter().all(|g| {
                self.resources.iter().all(|r| {
                    names.iter().all(|n| {
                        held.iter().any(|h| {
                            has(&h.verbs, verb)
                                && has(&h.groups, g)
                                && resource_covers(&h.resources, r)
                                && (h.names.is_empty() || (!n.is_empty() && h.names.iter().any(|x| x == n)))
                        })
                    })
                })
            })
        };
        self.verbs.iter().all(one)
    }
}

fn resource_covers(held: &[String], wanted: &str) -> bool {
    held.iter().any(|h| {
        h == "*"
            || h == wanted
            || wanted
                .split_once('/')
                .is_some_and(|(_, sub)| h.strip_prefix("*/") == Some(sub))
    })
}

fn url_matches(rule: &str, path: &str) -> bool {
    rule == "*" || rule == path || rule.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
}

fn url_covers(held: &str, wanted: &str) -> bool {
    held == wanted || held.strip_suffix('*').is_some_and(|prefix| wanted.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nobody_covers_more_than_they_hold() {
        let rule = |v| Rule::from_json(&v);
        let held = [
            rule(json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "*/scale"]})),
            rule(
                json!({"verbs": ["*"], "apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["web"]}),
            ),
            rule(json!({"verbs": ["get"], "nonResourceURLs": ["/api/*"]})),
        ];
        let covered = |v| rule(v).covered_by(&held);
        assert!(covered(
            json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]})
        ));
        assert!(covered(
            json!({"verbs": ["get"], "apiGroups": [""], "resources": ["x/scale"]})
        ));
        assert!(!covered(
            json!({"verbs": ["watch"], "apiGroups": [""], "resources": ["pods"]})
        ));
        assert!(!covered(
            json!({"verbs": ["get"], "apiGroups": ["apps"], "resources": ["deployments"]})
        ));
        assert!(covered(
            json!({"verbs": ["get"], "apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["web"]})
        ));
        assert!(covered(json!({"verbs": ["get"], "nonResourceURLs": ["/api/v1"]})));
        assert!(!covered(
            json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]})
        ));
        assert!(Rule::everything().covered_by(&[Rule::everything()]));
    }
}
