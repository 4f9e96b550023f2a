//! Which HTTP headers go on as gRPC metadata, and under which names.

use http::HeaderMap;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};

/// Headers of this prefix go on without it.
const METADATA_PREFIX: &str = "grpc-metadata-";
/// How a service tells that a call came through the gateway, where a client's certificate names nobody.
const GATEWAY_PREFIX: &str = "grpcgateway-";
const FORWARDED: &[&str] = &[
    "accept",
    "authorization",
    "content-type",
    "user-agent",
    "origin",
    "referer",
    "cookie",
];

pub fn from_headers(headers: &HeaderMap) -> MetadataMap {
    let mut metadata = MetadataMap::new();
    let mut add = |name: String, value: &http::HeaderValue| {
        let key = AsciiMetadataKey::from_bytes(name.as_bytes());
        if let (Ok(key), Ok(value)) = (key, AsciiMetadataValue::try_from(value.as_bytes())) {
            metadata.append(key, value);
        }
    };
    for (name, value) in headers {
        let name = name.as_str();
        if let Some(rest) = name.strip_prefix(METADATA_PREFIX) {
            // Not what gRPC itself needs: nobody writes over it.
            if !matches!(rest, "content-type" | "te" | "host") && !rest.ends_with("-bin") {
                add(rest.to_owned(), value);
            }
        } else if FORWARDED.contains(&name) {
            if name == "authorization" {
                add(name.to_owned(), value);
            }
            add(format!("{GATEWAY_PREFIX}{name}"), value);
        }
    }
    metadata
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tokens_and_named_metadata_go_on() {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", "a.7".parse().unwrap());
        headers.insert("grpc-metadata-hasleader", "true".parse().unwrap());
        headers.insert("grpc-metadata-content-type", "text/html".parse().unwrap());
        headers.insert("accept", "*/*".parse().unwrap());
        headers.insert("x-other", "1".parse().unwrap());
        let metadata = from_headers(&headers);
        assert_eq!(metadata.get("authorization").unwrap(), "a.7");
        assert_eq!(metadata.get("grpcgateway-authorization").unwrap(), "a.7");
        assert_eq!(metadata.get("grpcgateway-accept").unwrap(), "*/*");
        assert_eq!(metadata.get("hasleader").unwrap(), "true");
        assert!(metadata.get("content-type").is_none() && metadata.get("x-other").is_none());
    }
}
