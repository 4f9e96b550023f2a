//! The rows that etcd writes as JSON, in the form in which Go writes them.

use serde::{Deserialize, Serialize};

/// Go writes an empty list as null.
fn or_empty<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(d: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::<Vec<T>>::deserialize(d)?.unwrap_or_default())
}

/// Who votes and who learns, by raft's own view: row `confState` of `meta`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfState {
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub voters: Vec<u64>,
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub learners: Vec<u64>,
    /// Voters of the configuration that is being left.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub voters_outgoing: Vec<u64>,
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub learners_next: Vec<u64>,
    pub auto_leave: bool,
}

/// A downgrade under way: row `downgrade` of `cluster`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Downgrade {
    #[serde(rename = "target-version")]
    pub target_version: String,
    pub enabled: bool,
}

/// A row of `members`; etcd keeps the id in the row's key too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct MemberRow {
    pub id: u64,
    #[serde(rename = "peerURLs", deserialize_with = "or_empty")]
    pub peer_urls: Vec<String>,
    #[serde(rename = "isLearner", skip_serializing_if = "std::ops::Not::not")]
    pub is_learner: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(
        rename = "clientURLs",
        deserialize_with = "or_empty",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub client_urls: Vec<String>,
}
