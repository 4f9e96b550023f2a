//! Reads one segment from its start, frame by frame, through a window of bounded size.
use crate::{
    Error,
    frame::{self, FRAME_ALIGN, FRAME_HEADER_BYTES, Header},
    segment::SegmentFile,
};
use rustix::fs::SeekFrom;
use std::os::unix::fs::FileExt;

/// Bytes read at once; longer frames enlarge the window for as long as they need it.
const WINDOW_BYTES: usize = 1 << 20;

/// Bytes looked through at once for the start of a frame.
const STEP_BYTES: usize = 64 << 10;

pub(crate) struct Scanner<'a> {
    segment: &'a SegmentFile,
    size: u64,
    window: Vec<u8>,
    window_at: u64,
}

/// What stands at an offset.
pub(crate) enum Found {
    Frame(Header),
    /// Nothing readable, and why.
    Nothing(&'static str),
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(segment: &'a SegmentFile) -> Result<Self, Error> {
        let size = segment
            .file
            .metadata()
            .map_err(|e| Error::io(format!("read the size of {}", segment.path.display()), e))?
            .len();
        Ok(Scanner {
            segment,
            size,
            window: Vec::new(),
            window_at: 0,
        })
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// `len` bytes at `at`, or fewer where the file ends.
    pub(crate) fn bytes(&mut self, at: u64, len: usize) -> Result<&[u8], Error> {
        let len = len.min(self.size.saturating_sub(at) as usize);
        let held = at >= self.window_at && at + len as u64 <= self.window_at + self.window.len() as u64;
        if !held {
            let want = len.max(WINDOW_BYTES).min(self.size.saturating_sub(at) as usize);
            self.window.resize(want, 0);
            self.window_at = at;
            self.segment
                .file
                .read_exact_at(&mut self.window, at)
                .map_err(|e| Error::io(format!("read {} at {at}", self.segment.path.display()), e))?;
        }
        let start = (at - self.window_at) as usize;
        Ok(&self.window[start..start + len])
    }

    pub(crate) fn frame_at(&mut self, at: u64) -> Result<Found, Error> {
        let salt = self.segment.salt;
        let header = match frame::decode_header(salt, self.bytes(at, FRAME_HEADER_BYTES)?) {
            Ok(h) => h,
            Err(why) => return Ok(Found::Nothing(why)),
        };
        if u64::from(header.batch) > at {
            return Ok(Found::Nothing("the frame names a batch after itself"));
        }
        let bytes = self.bytes(at, frame::frame_bytes(header.len as usize))?;
        if !frame::payload_is_intact(salt, &header, bytes) {
            return Ok(Found::Nothing("the frame's checksum is wrong"));
        }
        Ok(Found::Frame(header))
    }

    /// The next offset from `at` on where a frame could start. What was never written is skipped without being read:
    /// that is most of a fresh segment.
    fn next_candidate(&mut self, mut at: u64) -> Result<Option<u64>, Error> {
        const TYPE_AT: usize = 8;
        loop {
            match rustix::fs::seek(&self.segment.file, SeekFrom::Data(at)) {
                Ok(data) => at = data.max(at).next_multiple_of(FRAME_ALIGN as u64),
                Err(rustix::io::Errno::NXIO) => return Ok(None),
                // Not every file system knows; then it is read.
                Err(_) => {}
            }
            if at + FRAME_HEADER_BYTES as u64 > self.size {
                return Ok(None);
            }
            let bytes = self.bytes(at, STEP_BYTES)?;
            let steps = bytes.len().saturating_sub(TYPE_AT);
            let found = bytes
                .iter()
                .skip(TYPE_AT)
                .step_by(FRAME_ALIGN)
                .position(|kind| frame::is_kind(*kind));
            match found {
                Some(n) => return Ok(Some(at + (n * FRAME_ALIGN) as u64)),
                None => at += (steps.next_multiple_of(FRAME_ALIGN)).max(FRAME_ALIGN) as u64,
            }
        }
    }

    /// Looks for a frame of this segment anywhere from `from` on; returns its offset and its batch's, the one of
    /// the latest batch if there are several.
    pub(crate) fn latest_batch_from(&mut self, from: u64) -> Result<Option<(u64, u32)>, Error> {
        let mut at = from;
        let mut latest: Option<(u64, u32)> = None;
        while at + FRAME_HEADER_BYTES as u64 <= self.size {
            let Some(candidate) = self.next_candidate(at)? else {
                break;
            };
            at = candidate;
            match self.frame_at(at)? {
                Found::Frame(h) => {
                    if latest.is_none_or(|(_, batch)| h.batch > batch) {
                        latest = Some((at, h.batch));
                    }
                    at += frame::frame_bytes(h.len as usize) as u64;
                }
                Found::Nothing(_) => at += FRAME_ALIGN as u64,
            }
        }
        Ok(latest)
    }
}
