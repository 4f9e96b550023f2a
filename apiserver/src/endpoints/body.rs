//! Request bodies: read within a bound, decoded to trees, checked for fields that do not exist.

use super::negotiate::{self, Encoding};
use bytes::Bytes;
use http_body_util::BodyExt;
use keelson_client::Body;
use keelson_machinery::resources;
use keelson_machinery::schema::TypeId;
use keelson_machinery::status::ApiError;
use keelson_machinery::{codec, strict};
use serde_json::Value;

/// Largest request body, bytes (upstream: MaxRequestBodyBytes).
pub const BODY_BYTES_MAX: usize = 3 << 20;

pub async fn read(mut body: Body) -> Result<Bytes, ApiError> {
    let mut out = bytes::BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| ApiError::bad_request(format!("the request's body could not be read: {e}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if out.len() + data.len() > BODY_BYTES_MAX {
            let why = format!("Request entity too large: limit is {BODY_BYTES_MAX}");
            return Err(ApiError::new(413, "RequestEntityTooLarge", why));
        }
        out.extend_from_slice(&data);
    }
    Ok(out.freeze())
}

/// `fieldValidation` of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validation {
    Ignore,
    Warn,
    Strict,
}

impl Validation {
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        match text {
            "" | "Warn" => Ok(Validation::Warn),
            "Ignore" => Ok(Validation::Ignore),
            "Strict" => Ok(Validation::Strict),
            other => {
                let e = keelson_machinery::status::FieldError::not_supported(
                    "fieldValidation",
                    &other.into(),
                    &["", "Ignore", "Strict", "Warn"],
                );
                Err(ApiError::invalid("meta.k8s.io", "CreateOptions", "", &[e]))
            }
        }
    }
}

/// A body as a tree, with what to warn of.
#[derive(Debug)]
pub struct Decoded {
    pub value: Value,
    pub warnings: Vec<String>,
}

/// Decodes a body of the expected kind (group, version, kind). Protobuf says its kind in the envelope.
pub fn decode(
    bytes: &[u8],
    encoding: Encoding,
    expected: (&str, &str, &str),
    validation: Validation,
) -> Result<Decoded, ApiError> {
    let (group, version, kind) = expected;
    let expected_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    if encoding == Encoding::Protobuf {
        let envelope = codec::unwrap_envelope(bytes).map_err(|e| ApiError::bad_request(e.to_string()))?;
        check_kind(envelope.api_version, envelope.kind, &expected_version, kind)?;
        let id = type_of(group, version, kind)?;
        let mut value = codec::proto_to_value(id, envelope.raw).map_err(|e| ApiError::bad_request(e.to_string()))?;
        value["apiVersion"] = expected_version.into();
        value["kind"] = kind.into();
        return Ok(Decoded {
            value,
            warnings: Vec::new(),
        });
    }
    let (value, duplicates) = if encoding == Encoding::Yaml {
        let text = std::str::from_utf8(bytes)
            .map_err(|e| ApiError::bad_request(format!("error converting YAML to JSON: {e}")))?;
        let v: Value = serde_saphyr::from_str(text)
            .map_err(|e| ApiError::bad_request(format!("error converting YAML to JSON: {e}")))?;
        (v, Vec::new())
    } else {
        strict::parse_json(bytes)
            .map_err(|e| ApiError::bad_request(format!("couldn't get version/kind; json parse error: {e}")))?
    };
    let text = |k: &str| value.get(k).and_then(Value::as_str).unwrap_or("");
    check_kind(text("apiVersion"), text("kind"), &expected_version, kind)?;
    let mut decoded = check(
        value,
        type_of(group, version, kind)?,
        duplicates,
        validation,
        kind,
        &expected_version,
    )?;
    decoded.value["apiVersion"] = expected_version.into();
    decoded.value["kind"] = kind.into();
    Ok(decoded)
}

fn type_of(group: &str, version: &str, kind: &str) -> Result<TypeId, ApiError> {
    resources::type_of(group, version, kind)
        .ok_or_else(|| ApiError::bad_request(format!("no kind {kind:?} is registered for version {group}/{version}")))
}

fn check_kind(api_version: &str, kind: &str, expected_version: &str, expected_kind: &str) -> Result<(), ApiError> {
    // What is left out is taken from the request's path, as upstream does.
    let same =
        (api_version.is_empty() || api_version == expected_version) && (kind.is_empty() || kind == expected_kind);
    if same {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "{kind} in version {api_version:?} cannot be handled as a {expected_kind}: the request is for version {expected_version:?}"
    )))
}

/// Removes what the kind does not know; complains as asked.
pub fn check(
    mut value: Value,
    id: TypeId,
    mut problems: Vec<String>,
    validation: Validation,
    kind: &str,
    api_version: &str,
) -> Result<Decoded, ApiError> {
    let unknown = strict::prune_unknown(id, &mut value).map_err(|e| {
        ApiError::bad_request(format!(
            "{kind} in version {api_version:?} cannot be handled as a {kind}: {e}"
        ))
    })?;
    problems.extend(unknown);
    match validation {
        Validation::Strict if !problems.is_empty() => Err(ApiError::bad_request(format!(
            "{kind} in version {api_version:?} cannot be handled as a {kind}: strict decoding error: {}",
            problems.join(", ")
        ))),
        Validation::Warn => Ok(Decoded {
            value,
            warnings: problems,
        }),
        _ => Ok(Decoded {
            value,
            warnings: Vec::new(),
        }),
    }
}

/// A body that may be absent (DeleteOptions), in any encoding.
pub fn decode_options(bytes: &[u8], headers: &http::HeaderMap) -> Result<Value, ApiError> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    if bytes.starts_with(&codec::MAGIC) {
        let envelope = codec::unwrap_envelope(bytes).map_err(|e| ApiError::bad_request(e.to_string()))?;
        let id = type_of("meta.k8s.io", "v1", "DeleteOptions").or_else(|_| type_of("", "v1", "DeleteOptions"))?;
        return codec::proto_to_value(id, envelope.raw).map_err(|e| ApiError::bad_request(e.to_string()));
    }
    if negotiate::content(headers)? == Encoding::Yaml {
        let text = String::from_utf8_lossy(bytes);
        return serde_saphyr::from_str(&text).map_err(|e| ApiError::bad_request(e.to_string()));
    }
    serde_json::from_slice(bytes).map_err(|e| ApiError::bad_request(e.to_string()))
}
