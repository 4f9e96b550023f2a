//! One line of a CRI log: `<RFC 3339 time> <stdout|stderr> <F|P> <content>`.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    pub time: &'a str,
    pub stderr: bool,
    /// The runtime cut a long line: the rest follows.
    pub partial: bool,
    pub content: &'a [u8],
}

/// `raw` without its newline; `None` for what is no such line.
pub fn parse(raw: &[u8]) -> Option<Line<'_>> {
    let mut parts = raw.splitn(4, |b| *b == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let stderr = match parts.next()? {
        b"stdout" => false,
        b"stderr" => true,
        _ => return None,
    };
    // Tags may be several, with colons between.
    let partial = parts.next()?.split(|b| *b == b':').any(|t| t == b"P");
    Some(Line {
        time,
        stderr,
        partial,
        content: parts.next().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines() {
        let l = parse(b"2024-01-02T03:04:05.6Z stderr P a b ").unwrap();
        assert_eq!((l.stderr, l.partial, l.content), (true, true, &b"a b "[..]));
        assert_eq!(parse(b"2024-01-02T03:04:05.6Z stdout F ").unwrap().content, b"");
        assert!(parse(b"hello world x y").is_none());
        assert!(parse(b"").is_none());
    }
}
