//! What this server asks of another member's, and how it answers: typed messages over the peer port's Ask.

use crate::core::Core;
use crate::status;
use async_trait::async_trait;
use bytes::Bytes;
use keelson_proto::ask as pb;
use prost::Message;
use std::sync::Arc;
use tonic::{Code, Status};

/// Reaches other members by id. The answer is a [`pb::Answer`], encoded; an error: nobody answered, and whether the
/// question arrived is unknown.
#[async_trait]
pub trait Messenger: Send + Sync + 'static {
    async fn ask(&self, to: u64, subject: &'static str, body: Bytes) -> Result<Bytes, String>;
}

/// For a member without peers, in unit tests.
#[cfg(test)]
pub struct Nobody;

#[cfg(test)]
#[async_trait]
impl Messenger for Nobody {
    async fn ask(&self, _: u64, _: &'static str, _: Bytes) -> Result<Bytes, String> {
        Err("this member has no peers".to_owned())
    }
}

/// Why a question has no answer.
#[derive(Debug)]
pub enum Unanswered {
    /// It may have arrived.
    Unreachable(String),
    /// Nothing was done: ask the leader.
    NotLeader,
    Refused(Status),
}

async fn ask<Q: Message, A: Message + Default>(
    messenger: &dyn Messenger,
    to: u64,
    subject: &'static str,
    question: Q,
) -> Result<A, Unanswered> {
    let body = question.encode_to_vec().into();
    let answer = messenger
        .ask(to, subject, body)
        .await
        .map_err(Unanswered::Unreachable)?;
    let garbled = |e: prost::DecodeError| Unanswered::Unreachable(format!("the answer to {subject} is garbled: {e}"));
    let answer = pb::Answer::decode(answer).map_err(garbled)?;
    if answer.not_leader {
        return Err(Unanswered::NotLeader);
    }
    if answer.code != 0 {
        return Err(Unanswered::Refused(Status::new(
            Code::from(answer.code),
            answer.message,
        )));
    }
    A::decode(answer.body).map_err(garbled)
}

macro_rules! questions {
    ($($name:ident: $question:ident -> $answer:ident;)*) => {
        $(pub async fn $name(messenger: &dyn Messenger, to: u64, question: pb::$question) -> Result<pb::$answer, Unanswered> {
            ask(messenger, to, stringify!($name), question).await
        })*
    };
}

questions! {
    hello: HelloRequest -> HelloResponse;
    members: ChangeRequest -> ChangeResponse;
    keepalive: KeepAliveRequest -> KeepAliveResponse;
    ttl: TimeToLiveRequest -> TimeToLiveResponse;
    hash: HashRequest -> HashResponse;
}

/// Answers a question of another member.
pub async fn answer(core: &Arc<Core>, subject: &str, body: Bytes) -> Bytes {
    let outcome = match subject {
        "hello" => Ok(hello_here(core).encode_to_vec()),
        "members" => answer_with(body, |q| core.cluster.change_here(q)).await,
        "keepalive" => answer_with(body, |q| core.renew_here(q)).await,
        "ttl" => answer_with(body, |q| core.time_to_live_here(q)).await,
        "hash" => answer_with(body, |q| core.hash_here(q)).await,
        other => Err(Unanswered::Refused(Status::unimplemented(format!(
            "this version does not know the subject {other}"
        )))),
    };
    let answer = match outcome {
        Ok(body) => pb::Answer {
            body: body.into(),
            ..Default::default()
        },
        Err(Unanswered::NotLeader) => pb::Answer {
            not_leader: true,
            ..Default::default()
        },
        Err(Unanswered::Refused(status)) => refusal(&status),
        Err(Unanswered::Unreachable(why)) => refusal(&Status::unavailable(why)),
    };
    answer.encode_to_vec().into()
}

fn refusal(status: &Status) -> pb::Answer {
    pb::Answer {
        code: status.code() as i32,
        message: status.message().to_owned(),
        ..Default::default()
    }
}

async fn answer_with<Q, A, F>(body: Bytes, handle: impl FnOnce(Q) -> F) -> Result<Vec<u8>, Unanswered>
where
    Q: Message + Default,
    A: Message,
    F: Future<Output = Result<A, Unanswered>>,
{
    let question = Q::decode(body).map_err(|e| Unanswered::Refused(Status::invalid_argument(e.to_string())))?;
    Ok(handle(question).await?.encode_to_vec())
}

fn hello_here(core: &Core) -> pb::HelloResponse {
    pb::HelloResponse {
        server_version: crate::core::VERSION.to_owned(),
        cluster_version: core.store.cluster().version,
    }
}

impl From<keelson_raft::Error> for Unanswered {
    fn from(error: keelson_raft::Error) -> Self {
        match error {
            keelson_raft::Error::NotLeader { .. } | keelson_raft::Error::Unavailable => Unanswered::NotLeader,
            other => Unanswered::Refused(status::raft(&other)),
        }
    }
}
