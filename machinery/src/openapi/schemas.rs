//! Definitions of types.
use super::Dialect;
use crate::resources;
use crate::schema::{self, API_VERSION_DOC, Field, KIND_DOC, Kind, ListType, Shape, TypeId};
use serde_json::{Map, Value, json};
use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

/// The OpenAPI name of what a field refers to, where it is not a plain scalar.
fn target(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Message(id) => schema::get(id).name,
        Kind::Time => "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
        Kind::MicroTime => "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
        Kind::Duration => "io.k8s.apimachinery.pkg.apis.meta.v1.Duration",
        Kind::FieldsV1 => "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
        Kind::Quantity => "io.k8s.apimachinery.pkg.api.resource.Quantity",
        Kind::IntOrString => "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        Kind::RawExtension => "io.k8s.apimachinery.pkg.runtime.RawExtension",
        Kind::AnyJson => "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
        Kind::SchemaOrArray => "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray",
        Kind::SchemaOrBool => "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool",
        Kind::SchemaOrStrings => {
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray"
        }
        Kind::String | Kind::Bytes | Kind::Bool | Kind::Int32 | Kind::Int64 | Kind::Double | Kind::Strings => {
            return None;
        }
    })
}

/// These types and all that they refer to.
pub(super) fn closure(types: BTreeSet<TypeId>) -> BTreeSet<TypeId> {
    let mut todo: Vec<TypeId> = types.iter().copied().collect();
    let mut all = types;
    while let Some(id) = todo.pop() {
        if special(schema::get(id).name, Dialect::V3).is_some() {
            continue;
        }
        for field in schema::get(id).flat_fields() {
            if let Some(id) = target(field.kind).and_then(schema::by_name)
                && all.insert(id)
            {
                todo.push(id);
            }
        }
    }
    all
}

/// What stands in for the fields of types that have a JSON form of their own.
fn special(name: &str, dialect: Dialect) -> Option<Value> {
    let v3 = dialect == Dialect::V3;
    Some(match name.rsplit('.').next().unwrap_or_default() {
        "Time" | "MicroTime" => json!({"type": "string", "format": "date-time"}),
        "Duration" => json!({"type": "string"}),
        "Quantity" if v3 => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        "Quantity" => json!({"type": "string"}),
        "IntOrString" if v3 => {
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
        }
        "IntOrString" => json!({"type": "string", "format": "int-or-string"}),
        "FieldsV1" | "RawExtension" => json!({"type": "object"}),
        "JSON" | "JSONSchemaPropsOrArray" | "JSONSchemaPropsOrBool" | "JSONSchemaPropsOrStringArray" => json!({}),
        _ => return None,
    })
}

/// Group, version and kind of every type that is a kind, in the form of the OpenAPI extension.
static KINDS: LazyLock<HashMap<TypeId, Vec<Value>>> = LazyLock::new(|| {
    let mut kinds: HashMap<TypeId, Vec<Value>> = HashMap::new();
    let mut add = |group: &str, version: &str, kind: &str| {
        let entry = json!({"group": group, "version": version, "kind": kind});
        if let Some(id) = resources::type_of(group, version, kind) {
            let entries = kinds.entry(id).or_default();
            if !entries.contains(&entry) {
                entries.push(entry);
            }
        }
    };
    for r in resources::all() {
        add(r.group, r.version, r.kind);
        add(r.group, r.version, r.list_kind);
        for s in r.subresources {
            add(s.kind.0, s.kind.1, s.kind.2);
        }
    }
    for (group, versions) in resources::groups() {
        for version in *versions {
            add(group, version, "DeleteOptions");
            add(group, version, "WatchEvent");
        }
    }
    for kind in ["Status", "APIGroup", "APIGroupList", "APIResourceList", "APIVersions"] {
        add("", "v1", kind);
    }
    kinds
});

pub(super) fn definition(id: TypeId, dialect: Dialect) -> (String, Value) {
    let t = schema::get(id);
    let mut out = Map::new();
    if !t.doc.is_empty() {
        out.insert("description".into(), t.doc.into());
    }
    if let Some(Value::Object(form)) = special(t.name, dialect) {
        out.extend(form);
        return (t.name.to_owned(), Value::Object(out));
    }
    out.insert("type".into(), "object".into());
    let mut properties = Map::new();
    if t.type_meta {
        properties.insert(
            "apiVersion".into(),
            json!({"description": API_VERSION_DOC, "type": "string"}),
        );
        properties.insert("kind".into(), json!({"description": KIND_DOC, "type": "string"}));
    }
    let mut required = Vec::new();
    for field in t.flat_fields() {
        properties.insert(field.json.to_owned(), property(field, dialect));
        if field.required {
            required.push(Value::from(field.json));
        }
    }
    if !properties.is_empty() {
        out.insert("properties".into(), Value::Object(properties));
    }
    if !required.is_empty() {
        out.insert("required".into(), Value::Array(required));
    }
    if t.atomic {
        out.insert("x-kubernetes-map-type".into(), "atomic".into());
    }
    if let Some(kinds) = KINDS.get(&id) {
        out.insert("x-kubernetes-group-version-kind".into(), Value::Array(kinds.clone()));
    }
    (t.name.to_owned(), Value::Object(out))
}

fn property(field: &Field, dialect: Dialect) -> Value {
    let mut out = Map::new();
    match field.shape {
        Shape::Single => out = element(field, dialect, !field.pointer),
        Shape::List => {
            out.insert("type".into(), "array".into());
            out.insert("items".into(), Value::Object(element(field, dialect, true)));
        }
        Shape::Map => {
            out.insert("type".into(), "object".into());
            out.insert(
                "additionalProperties".into(),
                Value::Object(element(field, dialect, true)),
            );
        }
    }
    if field.shape == Shape::Single && field.omit_empty && field.message().is_none() {
        out.remove("default");
    }
    if let Some(default) = field.default.filter(|_| dialect == Dialect::V3)
        && let Ok(value) = serde_json::from_str::<Value>(default)
    {
        out.insert("default".into(), value);
    }
    if !field.doc.is_empty() {
        out.insert("description".into(), field.doc.into());
    }
    if dialect == Dialect::V3
        && out.len() > 1
        && let Some(reference) = out.remove("$ref")
    {
        // OpenAPI 3.0 ignores everything beside a reference.
        out.insert("allOf".into(), json!([{"$ref": reference}]));
    }
    let list_type = field.list_type.map(|l| match l {
        ListType::Atomic => "atomic",
        ListType::Set => "set",
        ListType::Map => "map",
    });
    if let Some(list_type) = list_type {
        out.insert("x-kubernetes-list-type".into(), list_type.into());
    }
    if !field.list_map_keys.is_empty() {
        out.insert("x-kubernetes-list-map-keys".into(), json!(field.list_map_keys));
    }
    if field.map_atomic {
        out.insert("x-kubernetes-map-type".into(), "atomic".into());
    }
    if field.map_granular {
        out.insert("x-kubernetes-map-type".into(), "granular".into());
    }
    if let Some(key) = field.patch_merge_key {
        out.insert("x-kubernetes-patch-merge-key".into(), key.into());
    }
    if !field.patch_strategy.is_empty() {
        out.insert(
            "x-kubernetes-patch-strategy".into(),
            field.patch_strategy.join(",").into(),
        );
    }
    Value::Object(out)
}

/// The schema of one value; `zero` says whether Go's type is a value, whose zero is its default.
fn element(field: &Field, dialect: Dialect, zero: bool) -> Map<String, Value> {
    let (mut out, default) = match field.kind {
        Kind::String => (json!({"type": "string"}), json!("")),
        Kind::Bytes => (json!({"type": "string", "format": "byte"}), Value::Null),
        Kind::Bool => (json!({"type": "boolean"}), json!(false)),
        Kind::Int32 => (json!({"type": "integer", "format": "int32"}), json!(0)),
        Kind::Int64 => (json!({"type": "integer", "format": "int64"}), json!(0)),
        Kind::Double => (json!({"type": "number", "format": "double"}), json!(0)),
        Kind::Strings if dialect == Dialect::V3 => (
            json!({"type": "array", "items": {"type": "string", "default": ""}}),
            Value::Null,
        ),
        Kind::Strings => (json!({"type": "array", "items": {"type": "string"}}), Value::Null),
        Kind::Message(_) => (dialect.reference(target(field.kind).unwrap_or_default()), json!({})),
        other => (dialect.reference(target(other).unwrap_or_default()), Value::Null),
    };
    if zero && dialect == Dialect::V3 && !default.is_null() {
        if field.shape != Shape::Single
            && let Some(reference) = out.as_object_mut().and_then(|o| o.remove("$ref"))
        {
            out["allOf"] = json!([{"$ref": reference}]);
        }
        out["default"] = default;
    }
    match out {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
