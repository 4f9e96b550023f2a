//! Keys as upstream lays them out: `/registry/<prefix>/<namespace>/<name>`.
use keelson_machinery::resources::Resource;

pub const ROOT: &str = "/registry/";
/// Upstream: etcd3/compact.go.
pub const COMPACT_REV_KEY: &[u8] = b"compact_rev_key";

/// `/registry/pods/`: every object of a kind.
pub fn prefix(resource: &Resource) -> String {
    format!("{ROOT}{}/", resource.storage_prefix)
}

/// The prefix of a namespace's objects, or of all when `namespace` is empty or the kind has none.
pub fn list_prefix(resource: &Resource, namespace: &str) -> String {
    if resource.namespaced && !namespace.is_empty() {
        format!("{ROOT}{}/{namespace}/", resource.storage_prefix)
    } else {
        prefix(resource)
    }
}

pub fn object(resource: &Resource, namespace: &str, name: &str) -> String {
    if resource.namespaced {
        format!("{ROOT}{}/{namespace}/{name}", resource.storage_prefix)
    } else {
        format!("{ROOT}{}/{name}", resource.storage_prefix)
    }
}

/// The first key after every key with `prefix` (etcd's `GetPrefixRangeEnd`); `\0` when there is none.
pub fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

/// Namespace and name from a key under `prefix`.
pub fn split<'a>(key: &'a [u8], prefix: &str, namespaced: bool) -> Option<(&'a str, &'a str)> {
    let rest = std::str::from_utf8(key).ok()?.strip_prefix(prefix)?;
    if namespaced {
        rest.split_once('/')
    } else {
        Some(("", rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_its_successor() {
        assert_eq!(prefix_end(b"/registry/pods/"), b"/registry/pods0");
        assert_eq!(prefix_end(b"a\xff"), b"b");
        assert_eq!(prefix_end(b"\xff"), b"\0");
    }

    #[test]
    fn keys_split_into_namespace_and_name() {
        assert_eq!(
            split(b"/registry/pods/ns/a", "/registry/pods/", true),
            Some(("ns", "a"))
        );
        assert_eq!(
            split(b"/registry/minions/n", "/registry/minions/", false),
            Some(("", "n"))
        );
        assert_eq!(split(b"/registry/pods/a", "/registry/pods/", true), None);
    }
}
