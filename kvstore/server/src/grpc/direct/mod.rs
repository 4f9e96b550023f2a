//! The most frequent calls, answered where they are read: no router, no layers, no body that is asked for its frames.
//!
//! What a client sees is the same as of the services that tonic serves: the same checks, metrics, limits and statuses. A
//! call with anything unusual in its head (a compressed message, another content type) is left to them.

mod answer;
mod head;
mod large;
mod message;
mod streams;

use answer::Answer;

use super::leader::LeaderLost;
use super::observe::{Admission, Counted, admit, end_of_stream, tell_slow};
use super::{Services, Surroundings, deadline};
use crate::Error;
use crate::auth::Caller;
use crate::core::Core;
use crate::front::Client;
use crate::slow::CallStats;
use crate::status;
use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use head::Head;
use http::Request;
use keelson_proto::etcdserverpb as pb;
use message::framed;
use prost::Message;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

/// A call that is answered directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Range,
    Put,
    DeleteRange,
    Txn,
    Watch,
    LeaseKeepAlive,
}

impl Method {
    const ALL: [Method; 6] = [
        Method::Range,
        Method::Put,
        Method::DeleteRange,
        Method::Txn,
        Method::Watch,
        Method::LeaseKeepAlive,
    ];

    const fn is_stream(self) -> bool {
        matches!(self, Method::Watch | Method::LeaseKeepAlive)
    }

    const fn path(self) -> &'static str {
        match self {
            Method::Range => "/etcdserverpb.KV/Range",
            Method::Put => "/etcdserverpb.KV/Put",
            Method::DeleteRange => "/etcdserverpb.KV/DeleteRange",
            Method::Txn => "/etcdserverpb.KV/Txn",
            Method::Watch => "/etcdserverpb.Watch/Watch",
            Method::LeaseKeepAlive => "/etcdserverpb.Lease/LeaseKeepAlive",
        }
    }
}

/// Answers calls without a router.
pub struct Direct {
    core: Arc<Core>,
    stop: CancellationToken,
    lost: Arc<LeaderLost>,
    warning_unary: Duration,
    message_bytes_max: usize,
    /// The methods, and where their calls are counted.
    methods: [(Method, usize); Method::ALL.len()],
    templates: answer::Templates,
}

/// A call on its way. It has to be polled to its end, or dropped.
pub type Answering = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A call that is for the router.
pub type Back = Box<(Request<RecvStream>, SendResponse<Bytes>)>;

impl Direct {
    /// Fails where descriptors that were built in lack a method.
    pub fn new(services: &Services, around: &Surroundings<'_>) -> Result<Direct, Error> {
        let core = &services.core;
        let mut methods = [(Method::Range, 0); Method::ALL.len()];
        for (slot, method) in methods.iter_mut().zip(Method::ALL) {
            let missing = || Error::Start(format!("the API's descriptors lack {}", method.path()));
            *slot = (method, core.metrics.calls.find(method.path()).ok_or_else(missing)?);
        }
        Ok(Direct {
            core: core.clone(),
            stop: services.stop.clone(),
            lost: around.lost.clone(),
            warning_unary: around.warning_unary,
            message_bytes_max: around.limits.message_bytes(),
            methods,
            templates: answer::Templates::default(),
        })
    }

    /// Begins a call, or gives it back.
    pub fn begin(
        self: &Arc<Self>,
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
        client: &Arc<Client>,
    ) -> Result<Answering, Back> {
        let path = request.uri().path();
        let known = self.methods.iter().find(|(method, _)| method.path() == path);
        let (Some((method, at)), Some(head)) = (known, Head::read(request.headers())) else {
            return Err(Box::new((request, respond)));
        };
        let counted = Counted::begin(self.core.metrics.clone(), *at);
        let admission = Admission {
            for_learners: *method == Method::Range,
            requires_leader: head.requires_leader,
            version: head.version,
            is_stream: method.is_stream(),
        };
        let timeout = head.timeout.map(|t| deadline::read(t.as_bytes())).transpose();
        let admitted = timeout.and_then(|timeout| {
            admit(&self.core, &admission)?;
            let deadline = timeout.map(|timeout| counted.begun + timeout);
            Ok((deadline, end_of_stream(&self.lost, &admission, deadline)))
        });
        let call = Call {
            direct: self.clone(),
            client: client.clone(),
            caller: head.caller(client.certificate.as_ref()),
            method: *method,
            counted,
            respond,
        };
        let body = request.into_body();
        Ok(match admitted {
            Err(refused) => Box::pin(async move { call.refuse(refused) }),
            Ok((_, over)) if method.is_stream() => Box::pin(call.stream(body, over)),
            Ok((deadline, _)) => Box::pin(call.unary(body, deadline)),
        })
    }

    async fn answer(&self, method: Method, caller: &Caller, message: Bytes) -> Result<Answer, Status> {
        match method {
            Method::Range => large::answer(self.core.range_in_pieces(caller, decode(message)?).await?),
            Method::Put => framed(&self.core.put(caller, decode(message)?).await?).map(Answer::Whole),
            Method::DeleteRange => framed(&self.core.delete_range(caller, decode(message)?).await?).map(Answer::Whole),
            Method::Txn => framed(&self.core.txn(caller, decode(message)?).await?).map(Answer::Whole),
            Method::Watch | Method::LeaseKeepAlive => Err(status::unknown_method()),
        }
    }
}

fn decode<M: Message + Default>(message: Bytes) -> Result<M, Status> {
    M::decode(message).map_err(|e| Status::internal(e.to_string()))
}

/// What a call was about, for the log.
fn stats(method: Method, request: &Bytes, answer: &Answer) -> Option<CallStats> {
    fn both<Q: Message + Default, A: Message + Default>(request: &Bytes, answer: &Bytes) -> Option<(Q, A)> {
        let answer = answer.slice(message::PREFIX_BYTES.min(answer.len())..);
        Some((Q::decode(request.clone()).ok()?, A::decode(answer).ok()?))
    }
    let answer = match answer {
        Answer::Whole(answer) => answer,
        Answer::Pieces(answer) => {
            let request = pb::RangeRequest::decode(request.clone()).ok()?;
            return Some(CallStats::range_of(&request, answer.count, answer.bytes));
        }
    };
    match method {
        Method::Range => {
            both::<pb::RangeRequest, pb::RangeResponse>(request, answer).map(|(q, a)| CallStats::range(&q, &a))
        }
        Method::Put => both::<pb::PutRequest, pb::PutResponse>(request, answer).map(|(q, a)| CallStats::put(&q, &a)),
        Method::DeleteRange => both::<pb::DeleteRangeRequest, pb::DeleteRangeResponse>(request, answer)
            .map(|(q, a)| CallStats::delete_range(&q, &a)),
        Method::Txn => both::<pb::TxnRequest, pb::TxnResponse>(request, answer).map(|(q, a)| CallStats::txn(&q, &a)),
        Method::Watch | Method::LeaseKeepAlive => None,
    }
}

struct Call {
    direct: Arc<Direct>,
    client: Arc<Client>,
    caller: Caller,
    method: Method,
    counted: Counted,
    respond: SendResponse<Bytes>,
}

impl Call {
    fn refuse(mut self, refused: Status) {
        let code = refused.code();
        // It fails when the client is gone.
        let _ = self.respond.send_response(refused.into_http(), true);
        self.counted.end(code);
    }

    async fn unary(mut self, mut body: RecvStream, deadline: Option<Instant>) {
        // Without an answer the client is gone, and it is counted so when it is dropped.
        let answer = match self.work(&mut body, deadline).await {
            Some(Ok(answer)) => answer,
            Some(Err(refused)) => return self.refuse(refused),
            None => return,
        };
        let tally = self.counted.tally();
        match answer::send(answer, &mut self.respond, &self.direct.templates, &tally).await {
            Ok(()) => self.counted.end(Code::Ok),
            Err(Some(failed)) => self.counted.end(failed),
            Err(None) => {}
        }
    }

    /// The answer; none when the client goes before it.
    async fn work(&mut self, body: &mut RecvStream, deadline: Option<Instant>) -> Option<Result<Answer, Status>> {
        let Call {
            direct,
            client,
            caller,
            method,
            counted,
            respond,
        } = self;
        let begun = counted.begun;
        let mut work = pin!(async {
            let request = message::read(body, direct.message_bytes_max).await?;
            counted.tally().received(request.len());
            let answer = direct.answer(*method, caller, request.clone()).await;
            let limit = direct.warning_unary;
            if !limit.is_zero() && begun.elapsed() > limit {
                let stats = answer.as_ref().ok().and_then(|a| stats(*method, &request, a));
                tell_slow(method.path(), Some(&client.remote), begun, stats.as_ref());
            }
            answer
        });
        let mut timer = None;
        poll_fn(|cx| {
            if let Poll::Ready(answer) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(answer));
            }
            if respond.poll_reset(cx).is_ready() {
                return Poll::Ready(None);
            }
            let Some(deadline) = deadline else { return Poll::Pending };
            // Whoever is answered at once needs no timer.
            let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
            timer.as_mut().poll(cx).map(|()| Some(Err(deadline::exceeded())))
        })
        .await
    }
}
