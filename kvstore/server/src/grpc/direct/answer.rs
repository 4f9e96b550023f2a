//! Sends what a call is answered with.

use super::message;
use crate::front::room;
use crate::grpc::observe::Tally;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response};
use tonic::{Code, Status};

/// What answers a call.
pub enum Answer {
    /// A message with its prefix.
    Whole(Bytes),
    /// One that is made while it is sent.
    Pieces(Pieces),
}

/// A message in pieces, none of which is asked for before the client has room for it.
pub struct Pieces {
    /// Of all pieces together.
    pub bytes: usize,
    /// What the answer counts, for the log.
    pub count: i64,
    pub pieces: BoxStream<'static, Result<Bytes, Status>>,
}

/// Heads that all answers share.
pub struct Templates {
    head: HeaderMap,
    trailers: HeaderMap,
}

impl Default for Templates {
    fn default() -> Self {
        let (mut head, mut trailers) = (HeaderMap::with_capacity(1), HeaderMap::with_capacity(1));
        head.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        Templates { head, trailers }
    }
}

impl Templates {
    /// Sends the head of an answer.
    pub fn begin(&self, respond: &mut SendResponse<Bytes>) -> Result<SendStream<Bytes>, h2::Error> {
        let mut head = Response::new(());
        *head.headers_mut() = self.head.clone();
        respond.send_response(head, false)
    }
}

/// Ends an answer whose head is out. False: nobody hears it.
pub fn end(outcome: Result<(), &Status>, stream: &mut SendStream<Bytes>, templates: &Templates) -> bool {
    let mut trailers = HeaderMap::new();
    let told = match outcome {
        Ok(()) => stream.send_trailers(templates.trailers.clone()).is_ok(),
        Err(status) => status.add_header(&mut trailers).is_ok() && stream.send_trailers(trailers).is_ok(),
    };
    if !told {
        stream.send_reset(Reason::INTERNAL_ERROR);
    }
    told
}

/// Why an answer was not sent to its end; none when the client is gone.
type Cut = Option<Code>;

fn gone(_: h2::Error) -> Cut {
    None
}

pub async fn send(
    answer: Answer,
    respond: &mut SendResponse<Bytes>,
    templates: &Templates,
    tally: &Tally,
) -> Result<(), Cut> {
    let mut stream = match answer {
        Answer::Whole(framed) => {
            let mut stream = templates.begin(respond).map_err(gone)?;
            tally.sent(framed.len().saturating_sub(message::PREFIX_BYTES));
            // What the client has no room for waits in the connection: it is all there anyway.
            stream.send_data(framed, false).map_err(gone)?;
            stream
        }
        Answer::Pieces(Pieces { bytes, mut pieces, .. }) => {
            let prefix = match message::prefix(bytes) {
                Ok(prefix) => prefix,
                Err(refused) => {
                    let code = refused.code();
                    respond.send_response(refused.into_http(), true).map_err(gone)?;
                    return Err(Some(code));
                }
            };
            let mut stream = templates.begin(respond).map_err(gone)?;
            tally.sent(bytes);
            stream.send_data(Bytes::copy_from_slice(&prefix), false).map_err(gone)?;
            while let Some(piece) = pieces.next().await {
                match piece {
                    Ok(piece) => stream.send_data(piece, false).map_err(gone)?,
                    // Clients see a status and a message that is too short, and report either.
                    Err(failed) => {
                        let told = end(Err(&failed), &mut stream, templates);
                        return Err(told.then(|| failed.code()));
                    }
                }
                room(&mut stream).await.map_err(|_| None)?;
            }
            stream.reserve_capacity(0);
            stream
        }
    };
    stream.send_trailers(templates.trailers.clone()).map_err(gone)
}
