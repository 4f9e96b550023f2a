//! What happened, in lines for people and as a hash for machines: two runs of a seed have the same hash.

use std::collections::VecDeque;

/// Lines kept when the whole trace is not wanted.
const TAIL_LINES: usize = 120;

pub struct Trace {
    lines: VecDeque<String>,
    keep_all: bool,
    hash: u64,
}

impl Trace {
    pub fn new(keep_all: bool) -> Self {
        Trace {
            lines: VecDeque::new(),
            keep_all,
            hash: 0xcbf2_9ce4_8422_2325,
        }
    }

    /// Takes part in the hash, without a line: for what happens too often to be read.
    pub fn mix(&mut self, n: u64) {
        for byte in n.to_le_bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub fn line(&mut self, now_ns: u64, what: &str) {
        self.mix(now_ns);
        for byte in what.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let (seconds, micros) = (now_ns / 1_000_000_000, now_ns % 1_000_000_000 / 1000);
        self.lines.push_back(format!("{seconds:4}.{micros:06} {what}"));
        if !self.keep_all && self.lines.len() > TAIL_LINES {
            self.lines.pop_front();
        }
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines).into()
    }
}
