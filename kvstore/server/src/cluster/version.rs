//! Which version the cluster speaks: the leader sets the lowest of its members', or where a downgrade leads. And the
//! downgrade itself: validate, enable, cancel.

use crate::core::{Core, VERSION};
use crate::status;
use keelson_mvcc::{Command, Reply};
use keelson_proto::command::ClusterVersion;
use keelson_proto::etcdserverpb as pb;
use pb::downgrade_request::DowngradeAction;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// How often the leader looks at the members' versions.
const LOOK_EVERY: Duration = Duration::from_secs(4);
/// How often it looks while the members are still coming up.
const LOOK_EARLY: Duration = Duration::from_millis(500);
/// What a cluster speaks while not all of its members are known.
const LOWEST: Version = Version { major: 3, minor: 0 };

/// Major and minor: all that a cluster agrees on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u64,
    minor: u64,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.0", self.major, self.minor)
    }
}

impl Version {
    /// `3.6`, `3.6.1`, `3.6.1-rc.0`; `None`: it is none of these.
    pub fn parse(text: &str) -> Option<Version> {
        let numbers = text.split(['-', '+']).next()?;
        let parts: Vec<&str> = numbers.split('.').collect();
        let number = |part: &str| {
            let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| part.parse::<u64>().ok()).flatten()
        };
        match parts.as_slice() {
            [major, minor] if numbers.len() == text.len() => Some(Version {
                major: number(major)?,
                minor: number(minor)?,
            }),
            [major, minor, patch] => {
                number(patch)?;
                Some(Version {
                    major: number(major)?,
                    minor: number(minor)?,
                })
            }
            _ => None,
        }
    }

    /// As answers have it.
    fn short(self) -> String {
        format!("{}.{}", self.major, self.minor)
    }

    fn one_lower(self) -> Option<Version> {
        let minor = self.minor.checked_sub(1)?;
        Some(Version { minor, ..self })
    }
}

/// What the cluster's version has to become; `None`: it stays. `lowest_server` is unknown while a member is silent.
fn decide(current: Option<Version>, lowest_server: Option<Version>, downgrade: Option<Version>) -> Option<Version> {
    let Some(current) = current else {
        return Some(lowest_server.unwrap_or(LOWEST));
    };
    let lowest = lowest_server?;
    if let Some(target) = downgrade {
        let one_step = current.one_lower() == Some(target) && lowest.one_lower() == Some(target);
        return (target != current && one_step).then_some(target);
    }
    (current.major == lowest.major && current < lowest).then_some(lowest)
}

/// Whether a member of this version can be one of a cluster that speaks `cluster`.
pub fn may_join(cluster: &str) -> Result<(), &'static str> {
    let Some(cluster) = Version::parse(cluster) else {
        return Err("failed to parse cluster version of remote member");
    };
    if cluster < LOWEST {
        return Err("cluster version of remote member is not compatible; too low");
    }
    if Version::parse(VERSION).is_none_or(|own| cluster > own) {
        return Err("cluster version of remote member is not compatible; too high");
    }
    Ok(())
}

/// The leader's care for the version. Ends with `stop`.
pub async fn keep(core: Arc<Core>, stop: CancellationToken) {
    let mut leader = core.log.watch_leader();
    loop {
        leader.mark_unchanged();
        set_if_needed(&core).await;
        let settled = core.cluster.version().and_then(|v| Version::parse(&v)) > Some(LOWEST);
        let wait = if settled { LOOK_EVERY } else { LOOK_EARLY };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
            changed = leader.changed() => if changed.is_err() { return },
        }
    }
}

/// On the leader; elsewhere it does nothing.
pub async fn set_if_needed(core: &Core) {
    if !core.log.is_leader() {
        return;
    }
    let meta = core.store.cluster();
    let current = Version::parse(&meta.version);
    let downgrade = meta.downgrade.as_deref().and_then(Version::parse);
    let Some(next) = decide(current, lowest_server(core), downgrade) else {
        return;
    };
    match current {
        None => tracing::info!(
            "cluster-version" = next.short(),
            "setting up initial cluster version using v3 API"
        ),
        Some(current) => tracing::info!(
            from = current.short(),
            to = next.short(),
            "updating cluster version using v3 API"
        ),
    }
    let command = Command::ClusterVersion(ClusterVersion {
        version: next.to_string(),
    });
    match core.log.propose(command.encode()).await {
        Ok(_) => {
            tracing::info!("cluster-version" = next.short(), "cluster version is updated");
            if downgrade == Some(next) {
                tracing::info!(
                    "target-version" = next.to_string(),
                    "server-version" = VERSION,
                    "The server is ready to downgrade"
                );
            }
        }
        Err(error) => tracing::warn!(%error, "failed to update cluster version"),
    }
}

/// `None` while the version of any member is unknown.
fn lowest_server(core: &Core) -> Option<Version> {
    let mut lowest = Version::parse(VERSION)?;
    for id in core.cluster.others() {
        lowest = lowest.min(Version::parse(&core.cluster.contacts.get(id)?.server_version)?);
    }
    Some(lowest)
}

impl Core {
    pub async fn downgrade(&self, request: pb::DowngradeRequest) -> Result<pb::DowngradeResponse, Status> {
        let action = DowngradeAction::try_from(request.action).map_err(|_| status::unknown_method())?;
        match action {
            DowngradeAction::Validate => {
                self.may_downgrade(&request.version).await?;
            }
            DowngradeAction::Enable => {
                let target = self.may_downgrade(&request.version).await?;
                self.set_downgrade(Some(target)).await?;
            }
            DowngradeAction::Cancel => {
                self.barrier().await?;
                if self.store.cluster().downgrade.is_none() {
                    tracing::warn!(error = "no inflight downgrade job", "failed to cancel downgrade");
                } else {
                    self.set_downgrade(None).await?;
                }
            }
        }
        let version = self.cluster.version().ok_or_else(status::no_cluster_version)?;
        let version = Version::parse(&version).ok_or_else(status::no_cluster_version)?;
        Ok(pb::DowngradeResponse {
            header: self.current_header(),
            version: version.short(),
        })
    }

    /// One minor version down, and not twice.
    async fn may_downgrade(&self, target: &str) -> Result<Version, Status> {
        let target = Version::parse(target).ok_or_else(status::bad_downgrade_format)?;
        self.barrier().await?;
        let meta = self.store.cluster();
        let current = Version::parse(&meta.version).ok_or_else(status::no_cluster_version)?;
        if current.one_lower() != Some(target) {
            return Err(status::bad_downgrade_target());
        }
        if meta.downgrade.is_some() {
            return Err(status::downgrade_in_progress());
        }
        Ok(target)
    }

    async fn set_downgrade(&self, target: Option<Version>) -> Result<(), Status> {
        let command = Command::Downgrade(pb::DowngradeInfo {
            enabled: target.is_some(),
            target_version: target.map(|t| t.to_string()).unwrap_or_default(),
        });
        match self.log.propose(command.encode()).await {
            Ok((_, Ok(Reply::Done))) => Ok(()),
            Ok((_, Ok(_))) => Err(status::unexpected_reply()),
            Ok((_, Err(refusal))) => Err(status::refused(refusal)),
            Err(error) => Err(status::raft(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v(text: &str) -> Option<Version> {
        Version::parse(text)
    }

    #[test]
    fn versions_are_read_as_etcd_reads_them() {
        assert_eq!(v("3.6"), v("3.6.9"));
        assert_eq!(v("3.7.0-rc.1").map(|v| v.to_string()).as_deref(), Some("3.7.0"));
        for bad in ["", "3", "3.x", "v3.6", "3.6.", "3.6.1.2", "3.6-rc", "garbage", "-1.0"] {
            assert_eq!(v(bad), None, "{bad}");
        }
    }

    #[test]
    fn who_is_older_than_the_cluster_cannot_join() {
        assert!(["3.0.0", "3.6.0", "3.7.0"].into_iter().all(|v| may_join(v).is_ok()));
        assert!(
            ["2.3.0", "3.8.0", "4.0.0", "not_decided"]
                .into_iter()
                .all(|v| may_join(v).is_err())
        );
    }

    #[test]
    fn the_cluster_speaks_the_lowest_version_of_its_members() {
        assert_eq!(decide(None, None, None), v("3.0"));
        assert_eq!(decide(None, v("3.7"), None), v("3.7"));
        assert_eq!(decide(v("3.0"), v("3.7"), None), v("3.7"));
        assert_eq!(decide(v("3.0"), None, None), None);
        assert_eq!(decide(v("3.7"), v("3.7"), None), None);
        // A lower member that came later changes nothing by itself.
        assert_eq!(decide(v("3.7"), v("3.6"), None), None);
    }

    #[test]
    fn a_downgrade_is_one_step_and_its_end_is_the_servers_version_again() {
        assert_eq!(decide(v("3.7"), v("3.7"), v("3.6")), v("3.6"));
        assert_eq!(decide(v("3.6"), v("3.7"), v("3.6")), None);
        assert_eq!(decide(v("3.7"), v("3.7"), v("3.5")), None);
        assert_eq!(decide(v("3.6"), v("3.7"), None), v("3.7"));
    }
}
