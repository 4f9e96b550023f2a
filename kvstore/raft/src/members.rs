//! Who is in the group, as the machine has applied it.
use crate::types::{Member, StoredMembership, entry_id};
use std::collections::BTreeMap;

/// One member and its part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberView {
    pub member: Member,
    /// Counts in quorums now. A member that wants a vote and has yet to catch up does not.
    pub votes: bool,
}

impl MemberView {
    /// What users call a learner: it does not vote and was not added to vote.
    pub fn is_learner(&self) -> bool {
        !self.votes && !self.member.wants_vote
    }
}

/// The members at one index of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Where the change stands that made them so; 0 before the first.
    pub index: u64,
    pub members: BTreeMap<u64, MemberView>,
    /// A change of voters has begun and not ended: majorities of both sets decide.
    pub joint: bool,
}

impl Members {
    pub(crate) fn of(stored: &StoredMembership) -> Self {
        let membership = stored.membership();
        let voters: Vec<u64> = membership.voter_ids().collect();
        let members = membership.nodes().map(|(id, member)| {
            let view = MemberView {
                member: member.clone(),
                votes: voters.contains(id),
            };
            (*id, view)
        });
        Members {
            index: stored.log_id().as_ref().map_or(0, |l| entry_id(l).index),
            members: members.collect(),
            joint: membership.get_joint_config().len() > 1,
        }
    }

    pub fn voters(&self) -> impl Iterator<Item = u64> {
        self.members.iter().filter(|(_, m)| m.votes).map(|(id, _)| *id)
    }

    pub(crate) fn urls(&self) -> BTreeMap<u64, Vec<String>> {
        let urls = self.members.iter().map(|(id, m)| (*id, m.member.peer_urls.clone()));
        urls.collect()
    }
}
