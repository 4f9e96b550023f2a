//! Compaction of the store every five minutes, by one API server of many (upstream: etcd3/compact.go).
//!
//! Each server tries to write [`keys::COMPACT_REV_KEY`] at the version it last saw; one wins an interval and
//! compacts to the revision of the interval before. So every revision lives five to ten minutes.
use super::{Error, Revision, Storage, keys};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

pub const INTERVAL: Duration = Duration::from_secs(300);

/// Where one server stands between its turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Turn {
    version: u64,
    /// Revision of the store at the turn before: what the next turn compacts to.
    revision: Revision,
}

/// Runs until `stop`. An error is told and the next interval tries again.
pub async fn run(storage: Arc<dyn Storage>, stop: CancellationToken) {
    let mut turn = Turn::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        match compact(&*storage, turn).await {
            Ok(next) => turn = next,
            Err(e) => tracing::warn!(error = %e, "compact the store"),
        }
    }
}

async fn compact(storage: &dyn Storage, turn: Turn) -> Result<Turn, Error> {
    let value = Bytes::from(turn.revision.to_string());
    let answer = storage.put_version(keys::COMPACT_REV_KEY, turn.version, value).await?;
    let next = Turn {
        version: answer.version,
        revision: answer.revision,
    };
    if answer.done && turn.revision > 0 {
        match storage.compact(turn.revision).await {
            // Someone compacted further: the aim is reached.
            Ok(()) | Err(Error::Compacted) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::memory::Memory;
    use super::*;

    #[tokio::test]
    async fn only_one_server_compacts_and_to_the_interval_before() {
        let store = Memory::default();
        let (mut a, mut b) = (Turn::default(), Turn::default());
        a = compact(&store, a).await.unwrap();
        b = compact(&store, b).await.unwrap();
        assert_eq!(store.compacted(), 0);
        assert_eq!(a.version, b.version);
        let bound = a.revision;
        store.put(b"/registry/x", Bytes::from_static(b"1"), 0, 0).await.unwrap();
        a = compact(&store, a).await.unwrap();
        b = compact(&store, b).await.unwrap();
        assert_eq!(store.compacted(), bound);
        assert_eq!(a.version, b.version);
        assert!(b.revision > bound);
    }
}
