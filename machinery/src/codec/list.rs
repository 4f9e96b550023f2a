//! Lists put together from the bytes of their items, in protobuf and JSON, without decoding them.
use super::envelope::{put_head, put_tail};
use super::slim::{splice_resource_version, spliced_len};
use super::wire::{self, put_bytes, put_int, put_key, put_varint, record_len};
use super::{Error, text};

/// Tags of a list kind: `metadata` and `items`.
const METADATA: u32 = 1;
const ITEMS: u32 = 2;

/// `meta/v1.ListMeta` of a list that is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListMeta {
    /// Empty where there is none, as in a Table's or a review's list.
    pub resource_version: String,
    /// The continue token; empty on the last page.
    pub continue_token: String,
    pub remaining_item_count: Option<i64>,
}

impl ListMeta {
    fn proto(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_bytes(1, b"", &mut out);
        put_bytes(2, self.resource_version.as_bytes(), &mut out);
        put_bytes(3, self.continue_token.as_bytes(), &mut out);
        if let Some(count) = self.remaining_item_count {
            put_int(4, count, &mut out);
        }
        out
    }
}

fn item_len(raw: &[u8], resource_version: Option<u64>) -> Result<usize, Error> {
    resource_version.map_or(Ok(raw.len()), |v| spliced_len(raw, v))
}

/// Appends the message of a list kind. An item is a message without envelope, and the resourceVersion
/// to put into it unless it is already there.
pub fn list_proto(meta: &ListMeta, items: &[(&[u8], Option<u64>)], out: &mut Vec<u8>) -> Result<(), Error> {
    put_bytes(METADATA, &meta.proto(), out);
    for (raw, version) in items {
        put_key(ITEMS, wire::BYTES, out);
        put_varint(item_len(raw, *version)? as u64, out);
        match version {
            Some(version) => splice_resource_version(raw, *version, out)?,
            None => out.extend_from_slice(raw),
        }
    }
    Ok(())
}

/// Appends the enveloped message of a list kind, each item copied once.
pub fn enveloped_list_proto(
    api_version: &str,
    list_kind: &str,
    meta: &ListMeta,
    items: &[(&[u8], Option<u64>)],
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let mut len = record_len(METADATA, meta.proto().len());
    for (raw, version) in items {
        len += record_len(ITEMS, item_len(raw, *version)?);
    }
    out.reserve(len + 64);
    put_head(api_version, list_kind, len, out);
    list_proto(meta, items, out)?;
    put_tail(out);
    Ok(())
}

/// Appends the JSON of a list up to its items. Then for each item [`list_json_next`] and the item's
/// text (upstream's typed items carry no `kind` and `apiVersion`), then [`list_json_end`].
pub fn list_json_begin(api_version: &str, list_kind: &str, meta: &ListMeta, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"kind\":");
    text::put_string(list_kind.as_bytes(), out);
    out.extend_from_slice(b",\"apiVersion\":");
    text::put_string(api_version.as_bytes(), out);
    out.extend_from_slice(b",\"metadata\":{");
    let mut first = true;
    let mut name = |name: &str, out: &mut Vec<u8>| {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        text::put_string(name.as_bytes(), out);
        out.push(b':');
    };
    if !meta.resource_version.is_empty() {
        name("resourceVersion", out);
        text::put_string(meta.resource_version.as_bytes(), out);
    }
    if !meta.continue_token.is_empty() {
        name("continue", out);
        text::put_string(meta.continue_token.as_bytes(), out);
    }
    if let Some(count) = meta.remaining_item_count {
        name("remainingItemCount", out);
        text::put_int(count, out);
    }
    out.extend_from_slice(b"},\"items\":[");
}
/// Separates an item from the one before it.
pub fn list_json_next(out: &mut Vec<u8>) {
    if out.last() != Some(&b'[') {
        out.push(b',');
    }
}
pub fn list_json_end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"]}");
}
