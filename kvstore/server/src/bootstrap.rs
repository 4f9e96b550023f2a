//! How a member without data finds out who it is: alone, as one of a new cluster that everybody was told of, or as one
//! that an existing cluster expects. With data, none of that is asked again.

use crate::cluster::{ids, urls, version};
use crate::dial;
use crate::identity::{self, Beginning, Founder, Identity};
use crate::{Bootstrap, Error, Options};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// How long a member of an existing cluster may take to say who is in.
const MEMBERS_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the others of a new cluster may take to say that this member was there before.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// Says of which cluster an answer is, on the peer port.
pub const CLUSTER_ID_HEADER: &str = "X-Etcd-Cluster-ID";

/// A member of ours says which peer protocol it speaks; a real etcd, which has the same pages, says nothing.
pub const PROTOCOL_HEADER: &str = "X-Keelson-Peer";
pub const PROTOCOL: &str = "keelson.peer.v1";

type Listed = BTreeMap<String, Vec<String>>;

fn refuse(why: impl Into<String>) -> Error {
    Error::Start(why.into())
}

/// A member as the peer port's `/members` shows it.
#[derive(Debug, Deserialize)]
struct RemoteMember {
    id: u64,
    #[serde(default, rename = "peerURLs")]
    peer_urls: Vec<String>,
    #[serde(default, rename = "clientURLs")]
    client_urls: Vec<String>,
    #[serde(default, rename = "isLearner")]
    is_learner: bool,
}

/// What `/version` on a peer port says of the cluster.
#[derive(Debug, Deserialize)]
struct RemoteVersion {
    etcdcluster: String,
}

struct RemoteCluster {
    id: u64,
    /// Its members speak our protocol.
    is_ours: bool,
    members: Vec<RemoteMember>,
}

/// Who this member is: as the folder says, or as the options say. The latter is new: the caller writes it into the
/// folder once nothing else can keep this member from starting.
pub async fn identity(options: &Options) -> Result<(Identity, bool), Error> {
    if let Some(identity) = Identity::load(&options.data_dir)? {
        return Ok((identity, false));
    }
    check_fresh(options)?;
    let identity = match &options.bootstrap {
        Bootstrap::Alone => Identity {
            member_id: rand::random::<u64>() | 1,
            cluster_id: rand::random::<u64>() | 1,
            beginning: Beginning::Alone,
        },
        Bootstrap::New { members, token } => new(options, members, token).await?,
        Bootstrap::Existing { members, token: _ } => existing(options, members).await?,
    };
    Ok((identity, true))
}

/// A folder without an identity holds nothing that one would be missed for.
fn check_fresh(options: &Options) -> Result<(), Error> {
    let dir = &options.data_dir;
    if dir.join("member").join("wal").is_dir() {
        return Err(refuse(format!(
            "{} is a data folder of etcd itself, which cannot be opened here: save a snapshot of it with `etcdctl snapshot \
             save`, restore that into an empty folder with `snapshot restore`, and start from there",
            dir.display()
        )));
    }
    let log = options.wal_dir.clone().unwrap_or_else(|| dir.join("log"));
    for folder in [dir.join("state"), log] {
        if holds_files(&folder)? {
            return Err(refuse(format!(
                "{} has data and {} does not say whose: {} was lost. Restore this member from a snapshot, or remove it from \
                 its cluster and add it again with an empty folder",
                folder.display(),
                dir.display(),
                identity::FILE
            )));
        }
    }
    Ok(())
}

fn holds_files(folder: &Path) -> Result<bool, Error> {
    match std::fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(refuse(format!("read {}: {e}", folder.display()))),
    }
}

fn show(listed: &Listed) -> String {
    let pairs = listed
        .iter()
        .flat_map(|(name, urls)| urls.iter().map(move |url| format!("{name}={url}")));
    pairs.collect::<Vec<_>>().join(",")
}

/// The list, checked: every URL is one and named once, and this member is in it.
fn checked(listed: &Listed, name: &str) -> Result<Listed, Error> {
    let mut all = Listed::new();
    let mut seen = BTreeSet::new();
    for (member, listed_urls) in listed {
        let member_urls = urls::checked(listed_urls).map_err(|e| refuse(format!("initial cluster: {member}: {e}")))?;
        if !member_urls.iter().all(|url| seen.insert(url.clone())) {
            return Err(refuse(format!("initial cluster {} has duplicate url", show(listed))));
        }
        all.insert(member.clone(), member_urls);
    }
    if !all.contains_key(name) {
        return Err(refuse(format!(
            "couldn't find local name {name:?} in the initial cluster configuration"
        )));
    }
    Ok(all)
}

async fn new(options: &Options, listed: &Listed, token: &str) -> Result<Identity, Error> {
    let members = checked(listed, &options.name)?;
    let own = members.get(&options.name).cloned().unwrap_or_default();
    advertised_is_listed(options, &own).await?;
    let mut founders = BTreeMap::new();
    let mut member_id = 0;
    for (name, peer_urls) in &members {
        let id = ids::member_id(peer_urls, token, None);
        if *name == options.name {
            member_id = id;
        }
        let founder = Founder {
            name: name.clone(),
            peer_urls: peer_urls.clone(),
        };
        if id == 0 || founders.insert(id, founder).is_some() {
            return Err(refuse(format!("member exists with identical ID {id:x}")));
        }
    }
    let remote = others(&members, &options.name);
    let asked = remote.iter().map(|url| ask_members(url, options, PROBE_TIMEOUT));
    let was_here = |cluster: &RemoteCluster| {
        let this = cluster.members.iter().find(|m| m.id == member_id);
        this.is_some_and(|m| !m.client_urls.is_empty())
    };
    let answers = futures::future::join_all(asked).await;
    answers.iter().flatten().try_for_each(of_our_kind)?;
    if answers.iter().flatten().any(was_here) {
        return Err(refuse(format!(
            "member {member_id:x} has already been bootstrapped: it was in this cluster with other data. Remove it from the \
             cluster, add it again, and start it with initial-cluster-state `existing`"
        )));
    }
    Ok(Identity {
        member_id,
        cluster_id: ids::cluster_id(founders.keys().copied()),
        beginning: Beginning::Form(founders),
    })
}

/// What this member tells others has to be what the list says of it.
async fn advertised_is_listed(options: &Options, own: &[String]) -> Result<(), Error> {
    let advertised = &options.peers.advertise_urls;
    if advertised.is_empty() || urls::same(advertised, own).await {
        return Ok(());
    }
    let named = |all: &[String]| {
        let pairs: Vec<_> = all.iter().map(|url| format!("{}={url}", options.name)).collect();
        pairs.join(",")
    };
    let missing: Vec<String> = own.iter().filter(|url| !advertised.contains(url)).cloned().collect();
    Err(refuse(if missing.is_empty() {
        let extra: Vec<_> = advertised.iter().filter(|url| !own.contains(url)).cloned().collect();
        format!(
            "--initial-advertise-peer-urls has {} but missing from --initial-cluster={}",
            extra.join(","),
            named(own)
        )
    } else {
        format!(
            "--initial-cluster has {} but missing from --initial-advertise-peer-urls={}",
            named(&missing),
            advertised.join(",")
        )
    }))
}

fn others(members: &Listed, name: &str) -> Vec<String> {
    let others = members.iter().filter(|(member, _)| *member != name);
    let mut urls: Vec<String> = others.flat_map(|(_, urls)| urls.clone()).collect();
    urls.sort();
    urls
}

async fn ask_members(url: &str, options: &Options, timeout: Duration) -> Result<RemoteCluster, String> {
    let answer = dial::get(url, "/members", &options.peers.client_tls, timeout).await?;
    if !answer.status.is_success() {
        return Err(format!("status {}", answer.status));
    }
    let members = serde_json::from_slice(&answer.body).map_err(|e| e.to_string())?;
    let id = answer.headers.get(CLUSTER_ID_HEADER).and_then(|v| v.to_str().ok());
    let id = id.and_then(|hex| u64::from_str_radix(hex, 16).ok());
    let id = id.ok_or_else(|| format!("the answer has no {CLUSTER_ID_HEADER}"))?;
    let is_ours = answer.headers.get(PROTOCOL_HEADER).is_some_and(|v| v == PROTOCOL);
    Ok(RemoteCluster { id, is_ours, members })
}

async fn existing(options: &Options, listed: &Listed) -> Result<Identity, Error> {
    let members = checked(listed, &options.name)?;
    let cluster = first_answer(options, &others(&members, &options.name)).await?;
    of_our_kind(&cluster)?;
    if cluster.members.len() != members.len() {
        return Err(refuse(format!(
            "error validating peerURLs {}: member count is unequal: the cluster {:x} has {} members and initial-cluster \
             lists {}. Add this member to the cluster first, and list everybody",
            show(&members),
            cluster.id,
            cluster.members.len(),
            members.len()
        )));
    }
    let learners = cluster.members.iter().filter(|m| m.is_learner).count();
    if learners > options.max_learners {
        return Err(refuse("membership: too many learner members in cluster"));
    }
    let mut member_id = None;
    for remote in &cluster.members {
        let mut found = None;
        for (name, peer_urls) in &members {
            if urls::same(&remote.peer_urls, peer_urls).await {
                found = Some(name);
                break;
            }
        }
        let Some(name) = found else {
            return Err(refuse(format!(
                "error validating peerURLs {}: PeerURLs: no match found for existing member ({:x}, {:?})",
                show(&members),
                remote.id,
                remote.peer_urls
            )));
        };
        if *name == options.name {
            member_id = Some(remote.id);
        }
    }
    let member_id = member_id.ok_or_else(|| {
        refuse(format!(
            "none of the members of the cluster {:x} has the peer URLs of {:?}: add this member to the cluster first",
            cluster.id, options.name
        ))
    })?;
    compatible(options, &cluster, member_id).await?;
    Ok(Identity {
        member_id,
        cluster_id: cluster.id,
        beginning: Beginning::Join,
    })
}

/// Waiting for a real etcd to say something would be waiting for ever.
fn of_our_kind(cluster: &RemoteCluster) -> Result<(), Error> {
    if cluster.is_ours {
        return Ok(());
    }
    Err(refuse(format!(
        "the members of the cluster {:x} do not speak {PROTOCOL}: they are of another datastore, a real etcd perhaps, and \
         this member cannot be one of them. Save a snapshot there with `etcdctl snapshot save`, and restore it into an \
         empty folder of a cluster of its own",
        cluster.id
    )))
}

/// The cluster speaks a version that this member can, as each member that answers says.
async fn compatible(options: &Options, cluster: &RemoteCluster, own: u64) -> Result<(), Error> {
    let asked = cluster.members.iter().filter(|m| m.id != own).map(|remote| async move {
        let mut said = None;
        for url in &remote.peer_urls {
            said = said.or(ask_version(url, options).await.ok());
        }
        (remote.id, said)
    });
    let mut answered = false;
    for (id, said) in futures::future::join_all(asked).await {
        let Some(said) = said else { continue };
        if let Err(why) = version::may_join(&said) {
            tracing::warn!(
                "remote-member-id" = %format_args!("{id:x}"),
                "remote-member-cluster-version" = said,
                "{why}"
            );
            answered = false;
            break;
        }
        answered = true;
    }
    if answered {
        Ok(())
    } else {
        Err(refuse("incompatible with current running cluster"))
    }
}

async fn ask_version(url: &str, options: &Options) -> Result<String, String> {
    let answer = dial::get(url, "/version", &options.peers.client_tls, MEMBERS_TIMEOUT).await?;
    let version: RemoteVersion = serde_json::from_slice(&answer.body).map_err(|e| e.to_string())?;
    Ok(version.etcdcluster)
}

async fn first_answer(options: &Options, urls: &[String]) -> Result<RemoteCluster, Error> {
    for url in urls {
        match ask_members(url, options, MEMBERS_TIMEOUT).await {
            Ok(cluster) if cluster.members.is_empty() => {
                return Err(refuse(
                    "cannot fetch cluster info from peer urls: failed to get raft cluster member(s) from the given URLs",
                ));
            }
            Ok(cluster) => return Ok(cluster),
            Err(error) => tracing::warn!(
                address = format!("{url}/members"),
                error,
                "failed to get cluster response"
            ),
        }
    }
    Err(refuse(
        "cannot fetch cluster info from peer urls: could not retrieve cluster information from the given URLs",
    ))
}

#[cfg(test)]
mod tests;
