//! Which combinations of parameters mean something (upstream: apimachinery's ValidateListOptions).
use super::{ListOptions, WatchOptions};
use crate::storage::Revision;
use keelson_machinery::status::{ApiError, FieldError};
use serde_json::Value;

/// What a list reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// As new as any write that was acknowledged before the request.
    Newest,
    /// Whatever the cache has.
    Any,
    AtLeast(Revision),
    Exactly(Revision),
}

/// A resourceVersion parameter; `None` when it is not set.
pub(super) fn revision(text: &str) -> Result<Option<Revision>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    let invalid = |_| {
        ApiError::bad_request(format!(
            "invalid resource version {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
        ))
    };
    text.parse().map(Some).map_err(invalid)
}

fn refuse(errors: Vec<FieldError>) -> Result<(), ApiError> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid("meta.k8s.io", "ListOptions", "", &errors))
}

const MATCH: &str = "resourceVersionMatch";
const INITIAL: &str = "sendInitialEvents";

pub(super) fn list(o: &ListOptions) -> Result<Read, ApiError> {
    let at = revision(&o.resource_version)?;
    let forbid = |why: &str| refuse(vec![FieldError::forbidden(MATCH, why)]);
    match o.resource_version_match.as_str() {
        "" => {}
        _ if !o.continue_token.is_empty() => {
            forbid("resourceVersionMatch is forbidden when continue is provided")?;
        }
        _ if at.is_none() => forbid("resourceVersionMatch is forbidden unless resourceVersion is provided")?,
        "Exact" if at == Some(0) => {
            forbid("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"")?;
        }
        "Exact" | "NotOlderThan" => {}
        other => refuse(vec![FieldError::not_supported(
            MATCH,
            &Value::from(other),
            &["Exact", "NotOlderThan", ""],
        )])?,
    }
    if !o.continue_token.is_empty() && at.is_some_and(|r| r != 0) {
        return Err(ApiError::bad_request(
            "specifying resource version is not allowed when using continue",
        ));
    }
    Ok(match at {
        None => Read::Newest,
        Some(0) => Read::Any,
        Some(r) if o.resource_version_match == "Exact" => Read::Exactly(r),
        // Without a match, a limit has always meant the exact revision.
        Some(r) if o.resource_version_match.is_empty() && o.limit > 0 => Read::Exactly(r),
        Some(r) => Read::AtLeast(r),
    })
}

/// Where a watch starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// First what there is, then its changes; whether a bookmark ends the first part.
    Initial {
        read: Read,
        bookmark: bool,
    },
    /// Changes after what is newest now.
    Now,
    After(Revision),
}

pub(super) fn watch(o: &WatchOptions) -> Result<Start, ApiError> {
    let at = revision(&o.resource_version)?;
    let mut errors = Vec::new();
    match (o.send_initial_events, o.resource_version_match.as_str()) {
        (None, "") | (Some(_), "NotOlderThan") => {}
        (None, _) => errors.push(FieldError::forbidden(
            MATCH,
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        )),
        (Some(_), "") => errors.push(FieldError::forbidden(
            MATCH,
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        )),
        (Some(_), other) => {
            errors.push(FieldError::not_supported(MATCH, &Value::from(other), &["NotOlderThan"]));
        }
    }
    if o.send_initial_events == Some(true) && !o.allow_bookmarks {
        errors.push(FieldError::forbidden(
            INITIAL,
            "sendInitialEvents requires allowWatchBookmarks",
        ));
    }
    refuse(errors)?;
    let read = match at {
        None => Read::Newest,
        Some(0) => Read::Any,
        Some(r) => Read::AtLeast(r),
    };
    Ok(match (o.send_initial_events, at) {
        (Some(true), _) => Start::Initial { read, bookmark: true },
        (Some(false), None | Some(0)) => Start::Now,
        // Upstream's "get state and start": the objects come as Added first.
        (None, None | Some(0)) => Start::Initial { read, bookmark: false },
        (_, Some(r)) => Start::After(r),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(version: &str, matching: &str, limit: u64) -> Result<Read, u16> {
        let o = ListOptions {
            resource_version: version.into(),
            resource_version_match: matching.into(),
            limit,
            ..Default::default()
        };
        list(&o).map_err(|e| e.code)
    }

    #[test]
    fn versions_and_matches_of_lists() {
        assert_eq!(of("", "", 0), Ok(Read::Newest));
        assert_eq!(of("0", "", 5), Ok(Read::Any));
        assert_eq!(of("7", "", 0), Ok(Read::AtLeast(7)));
        assert_eq!(of("7", "", 5), Ok(Read::Exactly(7)));
        assert_eq!(of("7", "NotOlderThan", 5), Ok(Read::AtLeast(7)));
        assert_eq!(of("7", "Exact", 0), Ok(Read::Exactly(7)));
        assert_eq!(of("0", "Exact", 0), Err(422));
        assert_eq!(of("", "Exact", 0), Err(422));
        assert_eq!(of("7", "Never", 0), Err(422));
        assert_eq!(of("x", "", 0), Err(400));
    }

    #[test]
    fn starts_of_watches() {
        let of = |version: &str, matching: &str, initial: Option<bool>| {
            watch(&WatchOptions {
                resource_version: version.into(),
                resource_version_match: matching.into(),
                send_initial_events: initial,
                allow_bookmarks: true,
                ..Default::default()
            })
            .map_err(|e| e.code)
        };
        let initial = |read, bookmark| Ok(Start::Initial { read, bookmark });
        assert_eq!(of("", "", None), initial(Read::Newest, false));
        assert_eq!(of("0", "", None), initial(Read::Any, false));
        assert_eq!(of("5", "", None), Ok(Start::After(5)));
        assert_eq!(of("", "NotOlderThan", Some(true)), initial(Read::Newest, true));
        assert_eq!(of("5", "NotOlderThan", Some(true)), initial(Read::AtLeast(5), true));
        assert_eq!(of("", "NotOlderThan", Some(false)), Ok(Start::Now));
        assert_eq!(of("", "", Some(true)), Err(422));
        assert_eq!(of("", "NotOlderThan", None), Err(422));
    }
}
