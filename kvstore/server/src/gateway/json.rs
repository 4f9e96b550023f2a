//! proto3 JSON, read and written as etcd's gateway does: names of the `.proto` files out, those and camelCase in,
//! unknown fields ignored, 64-bit integers as strings, zero fields left out.

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use prost_reflect::{DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::value::RawValue;

/// Why a request could not be read.
#[derive(Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// No JSON, or no message of that type.
    Malformed(String),
    TooLarge,
    /// The client's body broke off.
    Lost,
}

pub fn write(message: &DynamicMessage) -> Result<Vec<u8>, String> {
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(true)
        .skip_default_fields(true)
        .use_enum_numbers(false);
    let mut out = serde_json::Serializer::new(Vec::new());
    message
        .serialize_with_options(&mut out, &options)
        .map_err(|e| e.to_string())?;
    Ok(out.into_inner())
}

fn read(descriptor: &MessageDescriptor, text: &str) -> Result<DynamicMessage, Unreadable> {
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    DynamicMessage::deserialize_with_options(descriptor.clone(), &mut deserializer, &options)
        .map_err(|e| Unreadable::Malformed(format!("proto: {e}")))
}

/// The JSON values of a body, one after the other, as messages.
pub struct Requests<S> {
    descriptor: MessageDescriptor,
    body: S,
    unread: BytesMut,
    /// Bytes of one value.
    bytes_max: usize,
    ended: bool,
}

impl<S, E> Requests<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    pub fn new(descriptor: MessageDescriptor, body: S, bytes_max: usize) -> Self {
        Requests {
            descriptor,
            body,
            unread: BytesMut::new(),
            bytes_max,
            ended: false,
        }
    }

    /// `None` at the end of the body.
    pub async fn next(&mut self) -> Option<Result<DynamicMessage, Unreadable>> {
        loop {
            match take_value(&mut self.unread, self.ended) {
                Taken::Value(text) => return Some(read(&self.descriptor, &text)),
                Taken::Malformed(error) => return Some(Err(Unreadable::Malformed(error))),
                Taken::Nothing if self.ended => return None,
                Taken::Nothing => {}
            }
            if self.unread.len() > self.bytes_max {
                return Some(Err(Unreadable::TooLarge));
            }
            match self.body.next().await {
                Some(Ok(bytes)) => self.unread.extend_from_slice(&bytes),
                Some(Err(_)) => return Some(Err(Unreadable::Lost)),
                None => self.ended = true,
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Taken {
    Value(String),
    Malformed(String),
    /// More is needed.
    Nothing,
}

/// Takes the first value off the buffer.
fn take_value(unread: &mut BytesMut, ended: bool) -> Taken {
    let mut values = serde_json::Deserializer::from_slice(unread).into_iter::<Box<RawValue>>();
    let first = values.next();
    let used = values.byte_offset();
    match first {
        None if ended => {
            unread.clear();
            Taken::Nothing
        }
        None => Taken::Nothing,
        Some(Ok(value)) => {
            // A number may go on in the next piece.
            if used == unread.len() && !ended && !value.get().ends_with(['}', ']', '"']) {
                return Taken::Nothing;
            }
            let text = value.get().to_owned();
            drop(unread.split_to(used));
            Taken::Value(text)
        }
        Some(Err(error)) if error.is_eof() && !ended => Taken::Nothing,
        Some(Err(error)) => {
            let told = in_words(unread, &error);
            unread.clear();
            Taken::Malformed(told)
        }
    }
}

/// Go's words where it is clear what they are.
fn in_words(text: &[u8], error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "unexpected EOF".to_owned();
    }
    let first = text.iter().find(|b| !b.is_ascii_whitespace());
    match first {
        Some(b) if error.line() <= 1 && !matches!(b, b'{' | b'[' | b'"' | b'0'..=b'9' | b'-' | b't' | b'f' | b'n') => {
            format!("invalid character '{}' looking for beginning of value", char::from(*b))
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn take(text: &str, ended: bool) -> (Taken, usize) {
        let mut unread = BytesMut::from(text);
        let taken = take_value(&mut unread, ended);
        (taken, unread.len())
    }

    #[test]
    fn values_are_taken_one_at_a_time_and_only_whole() {
        assert_eq!(take("{} {\"a\":1}", false), (Taken::Value("{}".to_owned()), 8));
        assert_eq!(take("{\"a\":", false), (Taken::Nothing, 5));
        assert_eq!(take("{\"a\":", true).0, Taken::Malformed("unexpected EOF".to_owned()));
        assert_eq!(take("12", false).0, Taken::Nothing);
        assert_eq!(take("12", true).0, Taken::Value("12".to_owned()));
        assert_eq!(take(" \n", true), (Taken::Nothing, 0));
        let told = "invalid character 'x' looking for beginning of value";
        assert_eq!(take("xx", true).0, Taken::Malformed(told.to_owned()));
    }

    #[tokio::test]
    async fn names_of_both_kinds_are_read_and_unknown_ones_ignored() {
        let routes = super::super::routes::Routes::default();
        let range = routes.find("/v3/kv/range").unwrap().unwrap().input();
        let body = r#"{"key":"YQ==","rangeEnd":"Yg==","limit":"5","sort_order":"DESCEND","nonsense":[1]}"#;
        let pieces: Vec<Result<Bytes, ()>> = body
            .as_bytes()
            .chunks(7)
            .map(|c| Ok(Bytes::copy_from_slice(c)))
            .collect();
        let mut requests = Requests::new(range, futures::stream::iter(pieces), 1 << 20);
        let message = requests.next().await.unwrap().unwrap();
        let told = String::from_utf8(write(&message).unwrap()).unwrap();
        assert_eq!(
            told,
            r#"{"key":"YQ==","range_end":"Yg==","limit":"5","sort_order":"DESCEND"}"#
        );
        assert!(requests.next().await.is_none());
    }

    #[tokio::test]
    async fn a_body_without_end_is_cut_off() {
        let routes = super::super::routes::Routes::default();
        let put = routes.find("/v3/kv/put").unwrap().unwrap().input();
        let endless = futures::stream::repeat_with(|| Ok::<_, ()>(Bytes::from_static(b"[[[[[[[[[[[[[[[[")));
        let mut requests = Requests::new(put, endless, 64);
        assert_eq!(requests.next().await, Some(Err(Unreadable::TooLarge)));
    }
}
