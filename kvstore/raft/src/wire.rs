//! openraft's messages as members send them to each other. What arrives is checked here: openraft trusts its peers, and
//! asserts where a message contradicts itself.
use crate::{
    TransportError,
    types::{Entry, LogId, Types, Vote, entry_from_wal, entry_id, entry_to_wal, from_entry_id},
};
use keelson_proto::peer as pb;
use keelson_wal::EntryId;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use std::io;

/// Entries that one message carries at most.
pub(crate) const ENTRIES_MAX: usize = 16_384;

pub(crate) fn malformed(what: &str) -> TransportError {
    TransportError::Refused(format!("malformed message: {what}"))
}

pub(crate) fn log_id_to(id: &LogId) -> pb::LogId {
    let EntryId { term, index } = entry_id(id);
    pb::LogId { term, index }
}

/// Index 0 is no entry, and nothing fits after the last.
pub(crate) fn log_id_from(id: pb::LogId) -> Result<LogId, TransportError> {
    if id.index == 0 || id.index > u64::MAX >> 1 {
        return Err(malformed("no such index"));
    }
    Ok(from_entry_id(EntryId {
        term: id.term,
        index: id.index,
    }))
}

fn optional(id: Option<pb::LogId>) -> Result<Option<LogId>, TransportError> {
    id.map(log_id_from).transpose()
}

pub(crate) fn ballot_to(vote: &Vote) -> pb::BallotId {
    pb::BallotId {
        term: vote.leader_id.term,
        node: vote.leader_id.voted_for,
        committed: vote.committed,
    }
}

pub(crate) fn ballot_from(ballot: Option<pb::BallotId>) -> Result<Vote, TransportError> {
    let b = ballot.ok_or_else(|| malformed("no ballot"))?;
    if b.term > u64::MAX >> 1 {
        return Err(malformed("no such term"));
    }
    Ok(if b.committed {
        Vote::new_committed(b.term, b.node)
    } else {
        Vote::new(b.term, b.node)
    })
}

/// The ballot of a leader, which a quorum has granted.
pub(crate) fn leader_ballot(ballot: Option<pb::BallotId>) -> Result<Vote, TransportError> {
    let vote = ballot_from(ballot)?;
    if !vote.committed {
        return Err(malformed("a leader's message without a quorum's vote"));
    }
    Ok(vote)
}

pub(crate) fn append_to(request: AppendEntriesRequest<Types>, head: Option<pb::Head>) -> io::Result<pb::AppendRequest> {
    let mut entries = Vec::with_capacity(request.entries.len());
    let mut at = request
        .prev_log_id
        .as_ref()
        .map_or(0, |previous| entry_id(previous).index);
    for entry in request.entries {
        let entry = entry_to_wal(entry)?;
        // On the wire an entry has no index but its place: a hole would give others to all that follow.
        at = at.saturating_add(1);
        if entry.id.index != at {
            return Err(io::Error::other(format!(
                "entry {} stands where {at} must",
                entry.id.index
            )));
        }
        entries.push(pb::Entry {
            term: entry.id.term,
            tag: u32::from(entry.tag),
            payload: entry.payload,
        });
    }
    Ok(pb::AppendRequest {
        head,
        ballot: Some(ballot_to(&request.vote)),
        previous: request.prev_log_id.as_ref().map(log_id_to),
        entries,
        committed: request.leader_commit.as_ref().map(log_id_to),
    })
}

pub(crate) fn append_from(request: pb::AppendRequest) -> Result<AppendEntriesRequest<Types>, TransportError> {
    let vote = leader_ballot(request.ballot)?;
    let previous = optional(request.previous)?;
    let committed = optional(request.committed)?;
    if request.entries.len() > ENTRIES_MAX {
        return Err(malformed("too many entries"));
    }
    let mut at = previous.as_ref().map(entry_id).unwrap_or_default();
    let mut entries: Vec<Entry> = Vec::with_capacity(request.entries.len());
    for e in request.entries {
        if e.term < at.term {
            return Err(malformed("terms go back"));
        }
        at = EntryId {
            term: e.term,
            index: at.index.saturating_add(1),
        };
        let entry = keelson_wal::Entry {
            id: at,
            tag: u8::try_from(e.tag).map_err(|_| malformed("no such kind of entry"))?,
            payload: e.payload,
        };
        entries.push(entry_from_wal(entry).map_err(|e| malformed(&e.to_string()))?);
    }
    let committed_term = committed.as_ref().map_or(0, |c| entry_id(c).term);
    if at.term > vote.leader_id.term || committed_term > vote.leader_id.term {
        return Err(malformed("an entry of a later term than its leader's"));
    }
    Ok(AppendEntriesRequest {
        vote,
        prev_log_id: previous,
        entries,
        leader_commit: committed,
    })
}

pub(crate) fn appended_to(result: StreamAppendResult<Types>) -> pb::AppendResponse {
    use pb::append_response::Outcome;
    let (outcome, log_id, ballot) = match result {
        Ok(matched) => (Outcome::Matched, matched.as_ref().map(log_id_to), None),
        Err(StreamAppendError::Conflict(at)) => (Outcome::Conflict, Some(log_id_to(&at)), None),
        Err(StreamAppendError::HigherVote(vote)) => (Outcome::HigherBallot, None, Some(ballot_to(&vote))),
    };
    pb::AppendResponse {
        outcome: outcome as i32,
        log_id,
        ballot,
    }
}

pub(crate) fn appended_from(response: pb::AppendResponse) -> Result<StreamAppendResult<Types>, TransportError> {
    use pb::append_response::Outcome;
    let log_id = optional(response.log_id)?;
    Ok(match response.outcome() {
        Outcome::Matched => Ok(log_id),
        Outcome::Conflict => Err(StreamAppendError::Conflict(
            log_id.ok_or_else(|| malformed("a conflict at no entry"))?,
        )),
        Outcome::HigherBallot => Err(StreamAppendError::HigherVote(ballot_from(response.ballot)?)),
        Outcome::Unknown => return Err(malformed("no outcome")),
    })
}

pub(crate) fn vote_to(request: &VoteRequest<Types>, head: pb::Head) -> pb::VoteRequest {
    pb::VoteRequest {
        head: Some(head),
        ballot: Some(ballot_to(&request.vote)),
        last: request.last_log_id.as_ref().map(log_id_to),
        leadership_transfer: request.leadership_transfer,
    }
}

pub(crate) fn vote_from(request: pb::VoteRequest) -> Result<VoteRequest<Types>, TransportError> {
    let vote = ballot_from(request.ballot)?;
    if vote.committed {
        return Err(malformed("a candidate that was elected already"));
    }
    let mut out = VoteRequest::new(vote, optional(request.last)?);
    out.leadership_transfer = request.leadership_transfer;
    Ok(out)
}

pub(crate) fn voted_to(response: &VoteResponse<Types>) -> pb::VoteResponse {
    pb::VoteResponse {
        ballot: Some(ballot_to(&response.vote)),
        granted: response.vote_granted,
        last: response.last_log_id.as_ref().map(log_id_to),
    }
}

pub(crate) fn voted_from(response: pb::VoteResponse) -> Result<VoteResponse<Types>, TransportError> {
    let vote = ballot_from(response.ballot)?;
    Ok(VoteResponse::new(vote, optional(response.last)?, response.granted))
}

pub(crate) fn transfer_to(request: &TransferLeaderRequest<Types>, head: pb::Head) -> pb::TransferLeaderRequest {
    pb::TransferLeaderRequest {
        head: Some(head),
        ballot: Some(ballot_to(request.from_leader())),
        to: *request.to_node_id(),
        last: request.last_log_id().map(log_id_to),
    }
}

pub(crate) fn transfer_from(
    request: pb::TransferLeaderRequest,
) -> Result<TransferLeaderRequest<Types>, TransportError> {
    let vote = leader_ballot(request.ballot)?;
    Ok(TransferLeaderRequest::new(vote, request.to, optional(request.last)?))
}
