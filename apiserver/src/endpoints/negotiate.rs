//! Media types: what the client sends, and what it wants back.

use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};
use keelson_machinery::status::ApiError;

pub const JSON: &str = "application/json";
pub const YAML: &str = "application/yaml";
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Json,
    Yaml,
    Protobuf,
}

impl Encoding {
    pub fn content_type(self) -> &'static str {
        match self {
            Encoding::Json => JSON,
            Encoding::Yaml => YAML,
            Encoding::Protobuf => PROTOBUF,
        }
    }
}

/// The form that objects are asked for in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Object,
    Table,
    PartialMetadata,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub encoding: Encoding,
    pub form: Form,
}

struct Media<'a> {
    kind: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

fn media(text: &str) -> Media<'_> {
    let mut parts = text.split(';').map(str::trim);
    let kind = parts.next().unwrap_or("");
    Media {
        kind,
        parameters: parts
            .filter_map(|p| p.split_once('='))
            .map(|(k, v)| (k.trim(), v.trim()))
            .collect(),
    }
}

impl Media<'_> {
    fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(k, _)| *k == name).map_or("", |(_, v)| v)
    }
}

fn encoding(kind: &str) -> Option<Encoding> {
    match kind {
        JSON | "application/*" | "*/*" | "" => Some(Encoding::Json),
        YAML => Some(Encoding::Yaml),
        PROTOBUF => Some(Encoding::Protobuf),
        _ => None,
    }
}

/// The first acceptable form in the order the client gave (upstream ranks by that order too).
pub fn accept(headers: &HeaderMap) -> Result<Wanted, ApiError> {
    let mut any = false;
    for value in headers.get_all(ACCEPT) {
        for part in value.to_str().unwrap_or("").split(',').filter(|p| !p.trim().is_empty()) {
            any = true;
            let m = media(part);
            let Some(encoding) = encoding(m.kind) else { continue };
            let form = match (m.parameter("as"), m.parameter("g"), m.parameter("v")) {
                ("", _, _) => Form::Object,
                ("Table", "meta.k8s.io", "v1" | "v1beta1") => Form::Table,
                ("PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io", "v1" | "v1beta1") => {
                    Form::PartialMetadata
                }
                // Discovery's own forms, or one that is not known: the next choice.
                _ => continue,
            };
            // A Table has no protobuf form of its own here; its next choice is JSON.
            if form == Form::Table && encoding == Encoding::Protobuf {
                continue;
            }
            return Ok(Wanted { encoding, form });
        }
    }
    if any {
        let all = [JSON, YAML, PROTOBUF].join(", ");
        return Err(ApiError::not_acceptable(format!(
            "only the following media types are accepted: {all}"
        )));
    }
    Ok(Wanted {
        encoding: Encoding::Json,
        form: Form::Object,
    })
}

/// Whether the client takes aggregated discovery, and in which version (`v2`, `v2beta1`).
pub fn aggregated_discovery(headers: &HeaderMap) -> Option<&'static str> {
    let values = headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok());
    for part in values.flat_map(|v| v.split(',')) {
        let m = media(part);
        if m.parameter("as") == "APIGroupDiscoveryList"
            && m.parameter("g") == "apidiscovery.k8s.io"
            && encoding(m.kind) == Some(Encoding::Json)
        {
            match m.parameter("v") {
                "v2" => return Some("v2"),
                "v2beta1" => return Some("v2beta1"),
                _ => {}
            }
        }
    }
    None
}

/// What the body is written in. An absent type is JSON.
pub fn content(headers: &HeaderMap) -> Result<Encoding, ApiError> {
    let text = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let kind = media(text).kind.to_ascii_lowercase();
    match kind.as_str() {
        "*/*" | "application/*" => Err(unsupported(&kind)),
        // Go's net/http guesses this for a body without a type.
        "application/x-www-form-urlencoded" => Ok(Encoding::Json),
        other => encoding(other).ok_or_else(|| unsupported(other)),
    }
}

pub fn content_kind(headers: &HeaderMap) -> String {
    let text = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    media(text).kind.to_ascii_lowercase()
}

fn unsupported(kind: &str) -> ApiError {
    let all = [JSON, YAML, PROTOBUF].join(", ");
    ApiError::unsupported_media_type(format!(
        "the body of the request was in an unknown format - accepted media types include: {all} (got {kind:?})"
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn wanted(text: &str) -> Result<Wanted, u16> {
        let mut h = HeaderMap::new();
        h.insert(ACCEPT, text.parse().unwrap());
        accept(&h).map_err(|e| e.code)
    }

    #[test]
    fn what_kubectl_and_client_go_ask_for() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(
            wanted(kubectl),
            Ok(Wanted {
                encoding: Encoding::Json,
                form: Form::Table
            })
        );
        assert_eq!(
            wanted("application/vnd.kubernetes.protobuf,application/json"),
            Ok(Wanted {
                encoding: Encoding::Protobuf,
                form: Form::Object
            })
        );
        assert_eq!(
            wanted("application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"),
            Ok(Wanted {
                encoding: Encoding::Protobuf,
                form: Form::PartialMetadata
            })
        );
        assert_eq!(wanted("*/*").map(|w| w.encoding), Ok(Encoding::Json));
        assert_eq!(wanted("text/html"), Err(406));
        assert_eq!(wanted("application/json;as=Nothing;g=x;v=v1"), Err(406));
    }
}
