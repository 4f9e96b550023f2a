//! A closed loop: so many calls are kept outstanding over so many connections, for a time or a number of calls.
//!
//! What it is not: a client. It looks into answers only when the calls ask for it.

use crate::calls::{Calls, Simple, Window};
use crate::h2::{Connection, Event};
use crate::histogram::Histogram;
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long the loop waits for an answer before it calls the server dead.
pub const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Connections that one turn serves.
const READY_MAX: usize = 256;

/// What to keep the servers busy with. A connection has ids for a billion calls, which is enough.
pub struct Plan<'a> {
    /// Each connection goes to the next of these addresses.
    pub addresses: Vec<String>,
    pub path: &'static str,
    pub connections: usize,
    pub outstanding: usize,
    pub until: Until<'a>,
}

#[derive(Clone, Copy)]
pub enum Until<'a> {
    Elapsed(Duration),
    Calls(u64),
    /// Until somebody sets it.
    Told(&'a AtomicBool),
}

impl Until<'_> {
    /// Whether another call is to begin after `started` of them.
    pub fn goes_on(self, elapsed: Duration, started: u64) -> bool {
        match self {
            Until::Elapsed(time) => elapsed < time,
            Until::Calls(calls) => started < calls,
            Until::Told(told) => !told.load(Ordering::Acquire),
        }
    }
}

#[derive(Default)]
pub struct Outcome {
    pub calls: u64,
    pub failures: u64,
    pub body_bytes: u64,
    pub elapsed: Duration,
    pub latency: Histogram,
    /// Processor time of the loop itself.
    pub generator: Duration,
}

impl Outcome {
    pub fn per_second(&self) -> f64 {
        self.calls as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// Processor time of this thread.
pub fn own_cpu() -> Duration {
    let t = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(t.tv_sec).unwrap_or(0),
        u32::try_from(t.tv_nsec).unwrap_or(0),
    )
}

/// Runs the plan; `next` writes the n-th request's message.
pub fn run(plan: &Plan<'_>, next: impl FnMut(u64, &mut Vec<u8>)) -> io::Result<Outcome> {
    run_calls(plan, &mut Simple(next))
}

/// Runs the plan with calls that look at their answers.
pub fn run_calls<C: Calls>(plan: &Plan<'_>, calls: &mut C) -> io::Result<Outcome> {
    let mut engine = Engine::new(plan, calls)?;
    let cpu = own_cpu();
    engine.begin = Instant::now();
    engine.drive()?;
    engine.outcome.elapsed = engine.begin.elapsed();
    engine.outcome.generator = own_cpu().saturating_sub(cpu);
    Ok(engine.outcome)
}

struct Lane {
    connection: Connection,
    window: Window,
    share: usize,
    /// Whether the kernel is asked for room to write.
    writes: bool,
}

struct Engine<'a, C> {
    plan: &'a Plan<'a>,
    calls: &'a mut C,
    lanes: Vec<Lane>,
    epoll: OwnedFd,
    begin: Instant,
    started: u64,
    outcome: Outcome,
    message: Vec<u8>,
    /// Streams whose answer has come and that take another message.
    again: Vec<u32>,
}

impl<'a, C: Calls> Engine<'a, C> {
    fn new(plan: &'a Plan<'a>, calls: &'a mut C) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut lanes = Vec::new();
        for n in 0..plan.connections {
            let address = plan.addresses.get(n % plan.addresses.len().max(1));
            let connection = Connection::open(address.map_or("", String::as_str), plan.path)?;
            epoll::add(
                &epoll,
                connection.socket(),
                epoll::EventData::new_u64(n as u64),
                epoll::EventFlags::IN,
            )?;
            lanes.push(Lane {
                connection,
                window: Window::default(),
                share: plan.outstanding / plan.connections + usize::from(n < plan.outstanding % plan.connections),
                writes: false,
            });
        }
        Ok(Engine {
            plan,
            calls,
            lanes,
            epoll,
            begin: Instant::now(),
            started: 0,
            outcome: Outcome::default(),
            message: Vec::new(),
            again: Vec::new(),
        })
    }

    fn drive(&mut self) -> io::Result<()> {
        let mut heard = Instant::now();
        (0..self.lanes.len()).try_for_each(|at| self.serve(at, heard))?;
        let mut ready = Vec::with_capacity(READY_MAX);
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        while self.lanes.iter().any(|l| l.window.open() > 0) {
            ready.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut ready), Some(&second)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            let before = self.outcome.calls + self.outcome.failures;
            for event in &ready {
                self.turn(event.data.u64() as usize)?;
            }
            if self.outcome.calls + self.outcome.failures > before {
                heard = Instant::now();
            } else if heard.elapsed() > SILENCE_MAX {
                return Err(io::Error::other("no answer within a minute"));
            }
        }
        Ok(())
    }

    /// Takes what a connection's socket has and asks for as much again.
    fn turn(&mut self, at: usize) -> io::Result<()> {
        let Some(lane) = self.lanes.get_mut(at) else {
            return Ok(());
        };
        let now = Instant::now();
        let (window, outcome, calls, again) = (&mut lane.window, &mut self.outcome, &mut *self.calls, &mut self.again);
        let alive = lane
            .connection
            .receive(|event| settle(event, window, outcome, calls, again, now))?;
        if !alive {
            return Err(io::Error::other("the server closed the connection"));
        }
        self.serve(at, now)
    }

    fn more(&self, now: Instant) -> bool {
        self.plan
            .until
            .goes_on(now.saturating_duration_since(self.begin), self.started)
    }

    /// Fills a connection's share and sends.
    fn serve(&mut self, at: usize, now: Instant) -> io::Result<()> {
        while let Some(stream) = self.again.pop() {
            let more = self.more(now);
            let Some(lane) = self.lanes.get_mut(at) else { break };
            if more {
                self.message.clear();
                let call = self.calls.next(self.started, &mut self.message);
                lane.connection.message(stream, &self.message, true);
                lane.window.renew(stream, now, call.tag);
                self.started += 1;
            } else {
                lane.window.remove(stream);
            }
        }
        while self.more(now) {
            let Some(lane) = self.lanes.get_mut(at) else { break };
            if lane.window.open() >= lane.share || !lane.connection.has_room(self.message.len() + 64) {
                break;
            }
            self.message.clear();
            let call = self.calls.next(self.started, &mut self.message);
            let stream = lane.connection.request_to(call.path, &self.message, C::STREAMS);
            lane.window.add(stream, now, call.tag);
            self.started += 1;
        }
        let Some(lane) = self.lanes.get_mut(at) else {
            return Ok(());
        };
        lane.connection.flush()?;
        if lane.connection.is_pending() != lane.writes {
            lane.writes = !lane.writes;
            let flags = if lane.writes {
                epoll::EventFlags::IN | epoll::EventFlags::OUT
            } else {
                epoll::EventFlags::IN
            };
            epoll::modify(
                &self.epoll,
                lane.connection.socket(),
                epoll::EventData::new_u64(at as u64),
                flags,
            )?;
        }
        Ok(())
    }
}

/// What an event of a connection means for the call of its stream.
fn settle<C: Calls>(
    event: Event<'_>,
    window: &mut Window,
    outcome: &mut Outcome,
    calls: &mut C,
    again: &mut Vec<u32>,
    now: Instant,
) {
    let (stream, ended, bytes) = match event {
        Event::Data { stream, bytes, end } => (stream, end, bytes),
        Event::End { stream } => (stream, true, &[][..]),
        // After a whole answer a server may reset what it no longer reads.
        Event::Reset { stream } => (stream, true, &[][..]),
    };
    outcome.body_bytes += bytes.len() as u64;
    let Some(call) = window.get_mut(stream) else { return };
    if C::STREAMS {
        if let Some((message, since, tag)) = call.message(bytes) {
            finish(calls.answered(tag, message), now, since, outcome);
            again.push(stream);
        }
        if ended {
            outcome.failures += 1;
            window.remove(stream);
            again.retain(|s| *s != stream);
        }
        return;
    }
    if C::LOOKS {
        if let Some((message, _, tag)) = call.message(bytes) {
            call.good = calls.answered(tag, message);
        }
    } else {
        call.good |= !bytes.is_empty();
    }
    if ended && let Some(call) = window.remove(stream) {
        finish(call.good, now, call.since, outcome);
        if !call.good && C::LOOKS {
            calls.failed(call.tag);
        }
    }
}

fn finish(good: bool, now: Instant, since: Instant, outcome: &mut Outcome) {
    if good {
        outcome.calls += 1;
        outcome.latency.add(now.saturating_duration_since(since));
    } else {
        outcome.failures += 1;
    }
}
