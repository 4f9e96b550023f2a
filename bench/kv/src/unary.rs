//! Single calls, beside the load: what an operator would ask.

use crate::caller;
use crate::h2::{Connection, Event};
use prost::Message;
use std::io;
use std::time::{Duration, Instant};

/// A call with one answer.
pub fn ask<R: Message + Default>(
    address: &str,
    path: &str,
    request: &impl Message,
    patience: Duration,
) -> io::Result<R> {
    let answers = caller::call(address, path, &request.encode_to_vec(), patience)?;
    let first = answers.first().map(Vec::as_slice).unwrap_or_default();
    R::decode(first).map_err(io::Error::other)
}

/// A call whose answer is a stream that is thrown away; its bytes.
pub fn drain(address: &str, path: &str, request: &impl Message, patience: Duration) -> io::Result<u64> {
    let mut connection = Connection::open(address, path)?;
    connection.request(&request.encode_to_vec(), false);
    let begin = Instant::now();
    let (mut ended, mut received) = (false, 0);
    while !ended {
        connection.flush()?;
        caller::wait(std::iter::once(&connection))?;
        let alive = connection.receive(|event| match event {
            Event::Data { bytes, end, .. } => {
                received += bytes.len() as u64;
                ended |= end;
            }
            Event::End { .. } | Event::Reset { .. } => ended = true,
        })?;
        if !(alive || ended) || begin.elapsed() > patience {
            return Err(io::Error::other(format!("{path} is not answered")));
        }
    }
    if received == 0 {
        return Err(io::Error::other(format!("{path} was refused")));
    }
    Ok(received)
}
