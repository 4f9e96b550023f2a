//! The lines of a watcher as streams, one for each watch that was asked for.

use crate::checker::replay::in_range;
use crate::history::{WatchEvent, WatchKind, WatchRecord, WatchStart};
use std::collections::BTreeMap;

/// A watch from its start to its end.
pub(super) struct Stream<'a> {
    pub client: &'a str,
    pub number: u64,
    pub node: usize,
    pub start: &'a WatchStart,
    /// The header's revision of the answer `created`.
    pub created: Option<i64>,
    /// All lines after the start.
    pub lines: Vec<&'a WatchRecord>,
}

impl<'a> Stream<'a> {
    /// First revision that is to be sent; `None` when it was asked for from now on and never created.
    pub(super) fn first(&self) -> Option<i64> {
        match self.start.start_revision {
            0 => self.created.map(|c| c + 1),
            start => Some(start),
        }
    }

    /// Events with the time of their message.
    pub(super) fn events(&self) -> impl Iterator<Item = (u64, &'a WatchEvent)> + '_ {
        self.lines.iter().flat_map(|line| match &line.what {
            WatchKind::Events { events, .. } => events.iter().map(|e| (line.time_ns, e)).collect(),
            _ => Vec::new(),
        })
    }

    /// Progress messages: their revisions.
    pub(super) fn progress(&self) -> impl Iterator<Item = i64> + '_ {
        self.lines.iter().filter_map(|line| match &line.what {
            WatchKind::Progress { revision } => Some(*revision),
            _ => None,
        })
    }

    /// The last revision that came whole.
    pub(super) fn last_whole(&self) -> i64 {
        let mut last = 0;
        let mut open: Option<i64> = None;
        for line in &self.lines {
            if let WatchKind::Events { events, fragment, .. } = &line.what {
                let newest = events.iter().map(|e| e.mod_revision).max().unwrap_or(0);
                // Of a message that another goes on with, the newest revision may not be whole.
                last = last.max(if *fragment { newest - 1 } else { newest });
                open = fragment.then_some(newest);
            }
        }
        open.map_or(last, |o| last.min(o - 1))
    }

    /// Through which revision the store told that everything was sent: by what came whole, or by progress.
    pub(super) fn proven(&self) -> i64 {
        self.progress().max().unwrap_or(0).max(self.last_whole())
    }

    pub(super) fn is_compacted(&self) -> bool {
        self.lines
            .iter()
            .any(|line| matches!(line.what, WatchKind::Cancelled { compact_revision, .. } if compact_revision != 0))
    }

    /// Whether the watch asks for such an event.
    pub(super) fn wants(&self, key: &str, is_delete: bool) -> bool {
        let is_filtered = if is_delete {
            self.start.no_delete
        } else {
            self.start.no_put
        };
        let from = if self.start.key.is_empty() {
            "\0"
        } else {
            &self.start.key
        };
        !is_filtered && in_range(key, from, &self.start.range_end)
    }
}

/// The streams of a client, in their order. Lines of a stream that was not asked for are left out.
pub(super) fn streams<'a>(client: &'a str, records: &'a [WatchRecord]) -> Vec<Stream<'a>> {
    let mut all: BTreeMap<u64, Stream<'a>> = BTreeMap::new();
    for record in records {
        if let WatchKind::Start(start) = &record.what {
            let stream = Stream {
                client,
                number: record.stream,
                node: record.node,
                start,
                created: None,
                lines: Vec::new(),
            };
            all.insert(record.stream, stream);
        } else if let Some(stream) = all.get_mut(&record.stream) {
            if let WatchKind::Created { revision } = record.what {
                stream.created = Some(revision);
            }
            stream.lines.push(record);
        }
    }
    all.into_values().collect()
}
