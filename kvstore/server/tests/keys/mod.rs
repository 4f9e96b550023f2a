//! Small requests, and who sends them.
#![allow(clippy::unwrap_used)]

use keelson_proto::etcdserverpb as pb;
use tonic::Request;

pub fn put(key: &str) -> pb::PutRequest {
    pb::PutRequest {
        key: key.to_owned().into(),
        value: "v".into(),
        ..Default::default()
    }
}

pub fn get(key: &str) -> pb::RangeRequest {
    pb::RangeRequest {
        key: key.to_owned().into(),
        ..Default::default()
    }
}

pub fn with_token<T>(token: &str, body: T) -> Request<T> {
    let mut request = Request::new(body);
    request.metadata_mut().insert("token", token.parse().unwrap());
    request
}
