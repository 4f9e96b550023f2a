//! Random histories against a plain vector: what the log holds, before and after reopening, is what the model holds.
#![allow(clippy::unwrap_used)]
mod common;
use common::{append, copy_dir, entry, options, read_all, vote, wait};
use keelson_wal::{Entry, EntryId, Vote, Wal};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Append {
        count: usize,
        size: usize,
    },
    /// Keeps this share (of 8) of what is present.
    Truncate(u64),
    Purge(u64),
    PurgeBeyond(u64),
    Vote,
    Reopen,
    /// Goes on from a copy of the folder taken while the log was open.
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1usize..12, prop_oneof![0usize..40, 100usize..900, Just(5000usize)])
            .prop_map(|(count, size)| Step::Append { count, size }),
        2 => (0u64..8).prop_map(Step::Truncate),
        2 => (0u64..8).prop_map(Step::Purge),
        1 => (0u64..5).prop_map(Step::PurgeBeyond),
        1 => Just(Step::Vote),
        2 => Just(Step::Reopen),
        2 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..40)
}

#[derive(Default)]
struct Model {
    entries: Vec<Entry>,
    purged: Option<EntryId>,
    vote: Option<Vote>,
    term: u64,
}

impl Model {
    fn last(&self) -> Option<EntryId> {
        self.entries.last().map(|e| e.id).or(self.purged)
    }

    fn check(&self, wal: &Wal) {
        let state = wal.state();
        assert_eq!(state.last, self.last());
        assert_eq!(state.purged, self.purged);
        assert_eq!(state.vote, self.vote);
        assert_eq!(state.first, self.entries.first().map(|e| e.id.index));
        assert_eq!(read_all(wal), self.entries);
    }

    fn drop_purged(&mut self, upto: EntryId) {
        self.purged = Some(upto);
        self.entries.retain(|e| e.id.index > upto.index);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_log_agrees_with_the_model(steps in steps()) {
        let root = tempfile::tempdir().unwrap();
        let mut dir = root.path().join("0");
        let mut crashes = 0;
        let mut wal = Wal::open(options(&dir)).unwrap();
        let mut m = Model::default();
        for step in steps {
            match step {
                Step::Append { count, size } => {
                    let from = m.last().map_or(0, |l| l.index + 1);
                    let new: Vec<Entry> = (from..from + count as u64).map(|i| entry(m.term, i, size)).collect();
                    append(&wal, new.clone()).unwrap();
                    m.entries.extend(new);
                }
                Step::Truncate(share) => {
                    let keep = m.entries.len() as u64 * share / 8;
                    m.entries.truncate(keep as usize);
                    let last = m.last();
                    m.term += 1;
                    wait(|done| wal.truncate_after(last, done)).unwrap();
                }
                Step::Purge(share) => {
                    let Some(upto) = m.entries.get((m.entries.len() as u64 * share / 8) as usize).map(|e| e.id) else {
                        continue;
                    };
                    wait(|done| wal.purge(upto, done)).unwrap();
                    m.drop_purged(upto);
                }
                Step::PurgeBeyond(more) => {
                    let last = m.last().unwrap_or_default();
                    let upto = EntryId { term: m.term, index: last.index + more };
                    let known = m.purged.is_some_and(|p| p.index >= upto.index);
                    wait(|done| wal.purge(upto, done)).unwrap();
                    if !known {
                        m.drop_purged(upto);
                    }
                }
                Step::Vote => {
                    m.term += 1;
                    vote(&wal, m.term).unwrap();
                    m.vote = Some(Vote { term: m.term, node: 1, committed: m.term.is_multiple_of(2) });
                }
                Step::Reopen => {
                    wal.close();
                    drop(wal);
                    wal = Wal::open(options(&dir)).unwrap();
                }
                Step::Crash => {
                    crashes += 1;
                    // Files go after the callback of a purge: one more change in between makes the copy meet none halfway.
                    wait(|done| wal.truncate_after(m.last(), done)).unwrap();
                    let next = root.path().join(crashes.to_string());
                    copy_dir(&dir, &next);
                    drop(wal);
                    dir = next;
                    wal = Wal::open(options(&dir)).unwrap();
                }
            }
            m.check(&wal);
        }
    }
}
