//! `$(NAME)` in environment values, commands and arguments (upstream: third_party/forked/golang/expansion).

/// Replaces `$(NAME)` by what `get` knows; an unknown reference stays as written, `$$` is a dollar.
pub fn expand<'a>(text: &str, get: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let after = after.strip_prefix('$').unwrap_or(after);
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|t| t.split_once(')')) {
            match get(name) {
                Some(value) => out.push_str(value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = tail;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases() {
        let get = |n: &str| match n {
            "A" => Some("one"),
            "EMPTY" => Some(""),
            _ => None,
        };
        for (text, want) in [
            ("$(A)", "one"),
            ("x$(A)y$(A)", "xoneyone"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$one"),
            ("$(NO)", "$(NO)"),
            ("$(A", "$(A"),
            ("$A$", "$A$"),
            ("$(EMPTY)", ""),
            ("", ""),
        ] {
            assert_eq!(expand(text, get), want, "{text}");
        }
    }
}
