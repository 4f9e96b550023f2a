//! A tree held against the field table.
use super::{STRICT_ERRORS_MAX, quote};
use crate::codec::{DEPTH_MAX, go_type, json_type, text, time};
use crate::schema::{self, Field, JSON_SCHEMA_PROPS, Kind, Shape, Type, TypeId};
use serde_json::{Map, Value};

pub(super) fn check(id: TypeId, value: &mut Value) -> Result<Vec<String>, String> {
    let mut state = State::default();
    let t = schema::get(id);
    match value {
        Value::Null => {}
        Value::Object(map) => state.object(t, map, 0)?,
        other => {
            let package = t.name.rsplit('.').nth(1).unwrap_or_default();
            let found = json_type(other);
            return Err(format!(
                "json: cannot unmarshal {found} into Go value of type {package}.{}",
                t.short_name()
            ));
        }
    }
    Ok(state.unknown)
}

#[derive(Default)]
struct State {
    unknown: Vec<String>,
    /// `spec.containers[0]`, as strict errors name it.
    path: String,
    /// `spec.containers`, as type errors name it: no indices, but the names of embedded structs.
    fields: String,
}

/// A field of a type or of one inlined into it; `via` are the inlined types on the way.
fn find(t: &'static Type, name: &str, via: &mut Vec<&'static str>) -> Option<&'static Field> {
    if let Some(field) = t.own_index(name).and_then(|i| t.fields.get(i)) {
        return Some(field);
    }
    for inner in t.fields.iter().filter(|f| f.is_inlined()).filter_map(Field::message) {
        let inner = schema::get(inner);
        via.push(inner.short_name());
        if let Some(field) = find(inner, name, via) {
            return Some(field);
        }
        via.pop();
    }
    None
}

impl State {
    fn object(&mut self, t: &'static Type, map: &mut Map<String, Value>, depth: usize) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err(format!("exceeded max depth of {DEPTH_MAX}"));
        }
        let mut unknown = Vec::new();
        for (name, value) in map.iter_mut() {
            let mut via = Vec::new();
            let Some(field) = find(t, name, &mut via) else {
                if !(t.type_meta && (name == "apiVersion" || name == "kind")) {
                    unknown.push(name.clone());
                } else if !(value.is_string() || value.is_null()) {
                    let found = json_type(value);
                    let path = join(&self.fields, name);
                    return Err(format!(
                        "json: cannot unmarshal {found} into Go struct field {}.{path} of type string",
                        t.short_name()
                    ));
                }
                continue;
            };
            let (path_len, fields_len) = (self.path.len(), self.fields.len());
            self.path = join(&self.path, name);
            for part in via {
                self.fields = join(&self.fields, part);
            }
            self.fields = join(&self.fields, name);
            self.field(t, field, value, depth)?;
            self.path.truncate(path_len);
            self.fields.truncate(fields_len);
        }
        for name in unknown {
            map.remove(&name);
            if self.unknown.len() < STRICT_ERRORS_MAX {
                self.unknown
                    .push(format!("unknown field {}", quote(&join(&self.path, &name))));
            }
        }
        Ok(())
    }

    fn field(&mut self, t: &Type, field: &'static Field, value: &mut Value, depth: usize) -> Result<(), String> {
        let path_len = self.path.len();
        match (field.shape, value) {
            (_, Value::Null) => Ok(()),
            (Shape::Single, value) => self.value(t, field, value, depth),
            (Shape::List, Value::Array(items)) => {
                for (i, item) in items.iter_mut().enumerate() {
                    self.path.push_str(&format!("[{i}]"));
                    self.value(t, field, item, depth)?;
                    self.path.truncate(path_len);
                }
                Ok(())
            }
            (Shape::Map, Value::Object(map)) => {
                for (key, item) in map.iter_mut() {
                    self.path = join(&self.path, key);
                    self.value(t, field, item, depth)?;
                    self.path.truncate(path_len);
                }
                Ok(())
            }
            (_, other) => Err(self.wrong(t, json_type(other), &go_type(field))),
        }
    }

    fn wrong(&self, t: &Type, found: &str, wanted: &str) -> String {
        let owner = t.short_name();
        let path = &self.fields;
        format!("json: cannot unmarshal {found} into Go struct field {owner}.{path} of type {wanted}")
    }

    fn value(&mut self, t: &Type, field: &'static Field, value: &mut Value, depth: usize) -> Result<(), String> {
        let wrong = |state: &State, value: &Value| Err(state.wrong(t, json_type(value), &item_type(field)));
        match (field.kind, value) {
            (_, Value::Null) => Ok(()),
            (Kind::String, Value::String(_)) | (Kind::Bool, Value::Bool(_)) | (Kind::Double, Value::Number(_)) => {
                Ok(())
            }
            (Kind::Bytes, Value::String(s)) => match text::parse_base64(s) {
                Some(_) => Ok(()),
                None => Err(format!("illegal base64 data at input byte {}", illegal_base64_at(s))),
            },
            (Kind::Int32, Value::Number(n)) if n.as_i64().is_some_and(|i| i32::try_from(i).is_ok()) => Ok(()),
            (Kind::Int64, Value::Number(n)) if n.is_i64() => Ok(()),
            (Kind::Int32 | Kind::Int64, Value::Number(n)) => {
                Err(self.wrong(t, &format!("number {n}"), &item_type(field)))
            }
            (Kind::Time | Kind::MicroTime | Kind::Duration, Value::String(s)) => self.time(field.kind, s),
            (Kind::Time | Kind::MicroTime | Kind::Duration, other) => Err(self.wrong(t, json_type(other), "string")),
            // The value itself is checked where it is encoded and validated.
            (Kind::Quantity, Value::String(_) | Value::Number(_)) => Ok(()),
            (Kind::Quantity, _) => Err(crate::quantity::canonicalize("{").err().unwrap_or_default()),
            (Kind::IntOrString, Value::String(_)) => Ok(()),
            (Kind::IntOrString, Value::Number(n)) => match n.as_i64().and_then(|i| i32::try_from(i).ok()) {
                Some(_) => Ok(()),
                None => Err(self.wrong(t, &format!("number {n}"), "int32")),
            },
            (Kind::IntOrString, other) => Err(self.wrong(t, json_type(other), "int32")),
            (Kind::FieldsV1 | Kind::RawExtension | Kind::AnyJson, _) => Ok(()),
            (Kind::Strings, Value::Array(items)) => match items.iter().find(|i| !(i.is_string() || i.is_null())) {
                Some(item) => Err(self.wrong(t, json_type(item), "string")),
                None => Ok(()),
            },
            (Kind::SchemaOrArray | Kind::SchemaOrBool | Kind::SchemaOrStrings, value) => {
                self.union(field.kind, value, depth)
            }
            (Kind::Message(id), Value::Object(map)) => self.object(schema::get(id), map, depth + 1),
            (_, other) => wrong(self, other),
        }
    }

    fn time(&self, kind: Kind, s: &str) -> Result<(), String> {
        let known = match kind {
            Kind::Duration => time::parse_duration(s).is_some(),
            _ => time::parse(s).is_some(),
        };
        match kind {
            _ if known => Ok(()),
            Kind::Duration => Err(format!("time: invalid duration {}", quote(s))),
            _ => {
                let layout = if kind == Kind::Time {
                    "2006-01-02T15:04:05Z07:00"
                } else {
                    "2006-01-02T15:04:05.000000Z07:00"
                };
                Err(format!(
                    "parsing time {} as {}: cannot parse {} as \"2006\"",
                    quote(s),
                    quote(layout),
                    quote(s)
                ))
            }
        }
    }

    /// Upstream decodes these by themselves and not strictly: what is unknown inside is dropped silently.
    fn union(&mut self, kind: Kind, value: &mut Value, depth: usize) -> Result<(), String> {
        let mut inside = State {
            fields: self.fields.clone(),
            ..State::default()
        };
        let mut schemas = |value: &mut Value| match value {
            Value::Object(map) => inside.object(schema::get(JSON_SCHEMA_PROPS), map, depth + 1),
            Value::Null => Ok(()),
            other => {
                let found = json_type(other);
                Err(format!(
                    "json: cannot unmarshal {found} into Go value of type v1.JSONSchemaProps"
                ))
            }
        };
        match (kind, value) {
            (Kind::SchemaOrArray, Value::Array(items)) => items.iter_mut().try_for_each(schemas),
            (Kind::SchemaOrBool, Value::Bool(_)) => Ok(()),
            (Kind::SchemaOrBool, Value::String(_) | Value::Number(_) | Value::Array(_)) => {
                Err("boolean or JSON schema expected".to_owned())
            }
            (Kind::SchemaOrStrings, Value::Array(items)) => match items.iter().find(|i| !i.is_string()) {
                Some(item) => Err(format!(
                    "json: cannot unmarshal {} into Go value of type string",
                    json_type(item)
                )),
                None => Ok(()),
            },
            (_, value) => schemas(value),
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// Go's type of one item of a list or map, or of the field itself.
fn item_type(field: &Field) -> String {
    let whole = go_type(field);
    match field.shape {
        Shape::Single => whole,
        Shape::List => whole.strip_prefix("[]").map(str::to_owned).unwrap_or(whole),
        Shape::Map => whole.split_once(']').map(|(_, item)| item.to_owned()).unwrap_or(whole),
    }
}

/// Where Go's decoder stops: at the first byte outside of the alphabet, or at the end of what is too short.
fn illegal_base64_at(s: &str) -> usize {
    let clean = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'\r' | b'\n');
    s.as_bytes().iter().position(|b| !clean(b)).unwrap_or(s.len() / 4 * 4)
}
