//! How long a record is, told before it is encoded: the index keeps it, so that an answer's length is known before
//! its records are read.

use prost::encoding::encoded_len_varint;

/// What the length of an encoded KeyValue depends on.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub key: usize,
    pub create: i64,
    pub main: i64,
    pub version: i64,
    pub value: usize,
    pub lease: i64,
}

fn bytes_field(len: usize) -> usize {
    if len == 0 {
        0
    } else {
        1 + prost::length_delimiter_len(len) + len
    }
}

fn number_field(number: i64) -> usize {
    if number == 0 {
        0
    } else {
        1 + encoded_len_varint(number as u64)
    }
}

/// Bytes of such a record. No request is so large that it does not fit.
pub fn bytes_of(shape: &Shape) -> u32 {
    let bytes = bytes_field(shape.key)
        + number_field(shape.create)
        + number_field(shape.main)
        + number_field(shape.version)
        + bytes_field(shape.value)
        + number_field(shape.lease);
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelson_proto::mvccpb::KeyValue;
    use proptest::prelude::*;
    use prost::Message;

    proptest! {
        #[test]
        fn it_is_as_long_as_it_is_encoded(
            key in 0..300usize,
            value in prop_oneof![0..3usize, 120..140usize, 16_370..16_400usize],
            create in 0..1i64 << 40,
            more in 0..1i64 << 40,
            version in 0..300i64,
            lease in prop_oneof![Just(0), any::<i64>()],
        ) {
            let kv = KeyValue {
                key: vec![b'k'; key].into(),
                create_revision: create,
                mod_revision: create + more,
                version,
                value: vec![b'v'; value].into(),
                lease,
            };
            let shape = Shape { key, create, main: create + more, version, value, lease };
            prop_assert_eq!(bytes_of(&shape) as usize, kv.encoded_len());
        }
    }
}
