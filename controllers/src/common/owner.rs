//! Controlling owners: who owns an object, adoption of orphans, release of what no longer matches.
use super::Error;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use keelson_client::api::Object;
use keelson_client::events::controller_ref;
use keelson_client::{Api, Patch, PatchParams};
use keelson_machinery::labels::Selector;
use serde_json::json;
use std::sync::Arc;

/// The reference to the controlling owner.
pub fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references
        .iter()
        .flatten()
        .find(|r| r.controller == Some(true))
}

/// The key of the controlling owner, if it is of kind `K`.
pub fn owner_key<K: Object>(meta: &ObjectMeta) -> Option<String> {
    let r = controller_of(meta)?;
    let group = |v: &str| v.split_once('/').map_or(String::new(), |(g, _)| g.to_owned());
    (r.kind == K::KIND && group(&r.api_version) == group(K::API_VERSION))
        .then(|| format!("{}/{}", meta.namespace.as_deref().unwrap_or_default(), r.name))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    Keep,
    Adopt,
    Release,
    Ignore,
}

/// What `owner` does about an object: it keeps what it controls and selects, releases what it no longer selects,
/// and adopts a matching orphan, unless either of the two is being deleted.
pub fn claim(owner: &ObjectMeta, selector: &Selector, object: &ObjectMeta) -> Claim {
    let matches = selector.matches_map(object.labels.as_ref());
    match controller_of(object) {
        Some(r) if Some(r.uid.as_str()) == owner.uid.as_deref() => {
            match (matches, owner.deletion_timestamp.is_some()) {
                (true, _) => Claim::Keep,
                (false, true) => Claim::Ignore,
                (false, false) => Claim::Release,
            }
        }
        Some(_) => Claim::Ignore,
        None => {
            let deleting = owner.deletion_timestamp.is_some() || object.deletion_timestamp.is_some();
            if matches && !deleting && owner.namespace == object.namespace {
                Claim::Adopt
            } else {
                Claim::Ignore
            }
        }
    }
}

/// Applies [`claim`] to `candidates` and returns those that `owner` controls then.
pub async fn claim_all<O: Object, K: Object>(
    owner: &O,
    selector: &Selector,
    candidates: Vec<Arc<K>>,
    owners: &Api<O>,
    objects: &Api<K>,
) -> Result<Vec<Arc<K>>, Error> {
    let meta = owner.metadata();
    let mut mine = Vec::with_capacity(candidates.len());
    // Asked once, before the first adoption: the local copy of the owner may be behind its deletion.
    let mut may_adopt: Option<bool> = None;
    for object in candidates {
        let m = object.metadata();
        let name = m.name.as_deref().unwrap_or_default();
        let patch = match claim(meta, selector, m) {
            Claim::Keep => {
                mine.push(object);
                continue;
            }
            Claim::Ignore => continue,
            Claim::Adopt => {
                if may_adopt.is_none() {
                    let fresh = owners.get_opt(meta.name.as_deref().unwrap_or_default()).await?;
                    may_adopt =
                        Some(fresh.is_some_and(|f| {
                            f.metadata().uid == meta.uid && f.metadata().deletion_timestamp.is_none()
                        }));
                }
                if may_adopt != Some(true) {
                    continue;
                }
                json!({"metadata": {"uid": m.uid, "ownerReferences": [controller_ref(owner)]}})
            }
            Claim::Release => {
                json!({"metadata": {"uid": m.uid, "ownerReferences": [{"$patch": "delete", "uid": meta.uid}]}})
            }
        };
        let adopting = claim(meta, selector, m) == Claim::Adopt;
        match objects
            .patch(name, &PatchParams::default(), &Patch::Strategic(patch))
            .await
        {
            Ok(o) if adopting => mine.push(Arc::new(o)),
            Ok(_) => {}
            // Gone, or another object of the same name: nothing to claim.
            Err(e) if e.is_not_found() || e.reason() == "Invalid" => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(mine)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn meta(v: serde_json::Value) -> ObjectMeta {
        serde_json::from_value(v).unwrap()
    }

    #[test]
    fn claims_follow_owner_and_labels() {
        let owner = meta(json!({"namespace": "d", "name": "o", "uid": "1"}));
        let sel = Selector::parse("app=x").unwrap();
        let of = |uid: &str| json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "o", "uid": uid, "controller": true}]);
        let c = |o| claim(&owner, &sel, &meta(o));
        let app = json!({"app": "x"});
        assert_eq!(
            c(json!({"namespace": "d", "labels": app, "ownerReferences": of("1")})),
            Claim::Keep
        );
        assert_eq!(c(json!({"namespace": "d", "ownerReferences": of("1")})), Claim::Release);
        assert_eq!(
            c(json!({"namespace": "d", "labels": app, "ownerReferences": of("2")})),
            Claim::Ignore
        );
        assert_eq!(c(json!({"namespace": "d", "labels": app})), Claim::Adopt);
        assert_eq!(c(json!({"namespace": "d"})), Claim::Ignore);
        let dying = json!({"namespace": "d", "labels": app, "deletionTimestamp": "2026-01-01T00:00:00Z"});
        assert_eq!(c(dying), Claim::Ignore);
    }
}
