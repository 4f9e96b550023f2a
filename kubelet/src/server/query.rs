//! Query strings and path segments, decoded.

/// Pairs of an `application/x-www-form-urlencoded` query; more than these are not looked at.
const PAIRS_MAX: usize = 4096;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(query: &str) -> Self {
        let pairs = query.split('&').filter(|p| !p.is_empty()).take(PAIRS_MAX);
        let pair = |p: &str| {
            let (k, v) = p.split_once('=').unwrap_or((p, ""));
            (decode(k, true), decode(v, true))
        };
        Query(pairs.map(pair).collect())
    }
    pub fn all(&self, key: &str) -> Vec<String> {
        self.0
            .iter()
            .filter(|(k, _)| k == key)
            .map(|(_, v)| v.clone())
            .collect()
    }
    /// The first one that says something.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(k, v)| k == key && !v.is_empty())
            .map(|(_, v)| v.as_str())
    }
    /// Whether one of the names is set to `1` or `true`.
    pub fn flag(&self, names: &[&str]) -> bool {
        let set = |v: &str| v == "1" || v.eq_ignore_ascii_case("true");
        self.0.iter().any(|(k, v)| names.contains(&k.as_str()) && set(v))
    }
}

/// The path's segments; an empty last one (a trailing slash) does not count.
pub fn segments(path: &str) -> Vec<String> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    path.split('/').map(|s| decode(s, false)).collect()
}

fn decode(s: &str, plus_is_space: bool) -> String {
    let bytes = s.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while let Some(&b) = bytes.get(i) {
        i += 1;
        let pair = || bytes.get(i..i + 2).and_then(|h| std::str::from_utf8(h).ok());
        match b {
            b'+' if plus_is_space => out.push(b' '),
            b'%' => match pair().and_then(|h| u8::from_str_radix(h, 16).ok()) {
                Some(v) => {
                    out.push(v);
                    i += 2;
                }
                None => out.push(b'%'),
            },
            b => out.push(b),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let q = Query::parse("command=sh&command=-c&command=echo+a%26b%zz&tty=1&stdin=false&output=true&x");
        assert_eq!(q.all("command"), ["sh", "-c", "echo a&b%zz"]);
        assert!(q.flag(&["tty"]) && q.flag(&["stdout", "output"]));
        assert!(!q.flag(&["stdin", "input"]) && !q.flag(&["x"]));
        assert_eq!((q.get("tty"), q.get("x"), q.get("y")), (Some("1"), None, None));
        assert_eq!(segments("/exec/a/b%2Fc/d+e/"), ["exec", "a", "b/c", "d+e"]);
        assert_eq!(segments("/"), [""]);
    }
}
