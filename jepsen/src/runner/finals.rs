//! What every member holds after healing.

use crate::client::{Client, Error, text};
use crate::history::{FinalKv, FinalState};
use bytes::Bytes;
use keelson_proto::etcdserverpb::{HashKvRequest, RangeRequest};
use std::time::Duration;
use tokio::time::Instant;

/// How often a member that is behind is asked again.
const LOOK: Duration = Duration::from_millis(100);

/// The state of each member at one revision, which is the newest when this begins; clients have ended.
///
/// # Errors
/// A sentence that names the member which could not be read within the bound.
pub(super) async fn read(clients: &[Client], bound: Duration) -> Result<Vec<FinalState>, String> {
    let deadline = Instant::now() + bound;
    let newest = until(deadline, async || {
        let mut last = None;
        for client in clients {
            match client.range(everything(false, 0, 1)).await {
                Ok(got) => return Ok(got.header.map_or(0, |header| header.revision)),
                Err(e) => last = Some(e),
            }
        }
        Err(last.unwrap_or_else(|| Error::not_sent("there is no member".to_owned())))
    })
    .await
    .map_err(|e| format!("read the newest revision: {e}"))?;
    let mut states = Vec::new();
    for (at, client) in clients.iter().enumerate() {
        let state = until(deadline, async || state(at + 1, client, newest).await);
        states.push(state.await.map_err(|e| format!("read member {}: {e}", at + 1))?);
    }
    Ok(states)
}

/// Tries until it goes well or the time is over; then the last error counts.
async fn until<T>(deadline: Instant, mut attempt: impl AsyncFnMut() -> Result<T, Error>) -> Result<T, Error> {
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(e) if Instant::now() > deadline => return Err(e),
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
}

async fn state(node: usize, client: &Client, revision: i64) -> Result<FinalState, Error> {
    // A member that is behind says that the revision is a future one: it is asked again.
    let got = client.range(everything(true, revision, 0)).await?;
    let hash = client.hash_kv(HashKvRequest { revision }).await?;
    Ok(FinalState {
        node,
        revision,
        compact_revision: hash.compact_revision,
        hash: hash.hash,
        hash_revision: hash.hash_revision,
        kvs: got
            .kvs
            .iter()
            .map(|kv| FinalKv {
                key: text(&kv.key),
                value: text(&kv.value),
                create_revision: kv.create_revision,
                mod_revision: kv.mod_revision,
                version: kv.version,
                lease: kv.lease,
            })
            .collect(),
    })
}

/// All keys.
fn everything(serializable: bool, revision: i64, limit: i64) -> RangeRequest {
    RangeRequest {
        key: Bytes::from_static(b"\0"),
        range_end: Bytes::from_static(b"\0"),
        serializable,
        revision,
        limit,
        ..RangeRequest::default()
    }
}
