//! The streams of watches and of keepalives: messages in and out of the connection's frames, and nothing kept between
//! them.

use super::message::{self, PREFIX_BYTES};
use super::{Call, Method, answer};
use crate::front::room;
use crate::grpc::observe::{Over, Tally};
use crate::status;
use crate::watch::stream::{self, Gone, Responses};
use bytes::{Buf, Bytes};
use futures::{Stream, StreamExt};
use h2::{Reason, RecvStream, SendStream};
use keelson_proto::etcdserverpb as pb;
use prost::Message;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tonic::{Code, Status};

/// The messages of a request.
struct Requests<M> {
    body: RecvStream,
    /// Nearly always empty: messages come whole.
    unread: Bytes,
    bytes_max: usize,
    tally: Tally,
    kind: PhantomData<fn() -> M>,
}

impl<M: Message + Default> Requests<M> {
    /// The next message that is here in full.
    fn take(&mut self) -> Result<Option<M>, Status> {
        let Some(length) = message::expected(&self.unread, self.bytes_max)? else {
            return Ok(None);
        };
        if self.unread.len() - PREFIX_BYTES < length {
            return Ok(None);
        }
        self.unread.advance(PREFIX_BYTES);
        self.tally.received(length);
        super::decode(self.unread.split_to(length)).map(Some)
    }
}

impl<M: Message + Default> Stream for Requests<M> {
    type Item = Result<M, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<M, Status>>> {
        let this = self.get_mut();
        loop {
            match this.take() {
                Ok(None) => {}
                Ok(Some(message)) => return Poll::Ready(Some(Ok(message))),
                Err(refused) => return Poll::Ready(Some(Err(refused))),
            }
            match ready!(this.body.poll_data(cx)) {
                Some(Ok(data)) => {
                    // It fails for a stream that is gone, which the next read tells.
                    let _ = this.body.flow_control().release_capacity(data.len());
                    this.unread = message::joined(std::mem::take(&mut this.unread), data);
                }
                Some(Err(e)) if matches!(e.reason(), Some(Reason::NO_ERROR | Reason::CANCEL)) => {
                    return Poll::Ready(None);
                }
                Some(Err(e)) => return Poll::Ready(Some(Err(Status::cancelled(e.to_string())))),
                None if this.unread.is_empty() => return Poll::Ready(None),
                None => {
                    this.unread = Bytes::new();
                    return Poll::Ready(Some(Err(Status::internal("Unexpected EOF decoding stream."))));
                }
            }
        }
    }
}

/// The answers of a stream. Its end is sent by whoever opened it.
struct Answers {
    stream: SendStream<Bytes>,
    tally: Tally,
    failed: Option<Status>,
}

impl Answers {
    async fn send(&mut self, message: &impl Message) -> Result<(), Gone> {
        let framed = match message::framed(message) {
            Ok(framed) => framed,
            Err(refused) => {
                self.failed = Some(refused);
                return Err(Gone);
            }
        };
        room(&mut self.stream).await.map_err(|_| Gone)?;
        self.tally.sent(framed.len() - PREFIX_BYTES);
        self.stream.send_data(framed, false).map_err(|_| Gone)
    }
}

impl Responses for &mut Answers {
    async fn send(&mut self, response: pb::WatchResponse) -> Result<(), Gone> {
        Answers::send(self, &response).await
    }

    async fn gone(&mut self) {
        // Either way there is nobody.
        let _ = poll_fn(|cx| self.stream.poll_reset(cx)).await;
    }

    async fn fail(&mut self, status: Status) {
        self.fail_now(status);
    }

    fn fail_now(&mut self, status: Status) {
        self.failed = Some(status);
    }
}

impl Call {
    pub(super) async fn stream(mut self, body: RecvStream, over: Option<Over>) {
        let Ok(stream) = self.direct.templates.begin(&mut self.respond) else {
            return;
        };
        let mut answers = Answers {
            stream,
            tally: self.counted.tally(),
            failed: None,
        };
        let over = async {
            match over {
                Some(over) => over.await,
                None => std::future::pending().await,
            }
        };
        let outcome = tokio::select! {
            biased;
            outcome = self.serve(body, &mut answers) => outcome,
            status = over => Err(status),
        };
        let outcome = match answers.failed.take() {
            Some(failed) => Err(failed),
            None => outcome,
        };
        let code = outcome.as_ref().map_or_else(Status::code, |()| Code::Ok);
        if answer::end(outcome.as_ref().copied(), &mut answers.stream, &self.direct.templates) {
            self.counted.end(code);
        }
    }

    fn requests<M: Message + Default>(&self, body: RecvStream) -> Requests<M> {
        Requests {
            body,
            unread: Bytes::new(),
            bytes_max: self.direct.message_bytes_max,
            tally: self.counted.tally(),
            kind: PhantomData,
        }
    }

    async fn serve(&self, body: RecvStream, answers: &mut Answers) -> Result<(), Status> {
        if self.method == Method::Watch {
            // A broken request ends like a finished one: the broken connection then ends the answers.
            let requests = self.requests(body).take_while(|r| std::future::ready(r.is_ok()));
            let requests = requests.filter_map(|r| std::future::ready(r.ok()));
            let (core, stop) = (self.direct.core.clone(), self.direct.stop.clone());
            stream::run(core, self.caller.clone(), requests, answers, stop).await;
            return Ok(());
        }
        let mut requests = self.requests::<pb::LeaseKeepAliveRequest>(body);
        let serving = async {
            // The first error ends the stream, as etcd's.
            while let Some(request) = requests.next().await {
                let answer = self.direct.core.lease_keep_alive(&self.caller, request?.id).await?;
                if answers.send(&answer).await.is_err() {
                    return Err(Status::cancelled("the client is gone"));
                }
            }
            Ok(())
        };
        tokio::select! {
            biased;
            outcome = serving => outcome,
            // The server's end ends the stream, or a shutdown would wait for the client.
            () = self.direct.stop.cancelled() => Err(status::stopped()),
        }
    }
}
