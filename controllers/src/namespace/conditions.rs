//! What a namespace says while it goes.
use crate::common::time::truncate;
use k8s_openapi::api::core::v1::{NamespaceCondition, NamespaceStatus};
use k8s_openapi::jiff::Timestamp;
use std::collections::BTreeMap;

/// What is left and what went wrong.
#[derive(Debug, Default)]
pub struct Findings {
    /// Objects by `resource.group`.
    pub remaining: BTreeMap<String, usize>,
    pub finalizers: BTreeMap<String, usize>,
    pub errors: Vec<String>,
}

impl Findings {
    pub fn add(&mut self, resource: &str, count: usize, finalizers: Vec<String>) {
        if count > 0 {
            self.remaining.insert(resource.to_owned(), count);
        }
        for f in finalizers {
            *self.finalizers.entry(f).or_default() += 1;
        }
    }
    pub fn is_clean(&self) -> bool {
        self.remaining.is_empty() && self.errors.is_empty()
    }
}

fn wanted(f: &Findings) -> Vec<(&'static str, bool, &'static str, String)> {
    let list = |m: &BTreeMap<String, usize>, verb: &str| {
        let lines: Vec<String> = m
            .iter()
            .map(|(k, n)| format!("{k} {verb} {n} resource instances"))
            .collect();
        lines.join(", ")
    };
    let mut errors = f.errors.clone();
    errors.sort();
    let ok = |kind, reason, message: &str| (kind, false, reason, message.to_owned());
    vec![
        ok(
            "NamespaceDeletionDiscoveryFailure",
            "ResourcesDiscovered",
            "All resources successfully discovered",
        ),
        ok(
            "NamespaceDeletionGroupVersionParsingFailure",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        if errors.is_empty() {
            ok(
                "NamespaceDeletionContentFailure",
                "ContentDeleted",
                "All content successfully deleted, may be waiting on finalization",
            )
        } else {
            let message = format!(
                "Failed to delete all resource types, {} remaining: {}",
                errors.len(),
                errors.join(", ")
            );
            (
                "NamespaceDeletionContentFailure",
                true,
                "ContentDeletionFailed",
                message,
            )
        },
        if f.remaining.is_empty() {
            ok(
                "NamespaceContentRemaining",
                "ContentRemoved",
                "All content successfully removed",
            )
        } else {
            let message = format!("Some resources are remaining: {}", list(&f.remaining, "has"));
            ("NamespaceContentRemaining", true, "SomeResourcesRemain", message)
        },
        if f.finalizers.is_empty() {
            ok(
                "NamespaceFinalizersRemaining",
                "ContentHasNoFinalizers",
                "All content-preserving finalizers finished",
            )
        } else {
            let message = format!(
                "Some content in the namespace has finalizers remaining: {}",
                list(&f.finalizers, "in")
            );
            ("NamespaceFinalizersRemaining", true, "SomeFinalizersRemain", message)
        },
    ]
}

pub fn update(status: &mut NamespaceStatus, findings: &Findings, now: Timestamp) {
    let list = status.conditions.get_or_insert_default();
    for (kind, bad, reason, message) in wanted(findings) {
        let text = if bad { "True" } else { "False" };
        let new = NamespaceCondition {
            type_: kind.into(),
            status: text.into(),
            reason: Some(reason.into()),
            message: Some(message),
            last_transition_time: Some(truncate(now)),
        };
        match list.iter_mut().find(|c| c.type_ == kind) {
            Some(old) => {
                let since = old.last_transition_time.clone().filter(|_| old.status == text);
                let since = since.or_else(|| new.last_transition_time.clone());
                *old = NamespaceCondition {
                    last_transition_time: since,
                    ..new
                };
            }
            None => list.push(new),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn conditions_say_what_remains() {
        let mut f = Findings::default();
        f.add("pods.", 2, vec!["x/y".into(), "x/y".into()]);
        let mut s = NamespaceStatus::default();
        update(&mut s, &f, Timestamp::UNIX_EPOCH);
        let lines: Vec<String> = s
            .conditions
            .iter()
            .flatten()
            .map(|c| format!("{}={} {}", c.type_, c.status, c.message.clone().unwrap_or_default()))
            .collect();
        expect![[r#"
            NamespaceDeletionDiscoveryFailure=False All resources successfully discovered
            NamespaceDeletionGroupVersionParsingFailure=False All legacy kube types successfully parsed
            NamespaceDeletionContentFailure=False All content successfully deleted, may be waiting on finalization
            NamespaceContentRemaining=True Some resources are remaining: pods. has 2 resource instances
            NamespaceFinalizersRemaining=True Some content in the namespace has finalizers remaining: x/y in 2 resource instances"#]]
        .assert_eq(&lines.join("\n"));
    }
}
