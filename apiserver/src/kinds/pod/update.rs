//! What may change in a pod that exists (upstream: ValidatePodUpdate, ValidatePodStatusUpdate).
use super::super::tree::{self, immutable, items, text};
use keelson_machinery::status::FieldError;
use serde_json::Value;

const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// `errors` are those of the new object on its own.
pub fn main(mut errors: Vec<FieldError>, object: &Value, old: &Value) -> Vec<FieldError> {
    let e = &mut errors;
    let (new, before) = (&object["spec"], &old["spec"]);
    for list in ["containers", "initContainers"] {
        if items(&new[list]).len() != items(&before[list]).len() {
            let at = format!("spec.{list}");
            e.push(FieldError::forbidden(
                at,
                "pod updates may not add or remove containers",
            ));
            return errors;
        }
        for (i, c) in items(&new[list]).iter().enumerate() {
            let image = text(&c["image"]);
            if image.trim() != image {
                let at = format!("spec.{list}[{i}].image");
                let why = "must not have leading or trailing whitespace";
                e.push(FieldError::invalid(at, &c["image"], why));
            }
        }
    }
    let at = "spec.activeDeadlineSeconds";
    let (deadline, previous) = (&new["activeDeadlineSeconds"], &before["activeDeadlineSeconds"]);
    match (deadline.as_i64(), previous.as_i64()) {
        (Some(n), Some(o)) if n > o => {
            e.push(FieldError::invalid(
                at,
                deadline,
                "must be less than or equal to previous value",
            ));
            return errors;
        }
        (None, Some(_)) => {
            let why = "must not update from a positive integer to nil value";
            e.push(FieldError::invalid(at, deadline, why));
        }
        _ => {}
    }
    only_added_tolerations(new, before, e);
    only_removed_gates(new, before, e);
    let mut compared = new.clone();
    for list in ["containers", "initContainers"] {
        let Some(containers) = compared.get_mut(list).and_then(Value::as_array_mut) else {
            continue;
        };
        for (c, b) in containers.iter_mut().zip(items(&before[list])) {
            tree::keep(c, b, "image");
        }
    }
    for key in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        tree::keep(&mut compared, before, key);
    }
    let grace = "terminationGracePeriodSeconds";
    if before[grace].as_i64().is_some_and(|n| n < 0) && compared[grace] == 1 {
        tree::keep(&mut compared, before, grace);
    }
    if !items(&before["schedulingGates"]).is_empty() {
        // Still gated: it may be directed to nodes.
        tree::keep(&mut compared, before, "nodeSelector");
        tree::keep(&mut compared, before, "affinity");
    }
    if !tree::same(&compared, before) {
        let diff = differences(before, &compared).join("\n");
        let why = format!("pod updates may not change fields other than {UPDATABLE}\n{diff}");
        e.push(FieldError::forbidden("spec", &why));
    }
    errors
}

/// The top-level fields of two specs that differ, before and after.
fn differences(old: &Value, new: &Value) -> Vec<String> {
    let mut keys: Vec<&String> = tree::entries(old).chain(tree::entries(new)).map(|(k, _)| k).collect();
    keys.sort();
    keys.dedup();
    keys.into_iter()
        .filter(|k| !tree::same(&old[*k], &new[*k]))
        .flat_map(|k| [format!("- {k}: {}", old[k]), format!("+ {k}: {}", new[k])])
        .collect()
}

fn only_added_tolerations(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    for t in items(&old["tolerations"]) {
        // The seconds of a toleration may change.
        let same = |n: &Value| {
            ["key", "operator", "value", "effect"]
                .iter()
                .all(|k| text(&n[*k]) == text(&t[*k]))
        };
        if !items(&new["tolerations"]).iter().any(same) {
            let why = "existing toleration can not be modified except its tolerationSeconds";
            errors.push(FieldError::forbidden("spec.tolerations", why));
            return;
        }
    }
}

fn only_removed_gates(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    for (i, g) in items(&new["schedulingGates"]).iter().enumerate() {
        if !items(&old["schedulingGates"]).iter().any(|o| o["name"] == g["name"]) {
            let at = format!("spec.schedulingGates[{i}].name");
            let why = "only deletion is allowed, but found new scheduling gate ";
            errors.push(FieldError::forbidden(at, &format!("{why}'{}'", text(&g["name"]))));
        }
    }
}

pub fn status(object: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    immutable(
        "status.qosClass",
        &object["status"]["qosClass"],
        &old["status"]["qosClass"],
        &mut errors,
    );
    let nominated = text(&object["status"]["nominatedNodeName"]);
    if !nominated.is_empty()
        && !text(&old["spec"]["nodeName"]).is_empty()
        && nominated != text(&old["status"]["nominatedNodeName"])
    {
        let why = "may not be set on pods that are already bound to a node";
        errors.push(FieldError::forbidden("status.nominatedNodeName", why));
    }
    let policy = text(&old["spec"]["restartPolicy"]);
    for (i, before) in items(&old["status"]["containerStatuses"]).iter().enumerate() {
        let done = &before["state"]["terminated"];
        if !done.is_object()
            || restarts(
                old,
                text(&before["name"]),
                policy,
                done["exitCode"].as_i64().unwrap_or(0),
            )
        {
            continue;
        }
        let now = items(&object["status"]["containerStatuses"])
            .iter()
            .find(|n| n["name"] == before["name"]);
        if now.is_some_and(|n| !n["state"]["terminated"].is_object()) {
            let at = format!("status.containerStatuses[{i}].state");
            let why = "may not be transitioned to non-terminated state";
            errors.push(FieldError::forbidden(at, why));
        }
    }
    errors
}

fn restarts(pod: &Value, container: &str, policy: &str, exit_code: i64) -> bool {
    let own = items(&pod["spec"]["containers"])
        .iter()
        .find(|c| c["name"] == container)
        .map_or("", |c| text(&c["restartPolicy"]));
    match if own.is_empty() { policy } else { own } {
        "Never" => false,
        "OnFailure" => exit_code != 0,
        _ => true,
    }
}

pub fn ephemeral(object: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = super::spec::validate(&object["spec"], "spec");
    for before in items(&old["spec"]["ephemeralContainers"]) {
        let now = items(&object["spec"]["ephemeralContainers"])
            .iter()
            .find(|c| c["name"] == before["name"]);
        let name = text(&before["name"]);
        match now {
            None => errors.push(FieldError::forbidden(
                "spec.ephemeralContainers",
                &format!("existing ephemeral containers {name:?} may not be removed\n"),
            )),
            Some(n) if !tree::same(n, before) => errors.push(FieldError::forbidden(
                "spec.ephemeralContainers",
                &format!("existing ephemeral containers {name:?} may not be changed\n"),
            )),
            Some(_) => {}
        }
    }
    errors
}
