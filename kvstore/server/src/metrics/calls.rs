//! Counts of gRPC calls, in the names of grpc-go's Prometheus middleware.

use super::instruments::{Counter, Histogram};
use super::page::{Page, float};
use ahash::AHashMap;
use keelson_proto::{ETCD_DESCRIPTORS, HEALTH_DESCRIPTORS};
use parking_lot::RwLock;
use prost_reflect::{DescriptorPool, MethodDescriptor};
use tonic::Code;

/// The middleware's default buckets.
const HANDLING_SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Versions that clients claim to be and that are counted apart; the rest is counted as `other`.
const CLIENT_VERSIONS_MAX: usize = 64;

const CODES: [Code; 17] = [
    Code::Ok,
    Code::Cancelled,
    Code::Unknown,
    Code::InvalidArgument,
    Code::DeadlineExceeded,
    Code::NotFound,
    Code::AlreadyExists,
    Code::PermissionDenied,
    Code::ResourceExhausted,
    Code::FailedPrecondition,
    Code::Aborted,
    Code::OutOfRange,
    Code::Unimplemented,
    Code::Internal,
    Code::Unavailable,
    Code::DataLoss,
    Code::Unauthenticated,
];

/// Services whose calls are shown before the first one; the others', as etcd's, only after it.
const SHOWN_FROM_THE_START: &[&str] = &["etcdserverpb.", "grpc.health."];

/// Go's name of a code.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

/// One method of one service.
pub struct Call {
    service: String,
    method: String,
    kind: &'static str,
    pub is_stream: bool,
    pub started: Counter,
    pub messages_received: Counter,
    pub messages_sent: Counter,
    handled: [Counter; CODES.len()],
    /// With `metrics=extensive` only.
    pub seconds: Option<Histogram>,
}

impl Call {
    fn new(method: &MethodDescriptor, extensive: bool) -> Call {
        let kind = match (method.is_client_streaming(), method.is_server_streaming()) {
            (false, false) => "unary",
            (true, false) => "client_stream",
            (false, true) => "server_stream",
            (true, true) => "bidi_stream",
        };
        Call {
            service: method.parent_service().full_name().to_owned(),
            method: method.name().to_owned(),
            kind,
            is_stream: kind != "unary",
            started: Counter::default(),
            messages_received: Counter::default(),
            messages_sent: Counter::default(),
            handled: std::array::from_fn(|_| Counter::default()),
            seconds: extensive.then(|| Histogram::new(HANDLING_SECONDS.to_vec())),
        }
    }

    pub fn handled(&self, code: Code) {
        if let Some(counter) = self.handled.get(code as usize) {
            counter.inc();
        }
    }

    fn is_shown(&self) -> bool {
        SHOWN_FROM_THE_START.iter().any(|s| self.service.starts_with(s)) || self.started.get() > 0
    }

    fn labels(&self) -> [(&str, &str); 3] {
        [
            ("grpc_method", &self.method),
            ("grpc_service", &self.service),
            ("grpc_type", self.kind),
        ]
    }
}

/// One of a call's counters.
type Read = fn(&Call) -> &Counter;

/// All calls of the API.
pub struct Calls {
    by_path: AHashMap<String, usize>,
    calls: Vec<Call>,
    pub bytes_received: Counter,
    pub bytes_sent: Counter,
    /// By the version that clients say they speak: unary calls, streams.
    clients: RwLock<AHashMap<String, [Counter; 2]>>,
}

impl Calls {
    /// Fails where the descriptors that were built in are damaged.
    pub fn new(extensive: bool) -> Result<Calls, String> {
        let mut calls = Vec::new();
        for encoded in [ETCD_DESCRIPTORS, HEALTH_DESCRIPTORS] {
            let pool = DescriptorPool::decode(encoded).map_err(|e| format!("decode the API's descriptors: {e}"))?;
            let services: Vec<_> = pool.services().collect();
            let methods = services.iter().flat_map(|s| s.methods());
            calls.extend(methods.map(|m| Call::new(&m, extensive)));
        }
        let path = |(at, call): (usize, &Call)| (format!("/{}/{}", call.service, call.method), at);
        let by_path = calls.iter().enumerate().map(path).collect();
        Ok(Calls {
            by_path,
            calls,
            bytes_received: Counter::default(),
            bytes_sent: Counter::default(),
            clients: RwLock::default(),
        })
    }

    /// The number of a call, for [`Calls::get`].
    pub fn find(&self, path: &str) -> Option<usize> {
        self.by_path.get(path).copied()
    }

    pub fn get(&self, at: usize) -> Option<&Call> {
        self.calls.get(at)
    }

    pub fn has_service(&self, service: &str) -> bool {
        self.calls.iter().any(|c| c.service == service)
    }

    /// The lock is for writing only when a version is new.
    pub fn count_client(&self, version: &str, is_stream: bool) {
        let count = |counters: &[Counter; 2]| {
            if let Some(counter) = counters.get(usize::from(is_stream)) {
                counter.inc();
            }
        };
        if let Some(counters) = self.clients.read().get(version) {
            return count(counters);
        }
        let mut clients = self.clients.write();
        let version = if clients.len() < CLIENT_VERSIONS_MAX {
            version
        } else {
            "other"
        };
        count(clients.entry(version.to_owned()).or_default());
    }

    pub fn write(&self, page: &mut Page) {
        page.counter(
            "etcd_network_client_grpc_received_bytes_total",
            self.bytes_received.get(),
        );
        page.counter("etcd_network_client_grpc_sent_bytes_total", self.bytes_sent.get());
        let clients = self.clients.read();
        if !clients.is_empty() {
            page.family("etcd_server_client_requests_total", "counter");
            for (version, counters) in clients.iter() {
                for (kind, counter) in ["unary", "stream"].into_iter().zip(counters) {
                    let labels = [("client_api_version", version.as_str()), ("type", kind)];
                    if counter.get() > 0 {
                        page.sample("etcd_server_client_requests_total", &labels, float(counter.get()));
                    }
                }
            }
        }
        drop(clients);
        let calls: Vec<&Call> = self.calls.iter().filter(|c| c.is_shown()).collect();
        page.family("grpc_server_handled_total", "counter");
        for call in &calls {
            for (code, counter) in CODES.into_iter().zip(&call.handled) {
                let [a, b, c] = call.labels();
                let labels = [("grpc_code", name(code)), a, b, c];
                page.sample("grpc_server_handled_total", &labels, float(counter.get()));
            }
        }
        let counters: [(&str, Read); 3] = [
            ("grpc_server_msg_received_total", |c| &c.messages_received),
            ("grpc_server_msg_sent_total", |c| &c.messages_sent),
            ("grpc_server_started_total", |c| &c.started),
        ];
        for (name, counter) in counters {
            page.family(name, "counter");
            for call in &calls {
                page.sample(name, &call.labels(), float(counter(call).get()));
            }
        }
        let mut timed = calls.iter().filter_map(|c| Some((c, c.seconds.as_ref()?))).peekable();
        if timed.peek().is_some() {
            page.family("grpc_server_handling_seconds", "histogram");
        }
        for (call, seconds) in timed {
            page.histogram_sample("grpc_server_handling_seconds", &call.labels(), seconds);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn calls_are_found_by_path_and_counted_by_code() {
        let calls = Calls::new(true).unwrap();
        let put = calls.get(calls.find("/etcdserverpb.KV/Put").unwrap()).unwrap();
        put.handled(Code::ResourceExhausted);
        assert!(!put.is_stream);
        let mut page = Page::default();
        calls.write(&mut page);
        let line = "grpc_server_handled_total{grpc_code=\"ResourceExhausted\",grpc_method=\"Put\",\
            grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} 1";
        assert!(page.into_text().contains(line));
        assert_eq!(calls.find("/etcdserverpb.KV/Nonsense"), None);
        for (at, code) in CODES.into_iter().enumerate() {
            assert_eq!(code as usize, at);
        }
    }

    #[test]
    fn versions_that_clients_invent_are_bounded() {
        let calls = Calls::new(false).unwrap();
        (0..1000).for_each(|n| calls.count_client(&n.to_string(), false));
        assert!(calls.clients.read().len() <= CLIENT_VERSIONS_MAX + 1);
    }
}
