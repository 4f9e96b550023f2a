//! Parameters of a query, with percent-encoding taken off.

use axum::extract::Query;
use http::Uri;

fn pairs(uri: &Uri) -> Vec<(String, String)> {
    // A query that is broken has no parameters.
    Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map(|q| q.0)
        .unwrap_or_default()
}

/// Every value that is not empty.
pub fn all(uri: &Uri, name: &str) -> Vec<String> {
    let named = pairs(uri).into_iter().filter(|(n, v)| n == name && !v.is_empty());
    named.map(|(_, v)| v).collect()
}

/// The first value.
pub fn first(uri: &Uri, name: &str) -> Option<String> {
    pairs(uri).into_iter().find(|(n, _)| n == name).map(|(_, v)| v)
}

pub fn has(uri: &Uri, name: &str) -> bool {
    first(uri, name).is_some()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn parameters_are_found_by_name() {
        let uri: Uri = "/readyz?verbose&exclude=a%5Fb&exclude=&exclude=c".parse().unwrap();
        assert!(has(&uri, "verbose") && !has(&uri, "verb"));
        assert_eq!(all(&uri, "exclude"), ["a_b", "c"]);
    }
}
