//! Jobs and CronJobs (upstream: pkg/apis/batch/validation, pkg/registry/batch).
use super::workloads::{label_selector, non_negative, template};
use super::{Context, Strategy, names, standard, tree};
use keelson_machinery::status::FieldError;
use serde_json::{Value, json};
use tree::{immutable, items, text};

const JOB_NAME_LABELS: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];
const CONTROLLER_UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];

pub struct Job;

/// Gives the template the labels by which the job finds its pods, and the selector over them. Needs
/// `metadata.uid`, which the registry sets before.
fn generate_selector(job: &mut Value) {
    if job["spec"]["manualSelector"].as_bool() == Some(true) {
        return;
    }
    let (name, uid) = (job["metadata"]["name"].clone(), job["metadata"]["uid"].clone());
    let Some(t) = tree::child(job, "spec").map(|s| s.entry("template").or_insert_with(|| json!({}))) else {
        return;
    };
    if tree::child(t, "metadata").is_none() {
        return;
    }
    if let Some(labels) = t.get_mut("metadata").and_then(|m| tree::child(m, "labels")) {
        for (keys, value) in [(JOB_NAME_LABELS, &name), (CONTROLLER_UID_LABELS, &uid)] {
            for key in keys {
                labels.entry(key).or_insert_with(|| value.clone());
            }
        }
    }
    let Some(spec) = job.get_mut("spec") else { return };
    if tree::child(spec, "selector").is_some()
        && let Some(labels) = spec.get_mut("selector").and_then(|s| tree::child(s, "matchLabels"))
    {
        labels.entry(CONTROLLER_UID_LABELS[1]).or_insert(uid);
    }
}

fn job_spec(spec: &Value, field: &str, errors: &mut Vec<FieldError>) {
    non_negative(
        spec,
        field,
        &[
            "parallelism",
            "completions",
            "activeDeadlineSeconds",
            "backoffLimit",
            "ttlSecondsAfterFinished",
            "backoffLimitPerIndex",
            "maxFailedIndexes",
        ],
        errors,
    );
    let mode = text(&spec["completionMode"]);
    match mode {
        "" | "NonIndexed" => {
            for key in ["backoffLimitPerIndex", "maxFailedIndexes", "successPolicy"] {
                if !spec[key].is_null() {
                    let at = format!("{field}.{key}");
                    errors.push(FieldError::invalid(at, &spec[key], "requires indexed completion mode"));
                }
            }
        }
        "Indexed" => {
            if spec["completions"].is_null() {
                let at = format!("{field}.completions");
                errors.push(FieldError::required(at, "when completion mode is Indexed"));
            }
        }
        _ => errors.push(FieldError::not_supported(
            format!("{field}.completionMode"),
            &spec["completionMode"],
            &["NonIndexed", "Indexed"],
        )),
    }
    template(&spec["template"], &format!("{field}.template"), errors);
    let at = format!("{field}.template.spec.restartPolicy");
    let policy = &spec["template"]["spec"]["restartPolicy"];
    match text(policy) {
        "OnFailure" if spec["podFailurePolicy"].is_object() => {
            let why = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.push(FieldError::invalid(at, policy, why));
        }
        "OnFailure" | "Never" => {}
        "" | "Always" => errors.push(FieldError::required(at, "valid values: \"OnFailure\", \"Never\"")),
        _ => errors.push(FieldError::not_supported(at, policy, &["OnFailure", "Never"])),
    }
}

impl Strategy for Job {
    fn prepare_for_create(&self, c: &Context<'_>, object: &mut Value) {
        standard::prepare_for_create(c, object);
        generate_selector(object);
    }

    fn prepare_for_update(&self, c: &Context<'_>, object: &mut Value, old: &Value) {
        standard::prepare_for_update(c, object, old);
    }

    fn validate(&self, _c: &Context<'_>, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let (e, spec) = (&mut errors, &object["spec"]);
        let uid = text(&object["metadata"]["uid"]);
        if spec["manualSelector"].as_bool() != Some(true) && !uid.is_empty() {
            let labels = &spec["template"]["metadata"]["labels"];
            for (key, expected) in [
                (CONTROLLER_UID_LABELS[1], uid),
                (JOB_NAME_LABELS[1], text(&object["metadata"]["name"])),
            ] {
                if text(&labels[key]) != expected {
                    let at = format!("spec.template.metadata.labels[{key}]");
                    let why = format!("must be '{expected}'");
                    e.push(FieldError::invalid(at, &labels[key], &why));
                }
            }
            if spec["selector"]["matchLabels"][CONTROLLER_UID_LABELS[1]] != *uid {
                e.push(FieldError::invalid(
                    "spec.selector",
                    &spec["selector"],
                    "`selector` not auto-generated",
                ));
            }
        }
        if spec["selector"].is_object() {
            label_selector(&spec["selector"], "spec.selector", e);
        } else {
            e.push(FieldError::required("spec.selector", ""));
        }
        let labels = &spec["template"]["metadata"]["labels"];
        if tree::entries(&spec["selector"]["matchLabels"]).any(|(k, v)| labels[k] != *v) {
            let why = "`selector` does not match template `labels`";
            e.push(FieldError::invalid("spec.template.metadata.labels", labels, why));
        }
        job_spec(spec, "spec", e);
        errors
    }

    fn validate_update(&self, c: &Context<'_>, object: &Value, old: &Value) -> Vec<FieldError> {
        if !c.subresource.is_empty() {
            return Vec::new();
        }
        let mut errors = self.validate(c, object);
        let (e, new, before) = (&mut errors, &object["spec"], &old["spec"]);
        let mode = text(&before["completionMode"]);
        let elastic = mode == "Indexed" && new["completions"] == new["parallelism"];
        if !elastic {
            immutable("spec.completions", &new["completions"], &before["completions"], e);
        }
        immutable("spec.selector", &new["selector"], &before["selector"], e);
        let mut t = new["template"].clone();
        if before["suspend"].as_bool() == Some(true) && old["status"]["startTime"].is_null() {
            // Not started: it may still be directed to nodes.
            for key in ["nodeSelector", "tolerations", "affinity", "schedulingGates"] {
                tree::keep_in(&mut t, &before["template"], "spec", key);
            }
            for key in ["labels", "annotations"] {
                tree::keep_in(&mut t, &before["template"], "metadata", key);
            }
        }
        if !tree::same(&t, &before["template"]) {
            e.push(FieldError::invalid(
                "spec.template",
                &new["template"],
                "field is immutable",
            ));
        }
        for key in [
            "completionMode",
            "podFailurePolicy",
            "backoffLimitPerIndex",
            "managedBy",
            "successPolicy",
        ] {
            immutable(&format!("spec.{key}"), &new[key], &before[key], e);
        }
        errors
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["status.successful"]
    }

    fn selectable_field(&self, object: &Value, path: &str) -> String {
        match path {
            "status.successful" => object["status"]["succeeded"].as_i64().unwrap_or(0).to_string(),
            _ => standard::scalar_at(object, path),
        }
    }

    fn warnings(&self, _c: &Context<'_>, object: &Value) -> Vec<String> {
        let messages = names::dns_label(text(&object["metadata"]["name"]));
        if messages.is_empty() {
            return Vec::new();
        }
        vec![format!(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [{}]",
            messages.join(" ")
        )]
    }
}

pub struct CronJob;

/// CronJob names become Job names with eleven characters more.
const CRON_JOB_NAME_LENGTH_MAX: usize = 52;

fn is_schedule(s: &str) -> bool {
    match s.strip_prefix('@') {
        Some(word) => {
            matches!(
                word,
                "yearly" | "annually" | "monthly" | "weekly" | "daily" | "midnight" | "hourly"
            ) || word.starts_with("every ")
        }
        None => {
            let fields: Vec<&str> = s.split_whitespace().collect();
            let allowed = |c: char| c.is_ascii_alphanumeric() || "*/,-?#".contains(c);
            fields.len() == 5 && fields.iter().all(|f| f.chars().all(allowed))
        }
    }
}

impl Strategy for CronJob {
    fn validate(&self, _c: &Context<'_>, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let (e, spec) = (&mut errors, &object["spec"]);
        let name = text(&object["metadata"]["name"]);
        if name.len() > CRON_JOB_NAME_LENGTH_MAX {
            let why = format!("must be no more than {CRON_JOB_NAME_LENGTH_MAX} characters");
            e.push(FieldError::invalid("metadata.name", &name.into(), &why));
        }
        let schedule = text(&spec["schedule"]);
        if schedule.is_empty() {
            e.push(FieldError::required("spec.schedule", ""));
        } else if schedule.contains("TZ") {
            let why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
            e.push(FieldError::invalid("spec.schedule", &schedule.into(), why));
        } else if !is_schedule(schedule) {
            let found = schedule.split_whitespace().count();
            let why = format!("expected exactly 5 fields, found {found}: {schedule}");
            e.push(FieldError::invalid("spec.schedule", &schedule.into(), &why));
        }
        non_negative(
            spec,
            "spec",
            &[
                "startingDeadlineSeconds",
                "successfulJobsHistoryLimit",
                "failedJobsHistoryLimit",
            ],
            e,
        );
        if let Some(zone) = spec["timeZone"].as_str() {
            if zone.is_empty() {
                let why = "timeZone must be nil or non-empty string";
                e.push(FieldError::invalid("spec.timeZone", &zone.into(), why));
            } else if zone.eq_ignore_ascii_case("local") {
                let why = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
                e.push(FieldError::invalid("spec.timeZone", &zone.into(), why));
            } else if jiff::tz::TimeZone::get(zone).is_err() {
                let why = format!("unknown time zone {zone}");
                e.push(FieldError::invalid("spec.timeZone", &zone.into(), &why));
            }
        }
        super::pod::one_of(
            &spec["concurrencyPolicy"],
            "spec.concurrencyPolicy",
            &["Allow", "Forbid", "Replace"],
            e,
        );
        let job = &spec["jobTemplate"]["spec"];
        if job["manualSelector"].as_bool() == Some(true) {
            let at = "spec.jobTemplate.spec.manualSelector";
            e.push(FieldError::not_supported(at, &job["manualSelector"], &["nil", "false"]));
        }
        if !items(&job["selector"]["matchExpressions"]).is_empty() || !tree::is_empty(&job["selector"]) {
            let why = "`selector` will be auto-generated";
            e.push(FieldError::invalid(
                "spec.jobTemplate.spec.selector",
                &job["selector"],
                why,
            ));
        }
        job_spec(job, "spec.jobTemplate.spec", e);
        errors
    }
}
