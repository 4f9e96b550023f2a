//! What the load looks at in answers, found without decoding them: a scan over a message's outermost fields.

/// The fields of a protobuf message: number and content. It ends where the bytes make no sense.
pub struct Fields<'a>(pub &'a [u8]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Value<'a>);
    fn next(&mut self) -> Option<Self::Item> {
        let head = varint(&mut self.0)?;
        let fixed = |bytes: &mut &'a [u8], n: usize| {
            let (value, rest) = bytes.split_at_checked(n)?;
            *bytes = rest;
            Some(Value::Bytes(value))
        };
        let value = match head & 7 {
            0 => Value::Number(varint(&mut self.0)?),
            1 => fixed(&mut self.0, 8)?,
            2 => {
                let length = usize::try_from(varint(&mut self.0)?).ok()?;
                fixed(&mut self.0, length)?
            }
            5 => fixed(&mut self.0, 4)?,
            _ => return None,
        };
        Some((head >> 3, value))
    }
}

fn number(message: &[u8], field: u64) -> u64 {
    let found = Fields(message).find_map(|(n, v)| match v {
        Value::Number(value) if n == field => Some(value),
        _ => None,
    });
    found.unwrap_or(0)
}

fn bytes(message: &[u8], field: u64) -> impl Iterator<Item = &[u8]> {
    Fields(message).filter_map(move |(n, v)| match v {
        Value::Bytes(value) if n == field => Some(value),
        _ => None,
    })
}

/// The revision in an answer's header.
pub fn revision(message: &[u8]) -> Option<i64> {
    i64::try_from(number(bytes(message, 1).next()?, 3)).ok()
}

/// Whether a transaction's guards held.
pub fn succeeded(txn: &[u8]) -> bool {
    number(txn, 2) != 0
}

/// What a stream that keeps a lease alive was told of the time left.
pub fn time_to_live(keep_alive: &[u8]) -> u64 {
    number(keep_alive, 3)
}

/// How many keys a range answer holds, the last of them, and whether there are more.
pub fn page(range: &[u8]) -> (u64, Option<&[u8]>, bool) {
    let (mut n, mut last) = (0, None);
    for pair in bytes(range, 2) {
        n += 1;
        last = Some(pair);
    }
    (n, last.and_then(|pair| bytes(pair, 1).next()), number(range, 3) != 0)
}

/// The count in a range answer.
pub fn count(range: &[u8]) -> u64 {
    number(range, 4)
}

/// Whether a watch answer confirms a watcher, whether it ends one, and how many events it holds.
pub fn watch(answer: &[u8]) -> (bool, bool, u64) {
    let (mut created, mut canceled, mut events) = (false, false, 0);
    for field in Fields(answer) {
        match field {
            (3, Value::Number(v)) => created = v != 0,
            (4, Value::Number(v)) => canceled = v != 0,
            (11, _) => events += 1,
            _ => {}
        }
    }
    (created, canceled, events)
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelson_proto::etcdserverpb as pb;
    use keelson_proto::mvccpb;
    use prost::Message;

    fn header() -> Option<pb::ResponseHeader> {
        Some(pb::ResponseHeader {
            cluster_id: u64::MAX,
            member_id: 7,
            revision: 123_456,
            raft_term: 3,
        })
    }

    #[test]
    fn answers_of_the_wire_formats_are_read() {
        let txn = pb::TxnResponse {
            header: header(),
            succeeded: true,
            responses: vec![pb::ResponseOp { response: None }; 3],
        };
        let bytes = txn.encode_to_vec();
        assert_eq!((revision(&bytes), succeeded(&bytes)), (Some(123_456), true));
        let kv = |key: &'static str| mvccpb::KeyValue {
            key: key.into(),
            value: vec![b'v'; 300].into(),
            ..Default::default()
        };
        let range = pb::RangeResponse {
            header: header(),
            kvs: vec![kv("a"), kv("b")],
            more: true,
            count: 9,
        };
        let bytes = range.encode_to_vec();
        assert_eq!((page(&bytes), count(&bytes)), ((2, Some(&b"b"[..]), true), 9));
        let watched = pb::WatchResponse {
            header: header(),
            created: true,
            events: vec![mvccpb::Event::default(); 4],
            ..Default::default()
        };
        assert_eq!(watch(&watched.encode_to_vec()), (true, false, 4));
    }

    #[test]
    fn nonsense_ends_the_scan() {
        assert_eq!(Fields(&[0x0f]).next(), None);
        assert_eq!(Fields(&[0x0a, 5, 1]).next(), None);
        assert_eq!(Fields(&[0x80; 12]).next(), None);
    }
}
