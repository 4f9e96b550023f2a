//! Ids of members and clusters, computed as etcd does: whoever knows the same URLs and token comes to the same ids.

use sha1::{Digest, Sha1};

fn first_eight(hasher: Sha1) -> u64 {
    let hash = hasher.finalize();
    hash.iter().take(8).fold(0, |id, byte| (id << 8) | u64::from(*byte))
}

/// Of a member that bootstraps a cluster (the cluster's token), or that is added to one (no token, and the second of
/// the Unix epoch at which it was).
pub fn member_id(peer_urls: &[String], token: &str, added_at_seconds: Option<u64>) -> u64 {
    let mut urls = peer_urls.to_vec();
    urls.sort();
    let mut hasher = Sha1::new();
    urls.iter().for_each(|url| hasher.update(url.as_bytes()));
    hasher.update(token.as_bytes());
    if let Some(seconds) = added_at_seconds {
        hasher.update(seconds.to_string().as_bytes());
    }
    first_eight(hasher)
}

/// Of a new cluster: from the ids of the members that bootstrap it.
pub fn cluster_id(member_ids: impl IntoIterator<Item = u64>) -> u64 {
    let mut ids: Vec<u64> = member_ids.into_iter().collect();
    ids.sort_unstable();
    let mut hasher = Sha1::new();
    ids.iter().for_each(|id| hasher.update(id.to_be_bytes()));
    first_eight(hasher)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_that_etcd_computes() {
        let of = |url: &str, token| member_id(&[url.to_owned()], token, None);
        // A plain `etcd` without flags.
        let alone = of("http://localhost:2380", "etcd-cluster");
        assert_eq!(format!("{alone:x}"), "8e9e05c52164694d");
        assert_eq!(format!("{:x}", cluster_id([alone])), "cdf818194e3a8c32");
        // The three members of etcd's own Procfile.
        let three = [12380, 22380, 32380].map(|port| of(&format!("http://127.0.0.1:{port}"), "etcd-cluster-1"));
        let hex = three.map(|id| format!("{id:x}"));
        assert_eq!(hex, ["8211f1d0f64f3269", "91bc3c398fb3c146", "fd422379fda50e48"]);
        assert_eq!(format!("{:x}", cluster_id(three)), "ef37ad9dc622a7c4");
    }

    #[test]
    fn the_order_of_urls_and_members_does_not_matter() {
        let (a, b) = ("http://a:1".to_owned(), "http://b:1".to_owned());
        let one_way = member_id(&[a.clone(), b.clone()], "t", Some(7));
        assert_eq!(one_way, member_id(&[b, a], "t", Some(7)));
        assert_eq!(cluster_id([3, 1, 2]), cluster_id([1, 2, 3]));
    }
}
