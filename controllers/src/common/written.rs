//! What a controller last wrote, so that it does not decide on an older copy of its own object.
use super::key;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::Mutex;
use std::collections::HashMap;

/// ResourceVersions of one kind compare as numbers (KEP-5504).
#[derive(Default)]
pub struct Written(Mutex<HashMap<String, (String, u64)>>);

fn version(meta: &ObjectMeta) -> Option<(String, u64)> {
    Some((meta.uid.clone()?, meta.resource_version.as_ref()?.parse().ok()?))
}

impl Written {
    pub fn note(&self, meta: &ObjectMeta) {
        if let Some(v) = version(meta) {
            self.0.lock().insert(key(meta), v);
        }
    }
    /// Whether the copy `meta` is older than what was written.
    pub fn is_behind(&self, meta: &ObjectMeta) -> bool {
        let Some((uid, have)) = version(meta) else {
            return false;
        };
        let map = self.0.lock();
        map.get(&key(meta)).is_some_and(|(u, wrote)| *u == uid && have < *wrote)
    }
    pub fn forget(&self, key: &str) {
        self.0.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_copy_is_behind_and_another_object_is_not() {
        let meta = |uid: &str, rv: &str| ObjectMeta {
            name: Some("a".into()),
            uid: Some(uid.into()),
            resource_version: Some(rv.into()),
            ..ObjectMeta::default()
        };
        let w = Written::default();
        w.note(&meta("1", "10"));
        assert!(w.is_behind(&meta("1", "9")));
        assert!(!w.is_behind(&meta("1", "10")));
        assert!(!w.is_behind(&meta("2", "9")));
        w.forget("a");
        assert!(!w.is_behind(&meta("1", "9")));
    }
}
