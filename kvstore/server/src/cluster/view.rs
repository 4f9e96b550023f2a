//! The members as users see them: the log's membership and what each has published, put together.

use keelson_mvcc::ClusterMeta;
use keelson_proto::{ask, etcdserverpb as pb};
use keelson_raft::Members;

/// Sorted by id. A member is nameless until it has started, but for those that formed the cluster.
pub fn members(of: &Members, meta: &ClusterMeta) -> Vec<pb::Member> {
    let view = |(id, member): (&u64, &keelson_raft::MemberView)| {
        let published = meta.attributes.get(id);
        pb::Member {
            id: *id,
            name: published.map_or_else(|| member.member.name.clone(), |a| a.name.clone()),
            peer_ur_ls: member.member.peer_urls.clone(),
            client_ur_ls: published.map(|a| a.client_urls.clone()).unwrap_or_default(),
            is_learner: member.is_learner(),
        }
    };
    of.members.iter().map(view).collect()
}

pub fn to_ask(member: pb::Member) -> ask::Member {
    ask::Member {
        id: member.id,
        name: member.name,
        peer_urls: member.peer_ur_ls,
        client_urls: member.client_ur_ls,
        is_learner: member.is_learner,
    }
}

pub fn from_ask(member: ask::Member) -> pb::Member {
    pb::Member {
        id: member.id,
        name: member.name,
        peer_ur_ls: member.peer_urls,
        client_ur_ls: member.client_urls,
        is_learner: member.is_learner,
    }
}
