//! From a JSON tree to protobuf, as gogo writes it.
use super::wire::{self, put_bytes, put_int, put_key, put_nested};
use super::{DEPTH_MAX, Error, text, time, too_deep};
use crate::quantity;
use crate::schema::{self, Field, JSON_SCHEMA_PROPS, Kind, Shape, Type, TypeId};
use serde_json::{Map, Value};

pub(super) fn root(id: TypeId, value: &Value, out: &mut Vec<u8>) -> Result<(), Error> {
    let object = match value {
        Value::Object(map) => Some(map),
        Value::Null => None,
        other => return Err(wrong(other, schema::get(id).short_name())),
    };
    message(schema::get(id), object, out, 0)
}

/// What Go calls a JSON value in its errors.
pub(crate) fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
fn wrong(value: &Value, wanted: &str) -> Error {
    Error::Decode(format!(
        "json: cannot unmarshal {} into Go value of type {wanted}",
        json_type(value)
    ))
}

fn message(
    t: &'static Type,
    object: Option<&Map<String, Value>>,
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<(), Error> {
    if depth > DEPTH_MAX {
        return Err(too_deep());
    }
    for i in t.by_tag {
        if let Some(field) = t.fields.get(usize::from(*i)) {
            put_field(field, object, out, depth)?;
        }
    }
    Ok(())
}

fn put_field(
    field: &'static Field,
    object: Option<&Map<String, Value>>,
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<(), Error> {
    if field.is_inlined() {
        return match field.message().map(schema::get) {
            Some(inner)
                if !field.pointer || object.is_some_and(|o| inner.fields.iter().any(|f| o.contains_key(f.json))) =>
            {
                put_nested(field.tag, out, |o| message(inner, object, o, depth + 1))
            }
            _ => Ok(()),
        };
    }
    let value = object.and_then(|o| o.get(field.json)).filter(|v| !v.is_null());
    match (field.shape, value) {
        (Shape::List | Shape::Map, None) => Ok(()),
        (Shape::List, Some(Value::Array(items))) => items
            .iter()
            .try_for_each(|item| put_value(field.tag, field.kind, item, out, depth).map_err(|e| at(field, e))),
        (Shape::Map, Some(Value::Object(map))) => put_map(field, map, out, depth).map_err(|e| at(field, e)),
        (Shape::List | Shape::Map, Some(other)) => Err(at(field, wrong(other, &go_type(field)))),
        (Shape::Single, Some(value)) => put_value(field.tag, field.kind, value, out, depth).map_err(|e| at(field, e)),
        (Shape::Single, None) if field.pointer || matches!(field.kind, Kind::Bytes | Kind::Strings) => Ok(()),
        (Shape::Single, None) => put_value(field.tag, field.kind, &Value::Null, out, depth),
    }
}

/// Says where: the innermost field is enough to find it, the strict check before tells the whole path.
fn at(field: &Field, error: Error) -> Error {
    match error {
        Error::Decode(m) if m.starts_with("json: ") && !m.contains("struct field") => {
            Error::Decode(m.replacen("Go value", &format!("Go struct field {}", field.json), 1))
        }
        other => other,
    }
}

/// Go's type of a field as its error messages show it.
pub(crate) fn go_type(field: &Field) -> String {
    if !field.go_type.is_empty() {
        return field.go_type.to_owned();
    }
    let base = match field.kind {
        Kind::String => "string".to_owned(),
        Kind::Bytes => "[]uint8".to_owned(),
        Kind::Bool => "bool".to_owned(),
        Kind::Int32 => "int32".to_owned(),
        Kind::Int64 => "int64".to_owned(),
        Kind::Double => "float64".to_owned(),
        Kind::Quantity => "resource.Quantity".to_owned(),
        Kind::IntOrString => "intstr.IntOrString".to_owned(),
        Kind::RawExtension => "runtime.RawExtension".to_owned(),
        Kind::AnyJson => "v1.JSON".to_owned(),
        Kind::SchemaOrArray => "v1.JSONSchemaPropsOrArray".to_owned(),
        Kind::SchemaOrBool => "v1.JSONSchemaPropsOrBool".to_owned(),
        Kind::SchemaOrStrings => "v1.JSONSchemaPropsOrStringArray".to_owned(),
        Kind::Strings => "v1.ExtraValue".to_owned(),
        Kind::Time | Kind::MicroTime | Kind::Duration | Kind::FieldsV1 => format!("v1.{:?}", field.kind),
        Kind::Message(id) => go_name(schema::get(id)),
    };
    match field.shape {
        Shape::Single => base,
        Shape::List => format!("[]{base}"),
        Shape::Map => format!("map[string]{base}"),
    }
}
/// `v1.PodSpec` of `io.k8s.api.core.v1.PodSpec`.
fn go_name(t: &Type) -> String {
    let mut parts = t.name.rsplit('.');
    let (name, package) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    format!("{package}.{name}")
}

fn put_map(field: &'static Field, map: &Map<String, Value>, out: &mut Vec<u8>, depth: usize) -> Result<(), Error> {
    let mut entries: Vec<(&String, &Value)> = map.iter().collect();
    entries.sort_by_key(|e| e.0);
    for (key, value) in entries {
        put_nested(field.tag, out, |o| {
            put_bytes(1, key.as_bytes(), o);
            put_value(2, field.kind, value, o, depth)
        })?;
    }
    Ok(())
}

/// A record of one value; `null` is Go's zero value.
fn put_value(tag: u32, kind: Kind, value: &Value, out: &mut Vec<u8>, depth: usize) -> Result<(), Error> {
    match (kind, value) {
        (Kind::String | Kind::Bytes, Value::Null) => put_bytes(tag, b"", out),
        (Kind::String, Value::String(s)) => put_bytes(tag, s.as_bytes(), out),
        (Kind::Bytes, Value::String(s)) => {
            let bytes = text::parse_base64(s)
                .ok_or_else(|| Error::Decode("illegal base64 data in a field of type []byte".to_owned()))?;
            put_bytes(tag, &bytes, out);
        }
        (Kind::Bool, Value::Null) => put_int(tag, 0, out),
        (Kind::Bool, Value::Bool(b)) => put_int(tag, i64::from(*b), out),
        (Kind::Int32 | Kind::Int64, Value::Null) => put_int(tag, 0, out),
        (Kind::Int32 | Kind::Int64, Value::Number(n)) => {
            let wanted = if kind == Kind::Int32 { "int32" } else { "int64" };
            let fits = n.as_i64().filter(|i| kind == Kind::Int64 || i32::try_from(*i).is_ok());
            let number = fits.ok_or_else(|| {
                Error::Decode(format!(
                    "json: cannot unmarshal number {n} into Go value of type {wanted}"
                ))
            })?;
            put_int(tag, number, out);
        }
        (Kind::Double, Value::Null) => put_double(tag, 0.0, out),
        (Kind::Double, Value::Number(n)) => put_double(tag, n.as_f64().unwrap_or_default(), out),
        (Kind::Time | Kind::MicroTime, _) => return put_time(tag, kind, value, out),
        (Kind::Duration, _) => {
            let nanos = match value {
                Value::Null => 0,
                Value::String(s) => {
                    time::parse_duration(s).ok_or_else(|| Error::Decode(format!("time: invalid duration {s:?}")))?
                }
                other => return Err(wrong(other, "string")),
            };
            return put_nested(tag, out, |o| {
                put_int(1, nanos, o);
                Ok(())
            });
        }
        (Kind::Quantity, _) => {
            let text = canonical_quantity(value)?;
            return put_nested(tag, out, |o| {
                put_bytes(1, text.as_bytes(), o);
                Ok(())
            });
        }
        (Kind::IntOrString, _) => return put_int_or_string(tag, value, out),
        (Kind::FieldsV1 | Kind::RawExtension | Kind::AnyJson, _) => {
            return put_nested(tag, out, |o| {
                if value.is_null() {
                    return Ok(());
                }
                let json = serde_json::to_vec(value).map_err(|e| Error::Decode(e.to_string()))?;
                put_bytes(1, &json, o);
                Ok(())
            });
        }
        (Kind::Strings, _) => return put_nested(tag, out, |o| put_strings(1, value, o)),
        (Kind::SchemaOrArray | Kind::SchemaOrBool | Kind::SchemaOrStrings, _) => {
            return put_nested(tag, out, |o| put_union(kind, value, o, depth + 1));
        }
        (Kind::Message(id), Value::Null) => {
            return put_nested(tag, out, |o| message(schema::get(id), None, o, depth + 1));
        }
        (Kind::Message(id), Value::Object(map)) => {
            return put_nested(tag, out, |o| message(schema::get(id), Some(map), o, depth + 1));
        }
        (Kind::Message(id), other) => return Err(wrong(other, &go_name(schema::get(id)))),
        (Kind::String, other) => return Err(wrong(other, "string")),
        (Kind::Bytes, other) => return Err(wrong(other, "[]uint8")),
        (Kind::Bool, other) => return Err(wrong(other, "bool")),
        (Kind::Int32, other) => return Err(wrong(other, "int32")),
        (Kind::Int64, other) => return Err(wrong(other, "int64")),
        (Kind::Double, other) => return Err(wrong(other, "float64")),
    }
    Ok(())
}

fn put_double(tag: u32, value: f64, out: &mut Vec<u8>) {
    put_key(tag, wire::FIXED64, out);
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

fn put_time(tag: u32, kind: Kind, value: &Value, out: &mut Vec<u8>) -> Result<(), Error> {
    let text = match value {
        Value::Null => return put_nested(tag, out, |_| Ok(())),
        Value::String(s) => s,
        other => return Err(wrong(other, "string")),
    };
    let (seconds, nanos) = time::parse(text).ok_or_else(|| {
        Error::Decode(format!(
            "parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {text:?}"
        ))
    })?;
    // Time keeps whole seconds and MicroTime microseconds, as upstream's UnmarshalJSON and Marshal do.
    let nanos = if kind == Kind::Time { 0 } else { nanos / 1_000 * 1_000 };
    put_nested(tag, out, |o| {
        if seconds != time::ZERO_SECONDS || nanos != 0 {
            put_int(1, seconds, o);
            put_int(2, i64::from(nanos), o);
        }
        Ok(())
    })
}

/// Canonical text, as Go's Quantity marshals. Plain small integers, which most are, need no parsing.
fn canonical_quantity(value: &Value) -> Result<String, Error> {
    let text = match value {
        Value::Null => return Ok("0".to_owned()),
        Value::String(s) => s.trim().to_owned(),
        Value::Number(n) => n.to_string(),
        other => return Err(wrong(other, "resource.Quantity")),
    };
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    if digits && text.len() <= 15 && !text.ends_with("000") && text.bytes().next().is_some_and(|b| b != b'0') {
        return Ok(text);
    }
    quantity::canonicalize(&text).map_err(Error::Decode)
}

fn put_int_or_string(tag: u32, value: &Value, out: &mut Vec<u8>) -> Result<(), Error> {
    let (kind, number, string) = match value {
        Value::Null => (0, 0, ""),
        Value::String(s) => (1, 0, s.as_str()),
        Value::Number(n) => {
            let number = n.as_i64().and_then(|i| i32::try_from(i).ok()).ok_or_else(|| {
                Error::Decode(format!("json: cannot unmarshal number {n} into Go value of type int32"))
            })?;
            (0, number, "")
        }
        other => return Err(wrong(other, "int32")),
    };
    put_nested(tag, out, |o| {
        put_int(1, kind, o);
        put_int(2, i64::from(number), o);
        put_bytes(3, string.as_bytes(), o);
        Ok(())
    })
}

fn put_strings(tag: u32, value: &Value, out: &mut Vec<u8>) -> Result<(), Error> {
    match value {
        Value::Null => Ok(()),
        Value::Array(items) => items.iter().try_for_each(|i| put_value(tag, Kind::String, i, out, 0)),
        other => Err(wrong(other, "[]string")),
    }
}

/// The unions of CRD schemas (upstream: apiextensions/v1/marshal.go).
fn put_union(kind: Kind, value: &Value, out: &mut Vec<u8>, depth: usize) -> Result<(), Error> {
    let schema = |tag: u32, out: &mut Vec<u8>| put_value(tag, Kind::Message(JSON_SCHEMA_PROPS), value, out, depth);
    match (kind, value) {
        (Kind::SchemaOrBool, Value::Null) => put_int(1, 0, out),
        (Kind::SchemaOrBool, Value::Bool(b)) => put_int(1, i64::from(*b), out),
        (Kind::SchemaOrBool, Value::Object(_)) => {
            put_int(1, 1, out);
            return schema(2, out);
        }
        (Kind::SchemaOrBool, _) => return Err(Error::Decode("boolean or JSON schema expected".to_owned())),
        (_, Value::Null) => {}
        (_, Value::Object(_)) => return schema(1, out),
        (Kind::SchemaOrArray, Value::Array(items)) => {
            for item in items {
                put_value(2, Kind::Message(JSON_SCHEMA_PROPS), item, out, depth)?;
            }
        }
        (Kind::SchemaOrStrings, Value::Array(_)) => return put_strings(2, value, out),
        (_, other) => return Err(wrong(other, "v1.JSONSchemaProps")),
    }
    Ok(())
}
