//! Workloads on the Kubernetes API: two API servers and two schedulers, processes of their own, on the members' store.
//!
//! # Objects
//! Every workload has a namespace of its own name; `key` of an operation is the object's name. Its key in the store is
//! `/registry/configmaps/<workload>/<name>`, or `/registry/pods/kube-bind/<name>` and `/registry/minions/<name>` (the
//! prefix of Nodes). A resourceVersion is the store's revision, so what the spectators saw is the truth: at which
//! revisions a key was written and deleted.
//!
//! Values in the store are protobuf, as text they are damaged, but what is needed stands in them in plain ASCII:
//! - ConfigMaps carry a mark `{{<v>|<color>}}` in their data: `v` is the number that was written, unique within a run,
//!   `color` the label `color` that was written with it, or nothing (`{{17|red}}`, `{{18|}}`). [`mark_in`] finds it.
//! - Nodes are named `hollow-01`, `hollow-02`, … (two digits); such a name in a Pod's value is its `spec.nodeName`, as
//!   nothing else in a Pod holds one. [`node_in`] finds it.
//! - A Pod is named `p-<number>-<milli>`: it requests `milli` thousandths of a CPU. [`request_of`] reads it.
//!
//! # Operations
//! `node` is the API server that is asked, from 1. `rv` is a resourceVersion as text, as in the request. A seen object
//! is [`Seen`](crate::history::Seen). `revision` of an `ok` is the written object's resourceVersion, or a list's; reads
//! of one object and deletions have none. `fail`: refused with a 4xx (the error begins with `<code> <reason>`), or never
//! sent. Reads that go wrong are always `fail`. What may have been written although there was no answer, or a 5xx, is
//! `info`.
//!
//! In all workloads on ConfigMaps:
//! - `create` `{"v", "color"}` → seen. `fail` 409 AlreadyExists.
//! - `update` `{"v", "color", "rv"}` → seen. PUT of the whole object. With `rv` not `""` the write directly follows the
//!   revision `rv` of the key (its event before is that of revision `rv`, not a deletion); else 409 Conflict.
//! - `patch` `{"v", "color", "rv", "type"}` → seen, `type` one of `merge`, `strategic`, `json`; `rv` as above, its
//!   precondition stands in the patch.
//! - `delete` `{"rv", "uid"}` → `{"uid"}` of what was deleted. With `rv` not `""` the deletion directly follows that
//!   revision; with `uid` not `""` what is deleted has that uid. Both fail with 409 Conflict, a missing object with 404.
//! - `get` `{"rv"}` → seen or null. `""`: consistent, so not older than any write that was acknowledged before the call,
//!   at any of the API servers; `"0"`: any state of the past; else not older than `rv`.
//! - `list` `{"rv", "match", "color", "limit", "token", "walk", "page"}` →
//!   `{"rv": n, "items": [seen…], "more": bool, "remaining": n|null}`. `color` `""` is without selector. `match` is
//!   `""`, `Exact` or `NotOlderThan`. The items are exactly the content at the answer's `rv` that meets the selector
//!   (from the token's place on, the first `limit` of it when there is a limit), in the order of names. What `rv` of the
//!   answer must be: `rv` `""` – not older than any acknowledged write before the call; `"0"` – any; `Exact`, or a limit
//!   without `match` – equal; else not older. Pages of one `walk` are numbered by `page` from 0; later ones are asked
//!   with the token of the one before (`token` `"consistent"`, else `""` on a first page) and have the rv of the first.
//!   Where a page is refused with 410, the walk goes on with the token in the refusal: `token` is `"inconsistent"`, the
//!   rv is a new one, not older than writes acknowledged before the call, and following pages keep it. `remaining` is
//!   null under a selector, else exactly the objects after this page. `list` with `limit` 0 has `walk` 0, `page` 0.
//!
//! `kube-rv` has the object `set` besides, which all clients patch without a precondition:
//! - `add` 17 → null: a merge patch that adds the data key `e17`; the API server reads, merges and writes until it wins.
//! - `read` null → `[17, …]`, consistent, at any API server; `read-final` likewise after healing. No acknowledged
//!   element may ever be missing from a read that was called after the acknowledgement.
//!
//! `kube-page` compacts: `compact` `{"revision": n}` → null, asked of a member.
//!
//! `kube-bind`:
//! - `node` key `hollow-01` `{"milli": 4000, "pods": 20}` → seen: a Node with that allocatable. Before all Pods.
//! - `pod` key name `{"milli"}` → seen. `delete` `{"rv": "", "uid"}` → `{"uid"}`, without grace: it is gone from the store.
//! - `settle` null → `{"pending": [names]}` after healing: the clients have deleted Pods until the rest fits certainly
//!   (at most half of all CPU); pending is who had no node within the bound. It must be empty.
//! - At no revision may the Pods on a node request more than it has (milli, and the count `pods`), and a Pod that has a
//!   node keeps it until it is deleted. Overcommitment is judged only when the option `kube-schedulers` of the run is
//!   `elected` (the default); `both` runs two schedulers at once, which must still never bind a Pod twice, but which
//!   nothing in Kubernetes keeps from filling a node twice.
//!
//! # Informers
//! `informer-<workload>-<n>.jsonl` has the lines of [`InformerRecord`](crate::history::InformerRecord) of one client;
//! its streams go one after another. Clients of `kube-watch` watch with and without selector, at either API server, from
//! revisions of a list, of the last event or bookmark (at the same or at the other server), from old revisions, and from
//! `"0"` and `""` (where the content comes first, as ADDED, and its end is not marked). Those of `kube-watchlist` ask for
//! `sendInitialEvents`. Lists before a watch are operations of the history. What holds for a stream with start `S`:
//! - Without initial events (`rv` a number `S`): exactly the transitions after `S` that concern the selector, in the
//!   order of revisions: a change from not meeting it (or not being there) to meeting it is ADDED, between two that meet
//!   it MODIFIED, from meeting it to not (or to being gone) DELETED with the object as it was and the revision of the
//!   change. Nothing is left out before what came last, a bookmark included; nothing comes twice.
//! - With initial events: before the marked bookmark ADDED for exactly the content at its rv; then as above from there.
//!   rv of the content: as for lists (`""` newest, `"0"` any, else not older). From `"0"` and `""` without
//!   `sendInitialEvents` the end of the content is not told: there is a revision `R` such that the first events are the
//!   content at `R` and the rest are the transitions after `R`.
//! - Bookmarks never go back, and nothing at or below one comes after it.
//! - A watch may be refused or ended by 410 when `S` is not among what the server remembers; never by leaving out events.
//! - After healing every informer reaches the end of the workload: the run's last operations write an object `last` in
//!   the namespace, and each client of `kube-watch` and `kube-watchlist` that watches without selector sees it within the
//!   bound; a stream that did not is `liveness`.

mod api;
mod bind;
mod client;
mod informer;
mod object;
mod page;
mod rv;
mod setup;
mod watch;

pub use api::{Access, AccessError};
pub use setup::ready;

use super::Workload;

/// Whether a workload of this name needs API servers.
pub fn is_one(name: &str) -> bool {
    name.starts_with("kube-")
}

/// All workloads on API servers, in the order of their listing.
pub fn all() -> Vec<Box<dyn Workload>> {
    vec![
        Box::new(rv::KubeRv::default()),
        Box::new(watch::KubeWatch::plain()),
        Box::new(page::KubePage::default()),
        Box::new(watch::KubeWatch::watch_list()),
        Box::new(bind::KubeBind::default()),
    ]
}

/// The mark in a value of the store, or in the data of an object: what was written last, and its color.
///
/// The value is protobuf read as text: bytes that are no UTF-8 may be damaged, the mark is ASCII.
pub fn mark_in(value: &str) -> Option<(u64, &str)> {
    let inner = value.split_once("{{")?.1.split_once("}}")?.0;
    let (v, color) = inner.split_once('|')?;
    Some((v.parse().ok()?, color))
}

/// The mark that is written with an object.
pub fn mark(v: u64, color: &str) -> String {
    format!("{{{{{v}|{color}}}}}")
}

/// The node in a Pod's value of the store: `hollow-` and two digits.
pub fn node_in(value: &str) -> Option<&str> {
    let mut from = 0;
    while let Some(at) = value[from..].find(NODE_PREFIX) {
        let begin = from + at;
        let digits = begin + NODE_PREFIX.len();
        if let Some(name) = value.get(begin..digits + NODE_DIGITS)
            && value[digits..].bytes().take(NODE_DIGITS).all(|b| b.is_ascii_digit())
        {
            return Some(name);
        }
        from = digits;
    }
    None
}

/// Names of Nodes begin with it.
pub const NODE_PREFIX: &str = "hollow-";
const NODE_DIGITS: usize = 2;

/// Name of the Pod with that number and that request, thousandths of a CPU.
pub fn pod_name(number: u64, milli: u64) -> String {
    format!("p-{number}-{milli}")
}

/// What a Pod of that name requests, thousandths of a CPU.
pub fn request_of(name: &str) -> Option<u64> {
    name.strip_prefix("p-")?.split_once('-')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_in_damaged_values() {
        let value = format!("k8s\0\u{fffd}\u{12}{}\u{fffd}{{", mark(17, "red"));
        assert_eq!(mark_in(&value), Some((17, "red")));
        assert_eq!(mark_in(&mark(18, "")), Some((18, "")));
        assert_eq!(mark_in("{{x|}}"), None);
        assert_eq!(mark_in("nothing"), None);
    }

    #[test]
    fn nodes_are_found_in_damaged_values() {
        assert_eq!(node_in("\u{fffd}R\thollow-03\u{fffd}"), Some("hollow-03"));
        assert_eq!(node_in("hollow-x hollow-1"), None);
        assert_eq!(node_in("hollow-é hollow-12x"), Some("hollow-12"));
        assert_eq!(node_in(""), None);
    }

    #[test]
    fn pods_tell_their_request_by_name() {
        assert_eq!(request_of(&pod_name(7, 250)), Some(250));
        assert_eq!(request_of("hollow-01"), None);
    }
}
