//! tonic calls a message over the cap OutOfRange; etcd, ResourceExhausted, in grpc-go's words.

use http::HeaderValue;

/// Rewrites the answer to a message larger than `bytes_max`.
pub fn say_as_etcd<B>(mut response: http::Response<B>, bytes_max: usize) -> http::Response<B> {
    const OUT_OF_RANGE: &str = "11";
    const RESOURCE_EXHAUSTED: &str = "8";
    let headers = response.headers();
    if headers.get("grpc-status").is_none_or(|status| status != OUT_OF_RANGE) {
        return response;
    }
    let Some(found) = headers
        .get("grpc-message")
        .and_then(|m| m.to_str().ok())
        .and_then(too_large_bytes)
    else {
        return response;
    };
    let message = format!("grpc: received message larger than max ({found} vs. {bytes_max})");
    if let Ok(message) = HeaderValue::from_str(&message) {
        response
            .headers_mut()
            .insert("grpc-status", HeaderValue::from_static(RESOURCE_EXHAUSTED));
        response.headers_mut().insert("grpc-message", message);
    }
    response
}

/// The size in tonic's message, percent-encoded as it is in the header.
fn too_large_bytes(message: &str) -> Option<u64> {
    let (_, rest) = message.split_once("decoded%20message%20length%20too%20large:%20found%20")?;
    let digits = rest.split_once('%').map_or(rest, |(digits, _)| digits);
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_message_over_the_cap_is_told_in_etcds_words() {
        let tonics = tonic::Status::out_of_range(
            "Error, decoded message length too large: found 2200010 bytes, the limit is: 2097152 bytes",
        );
        let response = say_as_etcd(tonics.into_http::<tonic::body::Body>(), 2_097_152);
        assert_eq!(response.headers()["grpc-status"], "8");
        let message = "grpc: received message larger than max (2200010 vs. 2097152)";
        assert_eq!(response.headers()["grpc-message"], message);
        let other = tonic::Status::out_of_range("etcdserver: mvcc: required revision has been compacted");
        let response = say_as_etcd(other.into_http::<tonic::body::Body>(), 2_097_152);
        assert_eq!(response.headers()["grpc-status"], "11");
    }
}
