//! podFailurePolicy (KEP-3329) and successPolicy (KEP-3998).
use super::indexes::Indexes;
use k8s_openapi::api::batch::v1::{PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, SuccessPolicy};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// What the policy says about one failed pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Count,
    Ignore,
    FailJob(String),
}

fn exit_code_matches(r: &PodFailurePolicyOnExitCodesRequirement, s: &ContainerStatus) -> Option<i32> {
    let code = s.state.as_ref()?.terminated.as_ref()?.exit_code;
    let here = r.container_name.as_ref().is_none_or(|n| *n == s.name);
    let listed = r.values.contains(&code);
    let matches = match r.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        _ => false,
    };
    (code != 0 && here && matches).then_some(code)
}

/// The first rule that matches decides.
pub fn judge(policy: Option<&PodFailurePolicy>, pod: &Pod) -> Verdict {
    let place = format!(
        "{}/{}",
        pod.metadata.namespace.as_deref().unwrap_or_default(),
        pod.metadata.name.as_deref().unwrap_or_default()
    );
    for (i, rule) in policy.iter().flat_map(|p| &p.rules).enumerate() {
        let status = pod.status.as_ref();
        let message = if let Some(codes) = &rule.on_exit_codes {
            status
                .iter()
                .flat_map(|s| {
                    let own = s.container_statuses.iter().flatten();
                    own.chain(s.init_container_statuses.iter().flatten())
                })
                .find_map(|c| Some((c, exit_code_matches(codes, c)?)))
                .map(|(c, code)| {
                    format!(
                        "Container {} for pod {place} failed with exit code {code} matching {} rule at index {i}",
                        c.name, rule.action
                    )
                })
        } else {
            let patterns = rule.on_pod_conditions.as_deref().unwrap_or_default();
            status
                .iter()
                .flat_map(|s| s.conditions.iter().flatten())
                .find(|c| {
                    patterns
                        .iter()
                        .any(|p| p.type_ == c.type_ && p.status.as_deref().unwrap_or("True") == c.status)
                })
                .map(|c| {
                    format!(
                        "Pod {place} has condition {} matching {} rule at index {i}",
                        c.type_, rule.action
                    )
                })
        };
        let Some(message) = message else {
            continue;
        };
        return match rule.action.as_str() {
            "Ignore" => Verdict::Ignore,
            "FailJob" => Verdict::FailJob(message),
            _ => Verdict::Count,
        };
    }
    Verdict::Count
}

/// The message of the first rule that the succeeded indexes meet.
pub fn success(policy: Option<&SuccessPolicy>, completions: i32, succeeded: &Indexes) -> Option<String> {
    policy
        .iter()
        .flat_map(|p| &p.rules)
        .enumerate()
        .find(|(_, rule)| {
            let wanted = rule.succeeded_indexes.as_ref().map(|t| Indexes::parse(t, completions));
            let (have, of) = match &wanted {
                Some(w) => (succeeded.count_common(w), w.len()),
                None => (succeeded.len(), i32::MAX),
            };
            have >= rule.succeeded_count.unwrap_or(of)
        })
        .map(|(i, _)| format!("Matched rules at index {i}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_matching_rule_decides() {
        let policy: PodFailurePolicy = serde_json::from_value(json!({"rules": [
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            {"action": "FailJob", "onExitCodes": {"containerName": "c", "operator": "In", "values": [42]}}]}))
        .unwrap();
        let pod = |code: i32, condition: &str| -> Pod {
            serde_json::from_value(json!({"metadata": {"namespace": "d", "name": "p"}, "status": {
                "conditions": [{"type": condition, "status": "True"}],
                "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                    "state": {"terminated": {"exitCode": code}}}]}}))
            .unwrap()
        };
        assert_eq!(judge(Some(&policy), &pod(1, "X")), Verdict::Count);
        assert_eq!(judge(Some(&policy), &pod(42, "DisruptionTarget")), Verdict::Ignore);
        assert_eq!(
            judge(Some(&policy), &pod(42, "X")),
            Verdict::FailJob(
                "Container c for pod d/p failed with exit code 42 matching FailJob rule at index 1".into()
            )
        );
    }

    #[test]
    fn success_by_indexes_or_count() {
        let policy: SuccessPolicy = serde_json::from_value(json!({"rules": [
            {"succeededIndexes": "0,2-3", "succeededCount": 2}, {"succeededIndexes": "9"}]}))
        .unwrap();
        let met = |t: &str| success(Some(&policy), 10, &Indexes::parse(t, 10));
        assert_eq!(met("0,1"), None);
        assert_eq!(met("0,3").as_deref(), Some("Matched rules at index 0"));
        assert_eq!(met("9").as_deref(), Some("Matched rules at index 1"));
        assert_eq!(success(None, 10, &Indexes::default()), None);
    }
}
