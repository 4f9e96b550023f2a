//! Tokens of the selector syntax.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Error,
    End,
    Close,
    Comma,
    Not,
    DoubleEquals,
    Equals,
    Greater,
    Identifier,
    In,
    Less,
    NotEquals,
    NotIn,
    Open,
}

fn keyword(text: &str) -> Option<Token> {
    Some(match text {
        ")" => Token::Close,
        "," => Token::Comma,
        "!" => Token::Not,
        "==" => Token::DoubleEquals,
        "=" => Token::Equals,
        ">" => Token::Greater,
        "in" => Token::In,
        "<" => Token::Less,
        "!=" => Token::NotEquals,
        "notin" => Token::NotIn,
        "(" => Token::Open,
        _ => return None,
    })
}

fn is_special(b: u8) -> bool {
    matches!(b, b'=' | b'!' | b'(' | b')' | b',' | b'>' | b'<')
}
fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\r' | b'\n')
}

/// All tokens, the end included. What separates them is ASCII, so every slice is valid UTF-8.
pub(super) fn scan(text: &str) -> Vec<(Token, String)> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&b) = bytes.get(at) {
        if is_space(b) {
            at += 1;
            continue;
        }
        let start = at;
        if is_special(b) {
            // The longest symbol that begins here: `==` and not `=`.
            let mut found = None;
            while at < bytes.len() && bytes.get(at).is_some_and(|b| is_special(*b)) {
                let so_far = text.get(start..=at).unwrap_or_default();
                match (keyword(so_far), &found) {
                    (Some(t), _) => found = Some((t, so_far.to_owned())),
                    (None, Some(_)) => break,
                    (None, None) => {}
                }
                at += 1;
            }
            let wrong = || {
                format!(
                    "error expected: keyword found '{}'",
                    text.get(start..at).unwrap_or_default()
                )
            };
            tokens.push(found.unwrap_or_else(|| (Token::Error, wrong())));
        } else {
            while bytes.get(at).is_some_and(|b| !is_special(*b) && !is_space(*b)) {
                at += 1;
            }
            let word = text.get(start..at).unwrap_or_default();
            tokens.push((keyword(word).unwrap_or(Token::Identifier), word.to_owned()));
        }
    }
    tokens.push((Token::End, String::new()));
    tokens
}
