//! The socket on which the running cluster tells its health: whoever connects is sent one JSON document.

use crate::fail::{Context, Failure, Result};
use crate::layout::Layout;
use crate::supervisor::Health;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer read, bytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Where the datastore is served, and the files that a client needs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EtcdAccess {
    pub endpoint: String,
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub name: String,
    pub ready: bool,
    pub kubeconfig: PathBuf,
    pub server: String,
    pub etcd: EtcdAccess,
    /// Process id by component: components of one process share one.
    pub pids: BTreeMap<String, i32>,
    pub components: BTreeMap<String, ComponentReport>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentReport {
    pub healthy: bool,
    #[serde(default)]
    pub restarts: u32,
    #[serde(default)]
    pub message: String,
}

impl From<Health> for ComponentReport {
    fn from(h: Health) -> Self {
        ComponentReport {
            healthy: h.healthy,
            restarts: h.restarts,
            message: h.message,
        }
    }
}

/// Serves `report` until the stop.
pub async fn serve(layout: &Layout, stop: CancellationToken, report: impl Fn() -> Report) -> Result<()> {
    let path = layout.control_socket();
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path).context(|| format!("listen on {}", path.display()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
        .context(|| format!("set mode of {}", path.display()))?;
    loop {
        let accepted = tokio::select! {
            a = listener.accept() => a,
            () = stop.cancelled() => return Ok(()),
        };
        let (mut stream, _) = accepted.context(|| "take a control connection")?;
        let bytes = serde_json::to_vec(&report()).context(|| "encode the status")?;
        // One answer at a time: it is small, and a reader that stalls is cut off.
        let _ = tokio::time::timeout(ANSWER_TIMEOUT, stream.write_all(&bytes)).await;
    }
}

/// Asks the running cluster; `None` when nothing answers.
pub fn ask(layout: &Layout) -> Result<Option<Report>> {
    let Ok(stream) = std::os::unix::net::UnixStream::connect(layout.control_socket()) else {
        return Ok(None);
    };
    stream
        .set_read_timeout(Some(ANSWER_TIMEOUT))
        .context(|| "set a timeout")?;
    let mut bytes = Vec::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut bytes)
        .context(|| "read the cluster's status")?;
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|e| Failure::new(format!("the cluster's status does not parse: {e}")))
}
