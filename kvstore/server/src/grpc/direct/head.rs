//! What the head of a call says, read in one go.

use crate::auth::Caller;
use crate::grpc::deadline;
use crate::grpc::observe::{CLIENT_VERSION, REQUIRE_LEADER};
use crate::listener::PeerCertificate;
use http::{HeaderMap, HeaderValue};

pub struct Head<'a> {
    pub requires_leader: bool,
    pub version: Option<&'a HeaderValue>,
    pub timeout: Option<&'a HeaderValue>,
    headers: &'a HeaderMap,
    /// Some header may name who calls.
    names_caller: bool,
}

impl<'a> Head<'a> {
    /// None: the call is not of the plainest form.
    pub fn read(headers: &'a HeaderMap) -> Option<Head<'a>> {
        let mut head = Head {
            requires_leader: false,
            version: None,
            timeout: None,
            headers,
            names_caller: false,
        };
        let mut is_grpc = false;
        for (name, value) in headers {
            match name.as_str() {
                "content-type" => is_grpc = matches!(value.as_bytes(), b"application/grpc" | b"application/grpc+proto"),
                "grpc-encoding" if value != "identity" => return None,
                deadline::HEADER => head.timeout = head.timeout.or(Some(value)),
                REQUIRE_LEADER => head.requires_leader |= value == "true",
                CLIENT_VERSION => head.version = head.version.or(Some(value)),
                name => head.names_caller |= Caller::is_named_in(name),
            }
        }
        is_grpc.then_some(head)
    }

    pub fn caller(&self, certificate: Option<&PeerCertificate>) -> Caller {
        if self.names_caller {
            Caller::shown(self.headers, certificate)
        } else {
            Caller::nameless(certificate)
        }
    }
}
