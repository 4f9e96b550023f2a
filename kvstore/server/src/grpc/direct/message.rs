//! A unary call's one message, out of its frames and into them.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::RecvStream;
use prost::Message;
use std::future::poll_fn;
use tonic::Status;

/// What precedes each message: a flag and the message's length.
pub const PREFIX_BYTES: usize = 5;

/// Reads the request's message, and the request to its end.
pub async fn read(body: &mut RecvStream, bytes_max: usize) -> Result<Bytes, Status> {
    let mut collected = BytesMut::new();
    let mut wanted = None;
    while let Some(data) = poll_fn(|cx| body.poll_data(cx)).await {
        let data = data.map_err(|e| Status::cancelled(e.to_string()))?;
        // Nearly always all of it comes in one piece.
        if wanted.is_none() && collected.is_empty() && body.is_end_stream() {
            return whole(data, bytes_max);
        }
        // It fails for a stream that is gone, which the next read tells.
        let _ = body.flow_control().release_capacity(data.len());
        let missing = wanted.map_or(usize::MAX, |wanted: usize| wanted - collected.len().min(wanted));
        collected.extend_from_slice(data.get(..missing).unwrap_or(&data));
        if wanted.is_none() {
            wanted = expected(&collected, bytes_max)?.map(|bytes| PREFIX_BYTES + bytes);
        }
    }
    whole(collected.freeze(), bytes_max)
}

/// The length that the prefix tells, once it is there.
pub fn expected(bytes: &[u8], bytes_max: usize) -> Result<Option<usize>, Status> {
    let Some([flag, a, b, c, d]) = bytes.first_chunk::<PREFIX_BYTES>() else {
        return Ok(None);
    };
    match flag {
        0 => {}
        1 => {
            return Err(Status::internal(
                "protocol error: received message with compressed-flag but no grpc-encoding was specified",
            ));
        }
        other => {
            return Err(Status::internal(format!(
                "protocol error: received message with invalid compression flag: {other} (valid flags are 0 and 1), \
                 while sending request"
            )));
        }
    }
    let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
    if length > bytes_max {
        return Err(Status::resource_exhausted(format!(
            "grpc: received message larger than max ({length} vs. {bytes_max})"
        )));
    }
    Ok(Some(length))
}

/// What was there and what came after it. What was joined before is added to and not copied again, or a message in frames
/// of a byte each would cost its length squared.
pub fn joined(before: Bytes, more: Bytes) -> Bytes {
    if before.is_empty() {
        return more;
    }
    let mut all = before
        .try_into_mut()
        .unwrap_or_else(|shared| BytesMut::from(shared.as_ref()));
    all.extend_from_slice(&more);
    all.freeze()
}

/// The message in a whole body. What follows it is nobody's.
fn whole(mut bytes: Bytes, bytes_max: usize) -> Result<Bytes, Status> {
    match expected(&bytes, bytes_max)? {
        Some(length) if bytes.len() >= PREFIX_BYTES + length => {
            bytes.advance(PREFIX_BYTES);
            bytes.truncate(length);
            Ok(bytes)
        }
        _ if bytes.is_empty() => Err(Status::internal("Missing request message.")),
        _ => Err(Status::internal("Unexpected EOF decoding stream.")),
    }
}

/// What precedes a message of this length.
pub fn prefix(bytes: usize) -> Result<[u8; PREFIX_BYTES], Status> {
    let length = u32::try_from(bytes).map_err(|_| {
        Status::resource_exhausted(format!(
            "Cannot return body with more than 4GB of data but got {bytes} bytes"
        ))
    })?;
    let [a, b, c, d] = length.to_be_bytes();
    Ok([0, a, b, c, d])
}

/// A message as it is sent.
pub fn framed(message: &impl Message) -> Result<Bytes, Status> {
    let length = message.encoded_len();
    let mut out = BytesMut::with_capacity(PREFIX_BYTES + length);
    out.put_slice(&prefix(length)?);
    message
        .encode(&mut out)
        .map_err(|e| Status::internal(format!("encode the answer: {e}")))?;
    Ok(out.freeze())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tonic::Code;

    fn said(bytes: &'static [u8]) -> Result<Bytes, (Code, String)> {
        whole(Bytes::from_static(bytes), 10).map_err(|s| (s.code(), s.message().to_owned()))
    }

    #[test]
    fn bodies_are_taken_for_what_they_are() {
        assert_eq!(said(b"\0\0\0\0\x02ab").unwrap(), "ab");
        assert_eq!(said(b"\0\0\0\0\x02abrest").unwrap(), "ab");
        assert_eq!(said(b"\0\0\0\0\0").unwrap(), "");
        assert_eq!(said(b"").unwrap_err().1, "Missing request message.");
        for cut in [&b"\0\0\0"[..], b"\0\0\0\0\x03ab"] {
            assert_eq!(said(cut).unwrap_err().1, "Unexpected EOF decoding stream.");
        }
        let (code, told) = said(b"\0\0\0\0\x0b").unwrap_err();
        let words = "grpc: received message larger than max (11 vs. 10)";
        assert_eq!((code, told.as_str()), (Code::ResourceExhausted, words));
        assert!(said(b"\x01\0\0\0\0").unwrap_err().1.contains("compressed-flag"));
        assert!(
            said(b"\x07\0\0\0\0")
                .unwrap_err()
                .1
                .contains("invalid compression flag: 7")
        );
    }

    #[test]
    fn what_is_joined_byte_by_byte_is_hardly_ever_copied() {
        let frames = Bytes::from((0..100_000u32).map(|n| n as u8).collect::<Vec<_>>());
        let (mut all, mut moves, mut at) = (Bytes::new(), 0, std::ptr::null());
        for n in 0..frames.len() {
            all = joined(all, frames.slice(n..=n));
            if all.as_ptr() != at {
                (moves, at) = (moves + 1, all.as_ptr());
            }
        }
        assert_eq!(all, frames);
        assert!(moves < 64, "moved {moves} times");
    }
}
