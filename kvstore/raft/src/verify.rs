//! Looks at the log of a member that does not run, and at how the state stands to it.
use crate::{Error, Options, marker::Marker, start::check_against_machine};
use keelson_mvcc::AppliedState;

/// What is in a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogReport {
    /// The oldest entry present, and the newest one: index, and its term.
    pub first: Option<u64>,
    pub last: Option<(u64, u64)>,
    /// Everything up to here is gone from the log.
    pub purged: Option<u64>,
    pub segments: usize,
    /// The last batch was cut short by a crash, before it was acknowledged.
    pub torn: bool,
    /// A snapshot was being put in, or the folder was restored and never started on.
    pub installing: bool,
}

/// Reads every frame. What would keep the member from starting is the error.
pub fn verify_log(options: &Options, applied: &AppliedState) -> Result<LogReport, Error> {
    let mut wal = keelson_wal::Options::new(&options.dir);
    wal.cluster_id = options.cluster_id;
    wal.node_id = options.node_id;
    let checked = keelson_wal::check(&wal).map_err(|e| Error::Fatal(e.to_string()))?;
    let installing = Marker::of(&options.dir).get()?;
    check_against_machine(&checked.state, applied, installing)?;
    Ok(LogReport {
        first: checked.state.first,
        last: checked.state.last.map(|last| (last.index, last.term)),
        purged: checked.state.purged.map(|purged| purged.index),
        segments: checked.segments,
        torn: checked.torn,
        installing: installing.is_some(),
    })
}
