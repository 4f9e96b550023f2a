//! Watch fan-out: many watchers, a few writers, and what an event and a watcher cost the server.

use crate::answers;
use crate::caller::wait;
use crate::h2::{Connection, Event};
use crate::histogram::Histogram;
use crate::load::{SILENCE_MAX, own_cpu};
use crate::requests as ask;
use crate::target::Cluster;
use keelson_proto::etcdserverpb as pb;
use pb::watch_request::RequestUnion;
use prost::Message;
use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

const MESSAGE_HEADER_BYTES: usize = 5;
/// Puts that are under way at a time.
const BURST_MAX: u64 = 1000;

/// So many streams of so many watchers; watcher `n` is on key `n` modulo `keys`.
#[derive(Clone, Copy)]
pub struct FanOut {
    pub streams: usize,
    pub watchers_per_stream: usize,
    pub keys: u64,
    pub prev_kv: bool,
}

/// What a run of writes under watchers showed.
pub struct Watched {
    pub events: u64,
    pub elapsed: Duration,
    /// From the request that writes to the event at each watcher.
    pub latency: Histogram,
    /// Processor time of this side.
    pub generator: Duration,
}

/// Puts that wait for room in the server's window.
struct Writer {
    connection: Connection,
    keys: u64,
    next: u64,
    left: u64,
    value: Vec<u8>,
    message: Vec<u8>,
}

impl Writer {
    fn go_on(&mut self) -> io::Result<()> {
        while self.left > 0 && self.connection.has_room(self.message.len() + 64) {
            self.message.clear();
            ask::put(self.next % self.keys, &self.value, &mut self.message);
            self.connection.request(&self.message, false);
            self.next += 1;
            self.left -= 1;
        }
        self.connection.flush()
    }
}

/// Open watch streams.
pub struct Watchers {
    connection: Connection,
    buffers: HashMap<u32, Vec<u8>>,
    plan: FanOut,
}

/// Splits what came of a stream into messages.
fn messages(buffer: &mut Vec<u8>, bytes: &[u8], mut on: impl FnMut(&[u8])) {
    buffer.extend_from_slice(bytes);
    let mut at = 0;
    while let Some((header, body)) = buffer.get(at..).and_then(|b| b.split_at_checked(MESSAGE_HEADER_BYTES)) {
        let length = header
            .get(1..)
            .and_then(|l| l.try_into().ok())
            .map_or(0, u32::from_be_bytes) as usize;
        let Some(message) = body.get(..length) else { break };
        on(message);
        at += MESSAGE_HEADER_BYTES + length;
    }
    buffer.drain(..at);
}

impl Watchers {
    /// Opens all watchers and waits until each is confirmed.
    pub fn open(cluster: &Cluster, plan: FanOut) -> io::Result<Watchers> {
        let address = cluster.addresses().into_iter().next().unwrap_or_default();
        let mut watchers = Watchers {
            connection: Connection::open(&address, ask::WATCH)?,
            buffers: HashMap::new(),
            plan,
        };
        let (mut n, mut confirmed) = (0, 0);
        for _ in 0..plan.streams {
            let mut stream = None;
            for _ in 0..plan.watchers_per_stream {
                let create = pb::WatchCreateRequest {
                    key: ask::key(n % plan.keys).into(),
                    prev_kv: plan.prev_kv,
                    ..Default::default()
                };
                let request = pb::WatchRequest {
                    request_union: Some(RequestUnion::CreateRequest(create)),
                }
                .encode_to_vec();
                while !watchers.connection.has_room(request.len()) {
                    watchers.step(None, &mut |created, _| confirmed += u64::from(created))?;
                }
                match stream {
                    None => stream = Some(watchers.connection.request(&request, true)),
                    Some(stream) => watchers.connection.message(stream, &request, true),
                }
                n += 1;
            }
        }
        let begin = Instant::now();
        while confirmed < n {
            watchers.step(None, &mut |created, _| confirmed += u64::from(created))?;
            if begin.elapsed() > SILENCE_MAX {
                return Err(io::Error::other("watchers are not confirmed within a minute"));
            }
        }
        Ok(watchers)
    }

    /// Sends and receives what is there to; each answer as whether it confirms a watcher, and how many events it holds.
    fn step(&mut self, writer: Option<&mut Writer>, on: &mut impl FnMut(bool, u64)) -> io::Result<()> {
        self.connection.flush()?;
        match writer {
            None => wait(std::iter::once(&self.connection))?,
            Some(writer) => {
                writer.go_on()?;
                wait([&self.connection, &writer.connection].into_iter())?;
                writer.connection.receive(|_| ())?;
            }
        }
        let (buffers, mut problem) = (&mut self.buffers, None);
        self.connection.receive(|event| match event {
            Event::Data { stream, bytes, .. } => {
                let buffer = buffers.entry(stream).or_default();
                messages(buffer, bytes, |answer| {
                    let (created, canceled, events) = answers::watch(answer);
                    if canceled {
                        problem = Some(io::Error::other("a watcher was refused"));
                    }
                    on(created, events);
                });
            }
            Event::End { .. } | Event::Reset { .. } => problem = Some(io::Error::other("a watch stream ended")),
        })?;
        problem.map_or(Ok(()), Err)
    }

    /// Writes one key after another, each when all watchers have heard of the one before.
    pub fn drive(&mut self, cluster: &Cluster, time: Duration) -> io::Result<Watched> {
        let address = cluster.addresses().into_iter().next().unwrap_or_default();
        let mut writer = Writer {
            connection: Connection::open(&address, ask::PUT)?,
            keys: self.plan.keys,
            next: 0,
            left: 0,
            value: vec![b'v'; 256],
            message: Vec::new(),
        };
        let all = (self.plan.streams * self.plan.watchers_per_stream) as u64;
        let (begin, cpu, mut events, mut latency) = (Instant::now(), own_cpu(), 0u64, Histogram::default());
        while begin.elapsed() < time {
            // A burst that touches every watcher once, or one key that touches them all.
            let burst = self.plan.keys.min(BURST_MAX);
            let wanted = burst * all / self.plan.keys;
            let (since, mut heard) = (Instant::now(), 0);
            writer.left = burst;
            while heard < wanted {
                self.step(Some(&mut writer), &mut |_, count| {
                    heard += count;
                    let took = since.elapsed();
                    (0..count).for_each(|_| latency.add(took));
                })?;
                if since.elapsed() > SILENCE_MAX {
                    return Err(io::Error::other("watchers do not hear of a put within a minute"));
                }
            }
            events += heard;
        }
        Ok(Watched {
            events,
            elapsed: begin.elapsed(),
            latency,
            generator: own_cpu().saturating_sub(cpu),
        })
    }
}

/// Watches everything from the first revision on, until so many events have come; their number.
pub fn resume(cluster: &Cluster, wanted: u64) -> io::Result<u64> {
    let address = cluster.addresses().into_iter().next().unwrap_or_default();
    let mut connection = Connection::open(&address, ask::WATCH)?;
    let create = pb::WatchCreateRequest {
        key: vec![0].into(),
        range_end: vec![0].into(),
        start_revision: 1,
        ..Default::default()
    };
    let request = pb::WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(create)),
    };
    connection.request(&request.encode_to_vec(), true);
    let (mut buffer, mut events, mut heard) = (Vec::new(), 0, Instant::now());
    while events < wanted {
        connection.flush()?;
        wait(std::iter::once(&connection))?;
        let (before, mut problem) = (events, None);
        let alive = connection.receive(|event| match event {
            Event::Data { bytes, .. } => {
                messages(&mut buffer, bytes, |answer| events += answers::watch(answer).2);
            }
            Event::End { .. } | Event::Reset { .. } => problem = Some(io::Error::other("the watch ended")),
        })?;
        if let Some(e) = problem {
            return Err(e);
        }
        if events > before {
            heard = Instant::now();
        }
        if !alive || heard.elapsed() > SILENCE_MAX {
            return Err(io::Error::other("the watch hears nothing more"));
        }
    }
    Ok(events)
}
