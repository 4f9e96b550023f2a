//! apps and batch (upstream: pkg/apis/{apps,batch}/v1/defaults.go).
use super::Defaulter;
use super::fields::{Object, absent, empty, is_set, labels_from_template, object_mut, text};
use serde_json::Map;

pub(super) fn of(name: &str) -> Option<Defaulter> {
    Some(match name {
        "api.apps.v1.Deployment" => deployment,
        "api.apps.v1.DaemonSet" => daemon_set,
        "api.apps.v1.StatefulSet" => stateful_set,
        "api.apps.v1.ReplicaSet" => |o| with_spec(o, |spec| absent(spec, "replicas", 1)),
        "api.batch.v1.Job" => job,
        "api.batch.v1.CronJob" => cron_job,
        "api.batch.v1.PodFailurePolicyOnPodConditionsPattern" => |o| empty(o, "status", "True"),
        _ => return None,
    })
}

fn with_spec(o: &mut Object, f: impl FnOnce(&mut Object)) {
    if let Some(spec) = object_mut(o, "spec") {
        f(spec);
    }
}

fn deployment(o: &mut Object) {
    with_spec(o, |spec| {
        absent(spec, "replicas", 1);
        rolling_update(spec, "strategy", |r| {
            absent(r, "maxUnavailable", "25%");
            absent(r, "maxSurge", "25%");
        });
        absent(spec, "revisionHistoryLimit", 10);
        absent(spec, "progressDeadlineSeconds", 600);
    });
}

fn daemon_set(o: &mut Object) {
    with_spec(o, |spec| {
        rolling_update(spec, "updateStrategy", |r| {
            absent(r, "maxUnavailable", 1);
            absent(r, "maxSurge", 0);
        });
        absent(spec, "revisionHistoryLimit", 10);
    });
}

fn rolling_update(spec: &mut Object, strategy: &str, f: impl FnOnce(&mut Object)) {
    let Some(strategy) = object_mut(spec, strategy) else {
        return;
    };
    empty(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate"
        && let Some(update) = object_mut(strategy, "rollingUpdate")
    {
        f(update);
    }
}

fn stateful_set(o: &mut Object) {
    with_spec(o, |spec| {
        empty(spec, "podManagementPolicy", "OrderedReady");
        if let Some(strategy) = object_mut(spec, "updateStrategy") {
            if text(strategy, "type").is_empty() {
                strategy.insert("type".into(), "RollingUpdate".into());
                absent(strategy, "rollingUpdate", Map::new());
            }
            // A strategy named without its parameters stays without them.
            if text(strategy, "type") == "RollingUpdate"
                && is_set(strategy, "rollingUpdate")
                && let Some(update) = object_mut(strategy, "rollingUpdate")
            {
                absent(update, "partition", 0);
            }
        }
        if let Some(retention) = object_mut(spec, "persistentVolumeClaimRetentionPolicy") {
            empty(retention, "whenDeleted", "Retain");
            empty(retention, "whenScaled", "Retain");
        }
        absent(spec, "replicas", 1);
        absent(spec, "revisionHistoryLimit", 10);
    });
}

fn job(o: &mut Object) {
    labels_from_template(o);
    with_spec(o, |spec| {
        if !is_set(spec, "completions") && !is_set(spec, "parallelism") {
            spec.insert("completions".into(), 1.into());
        }
        absent(spec, "parallelism", 1);
        let limit = if is_set(spec, "backoffLimitPerIndex") {
            i32::MAX
        } else {
            6
        };
        absent(spec, "backoffLimit", limit);
        absent(spec, "completionMode", "NonIndexed");
        absent(spec, "suspend", false);
        let replacement = if is_set(spec, "podFailurePolicy") {
            "Failed"
        } else {
            "TerminatingOrFailed"
        };
        absent(spec, "podReplacementPolicy", replacement);
        absent(spec, "manualSelector", false);
    });
}

fn cron_job(o: &mut Object) {
    with_spec(o, |spec| {
        empty(spec, "concurrencyPolicy", "Allow");
        absent(spec, "suspend", false);
        absent(spec, "successfulJobsHistoryLimit", 3);
        absent(spec, "failedJobsHistoryLimit", 1);
    });
}
