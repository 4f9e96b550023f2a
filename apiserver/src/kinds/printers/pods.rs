//! Pods: readiness, the one word for their state, and restarts.
use super::{Row, age, created_since, items, name, or, text};
use jiff::Timestamp;
use serde_json::{Value, json};

/// Restarts, and when the last one was.
#[derive(Clone, Copy, Default)]
struct Restarts {
    count: i64,
    last: Option<Timestamp>,
}

impl Restarts {
    fn add(&mut self, status: &Value) {
        self.count += status["restartCount"].as_i64().unwrap_or(0);
        self.last = self
            .last
            .max(age::parse(&status["lastState"]["terminated"]["finishedAt"]));
    }
}

fn is_true(pod: &Value, kind: &str) -> bool {
    items(&pod["status"]["conditions"])
        .iter()
        .any(|c| c["type"] == kind && c["status"] == "True")
}

/// How a terminated state is told.
fn ended(t: &Value) -> String {
    match (text(&t["reason"]), t["signal"].as_i64().unwrap_or(0)) {
        ("", 0) => format!("ExitCode:{}", t["exitCode"].as_i64().unwrap_or(0)),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

/// What the init containers say; `Some` while they are not done.
fn initializing(pod: &Value, ready: &mut i64, all: &mut Restarts, sidecars: &mut Restarts) -> Option<String> {
    let declared = items(&pod["spec"]["initContainers"]);
    let is_sidecar = |n: &Value| {
        declared
            .iter()
            .any(|c| c["name"] == *n && text(&c["restartPolicy"]) == "Always")
    };
    for (i, s) in items(&pod["status"]["initContainerStatuses"]).iter().enumerate() {
        all.add(s);
        let sidecar = is_sidecar(&s["name"]);
        if sidecar {
            sidecars.add(s);
        }
        let state = &s["state"];
        let terminated = &state["terminated"];
        if terminated.is_object() && terminated["exitCode"].as_i64().unwrap_or(0) == 0 {
            continue;
        }
        if sidecar && s["started"].as_bool() == Some(true) {
            if s["ready"].as_bool() == Some(true) {
                *ready += 1;
            }
            continue;
        }
        if terminated.is_object() {
            return Some(format!("Init:{}", ended(terminated)));
        }
        let waiting = text(&state["waiting"]["reason"]);
        if !waiting.is_empty() && waiting != "PodInitializing" {
            return Some(format!("Init:{waiting}"));
        }
        return Some(format!("Init:{i}/{}", declared.len()));
    }
    None
}

pub(super) fn pod(p: &Value, now: Timestamp) -> Row {
    let status = &p["status"];
    let mut reason = match text(&status["reason"]) {
        "" => text(&status["phase"]).to_owned(),
        r => r.to_owned(),
    };
    let gated = |c: &Value| c["type"] == "PodScheduled" && c["reason"] == "SchedulingGated";
    if items(&status["conditions"]).iter().any(gated) {
        reason = "SchedulingGated".into();
    }
    let sidecar_count = items(&p["spec"]["initContainers"])
        .iter()
        .filter(|c| text(&c["restartPolicy"]) == "Always")
        .count();
    let total = items(&p["spec"]["containers"]).len() + sidecar_count;
    let (mut ready, mut restarts, mut sidecars) = (0, Restarts::default(), Restarts::default());
    let init = initializing(p, &mut ready, &mut restarts, &mut sidecars);
    if let Some(r) = &init {
        reason.clone_from(r);
    }
    if init.is_none() || is_true(p, "Initialized") {
        restarts = sidecars;
        running(p, &mut reason, &mut ready, &mut restarts);
    }
    let phase = text(&status["phase"]);
    if !p["metadata"]["deletionTimestamp"].is_null() {
        if text(&status["reason"]) == "NodeLost" {
            reason = "Unknown".into();
        } else if !matches!(phase, "Failed" | "Succeeded") {
            reason = "Terminating".into();
        }
    }
    let restarted = match restarts {
        Restarts { count, last: Some(at) } if count != 0 => {
            format!("{count} ({} ago)", age::human(now.as_second() - at.as_second()))
        }
        r => r.count.to_string(),
    };
    let gates = items(&p["spec"]["readinessGates"]);
    let passed = gates.iter().filter(|g| is_true(p, text(&g["conditionType"]))).count();
    let gates = if gates.is_empty() {
        "<none>".into()
    } else {
        format!("{passed}/{}", gates.len())
    };
    let finished =
        |message: &str| vec![json!({"type": "Completed", "status": "True", "reason": phase, "message": message})];
    Row {
        cells: vec![
            name(p),
            format!("{ready}/{total}").into(),
            reason.into(),
            restarted.into(),
            created_since(p, now),
            or(&status["podIPs"][0]["ip"], "<none>").into(),
            or(&p["spec"]["nodeName"], "<none>").into(),
            or(&status["nominatedNodeName"], "<none>").into(),
            gates.into(),
        ],
        conditions: match phase {
            "Succeeded" => finished("The pod has completed successfully."),
            "Failed" => finished("The pod failed."),
            _ => Vec::new(),
        },
    }
}

/// What the regular containers say, the first of them last.
fn running(p: &Value, reason: &mut String, ready: &mut i64, restarts: &mut Restarts) {
    let (mut any_running, mut error) = (false, String::new());
    for s in items(&p["status"]["containerStatuses"]).iter().rev() {
        restarts.add(s);
        let state = &s["state"];
        let waiting = text(&state["waiting"]["reason"]);
        if !waiting.is_empty() {
            *reason = waiting.to_owned();
        } else if state["terminated"].is_object() {
            *reason = ended(&state["terminated"]);
            if state["terminated"]["exitCode"].as_i64().unwrap_or(0) != 0 {
                error.clone_from(reason);
            }
        } else if s["ready"].as_bool() == Some(true) && state["running"].is_object() {
            any_running = true;
            *ready += 1;
        }
    }
    if reason == "Completed" {
        if any_running && is_true(p, "Ready") {
            *reason = "Running".into();
        } else if !error.is_empty() {
            *reason = error;
        } else if any_running {
            *reason = "NotReady".into();
        }
    }
}
