//! Reading and changing a few fields of a message without decoding the rest.
use super::wire::{self, Payload, Records, put_bytes, put_key, put_varint, record_len};
use super::{Error, time};
use crate::schema::{self, Field, Kind, Shape, TypeId};

/// Tag of `metadata` in every kind.
const METADATA: u32 = 1;
/// Tags in `ObjectMeta`.
const NAME: u32 = 1;
const NAMESPACE: u32 = 3;
const UID: u32 = 5;
const RESOURCE_VERSION: u32 = 6;
const DELETION_TIMESTAMP: u32 = 9;
const LABELS: u32 = 11;

/// Where the resourceVersion goes in a message.
struct Seam<'a> {
    metadata: &'a [u8],
    /// The record of `metadata` in the message.
    record: (usize, usize),
    /// The record of `resourceVersion` in `metadata`, or the empty place where it belongs.
    version: (usize, usize),
}

fn seam(raw: &[u8]) -> Result<Seam<'_>, Error> {
    let mut seam = Seam {
        metadata: &[],
        record: (0, 0),
        version: (0, 0),
    };
    let mut records = Records::new(raw);
    while let Some(record) = records.next()? {
        if record.tag == METADATA {
            seam.metadata = record.payload.bytes()?;
            seam.record = (record.start, record.end);
        } else if seam.record.1 > 0 {
            break;
        }
    }
    let mut fields = Records::new(seam.metadata);
    while let Some(field) = fields.next()? {
        if field.tag == RESOURCE_VERSION {
            seam.version = (field.start, field.end);
            break;
        }
        if field.tag > RESOURCE_VERSION {
            seam.version = (field.start, field.start);
            break;
        }
        seam.version = (field.end, field.end);
    }
    Ok(seam)
}

impl Seam<'_> {
    fn metadata_len(&self, version_len: usize) -> usize {
        self.metadata.len() - (self.version.1 - self.version.0) + record_len(RESOURCE_VERSION, version_len)
    }
    fn len(&self, raw: &[u8], version_len: usize) -> usize {
        raw.len() - (self.record.1 - self.record.0) + record_len(METADATA, self.metadata_len(version_len))
    }
    fn put(&self, raw: &[u8], version: &str, out: &mut Vec<u8>) {
        let part = |bytes: &[u8], from: usize, to: usize, out: &mut Vec<u8>| {
            out.extend_from_slice(bytes.get(from..to).unwrap_or_default());
        };
        part(raw, 0, self.record.0, out);
        put_key(METADATA, wire::BYTES, out);
        put_varint(self.metadata_len(version.len()) as u64, out);
        part(self.metadata, 0, self.version.0, out);
        put_bytes(RESOURCE_VERSION, version.as_bytes(), out);
        part(self.metadata, self.version.1, self.metadata.len(), out);
        part(raw, self.record.1, raw.len(), out);
    }
}

/// Copies the message with `metadata.resourceVersion` set, without decoding the rest.
pub fn splice_resource_version(raw: &[u8], resource_version: u64, out: &mut Vec<u8>) -> Result<(), Error> {
    let seam = seam(raw)?;
    let mut buffer = itoa::Buffer::new();
    let version = buffer.format(resource_version);
    out.reserve(seam.len(raw, version.len()));
    seam.put(raw, version, out);
    Ok(())
}

/// Length of what [`splice_resource_version`] appends.
pub(super) fn spliced_len(raw: &[u8], resource_version: u64) -> Result<usize, Error> {
    let version_len = itoa::Buffer::new().format(resource_version).len();
    Ok(seam(raw)?.len(raw, version_len))
}

/// What lists, selectors and caches need of an object, read without decoding the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlimMeta {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    pub labels: Vec<(String, String)>,
    pub deletion_timestamp: bool,
}

pub fn slim_meta(raw: &[u8]) -> Result<SlimMeta, Error> {
    let text = |payload: Payload| payload.bytes().map(|b| String::from_utf8_lossy(b).into_owned());
    let mut meta = SlimMeta::default();
    let Some(metadata) = first(raw, METADATA)? else {
        return Ok(meta);
    };
    let mut fields = Records::new(metadata.bytes()?);
    while let Some(field) = fields.next()? {
        match field.tag {
            NAME => meta.name = text(field.payload)?,
            NAMESPACE => meta.namespace = text(field.payload)?,
            UID => meta.uid = text(field.payload)?,
            DELETION_TIMESTAMP => meta.deletion_timestamp = true,
            LABELS => {
                let (mut key, mut value) = (String::new(), String::new());
                let mut entry = Records::new(field.payload.bytes()?);
                while let Some(part) = entry.next()? {
                    match part.tag {
                        1 => key = text(part.payload)?,
                        2 => value = text(part.payload)?,
                        _ => {}
                    }
                }
                meta.labels.push((key, value));
            }
            _ => {}
        }
    }
    Ok(meta)
}

/// The first record of `tag`: enough for `metadata`, which every writer puts first and once.
fn first(raw: &[u8], tag: u32) -> Result<Option<Payload<'_>>, Error> {
    let mut records = Records::new(raw);
    while let Some(record) = records.next()? {
        if record.tag == tag {
            return Ok(Some(record.payload));
        }
    }
    Ok(None)
}

/// Scalar at a path of JSON names (`["spec","nodeName"]`) as the string that field selectors compare.
/// Absent text, pointers, and everything that is not a scalar are the empty string; absent numbers and
/// booleans that are values in Go are `0` and `false`.
pub fn field_at(id: TypeId, raw: &[u8], path: &[&str]) -> Result<String, Error> {
    let Some((name, rest)) = path.split_first() else {
        return Ok(String::new());
    };
    let t = schema::get(id);
    let Some(field) = t.own_index(name).and_then(|i| t.fields.get(i)) else {
        let inlined = t.fields.iter().filter(|f| f.is_inlined());
        for (field, inner) in inlined.filter_map(|f| Some((f, f.message()?))) {
            if schema::get(inner).field(name).is_some() {
                let body = wire::last(raw, field.tag)?.map_or(Ok(&[][..]), Payload::bytes)?;
                return field_at(inner, body, path);
            }
        }
        return Ok(String::new());
    };
    if field.shape != Shape::Single {
        return Ok(String::new());
    }
    let payload = wire::last(raw, field.tag)?;
    match (field.message(), rest.is_empty()) {
        (Some(inner), false) => field_at(inner, payload.map_or(Ok(&[][..]), Payload::bytes)?, rest),
        (None, true) => scalar(field, payload),
        _ => Ok(String::new()),
    }
}

fn scalar(field: &Field, payload: Option<Payload>) -> Result<String, Error> {
    let number = |payload: Option<Payload>| payload.map_or(Ok(0), Payload::varint);
    if payload.is_none() && field.pointer {
        return Ok(String::new());
    }
    let bytes = |payload: Option<Payload>| payload.map_or(Ok(Vec::new()), |p| p.bytes().map(<[u8]>::to_vec));
    Ok(match field.kind {
        Kind::String => String::from_utf8_lossy(&bytes(payload)?).into_owned(),
        Kind::Bool => (number(payload)? != 0).to_string(),
        Kind::Int32 => (number(payload)? as i32).to_string(),
        Kind::Int64 => (number(payload)? as i64).to_string(),
        Kind::Time => {
            let body = bytes(payload)?;
            let mut text = Vec::new();
            let seconds = wire::last(&body, 1)?.map_or(Ok(0), Payload::varint)? as i64;
            if !body.is_empty() {
                time::format(seconds, None, &mut text);
            }
            String::from_utf8_lossy(&text).into_owned()
        }
        _ => String::new(),
    })
}
