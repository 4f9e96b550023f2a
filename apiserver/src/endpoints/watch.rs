//! Watches: events framed as JSON lines or length-prefixed protobuf.

use super::list::{check_fields, selectors};
use super::negotiate::{Encoding, Form, Wanted};
use super::request::Info;
use super::respond;
use crate::registry::{Registry, stored};
use crate::storage::cacher::{EventType, Object, WatchEvent, WatchOptions};
use bytes::Bytes;
use http::Response;
use http_body::Frame;
use http_body_util::BodyExt;
use keelson_client::Body;
use keelson_client::transport::BoxError;
use keelson_machinery::codec;
use keelson_machinery::resources::Resource;
use keelson_machinery::status::ApiError;
use serde_json::{Value, json};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a watch lasts when the client says nothing: this, and up to as much again
/// (upstream: min-request-timeout).
const TIMEOUT_MIN: Duration = Duration::from_secs(1800);

pub fn options(r: &'static Resource, info: &Info) -> Result<WatchOptions, ApiError> {
    let (labels, mut fields) = selectors(info)?;
    check_fields(r, &fields)?;
    // `/watch/…/name`, the old form, names one object.
    if !info.name.is_empty() && !fields.terms.iter().any(|(p, _, _)| p == "metadata.name") {
        fields.terms.push(("metadata.name".into(), true, info.name.clone()));
    }
    let timeout = match info.query.text("timeoutSeconds") {
        "" | "0" => TIMEOUT_MIN + TIMEOUT_MIN.mul_f64(rand::random::<f64>()),
        text => Duration::from_secs(
            text.parse()
                .map_err(|_| ApiError::bad_request(format!("invalid timeoutSeconds {text:?}")))?,
        ),
    };
    let initial = info.query.get("sendInitialEvents").map(|v| !matches!(v, "false" | "0"));
    let matching = info.query.text("resourceVersionMatch");
    if initial.is_some() && matching != "NotOlderThan" {
        let e = keelson_machinery::status::FieldError::forbidden(
            "resourceVersionMatch",
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        );
        return Err(ApiError::invalid("meta.k8s.io", "ListOptions", "", &[e]));
    }
    Ok(WatchOptions {
        namespace: info.namespace.clone(),
        labels,
        fields,
        resource_version: info.query.text("resourceVersion").to_owned(),
        resource_version_match: matching.to_owned(),
        send_initial_events: initial,
        allow_bookmarks: info.query.flag("allowWatchBookmarks"),
        timeout,
    })
}

/// Writes one watch's events.
struct Framer {
    resource: &'static Resource,
    wanted: Wanted,
    include: String,
    /// A Table's columns are told once.
    columns_told: bool,
}

const TYPES: [(EventType, &str); 3] = [
    (EventType::Added, "ADDED"),
    (EventType::Modified, "MODIFIED"),
    (EventType::Deleted, "DELETED"),
];

impl Framer {
    fn frame(&mut self, event: &WatchEvent) -> Result<Bytes, ApiError> {
        match event {
            WatchEvent::Object {
                kind,
                object,
                encodings,
            } => {
                let name = TYPES.iter().find(|(k, _)| k == kind).map_or("MODIFIED", |(_, n)| n);
                if self.wanted.form == Form::Table {
                    // Whose first event says the columns: not the same for all watchers.
                    return self.object(name, object);
                }
                let mark = self.wanted.encoding as u32 * 2 + u32::from(self.wanted.form == Form::PartialMetadata);
                let key = (std::ptr::from_ref(self.resource).addr(), mark);
                encodings.get_or_encode(key, || self.object(name, object))
            }
            WatchEvent::Bookmark {
                revision,
                initial_events_end,
            } => self.bookmark(*revision, *initial_events_end),
            WatchEvent::Error(e) => self.tree("ERROR", &e.to_status()),
        }
    }

    fn object(&mut self, name: &str, o: &Object) -> Result<Bytes, ApiError> {
        if self.wanted.form == Form::Object && stored::is_native(self.resource) {
            let damaged = |e: codec::Error| ApiError::internal(format!("a stored object is damaged: {e}"));
            let envelope = codec::unwrap_envelope(&o.value).map_err(damaged)?;
            let api_version = self.resource.api_version();
            if self.wanted.encoding == Encoding::Protobuf {
                let mut raw = Vec::with_capacity(envelope.raw.len() + 24);
                codec::splice_resource_version(envelope.raw, o.revision, &mut raw).map_err(damaged)?;
                let mut enveloped = Vec::with_capacity(raw.len() + 64);
                codec::wrap_envelope(&api_version, self.resource.kind, &raw, &mut enveloped);
                return Ok(proto_frame(name, &enveloped));
            }
            let mut out = Vec::with_capacity(o.value.len() * 2 + 64);
            out.extend_from_slice(b"{\"type\":\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\",\"object\":");
            let gvk = Some((api_version.as_str(), self.resource.kind));
            codec::proto_to_json(self.resource.type_id, envelope.raw, gvk, Some(o.revision), &mut out)
                .map_err(damaged)?;
            out.extend_from_slice(b"}\n");
            return Ok(out.into());
        }
        let value = stored::decode(self.resource, &o.value, o.revision)?;
        let value = match self.wanted.form {
            Form::Object => value,
            Form::PartialMetadata => respond::partial(&value),
            Form::Table => {
                let meta = json!({"resourceVersion": value["metadata"]["resourceVersion"]});
                let columns = !std::mem::replace(&mut self.columns_told, true);
                respond::table(self.resource, &[value], &meta, &self.include, columns)
            }
        };
        self.tree(name, &value)
    }

    fn bookmark(&self, revision: u64, end: bool) -> Result<Bytes, ApiError> {
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let value = match self.wanted.form {
            Form::Table => {
                let row = json!({"cells": [], "object": {"kind": self.resource.kind, "apiVersion": self.resource.api_version(), "metadata": metadata}});
                json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": null, "rows": [row]})
            }
            Form::PartialMetadata => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
            }
            Form::Object => {
                json!({"kind": self.resource.kind, "apiVersion": self.resource.api_version(), "metadata": metadata})
            }
        };
        self.tree("BOOKMARK", &value)
    }

    fn tree(&self, name: &str, value: &Value) -> Result<Bytes, ApiError> {
        if self.wanted.encoding == Encoding::Protobuf
            && let Some(enveloped) = respond::proto(value)?
        {
            return Ok(proto_frame(name, &enveloped));
        }
        Ok((json!({"type": name, "object": value}).to_string() + "\n").into())
    }
}

/// Four bytes of length, big-endian, then the event.
fn proto_frame(name: &str, enveloped: &[u8]) -> Bytes {
    let mut out = vec![0; 4];
    codec::watch_event_proto(name, enveloped, &mut out);
    let length = u32::try_from(out.len() - 4).unwrap_or(u32::MAX);
    out[..4].copy_from_slice(&length.to_be_bytes());
    out.into()
}

pub async fn respond(
    registry: &Registry,
    r: &'static Resource,
    info: &Info,
    mut wanted: Wanted,
) -> Result<Response<Body>, ApiError> {
    // Lines of YAML would have no end: upstream refuses it for streams.
    if wanted.encoding == Encoding::Yaml {
        wanted.encoding = Encoding::Json;
    }
    let events = registry.cacher(r)?.watch(options(r, info)?).await?;
    let include = match info.query.text("includeObject") {
        "" => "Metadata",
        other => other,
    };
    let framer = Framer {
        resource: r,
        wanted,
        include: include.to_owned(),
        columns_told: false,
    };
    let mut response = Response::new(BodyExt::boxed(Events {
        events: Some(events),
        framer,
    }));
    let content_type = match wanted.encoding {
        Encoding::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        _ => "application/json",
    };
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response.headers_mut().insert(
        http::header::CACHE_CONTROL,
        http::HeaderValue::from_static("no-cache, private"),
    );
    Ok(response)
}

/// The body of a watch: ends when its events do, or after an event that cannot be written.
struct Events {
    events: Option<mpsc::Receiver<WatchEvent>>,
    framer: Framer,
}

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Some(events) = &mut this.events else {
            return Poll::Ready(None);
        };
        let Some(event) = std::task::ready!(events.poll_recv(cx)) else {
            this.events = None;
            return Poll::Ready(None);
        };
        let bytes = this.framer.frame(&event).unwrap_or_else(|e| {
            tracing::error!(resource = this.framer.resource.plural, error = %e, "encode a watch event");
            this.events = None;
            this.framer.tree("ERROR", &e.to_status()).unwrap_or_default()
        });
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}
