//! Finds out whether a client that says nothing is still there.

use h2::{Ping, PingPong};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// Pings after a silence of `interval`, and gives up after one of `timeout` more.
pub struct Keepalive {
    pings: PingPong,
    interval: Duration,
    timeout: Duration,
    next: Pin<Box<Sleep>>,
    /// What had arrived when it was looked last.
    arrivals: u64,
    asked: bool,
}

impl Keepalive {
    pub fn new(pings: PingPong, interval: Duration, timeout: Duration) -> Keepalive {
        Keepalive {
            pings,
            interval,
            timeout,
            next: Box::pin(sleep(interval)),
            arrivals: 0,
            asked: false,
        }
    }

    fn look_again_in(&mut self, time: Duration) {
        self.next.as_mut().reset(Instant::now() + time);
    }

    /// Ready when the client is gone. `arrivals` grows whenever it says something.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>, arrivals: u64) -> Poll<()> {
        while self.next.as_mut().poll(cx).is_ready() {
            // Makes room for the next ping; that the answer came shows in the arrivals.
            let _ = self.pings.poll_pong(cx);
            if arrivals != self.arrivals {
                self.arrivals = arrivals;
                self.asked = false;
                self.look_again_in(self.interval);
            } else if self.asked {
                return Poll::Ready(());
            } else {
                // Without a ping on its way the silence that follows proves as much.
                let _ = self.pings.send_ping(Ping::opaque());
                self.asked = true;
                self.look_again_in(self.timeout);
            }
        }
        Poll::Pending
    }
}
