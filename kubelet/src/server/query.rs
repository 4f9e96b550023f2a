//! Query parameters.

/// Decoded pairs, in order; a name may come several times.
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn of(uri: &http::Uri) -> Self {
        let pairs = uri.query().unwrap_or_default().split('&').filter(|p| !p.is_empty());
        Query(
            pairs
                .map(|p| {
                    let (k, v) = p.split_once('=').unwrap_or((p, ""));
                    (decode(k), decode(v))
                })
                .collect(),
        )
    }
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }
    pub fn all(&self, name: &str) -> Vec<String> {
        self.0
            .iter()
            .filter(|(k, _)| k == name)
            .map(|(_, v)| v.clone())
            .collect()
    }
    /// `1` and `true`; as Go's ParseBool.
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Some("1" | "t" | "T" | "true" | "TRUE" | "True"))
    }
}

/// Percent-encoding and `+`; what is no valid escape stays as it is.
pub fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        match b {
            b'+' => out.push(b' '),
            b'%' => {
                let rest = bytes.as_slice_hex();
                match rest {
                    Some(value) => {
                        out.push(value);
                        bytes.next();
                        bytes.next();
                    }
                    None => out.push(b'%'),
                }
            }
            b => out.push(b),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

trait PeekHex {
    fn as_slice_hex(&self) -> Option<u8>;
}
impl PeekHex for std::str::Bytes<'_> {
    fn as_slice_hex(&self) -> Option<u8> {
        let mut ahead = self.clone();
        let digit = |b: u8| (b as char).to_digit(16);
        let (high, low) = (digit(ahead.next()?)?, digit(ahead.next()?)?);
        u8::try_from(high * 16 + low).ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pairs() {
        let q = Query::of(
            &"/x?command=sh&command=-c&command=a%20b%2Bc+d&tty=1&bad=%zz"
                .parse()
                .unwrap(),
        );
        assert_eq!(q.all("command"), ["sh", "-c", "a b+c d"]);
        assert!(q.flag("tty") && !q.flag("stdin"));
        assert_eq!(q.get("bad"), Some("%zz"));
    }
}
