//! Lists: from cached bytes to an answer, item by item, without trees where the form allows.

use super::negotiate::{Encoding, Form, Wanted};
use super::request::Info;
use super::respond;
use crate::registry::stored;
use crate::storage::cacher::{ListOptions, Object, Page};
use http::Response;
use keelson_client::Body;
use keelson_machinery::codec::{self, ListMeta};
use keelson_machinery::labels::{FieldSelector, Selector};
use keelson_machinery::resources::Resource;
use keelson_machinery::status::ApiError;
use serde_json::{Value, json};
use std::sync::Arc;

pub fn selectors(info: &Info) -> Result<(Selector, FieldSelector), ApiError> {
    let bad = |what: &str, text: &str, e: String| ApiError::bad_request(format!("invalid {what} {text:?}: {e}"));
    let (l, f) = (info.query.text("labelSelector"), info.query.text("fieldSelector"));
    Ok((
        Selector::parse(l).map_err(|e| bad("label selector", l, e))?,
        FieldSelector::parse(f).map_err(|e| bad("field selector", f, e))?,
    ))
}

/// Refuses selectors on fields that the kind does not offer, in upstream's words.
pub fn check_fields(r: &'static Resource, fields: &FieldSelector) -> Result<(), ApiError> {
    let known = crate::kinds::strategy(r).selectable_fields();
    for (path, _, _) in &fields.terms {
        let generic = path == "metadata.name" || path == "metadata.namespace";
        if !generic && !known.contains(&path.as_str()) {
            return Err(ApiError::bad_request(if known.is_empty() {
                format!("{path:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
            } else if r.group == "batch" {
                format!("field label {path:?} not supported for {}", r.kind)
            } else {
                format!("field label not supported: {path}")
            }));
        }
    }
    Ok(())
}

pub fn options(r: &'static Resource, info: &Info) -> Result<ListOptions, ApiError> {
    let (labels, fields) = selectors(info)?;
    check_fields(r, &fields)?;
    let limit = match info.query.text("limit") {
        "" => 0,
        text => text
            .parse::<i64>()
            .map_err(|e| ApiError::bad_request(format!("invalid limit {text:?}: {e}")))?
            .max(0) as u64,
    };
    Ok(ListOptions {
        namespace: info.namespace.clone(),
        labels,
        fields,
        limit,
        continue_token: info.query.text("continue").to_owned(),
        resource_version: info.query.text("resourceVersion").to_owned(),
        resource_version_match: info.query.text("resourceVersionMatch").to_owned(),
    })
}

fn trees(r: &'static Resource, items: &[Arc<Object>]) -> Result<Vec<Value>, ApiError> {
    items.iter().map(|o| stored::decode(r, &o.value, o.revision)).collect()
}

fn meta(page: &Page) -> ListMeta {
    ListMeta {
        resource_version: page.revision.to_string(),
        continue_token: page.continue_token.clone(),
        remaining_item_count: page.remaining.and_then(|n| i64::try_from(n).ok()),
    }
}

fn meta_json(page: &Page) -> Value {
    let mut m = json!({"resourceVersion": page.revision.to_string()});
    if !page.continue_token.is_empty() {
        m["continue"] = page.continue_token.as_str().into();
    }
    if let Some(n) = page.remaining {
        m["remainingItemCount"] = n.into();
    }
    m
}

pub fn respond(r: &'static Resource, info: &Info, page: &Page, wanted: Wanted) -> Result<Response<Body>, ApiError> {
    match wanted.form {
        Form::Table => {
            let include = match info.query.text("includeObject") {
                "" => "Metadata",
                other => other,
            };
            let t = respond::table(r, &trees(r, &page.items)?, &meta_json(page), include, true);
            respond::value(200, &t, wanted.encoding)
        }
        Form::PartialMetadata => {
            let items: Vec<Value> = trees(r, &page.items)?.iter().map(respond::partial).collect();
            let list = json!({
                "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                "metadata": meta_json(page), "items": items,
            });
            respond::value(200, &list, wanted.encoding)
        }
        Form::Object if !stored::is_native(r) || wanted.encoding == Encoding::Yaml => {
            let mut items = trees(r, &page.items)?;
            for i in &mut items {
                if let Some(o) = i.as_object_mut() {
                    o.remove("apiVersion");
                    o.remove("kind");
                }
            }
            let list = json!({"kind": r.list_kind, "apiVersion": r.api_version(), "metadata": meta_json(page), "items": items});
            respond::value(200, &list, wanted.encoding)
        }
        Form::Object if wanted.encoding == Encoding::Protobuf => proto(r, page),
        Form::Object => plain(r, page),
    }
}

fn damaged(e: codec::Error) -> ApiError {
    ApiError::internal(format!("a stored object is damaged: {e}"))
}

fn proto(r: &'static Resource, page: &Page) -> Result<Response<Body>, ApiError> {
    let mut items = Vec::with_capacity(page.items.len());
    for o in &page.items {
        items.push((codec::unwrap_envelope(&o.value).map_err(damaged)?.raw, Some(o.revision)));
    }
    let mut out = Vec::new();
    codec::enveloped_list_proto(&r.api_version(), r.list_kind, &meta(page), &items, &mut out).map_err(damaged)?;
    Ok(respond::bytes(200, Encoding::Protobuf.content_type(), out))
}

fn plain(r: &'static Resource, page: &Page) -> Result<Response<Body>, ApiError> {
    let bytes: usize = page.items.iter().map(|o| o.value.len()).sum();
    let mut out = Vec::with_capacity(bytes * 2 + 256);
    codec::list_json_begin(&r.api_version(), r.list_kind, &meta(page), &mut out);
    for o in &page.items {
        codec::list_json_next(&mut out);
        let envelope = codec::unwrap_envelope(&o.value).map_err(damaged)?;
        codec::proto_to_json(r.type_id, envelope.raw, None, Some(o.revision), &mut out).map_err(damaged)?;
    }
    codec::list_json_end(&mut out);
    Ok(respond::bytes(200, Encoding::Json.content_type(), out))
}

/// An empty list of a kind that stores nothing (ComponentStatus).
pub fn empty(r: &'static Resource, wanted: Wanted) -> Result<Response<Body>, ApiError> {
    let list = json!({"kind": r.list_kind, "apiVersion": r.api_version(), "metadata": {}, "items": []});
    respond::value(200, &list, wanted.encoding)
}
