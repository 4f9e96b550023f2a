//! What names, label keys, ports and the like must look like, with upstream's wording
//! (upstream: apimachinery/pkg/util/validation, pkg/api/validate/content). Each check returns what is wrong.

pub const DNS_LABEL_LENGTH_MAX: usize = 63;
pub const DNS_SUBDOMAIN_LENGTH_MAX: usize = 253;

const LABEL_FMT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const DNS_LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const DNS_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const KEY: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
const ENV_NAME: &str =
    "a valid environment variable name must consist only of printable ASCII characters other than '='";
const WILDCARD: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// Which rule a kind's names follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    DnsSubdomain,
    /// Namespaces.
    DnsLabel,
    /// Services.
    Dns1035Label,
    /// RBAC roles and bindings: any path segment.
    PathSegment,
}

impl Rule {
    /// `prefix`: the name is a `generateName`, to which a suffix will be added.
    pub fn check(self, name: &str, prefix: bool) -> Vec<String> {
        let trimmed;
        let name = if prefix && name.ends_with('-') && self != Rule::PathSegment {
            // A trailing dash is fine when something follows.
            trimmed = format!("{}a", name.get(..name.len() - 1).unwrap_or_default());
            trimmed.as_str()
        } else {
            name
        };
        match self {
            Rule::DnsSubdomain => dns_subdomain(name),
            Rule::DnsLabel => dns_label(name),
            Rule::Dns1035Label => dns_1035_label(name),
            Rule::PathSegment => path_segment(name, prefix),
        }
    }
}

fn lower_alnum(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

fn is_label(s: &str) -> bool {
    let b = s.as_bytes();
    matches!((b.first(), b.last()), (Some(&f), Some(&l)) if lower_alnum(f) && lower_alnum(l))
        && b.iter().all(|&c| lower_alnum(c) || c == b'-')
}

pub fn max_length(limit: usize) -> String {
    format!("must be no more than {limit} characters")
}

fn max_bytes(limit: usize) -> String {
    format!("must be no more than {limit} bytes")
}

pub fn dns_label(s: &str) -> Vec<String> {
    let mut e = Vec::new();
    if s.len() > DNS_LABEL_LENGTH_MAX {
        e.push(max_bytes(DNS_LABEL_LENGTH_MAX));
    }
    if !is_label(s) {
        if s.len() <= DNS_SUBDOMAIN_LENGTH_MAX && is_subdomain(s) {
            e.push("must not contain dots".into());
        } else {
            e.push(DNS_LABEL.into());
        }
    }
    e
}

pub fn dns_1035_label(s: &str) -> Vec<String> {
    let mut e = Vec::new();
    if s.len() > DNS_LABEL_LENGTH_MAX {
        e.push(max_length(DNS_LABEL_LENGTH_MAX));
    }
    if !is_label(s) || !s.as_bytes().first().is_some_and(u8::is_ascii_lowercase) {
        e.push(DNS_1035.into());
    }
    e
}

fn is_subdomain(s: &str) -> bool {
    s.split('.').all(is_label)
}

pub fn dns_subdomain(s: &str) -> Vec<String> {
    debug_assert!(SUBDOMAIN.contains(LABEL_FMT));
    let mut e = Vec::new();
    if s.len() > DNS_SUBDOMAIN_LENGTH_MAX {
        e.push(max_bytes(DNS_SUBDOMAIN_LENGTH_MAX));
    }
    if !is_subdomain(s) {
        e.push(SUBDOMAIN.into());
    }
    e
}

/// `*.example.com`
pub fn wildcard_dns(s: &str) -> Vec<String> {
    match s.strip_prefix("*.") {
        Some(rest) if is_subdomain(rest) => Vec::new(),
        _ => vec![WILDCARD.into()],
    }
}

pub fn path_segment(s: &str, prefix: bool) -> Vec<String> {
    if !prefix && (s == "." || s == "..") {
        return vec![format!("may not be '{s}'")];
    }
    ['/', '%']
        .iter()
        .filter(|c| s.contains(**c))
        .map(|c| format!("may not contain '{c}'"))
        .collect()
}

fn is_key_name(s: &str) -> bool {
    let b = s.as_bytes();
    matches!((b.first(), b.last()), (Some(f), Some(l)) if f.is_ascii_alphanumeric() && l.is_ascii_alphanumeric())
        && b.iter()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'))
}

/// A label or annotation key, a finalizer, a resource name: `[prefix/]name`.
pub fn qualified_name(s: &str) -> Vec<String> {
    let mut e = Vec::new();
    let mut parts = s.split('/');
    let (first, second, third) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    if third.is_some() {
        return vec![format!(
            "a valid label key {KEY} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        )];
    }
    let name = match second {
        None => first,
        Some(name) => {
            if first.is_empty() {
                e.push("prefix part must be non-empty".into());
            } else {
                e.extend(dns_subdomain(first).into_iter().map(|m| format!("prefix part {m}")));
            }
            name
        }
    };
    if name.is_empty() {
        e.push("name part must be non-empty".into());
    } else if name.len() > DNS_LABEL_LENGTH_MAX {
        e.push(format!("name part {}", max_bytes(DNS_LABEL_LENGTH_MAX)));
    }
    if !is_key_name(name) {
        e.push(format!("name part {KEY}"));
    }
    e
}

pub fn label_value(s: &str) -> Vec<String> {
    let mut e = Vec::new();
    if s.len() > DNS_LABEL_LENGTH_MAX {
        e.push(max_bytes(DNS_LABEL_LENGTH_MAX));
    }
    if !s.is_empty() && !is_key_name(s) {
        e.push(LABEL_VALUE.into());
    }
    e
}

/// A key of a ConfigMap or a Secret.
pub fn config_key(s: &str) -> Vec<String> {
    let mut e = Vec::new();
    if s.len() > DNS_SUBDOMAIN_LENGTH_MAX {
        e.push(max_length(DNS_SUBDOMAIN_LENGTH_MAX));
    }
    if s.is_empty()
        || !s
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'))
    {
        e.push(CONFIG_KEY.into());
    }
    match s {
        "." => e.push("must not be '.'".into()),
        ".." => e.push("must not be '..'".into()),
        s if s.starts_with("..") => e.push("must not start with '..'".into()),
        _ => {}
    }
    e
}

pub fn env_name(s: &str) -> Vec<String> {
    if s.is_empty() {
        return vec!["environment variable name must be non-empty".into()];
    }
    if s.bytes().any(|c| !(b' '..=b'~').contains(&c) || c == b'=') {
        return vec![ENV_NAME.into()];
    }
    Vec::new()
}

/// Names of container ports (RFC 6335, lower case).
pub fn port_name(s: &str) -> Vec<String> {
    let mut e = Vec::new();
    if s.len() > 15 {
        e.push(max_length(15));
    }
    if s.is_empty() || !s.bytes().all(|c| lower_alnum(c) || c == b'-') {
        e.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into());
    }
    if !s.bytes().any(|c| c.is_ascii_lowercase()) {
        e.push("must contain at least one letter (a-z)".into());
    }
    if s.contains("--") {
        e.push("must not contain consecutive hyphens".into());
    }
    if s.starts_with('-') || s.ends_with('-') {
        e.push("must not begin or end with a hyphen".into());
    }
    e
}

pub fn port_number(n: i64) -> Vec<String> {
    if (1..=65535).contains(&n) {
        Vec::new()
    } else {
        vec!["must be between 1 and 65535, inclusive".into()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_subdomains() {
        assert!(dns_label("my-name").is_empty());
        assert_eq!(dns_label("my.name"), ["must not contain dots"]);
        assert_eq!(dns_label("My_Name"), [DNS_LABEL]);
        assert!(dns_1035_label("a1").is_empty());
        assert_eq!(dns_1035_label("1a"), [DNS_1035]);
        assert!(dns_subdomain("a.b-c.d").is_empty());
        assert_eq!(dns_subdomain("a..b"), [SUBDOMAIN]);
        assert_eq!(dns_subdomain(""), [SUBDOMAIN]);
        assert_eq!(dns_label(&"a".repeat(64)), ["must be no more than 63 bytes"]);
    }

    #[test]
    fn generate_name_may_end_with_a_dash() {
        assert!(Rule::DnsSubdomain.check("web-", true).is_empty());
        assert!(!Rule::DnsSubdomain.check("web-", false).is_empty());
        assert!(Rule::PathSegment.check("system:x", false).is_empty());
        assert_eq!(Rule::PathSegment.check("a/b", false), ["may not contain '/'"]);
    }

    #[test]
    fn qualified_names() {
        assert!(qualified_name("app.kubernetes.io/name").is_empty());
        assert!(qualified_name("Name").is_empty());
        assert_eq!(qualified_name("/x"), ["prefix part must be non-empty"]);
        assert_eq!(qualified_name("a/").len(), 2);
        assert!(qualified_name("a/b/c")[0].starts_with("a valid label key must consist"));
        assert!(label_value("").is_empty());
        assert_eq!(label_value("-x"), [LABEL_VALUE]);
    }

    #[test]
    fn keys_env_and_ports() {
        assert!(config_key("a_b.c").is_empty());
        assert_eq!(config_key(".."), ["must not be '..'"]);
        assert_eq!(config_key("a/b"), [CONFIG_KEY]);
        assert!(env_name("1 weird.name").is_empty());
        assert_eq!(env_name("a=b"), [ENV_NAME]);
        assert!(port_name("http-alt").is_empty());
        assert_eq!(port_name("80"), ["must contain at least one letter (a-z)"]);
        assert_eq!(port_number(0), ["must be between 1 and 65535, inclusive"]);
    }
}
