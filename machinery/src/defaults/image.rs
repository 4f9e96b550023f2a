//! The tag of an image's name (upstream: pkg/util/parsers, which follows distribution/reference).

/// `latest` where the name has neither tag nor digest; empty where it has a digest alone, or is no name at all.
pub(super) fn tag(image: &str) -> &str {
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    // A colon before the last slash belongs to the registry's port.
    let path_start = name.rfind('/').map_or(0, |i| i + 1);
    let (name, tag) = match name.get(path_start..).and_then(|p| p.find(':')) {
        Some(colon) => name.split_at(path_start + colon),
        None => (name, ""),
    };
    let tag = tag.strip_prefix(':').unwrap_or(tag);
    if !is_name(name) || tag.len() > 128 {
        return "";
    }
    match (tag, digest) {
        ("", None) => "latest",
        (tag, _) => tag,
    }
}

fn is_name(name: &str) -> bool {
    let mut parts = name.split('/').peekable();
    let mut first = true;
    if name.is_empty() || (name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase())) {
        return false;
    }
    while let Some(part) = parts.next() {
        // A first part with a dot, a port or capitals is a registry's host.
        let host = first
            && parts.peek().is_some()
            && (part.contains(['.', ':']) || part == "localhost" || part.bytes().any(|b| b.is_ascii_uppercase()));
        first = false;
        if !host && !is_path_part(part) {
            return false;
        }
    }
    true
}

fn is_path_part(part: &str) -> bool {
    let b = part.as_bytes();
    let plain = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    b.first().is_some_and(plain)
        && b.last().is_some_and(plain)
        && b.iter().all(|c| plain(c) || matches!(c, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags() {
        for (image, want) in [
            ("nginx", "latest"),
            ("nginx:latest", "latest"),
            ("nginx:1.27", "1.27"),
            ("reg:5000/nginx", "latest"),
            ("reg:5000/a/nginx:v1", "v1"),
            ("nginx@sha256:00", ""),
            ("nginx:latest@sha256:00", "latest"),
            ("registry.k8s.io/pause:3.10", "3.10"),
            ("UPPER/nginx", "latest"),
            ("nginX", ""),
            ("", ""),
            ("a/", ""),
        ] {
            assert_eq!(tag(image), want, "{image}");
        }
    }
}
