//! Controllers of pods.
use super::{Row, age, containers, created_since, items, labels, name, number, or, selector, text};
use jiff::Timestamp;
use serde_json::Value;

fn wide(mut cells: Vec<Value>, template: &Value) -> Vec<Value> {
    cells.extend(containers(&template["spec"]["containers"]));
    cells
}

/// metav1.FormatLabelSelector
fn formatted(v: &Value) -> Value {
    match selector(v) {
        None => "<error>".into(),
        Some(s) if s.is_empty() => "<none>".into(),
        Some(s) => s.into(),
    }
}

pub(super) fn pod_template(o: &Value, _now: Timestamp) -> Row {
    let [names, images] = containers(&o["template"]["spec"]["containers"]);
    Row::of(vec![
        name(o),
        names,
        images,
        labels(&o["template"]["metadata"]["labels"]).into(),
    ])
}

pub(super) fn replication_controller(o: &Value, now: Timestamp) -> Row {
    let (spec, status) = (&o["spec"], &o["status"]);
    let mut cells = wide(
        vec![
            name(o),
            number(&spec["replicas"]),
            number(&status["replicas"]),
            number(&status["readyReplicas"]),
            created_since(o, now),
        ],
        &spec["template"],
    );
    cells.push(labels(&spec["selector"]).into());
    Row::of(cells)
}

pub(super) fn replica_set(o: &Value, now: Timestamp) -> Row {
    let (spec, status) = (&o["spec"], &o["status"]);
    let mut cells = wide(
        vec![
            name(o),
            number(&spec["replicas"]),
            number(&status["replicas"]),
            number(&status["readyReplicas"]),
            created_since(o, now),
        ],
        &spec["template"],
    );
    cells.push(formatted(&spec["selector"]));
    Row::of(cells)
}

fn of_desired(o: &Value) -> Value {
    let n = |v: &Value| v.as_i64().unwrap_or(0);
    format!("{}/{}", n(&o["status"]["readyReplicas"]), n(&o["spec"]["replicas"])).into()
}

pub(super) fn deployment(o: &Value, now: Timestamp) -> Row {
    let (spec, status) = (&o["spec"], &o["status"]);
    let mut cells = wide(
        vec![
            name(o),
            of_desired(o),
            number(&status["updatedReplicas"]),
            number(&status["availableReplicas"]),
            created_since(o, now),
        ],
        &spec["template"],
    );
    cells.push(selector(&spec["selector"]).unwrap_or_else(|| "<invalid>".into()).into());
    Row::of(cells)
}

pub(super) fn stateful_set(o: &Value, now: Timestamp) -> Row {
    let cells = vec![name(o), of_desired(o), created_since(o, now)];
    Row::of(wide(cells, &o["spec"]["template"]))
}

pub(super) fn daemon_set(o: &Value, now: Timestamp) -> Row {
    let (spec, status) = (&o["spec"], &o["status"]);
    let mut cells = wide(
        vec![
            name(o),
            number(&status["desiredNumberScheduled"]),
            number(&status["currentNumberScheduled"]),
            number(&status["numberReady"]),
            number(&status["updatedNumberScheduled"]),
            number(&status["numberAvailable"]),
            labels(&spec["template"]["spec"]["nodeSelector"]).into(),
            created_since(o, now),
        ],
        &spec["template"],
    );
    cells.push(formatted(&spec["selector"]));
    Row::of(cells)
}

pub(super) fn controller_revision(o: &Value, now: Timestamp) -> Row {
    let owner = items(&o["metadata"]["ownerReferences"])
        .iter()
        .find(|r| r["controller"].as_bool() == Some(true));
    let owner = owner.map_or_else(
        || "<none>".to_owned(),
        |r| {
            let kind = text(&r["kind"]).to_lowercase();
            match text(&r["apiVersion"]).split_once('/') {
                Some((group, _)) => format!("{kind}.{group}/{}", text(&r["name"])),
                None => format!("{kind}/{}", text(&r["name"])),
            }
        },
    );
    let revision = number(&o["revision"]);
    Row::of(vec![name(o), owner.into(), revision, created_since(o, now)])
}

fn job_status(o: &Value) -> &'static str {
    let has = |kind: &str| {
        items(&o["status"]["conditions"])
            .iter()
            .any(|c| c["type"] == kind && c["status"] == "True")
    };
    let told = [
        ("Complete", "Complete"),
        ("Failed", "Failed"),
        ("", "Terminating"),
        ("Suspended", "Suspended"),
        ("FailureTarget", "FailureTarget"),
        ("SuccessCriteriaMet", "SuccessCriteriaMet"),
    ];
    let deleted = !o["metadata"]["deletionTimestamp"].is_null();
    told.into_iter()
        .find(|(condition, _)| if condition.is_empty() { deleted } else { has(condition) })
        .map_or("Running", |(_, word)| word)
}

pub(super) fn job(o: &Value, now: Timestamp) -> Row {
    let (spec, status) = (&o["spec"], &o["status"]);
    let succeeded = status["succeeded"].as_i64().unwrap_or(0);
    let completions = match (spec["completions"].as_i64(), spec["parallelism"].as_i64().unwrap_or(0)) {
        (Some(n), _) => format!("{succeeded}/{n}"),
        (None, p) if p > 1 => format!("{succeeded}/1 of {p}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let duration = age::parse(&status["startTime"]).map_or_else(String::new, |start| {
        let end = age::parse(&status["completionTime"]).unwrap_or(now);
        age::human(end.as_second() - start.as_second())
    });
    let mut cells = wide(
        vec![
            name(o),
            job_status(o).into(),
            completions.into(),
            duration.into(),
            created_since(o, now),
        ],
        &spec["template"],
    );
    cells.push(formatted(&spec["selector"]));
    Row::of(cells)
}

pub(super) fn cron_job(o: &Value, now: Timestamp) -> Row {
    let (spec, status) = (&o["spec"], &o["status"]);
    let suspend = match spec["suspend"].as_bool() {
        Some(true) => "True",
        Some(false) => "False",
        None => "<unset>",
    };
    let last = match &status["lastScheduleTime"] {
        Value::Null => "<none>".into(),
        t => age::since(t, now),
    };
    let job = &spec["jobTemplate"]["spec"];
    let mut cells = wide(
        vec![
            name(o),
            text(&spec["schedule"]).into(),
            or(&spec["timeZone"], "<none>").into(),
            suspend.into(),
            items(&status["active"]).len().into(),
            last.into(),
            created_since(o, now),
        ],
        &job["template"],
    );
    cells.push(if job["selector"].is_null() {
        "<none>".into()
    } else {
        formatted(&job["selector"])
    });
    Row::of(cells)
}
