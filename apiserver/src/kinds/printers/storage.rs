//! Volumes, claims, classes and devices.
use super::{Row, created_since, items, name, or, text};
use jiff::Timestamp;
use serde_json::Value;

const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
const DEFAULT_CLASS_ANNOTATIONS: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];

/// `RWO,ROX,RWX,RWOP`, each once and in this order.
fn modes(v: &Value) -> String {
    let short = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let there = short.iter().filter(|(long, _)| items(v).iter().any(|m| m == long));
    there.map(|(_, s)| *s).collect::<Vec<_>>().join(",")
}

fn phase(o: &Value) -> &str {
    if o["metadata"]["deletionTimestamp"].is_null() {
        text(&o["status"]["phase"])
    } else {
        "Terminating"
    }
}

fn class_of(o: &Value) -> Value {
    let annotated = text(&o["metadata"]["annotations"][CLASS_ANNOTATION]);
    match annotated {
        "" => text(&o["spec"]["storageClassName"]).into(),
        class => class.into(),
    }
}

pub(super) fn volume(o: &Value, now: Timestamp) -> Row {
    let spec = &o["spec"];
    let claim = if spec["claimRef"].is_object() {
        format!(
            "{}/{}",
            text(&spec["claimRef"]["namespace"]),
            text(&spec["claimRef"]["name"])
        )
    } else {
        String::new()
    };
    Row::of(vec![
        name(o),
        or(&spec["capacity"]["storage"], "0").into(),
        modes(&spec["accessModes"]).into(),
        text(&spec["persistentVolumeReclaimPolicy"]).into(),
        phase(o).into(),
        claim.into(),
        class_of(o),
        or(&spec["volumeAttributesClassName"], "<unset>").into(),
        text(&o["status"]["reason"]).into(),
        created_since(o, now),
        or(&spec["volumeMode"], "<unset>").into(),
    ])
}

pub(super) fn claim(o: &Value, now: Timestamp) -> Row {
    let (spec, status) = (&o["spec"], &o["status"]);
    let bound = !text(&spec["volumeName"]).is_empty();
    let (capacity, access) = if bound {
        (or(&status["capacity"]["storage"], "0"), modes(&status["accessModes"]))
    } else {
        ("", String::new())
    };
    Row::of(vec![
        name(o),
        phase(o).into(),
        text(&spec["volumeName"]).into(),
        capacity.into(),
        access.into(),
        class_of(o),
        or(&spec["volumeAttributesClassName"], "<unset>").into(),
        created_since(o, now),
        or(&spec["volumeMode"], "<unset>").into(),
    ])
}

pub(super) fn class(o: &Value, now: Timestamp) -> Row {
    let annotations = &o["metadata"]["annotations"];
    let is_default = DEFAULT_CLASS_ANNOTATIONS.iter().any(|a| annotations[*a] == "true");
    let shown = if is_default {
        format!("{} (default)", text(&o["metadata"]["name"])).into()
    } else {
        name(o)
    };
    Row::of(vec![
        shown,
        text(&o["provisioner"]).into(),
        or(&o["reclaimPolicy"], "Delete").into(),
        or(&o["volumeBindingMode"], "Immediate").into(),
        o["allowVolumeExpansion"].as_bool().unwrap_or(false).into(),
        created_since(o, now),
    ])
}

pub(super) fn attributes_class(o: &Value, now: Timestamp) -> Row {
    Row::of(vec![name(o), text(&o["driverName"]).into(), created_since(o, now)])
}

pub(super) fn attachment(o: &Value, now: Timestamp) -> Row {
    let spec = &o["spec"];
    Row::of(vec![
        name(o),
        text(&spec["attacher"]).into(),
        text(&spec["source"]["persistentVolumeName"]).into(),
        text(&spec["nodeName"]).into(),
        o["status"]["attached"].as_bool().unwrap_or(false).into(),
        created_since(o, now),
    ])
}

pub(super) fn csi_node(o: &Value, now: Timestamp) -> Row {
    let drivers = items(&o["spec"]["drivers"]).len();
    Row::of(vec![name(o), drivers.into(), created_since(o, now)])
}

pub(super) fn csi_driver(o: &Value, now: Timestamp) -> Row {
    let spec = &o["spec"];
    let flag = |key: &str, default: bool| -> Value { spec[key].as_bool().unwrap_or(default).into() };
    let join = |v: &Value, key: &str| -> String {
        let all: Vec<&str> = items(v)
            .iter()
            .map(|x| text(if key.is_empty() { x } else { &x[key] }))
            .collect();
        all.join(",")
    };
    let tokens = match &spec["tokenRequests"] {
        Value::Null => "<unset>".into(),
        v => join(v, "audience"),
    };
    let lifecycle = match join(&spec["volumeLifecycleModes"], "") {
        m if m.is_empty() => "<none>".into(),
        m => m,
    };
    Row::of(vec![
        name(o),
        flag("attachRequired", true),
        flag("podInfoOnMount", false),
        flag("storageCapacity", false),
        tokens.into(),
        flag("requiresRepublish", false),
        lifecycle.into(),
        created_since(o, now),
    ])
}

pub(super) fn csi_capacity(o: &Value, _now: Timestamp) -> Row {
    Row::of(vec![
        name(o),
        text(&o["storageClassName"]).into(),
        or(&o["capacity"], "<unset>").into(),
    ])
}

pub(super) fn resource_claim(o: &Value, now: Timestamp) -> Row {
    let deleted = !o["metadata"]["deletionTimestamp"].is_null();
    let mut states = Vec::new();
    if deleted {
        states.push("deleted");
    }
    if o["status"]["allocation"].is_object() {
        states.push("allocated");
        if !items(&o["status"]["reservedFor"]).is_empty() {
            states.push("reserved");
        }
    } else if !deleted {
        states.push("pending");
    }
    Row::of(vec![name(o), states.join(",").into(), created_since(o, now)])
}

pub(super) fn resource_slice(o: &Value, now: Timestamp) -> Row {
    let spec = &o["spec"];
    Row::of(vec![
        name(o),
        text(&spec["nodeName"]).into(),
        text(&spec["driver"]).into(),
        text(&spec["pool"]["name"]).into(),
        created_since(o, now),
    ])
}
