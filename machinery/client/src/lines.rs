//! Line framing of a streaming body: watches answer one JSON document a line.
use crate::{Body, Error, Result};
use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;

/// The longest line a watch may send, in bytes: an object of etcd's 1.5 MiB, in JSON, with room to spare.
pub const LINE_BYTES_MAX: usize = 64 << 20;

/// Splits a body into lines as its frames arrive; what is left at the end without a newline is a line too.
pub(crate) struct Lines {
    body: Option<Body>,
    buffer: BytesMut,
    /// Bytes of `buffer` already searched for a newline, so that a long line is scanned once.
    scanned: usize,
}

impl Lines {
    pub fn new(body: Body) -> Self {
        Lines {
            body: Some(body),
            buffer: BytesMut::new(),
            scanned: 0,
        }
    }

    /// The next line that is not blank; `None` at the end. Safe to cancel: nothing read is lost.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let fresh = self.buffer.get(self.scanned..).unwrap_or_default();
            if let Some(at) = fresh.iter().position(|&b| b == b'\n') {
                let line = self.buffer.split_to(self.scanned + at).freeze();
                self.buffer.advance(1);
                self.scanned = 0;
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return Ok(Some(line));
            }
            self.scanned = self.buffer.len();
            if self.buffer.len() > LINE_BYTES_MAX {
                return Err(Error::Transport(format!(
                    "a watch line of more than {LINE_BYTES_MAX} bytes"
                )));
            }
            let Some(body) = &mut self.body else {
                let rest = std::mem::take(&mut self.buffer).freeze();
                self.scanned = 0;
                return Ok((!rest.iter().all(u8::is_ascii_whitespace)).then_some(rest));
            };
            match body.frame().await {
                None => self.body = None,
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
                Some(Err(e)) => {
                    self.body = None;
                    self.buffer.clear();
                    return Err(Error::Transport(format!("read stream: {e}")));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::transport::BoxError;
    use http_body::Frame;

    fn chunks(parts: &[&'static str]) -> Body {
        let frames: Vec<_> = parts
            .iter()
            .map(|p| Ok::<_, BoxError>(Frame::data(Bytes::from_static(p.as_bytes()))))
            .collect();
        BodyExt::boxed(http_body_util::StreamBody::new(futures::stream::iter(frames)))
    }

    #[tokio::test]
    async fn lines_cross_frames() {
        let mut l = Lines::new(chunks(&["{\"a\"", ":1}\n{\"b\":2}\n\n{", "\"c\":3}\n{\"d\":4}"]));
        let mut seen = vec![];
        while let Some(line) = l.next().await.unwrap() {
            seen.push(String::from_utf8(line.to_vec()).unwrap());
        }
        assert_eq!(seen, ["{\"a\":1}", "{\"b\":2}", "{\"c\":3}", "{\"d\":4}"]);
        assert!(l.next().await.unwrap().is_none());
    }
}
