//! Answers: single objects, Status errors, Tables, metadata only; JSON, YAML and protobuf.

use super::negotiate::{Encoding, Form, JSON, Wanted};
use crate::kinds::printers;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use keelson_client::Body;
use keelson_client::transport::full;
use keelson_machinery::codec;
use keelson_machinery::resources::{self, Resource};
use keelson_machinery::status::ApiError;
use serde_json::{Value, json};

pub fn bytes(code: u16, content_type: &str, body: impl Into<Bytes>) -> Response<Body> {
    let mut r = Response::new(full(body));
    *r.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(v) = HeaderValue::from_str(content_type) {
        r.headers_mut().insert(http::header::CONTENT_TYPE, v);
    }
    r.headers_mut().insert(
        http::header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, private"),
    );
    r
}

pub fn json_value(code: u16, value: &Value) -> Response<Body> {
    bytes(code, JSON, value.to_string())
}

/// A tree in the encoding; falls back to JSON for kinds that have no protobuf (Table).
pub fn value(code: u16, value: &Value, encoding: Encoding) -> Result<Response<Body>, ApiError> {
    match encoding {
        Encoding::Json => Ok(json_value(code, value)),
        Encoding::Yaml => {
            let text = serde_saphyr::to_string(value).map_err(ApiError::internal)?;
            Ok(bytes(code, encoding.content_type(), text))
        }
        Encoding::Protobuf => match proto(value)? {
            Some(b) => Ok(bytes(code, encoding.content_type(), b)),
            None => Ok(json_value(code, value)),
        },
    }
}

/// Enveloped protobuf of a tree that names its kind.
pub fn proto(value: &Value) -> Result<Option<Vec<u8>>, ApiError> {
    let (api_version, kind) = (
        value["apiVersion"].as_str().unwrap_or(""),
        value["kind"].as_str().unwrap_or(""),
    );
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let id = resources::type_of(group, version, kind).or_else(|| resources::type_of("meta.k8s.io", "v1", kind));
    let Some(id) = id else { return Ok(None) };
    let mut raw = Vec::new();
    codec::value_to_proto(id, value, &mut raw).map_err(ApiError::internal)?;
    let mut out = Vec::with_capacity(raw.len() + 64);
    codec::wrap_envelope(api_version, kind, &raw, &mut out);
    Ok(Some(out))
}

/// One object in the form that was asked for.
pub fn object(code: u16, r: &'static Resource, o: &Value, wanted: Wanted) -> Result<Response<Body>, ApiError> {
    match wanted.form {
        Form::Object => value(code, o, wanted.encoding),
        Form::PartialMetadata => value(code, &partial(o), wanted.encoding),
        Form::Table => value(
            code,
            &table(r, std::slice::from_ref(o), &list_meta_of(o), "Metadata", true),
            wanted.encoding,
        ),
    }
}

fn list_meta_of(o: &Value) -> Value {
    json!({"resourceVersion": o["metadata"]["resourceVersion"]})
}

/// `meta.k8s.io/v1` PartialObjectMetadata.
pub fn partial(o: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": o["metadata"]})
}

/// A Table. `include` is `includeObject`: None, Metadata or Object. Columns are left out of a watch's later tables.
pub fn table(r: &'static Resource, items: &[Value], meta: &Value, include: &str, columns: bool) -> Value {
    let t = printers::table(r, items);
    let definitions = if columns { t.column_definitions() } else { Value::Null };
    let rows: Vec<Value> = t
        .rows
        .into_iter()
        .zip(items)
        .map(|(row, o)| {
            let mut out = json!({"cells": row.cells});
            if !row.conditions.is_empty() {
                out["conditions"] = row.conditions.into();
            }
            match include {
                "None" => {}
                "Object" => out["object"] = o.clone(),
                _ => out["object"] = partial(o),
            }
            out
        })
        .collect();
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "columnDefinitions": definitions, "rows": rows})
}

/// A failure, in the encoding that was asked for where that is known.
pub fn error(e: &ApiError, encoding: Encoding) -> Response<Body> {
    let status = e.to_status();
    let mut r = match encoding {
        Encoding::Protobuf => match proto(&status) {
            Ok(Some(b)) => bytes(e.code, encoding.content_type(), b),
            _ => json_value(e.code, &status),
        },
        _ => json_value(e.code, &status),
    };
    if let Some(seconds) = e.details.as_ref().and_then(|d| d["retryAfterSeconds"].as_u64())
        && let Ok(v) = HeaderValue::from_str(&seconds.to_string())
    {
        r.headers_mut().insert(http::header::RETRY_AFTER, v);
    }
    r
}

/// `Warning: 299 - "text"` headers (RFC 7234).
pub fn warn(r: &mut Response<Body>, warnings: &[String]) {
    for w in warnings {
        let quoted = w.replace('\\', "\\\\").replace('"', "\\\"");
        let clean: String = quoted.chars().filter(|c| !c.is_control()).collect();
        if let Ok(v) = HeaderValue::from_bytes(format!("299 - \"{clean}\"").as_bytes()) {
            r.headers_mut().append(http::header::WARNING, v);
        }
    }
}
