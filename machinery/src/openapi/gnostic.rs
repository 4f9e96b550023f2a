//! The v2 document as gnostic's protobuf, written from the same pieces as the text
//! (field numbers: gnostic `openapiv2/OpenAPIv2.proto`).
use crate::codec::wire::{put_bytes, put_int, put_nested};
use serde_json::Value;

/// Paths and definitions are gathered apart, since each is one message in the document.
pub(super) struct Document {
    head: Vec<u8>,
    paths: Vec<u8>,
    definitions: Vec<u8>,
}

impl Document {
    pub fn new(title: &str, version: &str) -> Self {
        let mut head = Vec::new();
        put_bytes(1, b"2.0", &mut head);
        nested(2, &mut head, |o| {
            put_bytes(1, title.as_bytes(), o);
            put_bytes(2, version.as_bytes(), o);
        });
        Document {
            head,
            paths: Vec::new(),
            definitions: Vec::new(),
        }
    }
    pub fn path(&mut self, name: &str, item: &Value) {
        nested(2, &mut self.paths, |o| {
            put_bytes(1, name.as_bytes(), o);
            nested(2, o, |o| path_item(item, o));
        });
    }
    pub fn definition(&mut self, name: &str, definition: &Value) {
        nested(1, &mut self.definitions, |o| {
            put_bytes(1, name.as_bytes(), o);
            nested(2, o, |o| schema(definition, o));
        });
    }
    pub fn finish(self, bearer_token: &Value) -> Vec<u8> {
        let mut out = self.head;
        put_bytes(8, &self.paths, &mut out);
        put_bytes(9, &self.definitions, &mut out);
        nested(12, &mut out, |o| nested(1, o, |o| put_bytes(1, b"BearerToken", o)));
        nested(13, &mut out, |o| {
            nested(1, o, |o| {
                put_bytes(1, b"BearerToken", o);
                nested(2, o, |o| {
                    nested(2, o, |o| {
                        strings(
                            bearer_token,
                            &[("type", 1), ("name", 2), ("in", 3), ("description", 4)],
                            o,
                        )
                    });
                });
            });
        });
        out
    }
}

fn nested(tag: u32, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    // The writers here cannot fail.
    let _ = put_nested::<std::convert::Infallible>(tag, out, |o| {
        write(o);
        Ok(())
    });
}
fn strings(value: &Value, names: &[(&str, u32)], out: &mut Vec<u8>) {
    for (name, tag) in names {
        if let Some(text) = value[*name].as_str() {
            put_bytes(*tag, text.as_bytes(), out);
        }
    }
}
fn bools(value: &Value, names: &[(&str, u32)], out: &mut Vec<u8>) {
    for (name, tag) in names {
        if value[*name] == true {
            put_int(*tag, 1, out);
        }
    }
}
fn lists(value: &Value, names: &[(&str, u32)], out: &mut Vec<u8>) {
    for (name, tag) in names {
        for text in value[*name].as_array().into_iter().flatten().filter_map(Value::as_str) {
            put_bytes(*tag, text.as_bytes(), out);
        }
    }
}
/// `x-…` members as named YAML, which JSON is.
fn extensions(value: &Value, tag: u32, out: &mut Vec<u8>) {
    let members = value.as_object().into_iter().flatten();
    for (name, value) in members.filter(|(name, _)| name.starts_with("x-")) {
        nested(tag, out, |o| {
            put_bytes(1, name.as_bytes(), o);
            nested(2, o, |o| put_bytes(2, value.to_string().as_bytes(), o));
        });
    }
}

fn path_item(item: &Value, out: &mut Vec<u8>) {
    for (method, tag) in [("get", 2), ("put", 3), ("post", 4), ("delete", 5), ("patch", 8)] {
        if let Some(found) = item.get(method) {
            nested(tag, out, |o| operation(found, o));
        }
    }
    parameters(item, 9, out);
}
fn operation(value: &Value, out: &mut Vec<u8>) {
    lists(value, &[("tags", 1)], out);
    strings(value, &[("description", 3), ("operationId", 5)], out);
    lists(value, &[("produces", 6), ("consumes", 7)], out);
    parameters(value, 8, out);
    nested(9, out, |o| {
        for (code, response) in value["responses"].as_object().into_iter().flatten() {
            nested(1, o, |o| {
                put_bytes(1, code.as_bytes(), o);
                nested(2, o, |o| nested(1, o, |o| answer(response, o)));
            });
        }
    });
    lists(value, &[("schemes", 10)], out);
    extensions(value, 13, out);
}
fn answer(response: &Value, out: &mut Vec<u8>) {
    strings(response, &[("description", 1)], out);
    if let Some(found) = response.get("schema") {
        nested(2, out, |o| nested(1, o, |o| schema(found, o)));
    }
}
fn parameters(value: &Value, tag: u32, out: &mut Vec<u8>) {
    for parameter in value["parameters"].as_array().into_iter().flatten() {
        nested(tag, out, |o| nested(1, o, |o| one_parameter(parameter, o)));
    }
}
fn one_parameter(p: &Value, out: &mut Vec<u8>) {
    match p["in"].as_str() {
        Some("body") => nested(1, out, |o| {
            strings(p, &[("description", 1), ("name", 2), ("in", 3)], o);
            bools(p, &[("required", 4)], o);
            nested(5, o, |o| schema(&p["schema"], o));
        }),
        Some("path") => nested(2, out, |o| {
            nested(4, o, |o| {
                bools(p, &[("required", 1)], o);
                strings(p, &[("in", 2), ("description", 3), ("name", 4), ("type", 5)], o);
                bools(p, &[("uniqueItems", 19)], o);
            });
        }),
        _ => nested(2, out, |o| {
            nested(3, o, |o| {
                bools(p, &[("required", 1)], o);
                strings(p, &[("in", 2), ("description", 3), ("name", 4), ("type", 6)], o);
                bools(p, &[("uniqueItems", 20)], o);
            });
        }),
    }
}
fn schema(value: &Value, out: &mut Vec<u8>) {
    strings(
        value,
        &[
            ("$ref", 1),
            ("format", 2),
            ("title", 3),
            ("description", 4),
            ("pattern", 13),
        ],
        out,
    );
    bools(value, &[("uniqueItems", 16)], out);
    lists(value, &[("required", 19)], out);
    match value.get("additionalProperties") {
        Some(Value::Bool(b)) => nested(21, out, |o| put_int(2, i64::from(*b), o)),
        Some(found) => nested(21, out, |o| nested(1, o, |o| schema(found, o))),
        None => {}
    }
    if let Some(text) = value["type"].as_str() {
        nested(22, out, |o| put_bytes(1, text.as_bytes(), o));
    }
    if let Some(found) = value.get("items") {
        nested(23, out, |o| nested(1, o, |o| schema(found, o)));
    }
    if let Some(properties) = value["properties"].as_object() {
        nested(25, out, |o| {
            for (name, property) in properties {
                nested(1, o, |o| {
                    put_bytes(1, name.as_bytes(), o);
                    nested(2, o, |o| schema(property, o));
                });
            }
        });
    }
    extensions(value, 31, out);
}

/// How many paths and definitions a document holds.
#[cfg(test)]
pub(super) fn count(document: &[u8]) -> Result<(usize, usize), crate::codec::Error> {
    use crate::codec::wire::{Payload, Records};
    let (mut paths, mut definitions) = (0, 0);
    let mut records = Records::new(document);
    while let Some(record) = records.next()? {
        let (Payload::Bytes(body), 8 | 9) = (record.payload, record.tag) else {
            continue;
        };
        let mut entries = Records::new(body);
        while entries.next()?.is_some() {
            *(if record.tag == 8 { &mut paths } else { &mut definitions }) += 1;
        }
    }
    Ok((paths, definitions))
}
