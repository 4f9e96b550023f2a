//! Defaulting of the kinds in use, as upstream's `SetDefaults_*` (pkg/apis/*/v1/defaults.go).
//!
//! Upstream's functions belong to types, and a generated walk calls them wherever an object holds such a type:
//! so do ours, over the field table. A type's own function runs before those of what it holds; then come the
//! `+default` marks of its fields. Structs that Go holds by value are always there and so get their defaults,
//! pointers that are absent stay absent.
//!
//! Left out: defaults that need a clock (`DeviceTaint.timeAdded`) and those that upstream sets in strategies.
mod autoscaling;
mod cluster;
mod core;
mod fields;
mod image;
mod pod;
mod pod_resources;
mod storage;
mod workloads;

use crate::quantity::Quantity;
use crate::resources::Resource;
use crate::schema::{self, Field, Kind, Shape, TypeId};
use fields::Object;
use serde_json::Value;
use std::sync::LazyLock;

type Defaulter = fn(&mut Object);

/// Fills in defaults in place. Idempotent. Includes nested templates (pod templates in workloads).
pub fn apply(resource: &Resource, object: &mut Value) {
    apply_type(resource.type_id, object);
}

/// The same for any type of the table: bodies of subresources (TokenRequest, Scale), parts of objects.
pub fn apply_type(id: TypeId, object: &mut Value) {
    if let Value::Object(o) = object {
        walk(id, o);
    }
}

/// What the walk needs to know of a type.
#[derive(Clone, Copy, Default)]
struct Plan {
    own: Option<Defaulter>,
    /// False when nothing in the type or below has a default: the walk passes it by.
    any: bool,
}

static PLANS: LazyLock<Vec<Plan>> = LazyLock::new(|| {
    let types = schema::types();
    let mut plans: Vec<Plan> = types
        .iter()
        .map(|t| {
            let own = defaulter(t.name);
            let any = own.is_some() || t.fields.iter().any(|f| f.default.is_some() || is_resource_list(f));
            Plan { own, any }
        })
        .collect();
    // A type that holds one with defaults has defaults; types refer to each other in circles, so repeat until still.
    loop {
        let mut changed = false;
        for (i, t) in types.iter().enumerate() {
            let below = |f: &Field| f.message().is_some_and(|id| plan_of(&plans, id).any);
            if !plan_at(&plans, i).any && t.fields.iter().any(below) {
                if let Some(p) = plans.get_mut(i) {
                    p.any = true;
                }
                changed = true;
            }
        }
        if !changed {
            return plans;
        }
    }
});

fn plan_at(plans: &[Plan], i: usize) -> Plan {
    plans.get(i).copied().unwrap_or_default()
}
fn plan_of(plans: &[Plan], id: TypeId) -> Plan {
    plan_at(plans, usize::from(id.0))
}

fn is_resource_list(f: &Field) -> bool {
    f.kind == Kind::Quantity && f.shape == Shape::Map
}

fn walk(id: TypeId, o: &mut Object) {
    let plan = plan_of(&PLANS, id);
    if !plan.any {
        return;
    }
    if let Some(own) = plan.own {
        own(o);
    }
    for f in schema::get(id).fields {
        if is_resource_list(f) {
            round_resources(o.get_mut(f.json));
        } else if let Some(below) = f.message() {
            walk_field(f, below, o);
        }
        if let Some(text) = f.default {
            mark(f, text, o);
        }
    }
}

fn walk_field(f: &Field, below: TypeId, o: &mut Object) {
    if f.is_inlined() {
        return walk(below, o);
    }
    if !plan_of(&PLANS, below).any {
        return;
    }
    match (f.shape, o.get_mut(f.json)) {
        (Shape::Single, Some(Value::Object(v))) => walk(below, v),
        (Shape::Single, None | Some(Value::Null)) if !f.pointer => {
            let mut fresh = Object::new();
            walk(below, &mut fresh);
            if !fresh.is_empty() {
                o.insert(f.json.to_owned(), Value::Object(fresh));
            }
        }
        (Shape::List, Some(Value::Array(items))) => {
            for v in items.iter_mut().filter_map(Value::as_object_mut) {
                walk(below, v);
            }
        }
        (Shape::Map, Some(Value::Object(m))) => {
            for v in m.values_mut().filter_map(Value::as_object_mut) {
                walk(below, v);
            }
        }
        _ => {}
    }
}

/// A `+default` mark: for a pointer that is absent, or a value that is zero. A zero default of a value changes nothing.
fn mark(f: &Field, text: &str, o: &mut Object) {
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        return;
    };
    let unset = match o.get(f.json) {
        None | Some(Value::Null) => f.pointer || !fields::is_zero(&value),
        Some(v) => !f.pointer && fields::is_zero(v) && !fields::is_zero(&value),
    };
    if unset {
        o.insert(f.json.to_owned(), value);
    }
}

/// Resource amounts are rounded up to thousandths (upstream: `SetDefaults_ResourceList`).
fn round_resources(list: Option<&mut Value>) {
    const MILLI: i128 = 1_000_000;
    let Some(Value::Object(list)) = list else { return };
    for v in list.values_mut() {
        let text = match &*v {
            Value::String(s) => s.clone(),
            Value::Number(n) => n.to_string(),
            _ => continue,
        };
        let Ok((q, format)) = Quantity::parse_with_format(text.trim()) else {
            continue;
        };
        if q.nanos % MILLI != 0 {
            let up = q.nanos / MILLI + q.nanos.signum();
            let rounded = Quantity {
                nanos: up.saturating_mul(MILLI),
            };
            *v = rounded.to_text(format).into();
        }
    }
}

/// Upstream's function of a type, by the type's OpenAPI name.
fn defaulter(name: &str) -> Option<Defaulter> {
    let short = name.strip_prefix("io.k8s.")?;
    core::of(short)
        .or_else(|| pod::of(short))
        .or_else(|| workloads::of(short))
        .or_else(|| autoscaling::of(short))
        .or_else(|| storage::of(short))
        .or_else(|| cluster::of(short))
}

#[cfg(test)]
mod tests;
