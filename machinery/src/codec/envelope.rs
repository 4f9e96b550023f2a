//! The envelope around stored and served protobuf: `k8s\0` and a `runtime.Unknown`
//! (upstream: apimachinery/pkg/runtime/serializer/protobuf).
use super::Error;
use super::wire::{Records, put_bytes, put_key, put_varint, record_len};

/// `k8s\0`, the prefix of the envelope (`runtime.Unknown`) around stored and served protobuf.
pub const MAGIC: [u8; 4] = *b"k8s\0";

/// What the envelope says; `raw` is the message inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    pub api_version: &'a str,
    pub kind: &'a str,
    pub raw: &'a [u8],
    pub content_type: &'a str,
}

fn text(bytes: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(bytes).map_err(|e| Error::Decode(format!("envelope: {e}")))
}

pub fn unwrap_envelope(bytes: &[u8]) -> Result<Envelope<'_>, Error> {
    let body = bytes.strip_prefix(&MAGIC).ok_or_else(|| {
        Error::Decode("provided data does not appear to be a protobuf message, expected prefix k8s\\x00".to_owned())
    })?;
    let mut envelope = Envelope {
        api_version: "",
        kind: "",
        raw: &[],
        content_type: "",
    };
    let mut records = Records::new(body);
    while let Some(record) = records.next()? {
        match record.tag {
            1 => {
                let mut meta = Records::new(record.payload.bytes()?);
                while let Some(field) = meta.next()? {
                    match field.tag {
                        1 => envelope.api_version = text(field.payload.bytes()?)?,
                        2 => envelope.kind = text(field.payload.bytes()?)?,
                        _ => {}
                    }
                }
            }
            2 => envelope.raw = record.payload.bytes()?,
            3 if !record.payload.bytes()?.is_empty() => {
                return Err(Error::Decode("envelope: content encoding is not supported".to_owned()));
            }
            4 => envelope.content_type = text(record.payload.bytes()?)?,
            _ => {}
        }
    }
    Ok(envelope)
}

/// Everything of the envelope that stands before the message of `raw_len` bytes.
pub(super) fn put_head(api_version: &str, kind: &str, raw_len: usize, out: &mut Vec<u8>) {
    let meta_len = record_len(1, api_version.len()) + record_len(2, kind.len());
    out.reserve(MAGIC.len() + record_len(1, meta_len) + record_len(2, raw_len) + 4);
    out.extend_from_slice(&MAGIC);
    put_key(1, super::wire::BYTES, out);
    put_varint(meta_len as u64, out);
    put_bytes(1, api_version.as_bytes(), out);
    put_bytes(2, kind.as_bytes(), out);
    put_key(2, super::wire::BYTES, out);
    put_varint(raw_len as u64, out);
}
/// What stands behind it: empty content encoding and content type, which gogo writes.
pub(super) fn put_tail(out: &mut Vec<u8>) {
    put_bytes(3, b"", out);
    put_bytes(4, b"", out);
}

pub fn wrap_envelope(api_version: &str, kind: &str, raw: &[u8], out: &mut Vec<u8>) {
    put_head(api_version, kind, raw.len(), out);
    out.extend_from_slice(raw);
    put_tail(out);
}

/// A watch event in protobuf (`meta.v1.WatchEvent`, object as RawExtension of the enveloped object).
/// Watch streams carry it without an envelope of its own, each event behind its length in four bytes.
pub fn watch_event_proto(event_type: &str, object_enveloped: &[u8], out: &mut Vec<u8>) {
    put_bytes(1, event_type.as_bytes(), out);
    put_key(2, super::wire::BYTES, out);
    put_varint(record_len(1, object_enveloped.len()) as u64, out);
    put_bytes(1, object_enveloped, out);
}
