//! Makes answers of events, in messages of bounded size.

use keelson_mvcc::{Event, RevisionEvents, StorageError, Store};
use keelson_proto::etcdserverpb as pb;
use keelson_proto::mvccpb;
use prost::Message;
use std::sync::Arc;

/// Several revisions share an answer up to this size, bytes; one revision is never split unless the client allows it.
const RESPONSE_BYTES_SOFT_MAX: usize = 1 << 20;
/// Where answers of clients that allow it are split, bytes: etcd's request size and its overhead.
const FRAGMENT_BYTES: usize = crate::options::REQUEST_BYTES_DEFAULT + (512 << 10);

/// How the events of one watcher are told.
#[derive(Clone, Copy)]
pub struct Style {
    pub watch_id: i64,
    pub prev_kv: bool,
    pub fragment: bool,
}

/// Collects events of a watcher into answers.
pub struct Responder<'a> {
    store: &'a Store,
    style: Style,
    events: Vec<mvccpb::Event>,
    bytes: usize,
    pub responses: Vec<pb::WatchResponse>,
}

impl<'a> Responder<'a> {
    pub fn new(store: &'a Store, style: Style) -> Self {
        Responder {
            store,
            style,
            events: Vec::new(),
            bytes: 0,
            responses: Vec::new(),
        }
    }

    /// Adds events of one revision. An answer that is due gets `header`.
    pub fn add<'e>(
        &mut self,
        events: impl Iterator<Item = &'e Event>,
        header: &pb::ResponseHeader,
    ) -> Result<(), StorageError> {
        if self.bytes >= RESPONSE_BYTES_SOFT_MAX {
            self.finish(header);
        }
        for event in events {
            let mut told = event.to_proto();
            if self.style.prev_kv {
                told.prev_kv = event.previous_kv(self.store)?;
            }
            self.bytes += told.encoded_len();
            self.events.push(told);
        }
        Ok(())
    }

    /// Ends the answer under way, if it has events.
    pub fn finish(&mut self, header: &pb::ResponseHeader) {
        self.bytes = 0;
        if self.events.is_empty() {
            return;
        }
        let response = pb::WatchResponse {
            header: Some(*header),
            watch_id: self.style.watch_id,
            events: std::mem::take(&mut self.events),
            ..Default::default()
        };
        if self.style.fragment && response.encoded_len() >= FRAGMENT_BYTES {
            split(response, &mut self.responses);
        } else {
            self.responses.push(response);
        }
    }
}

fn split(mut whole: pb::WatchResponse, out: &mut Vec<pb::WatchResponse>) {
    let events = std::mem::take(&mut whole.events);
    let mut part = pb::WatchResponse {
        fragment: true,
        ..whole.clone()
    };
    let mut bytes = part.encoded_len();
    for event in events {
        let size = event.encoded_len();
        if !part.events.is_empty() && bytes + size >= FRAGMENT_BYTES {
            out.push(part);
            part = pb::WatchResponse {
                fragment: true,
                ..whole.clone()
            };
            bytes = part.encoded_len();
        }
        // Tag and length of the field.
        bytes += size + 6;
        part.events.push(event);
    }
    part.fragment = false;
    out.push(part);
}

/// The events of a revision that fall into a watcher's range and pass its filters.
pub fn matching<'e>(
    revision: &'e Arc<RevisionEvents>,
    interest: &'e super::watchers::Interest,
) -> impl Iterator<Item = &'e Event> {
    revision
        .events
        .iter()
        .filter(|e| interest.wants(e.delete) && interest.range.contains(&e.kv.key))
}
