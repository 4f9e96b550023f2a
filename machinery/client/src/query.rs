//! Query strings of API requests.
use crate::ListParams;

/// A query under construction; empty values are not sent.
#[derive(Debug, Default)]
pub(crate) struct Query(String);

impl Query {
    pub fn add(&mut self, key: &str, value: &str) -> &mut Self {
        if !value.is_empty() {
            self.0.push(if self.0.is_empty() { '?' } else { '&' });
            self.0.push_str(key);
            self.0.push('=');
            escape_into(value, &mut self.0);
        }
        self
    }
    pub fn list(&mut self, p: &ListParams) -> &mut Self {
        self.add("labelSelector", &p.label_selector);
        self.add("fieldSelector", &p.field_selector);
        if let Some(n) = p.limit {
            self.add("limit", &n.to_string());
        }
        self.add("continue", p.continue_token.as_deref().unwrap_or_default());
        self.add("resourceVersion", p.resource_version.as_deref().unwrap_or_default());
        self.add(
            "resourceVersionMatch",
            p.resource_version_match.as_deref().unwrap_or_default(),
        );
        if let Some(t) = p.timeout_seconds {
            self.add("timeoutSeconds", &t.to_string());
        }
        self
    }
    /// `path` with this query behind it.
    pub fn on(&self, path: &str) -> String {
        format!("{path}{}", self.0)
    }
}

/// Percent-encodes what RFC 3986 does not allow unescaped in a query value or a path segment.
pub(crate) fn escape_into(text: &str, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~') {
            out.push(b as char);
        } else {
            out.push('%');
            out.push(HEX[usize::from(b >> 4)] as char);
            out.push(HEX[usize::from(b & 15)] as char);
        }
    }
}

/// One path segment. RBAC names such as `system:node` keep their colon, as client-go sends them.
pub(crate) fn segment_into(text: &str, out: &mut String) {
    for (i, part) in text.split(':').enumerate() {
        if i > 0 {
            out.push(':');
        }
        escape_into(part, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_values_and_skips_empty_ones() {
        let mut q = Query::default();
        q.list(&ListParams {
            label_selector: "a in (b,c)".into(),
            limit: Some(5),
            ..Default::default()
        });
        assert_eq!(
            q.on("/api/v1/pods"),
            "/api/v1/pods?labelSelector=a%20in%20%28b%2Cc%29&limit=5"
        );
        assert_eq!(Query::default().on("/x"), "/x");
        let mut s = String::new();
        segment_into("system:a/b", &mut s);
        assert_eq!(s, "system:a%2Fb");
    }
}
