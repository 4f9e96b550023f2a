//! One call after another on a connection of its own, whose answers are read whole.

use crate::h2::{Connection, Event};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::time::{Duration, Instant};

const MESSAGE_HEADER_BYTES: usize = 5;

/// A client that waits for each answer.
pub struct Caller {
    connection: Connection,
    silence_max: Duration,
    body: Vec<u8>,
}

impl Caller {
    pub fn open(address: &str, path: &str, silence_max: Duration) -> io::Result<Caller> {
        Ok(Caller {
            connection: Connection::open(address, path)?,
            silence_max,
            body: Vec::new(),
        })
    }

    /// Asks, waits for the end of the answer and hands on each of its messages; an answer without one is an error.
    pub fn ask(&mut self, message: &[u8], mut on: impl FnMut(&[u8])) -> io::Result<()> {
        let asked = self.connection.request(message, false);
        self.body.clear();
        let (mut ended, mut heard, mut messages) = (false, Instant::now(), 0);
        while !ended {
            self.connection.flush()?;
            wait(std::iter::once(&self.connection))?;
            let body = &mut self.body;
            let alive = self.connection.receive(|event| match event {
                Event::Data { stream, bytes, end } if stream == asked => {
                    heard = Instant::now();
                    body.extend_from_slice(bytes);
                    ended |= end;
                }
                Event::End { stream } | Event::Reset { stream } if stream == asked => ended = true,
                _ => {}
            })?;
            let mut done = 0;
            while let Some((header, rest)) = body.get(done..).and_then(|b| b.split_at_checked(MESSAGE_HEADER_BYTES)) {
                let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
                let Some(message) = rest.get(..length) else { break };
                on(message);
                messages += 1;
                done += MESSAGE_HEADER_BYTES + length;
            }
            body.drain(..done);
            if !ended && (!alive || heard.elapsed() > self.silence_max) {
                return Err(io::Error::other("a call is not answered"));
            }
        }
        if messages == 0 {
            return Err(io::Error::other("a call was refused"));
        }
        Ok(())
    }
}

/// One call on a connection of its own: the messages of its answer, or an error when it was refused.
pub fn call(address: &str, path: &str, message: &[u8], silence_max: Duration) -> io::Result<Vec<Vec<u8>>> {
    let mut messages = Vec::new();
    Caller::open(address, path, silence_max)?
        .ask(message, |message| messages.push(message.to_vec()))
        .map_err(|e| io::Error::new(e.kind(), format!("{path}: {e}")))?;
    Ok(messages)
}

/// Waits up to a second until one of the connections can go on.
pub fn wait<'a>(connections: impl Iterator<Item = &'a Connection>) -> io::Result<()> {
    let mut fds: Vec<_> = connections
        .map(|c| {
            let writes = if c.is_pending() {
                PollFlags::OUT
            } else {
                PollFlags::empty()
            };
            PollFd::new(c.socket(), PollFlags::IN | writes)
        })
        .collect();
    let second = Timespec { tv_sec: 1, tv_nsec: 0 };
    match poll(&mut fds, Some(&second)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
