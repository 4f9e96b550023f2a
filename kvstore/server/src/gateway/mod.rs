//! The API as JSON over HTTP, under `/v3` (and `/v3beta`): generic over all services.
//!
//! A request becomes a message by its descriptor and goes to the same gRPC router that the socket reaches, in process:
//! authentication, limits and metrics are the same. The client's certificate does not go along: etcd's gateway has a
//! connection of its own, where it names nobody.
//!
//! What it is not: it knows no service but by the table in `routes.rs`.
//!
//! Cancellation: an HTTP client that goes away drops the call.

mod answer;
mod codec;
mod json;
mod metadata;
mod routes;
mod socket;

use crate::listener::Remote;
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use codec::DynamicCodec;
use futures::{Stream, StreamExt, stream};
use http::uri::PathAndQuery;
use http::{Method, Request, Response};
use json::{Requests, Unreadable};
use prost_reflect::{DynamicMessage, MethodDescriptor};
use routes::Routes;
use std::sync::Arc;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

/// JSON says a message in up to this many times its bytes: base64, and escapes.
const JSON_BYTES_FACTOR: usize = 3;

/// A cheap handle.
#[derive(Clone)]
pub struct Gateway {
    routes: Arc<Routes>,
    grpc: Router,
    /// Bytes of one JSON request.
    request_bytes_max: usize,
    message_bytes_max: usize,
}

impl Gateway {
    pub fn new(grpc: Router, message_bytes_max: usize) -> Gateway {
        Gateway {
            routes: Arc::default(),
            grpc,
            request_bytes_max: message_bytes_max.saturating_mul(JSON_BYTES_FACTOR),
            message_bytes_max,
        }
    }

    /// Answers anything below `/v3/`.
    pub async fn serve(self, mut request: Request<Body>) -> Response<Body> {
        if let Some(upgrade) = socket::upgrade(&mut request) {
            return socket::serve(self, request, upgrade);
        }
        let (parts, body) = request.into_parts();
        let method = match self.find(parts.uri.path(), &parts.method) {
            Ok(method) => method,
            Err(refused) => return *refused,
        };
        let metadata = metadata::from_headers(&parts.headers);
        let remote = parts.extensions.get::<Remote>().cloned();
        self.call(method, metadata, remote, body.into_data_stream()).await
    }

    /// The call of a path, or the answer to a request that is none.
    fn find(&self, path: &str, method: &Method) -> Result<MethodDescriptor, Box<Response<Body>>> {
        let call = match self.routes.find(path) {
            Ok(Some(call)) => call,
            Ok(None) => return Err(Box::new(answer::error(&Status::not_found("Not Found")))),
            Err(error) => return Err(Box::new(answer::error(&Status::internal(error)))),
        };
        if *method != Method::POST {
            return Err(Box::new(answer::error(&Status::unimplemented("Method Not Allowed"))));
        }
        Ok(call.clone())
    }

    async fn call<S, E>(
        &self,
        method: MethodDescriptor,
        metadata: MetadataMap,
        remote: Option<Remote>,
        body: S,
    ) -> Response<Body>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
        E: Send + 'static,
    {
        let requests = Requests::new(method.input(), body, self.request_bytes_max);
        let Ok(path) = PathAndQuery::try_from(format!("/{}/{}", method.parent_service().full_name(), method.name()))
        else {
            return answer::error(&Status::internal("a call without a path"));
        };
        let codec = DynamicCodec {
            answer: method.output(),
        };
        // The answers are our own: whatever their size, they are in memory already.
        let mut client = tonic::client::Grpc::new(self.grpc.clone()).max_decoding_message_size(usize::MAX);
        let answered = if method.is_client_streaming() {
            let request = with(metadata, remote, until_unreadable(requests));
            client.streaming(request, path, codec).await
        } else {
            let message = match self.first(requests, &method).await {
                Ok(message) => message,
                Err(status) => return answer::error(&status),
            };
            if !method.is_server_streaming() {
                return match client.unary(with(metadata, remote, message), path, codec).await {
                    Ok(answered) => match json::write(answered.get_ref()) {
                        Ok(text) => answer::ok(Body::from(text)),
                        Err(error) => answer::error(&Status::internal(error)),
                    },
                    Err(status) => answer::error(&status),
                };
            }
            client
                .server_streaming(with(metadata, remote, message), path, codec)
                .await
        };
        match answered {
            Ok(answered) => lines(answered.into_inner()).await,
            Err(status) => answer::error(&status),
        }
    }

    /// The one message of a call that takes one; an empty body is an empty message.
    async fn first<S, E>(&self, mut requests: Requests<S>, method: &MethodDescriptor) -> Result<DynamicMessage, Status>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
    {
        match requests.next().await {
            None => Ok(DynamicMessage::new(method.input())),
            Some(Ok(message)) => Ok(message),
            Some(Err(Unreadable::Malformed(error))) => Err(Status::invalid_argument(error)),
            Some(Err(Unreadable::TooLarge)) => Err(Status::resource_exhausted(format!(
                "grpc: received message larger than max ({} vs. {})",
                self.request_bytes_max, self.message_bytes_max
            ))),
            Some(Err(Unreadable::Lost)) => Err(Status::cancelled("the request broke off")),
        }
    }
}

fn with<T>(metadata: MetadataMap, remote: Option<Remote>, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    *request.metadata_mut() = metadata;
    if let Some(remote) = remote {
        request.extensions_mut().insert(remote);
    }
    request
}

/// Messages up to the end of the body or the first thing that is none: as grpc-gateway, which then says no more to
/// the call but goes on listening.
fn until_unreadable<S, E>(requests: Requests<S>) -> impl Stream<Item = DynamicMessage> + Send
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
    E: Send + 'static,
{
    stream::unfold(requests, |mut requests| async move {
        match requests.next().await {
            Some(Ok(message)) => Some((message, requests)),
            Some(Err(error)) => {
                tracing::debug!(?error, "a JSON stream ended with what is no message");
                None
            }
            None => None,
        }
    })
}

/// A stream of answers as lines. An error before the first of them is the answer itself.
async fn lines(mut answers: tonic::Streaming<DynamicMessage>) -> Response<Body> {
    let first = match answers.message().await {
        Ok(first) => first,
        Err(status) => return answer::error(&status),
    };
    let told = |message: Result<DynamicMessage, Status>| match message {
        Ok(message) => match json::write(&message) {
            Ok(text) => answer::result_line(&text),
            Err(error) => answer::error_line(&Status::new(Code::Internal, error)),
        },
        Err(status) => answer::error_line(&status),
    };
    let all = stream::iter(first.map(Ok)).chain(answers).map(told);
    answer::ok(Body::from_stream(all.map(Ok::<_, std::convert::Infallible>)))
}
