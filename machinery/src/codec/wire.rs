//! Protobuf's wire format: varints, tags, records (protobuf.dev/programming-guides/encoding).
use super::Error;

pub(crate) const VARINT: u8 = 0;
pub(crate) const FIXED64: u8 = 1;
pub(crate) const BYTES: u8 = 2;
pub(crate) const FIXED32: u8 = 5;

fn cut_short() -> Error {
    Error::Decode("protobuf: unexpected end of data".to_owned())
}

/// What a record holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Payload<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Bytes(&'a [u8]),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    pub tag: u32,
    pub payload: Payload<'a>,
    /// Where the record begins and ends in the message.
    pub start: usize,
    pub end: usize,
}

/// Reads a message record by record; anything malformed is an error.
pub(crate) struct Records<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Records<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Records { data, at: 0 }
    }
    /// Begins at a record's start that an earlier pass noted.
    pub fn from(data: &'a [u8], at: usize) -> Self {
        Records { data, at }
    }
    fn varint(&mut self) -> Result<u64, Error> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.data.get(self.at).ok_or_else(cut_short)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Error::Decode("protobuf: varint longer than ten bytes".to_owned()))
    }
    fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let end = self.at.checked_add(count).ok_or_else(cut_short)?;
        let bytes = self.data.get(self.at..end).ok_or_else(cut_short)?;
        self.at = end;
        Ok(bytes)
    }
    pub fn next(&mut self) -> Result<Option<Record<'a>>, Error> {
        if self.at >= self.data.len() {
            return Ok(None);
        }
        let start = self.at;
        let key = self.varint()?;
        let tag = u32::try_from(key >> 3).ok().filter(|t| *t > 0);
        let tag = tag.ok_or_else(|| Error::Decode("protobuf: illegal tag".to_owned()))?;
        let payload = match (key & 7) as u8 {
            VARINT => Payload::Varint(self.varint()?),
            FIXED64 => {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(self.take(8)?);
                Payload::Fixed64(u64::from_le_bytes(bytes))
            }
            BYTES => {
                let count = usize::try_from(self.varint()?).map_err(|_| cut_short())?;
                Payload::Bytes(self.take(count)?)
            }
            FIXED32 => {
                self.take(4)?;
                Payload::Fixed32
            }
            other => return Err(Error::Decode(format!("protobuf: illegal wire type {other}"))),
        };
        let end = self.at;
        Ok(Some(Record {
            tag,
            payload,
            start,
            end,
        }))
    }
}

impl<'a> Payload<'a> {
    pub fn bytes(self) -> Result<&'a [u8], Error> {
        match self {
            Payload::Bytes(b) => Ok(b),
            _ => Err(Error::Decode("protobuf: wrong wire type, want bytes".to_owned())),
        }
    }
    pub fn varint(self) -> Result<u64, Error> {
        match self {
            Payload::Varint(v) => Ok(v),
            _ => Err(Error::Decode("protobuf: wrong wire type, want varint".to_owned())),
        }
    }
    pub fn double(self) -> Result<f64, Error> {
        match self {
            Payload::Fixed64(v) => Ok(f64::from_bits(v)),
            _ => Err(Error::Decode("protobuf: wrong wire type, want 64 bits".to_owned())),
        }
    }
}

/// The varint at the start of `data`, and how many bytes it takes.
pub(crate) fn varint(data: &[u8]) -> Result<(u64, usize), Error> {
    let mut records = Records::new(data);
    let value = records.varint()?;
    Ok((value, records.at))
}

/// The payload of the last record of `tag`, which is what a decoder keeps of a single field.
pub(crate) fn last(data: &[u8], tag: u32) -> Result<Option<Payload<'_>>, Error> {
    let mut records = Records::new(data);
    let mut found = None;
    while let Some(record) = records.next()? {
        if record.tag == tag {
            found = Some(record.payload);
        }
    }
    Ok(found)
}

pub(crate) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
pub(crate) fn varint_len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}
pub(crate) fn put_key(tag: u32, wire: u8, out: &mut Vec<u8>) {
    put_varint((u64::from(tag) << 3) | u64::from(wire), out);
}
pub(crate) fn put_bytes(tag: u32, bytes: &[u8], out: &mut Vec<u8>) {
    put_key(tag, BYTES, out);
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}
pub(crate) fn put_int(tag: u32, value: i64, out: &mut Vec<u8>) {
    put_key(tag, VARINT, out);
    put_varint(value as u64, out);
}
/// Length of a length-delimited record with a body of `len` bytes.
pub(crate) fn record_len(tag: u32, len: usize) -> usize {
    varint_len(u64::from(tag) << 3) + varint_len(len as u64) + len
}

/// Writes a length-delimited record whose body `write` appends. One byte is kept for the length, and
/// the body moves when it needs more, which few do.
pub(crate) fn put_nested<E>(
    tag: u32,
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    put_key(tag, BYTES, out);
    let at = out.len();
    out.push(0);
    write(out)?;
    let len = (out.len() - at - 1) as u64;
    if len < 0x80 {
        if let Some(slot) = out.get_mut(at) {
            *slot = len as u8;
        }
    } else {
        let mut prefix = [0_u8; 10];
        let mut count = 0;
        let mut rest = len;
        for slot in &mut prefix {
            count += 1;
            if rest < 0x80 {
                *slot = rest as u8;
                break;
            }
            *slot = (rest as u8) | 0x80;
            rest >>= 7;
        }
        out.splice(at..=at, prefix.iter().copied().take(count));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lengths() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            put_varint(value, &mut out);
            assert_eq!(out.len(), varint_len(value));
            assert_eq!(Records::new(&out).varint().unwrap(), value);
        }
        for len in [0, 127, 128, 300, 20_000, 3_000_000] {
            let mut out = vec![9];
            put_nested::<()>(5, &mut out, |o| {
                o.resize(o.len() + len, 7);
                Ok(())
            })
            .unwrap();
            assert_eq!(out.len() - 1, record_len(5, len));
            assert_eq!(last(&out[1..], 5).unwrap().unwrap().bytes().unwrap(), vec![7; len]);
        }
    }

    #[test]
    fn malformed_is_an_error() {
        let bad: [&[u8]; 8] = [
            &[0x0a],
            &[0x0a, 5, 1],
            &[0x08],
            &[0x00, 1],
            &[0x0b],
            &[0xff; 12],
            &[0x09, 1],
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        ];
        for data in bad {
            assert!(last(data, 1).is_err(), "{data:?}");
        }
    }
}
