//! Answers to ranges: small ones whole, large ones in pieces that are read while they are sent.

use super::answer::{Answer, Pieces};
use super::message::framed;
use crate::pieces::RangeAnswer;
use tonic::Status;

pub fn answer(answer: RangeAnswer) -> Result<Answer, Status> {
    match answer {
        RangeAnswer::Whole(response) => framed(&response).map(Answer::Whole),
        RangeAnswer::Pieces(pieces) => Ok(Answer::Pieces(Pieces {
            bytes: usize::try_from(pieces.bytes()).unwrap_or(usize::MAX),
            count: pieces.count(),
            pieces: pieces.into_stream(),
        })),
    }
}
