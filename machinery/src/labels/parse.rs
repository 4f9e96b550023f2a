//! The recursive descent over the selector syntax.
use super::lexer::{Token, scan};
use super::{Operator, Requirement, validate};
use std::collections::BTreeSet;

/// `in` and `notin` are operators after a key, and plain words elsewhere.
#[derive(Clone, Copy, PartialEq)]
enum Context {
    Operator,
    Values,
}

struct Parser {
    tokens: Vec<(Token, String)>,
    at: usize,
}

pub(super) fn requirements(text: &str) -> Result<Vec<Requirement>, String> {
    let mut p = Parser {
        tokens: scan(text),
        at: 0,
    };
    let mut out = Vec::new();
    loop {
        match p.peek(Context::Values) {
            (Token::Identifier | Token::Not, _) => {
                let r = p
                    .requirement()
                    .map_err(|e| format!("unable to parse requirement: {e}"))?;
                out.push(r);
                match p.take(Context::Values) {
                    (Token::End, _) => return Ok(out),
                    (Token::Comma, _) => match p.peek(Context::Values) {
                        (Token::Identifier | Token::Not, _) => {}
                        (_, found) => return Err(format!("found '{found}', expected: identifier after ','")),
                    },
                    (_, found) => return Err(format!("found '{found}', expected: ',' or 'end of string'")),
                }
            }
            (Token::End, _) => return Ok(out),
            (_, found) => return Err(format!("found '{found}', expected: !, identifier, or 'end of string'")),
        }
    }
}

impl Parser {
    fn peek(&self, context: Context) -> (Token, String) {
        let (token, text) = self.tokens.get(self.at).cloned().unwrap_or((Token::End, String::new()));
        match (context, token) {
            (Context::Values, Token::In | Token::NotIn) => (Token::Identifier, text),
            _ => (token, text),
        }
    }
    fn take(&mut self, context: Context) -> (Token, String) {
        let t = self.peek(context);
        self.at += 1;
        t
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let (mut token, mut key) = self.take(Context::Values);
        let negated = token == Token::Not;
        if negated {
            (token, key) = self.take(Context::Values);
        }
        if token != Token::Identifier {
            return Err(format!("found '{key}', expected: identifier"));
        }
        let mut errors = validate::Errors::default();
        errors.add_key("<nil>", &key);
        errors.into_result()?;
        let alone = matches!(self.peek(Context::Values).0, Token::End | Token::Comma);
        if negated {
            return Requirement::new(&key, Operator::DoesNotExist, Vec::new());
        }
        if alone {
            return Requirement::new(&key, Operator::Exists, Vec::new());
        }
        let (operator, set) = match self.take(Context::Operator) {
            (Token::In, _) => (Operator::In, true),
            (Token::NotIn, _) => (Operator::NotIn, true),
            (Token::Equals | Token::DoubleEquals, _) => (Operator::In, false),
            (Token::NotEquals, _) => (Operator::NotIn, false),
            (Token::Greater, _) => (Operator::Gt, false),
            (Token::Less, _) => (Operator::Lt, false),
            (_, found) => return Err(format!("found '{found}', expected: in, notin, =, ==, !=, gt, lt")),
        };
        let values = if set { self.values()? } else { self.exact_value()? };
        Requirement::new(&key, operator, values.into_iter().collect())
    }

    /// `(x,,y)`: an empty place is an empty value.
    fn values(&mut self) -> Result<BTreeSet<String>, String> {
        match self.take(Context::Values) {
            (Token::Open, _) => {}
            (_, found) => return Err(format!("found '{found}' expected: '('")),
        }
        let (token, first) = self.peek(Context::Values);
        match token {
            Token::Identifier | Token::Comma => {
                let set = self.identifiers()?;
                match self.take(Context::Values).0 {
                    Token::Close => Ok(set),
                    _ => Err(format!("found '{first}', expected: ')'")),
                }
            }
            Token::Close => {
                self.take(Context::Values);
                Ok([String::new()].into())
            }
            _ => Err(format!("found '{first}', expected: ',', ')' or identifier")),
        }
    }

    fn identifiers(&mut self) -> Result<BTreeSet<String>, String> {
        let mut set = BTreeSet::new();
        loop {
            match self.take(Context::Values) {
                (Token::Identifier, word) => {
                    set.insert(word);
                    match self.peek(Context::Values) {
                        (Token::Comma, _) => {}
                        (Token::Close, _) => return Ok(set),
                        (_, found) => return Err(format!("found '{found}', expected: ',' or ')'")),
                    }
                }
                (Token::Comma, _) => {
                    if set.is_empty() {
                        set.insert(String::new());
                    }
                    match self.peek(Context::Values).0 {
                        Token::Close => {
                            set.insert(String::new());
                            return Ok(set);
                        }
                        Token::Comma => {
                            set.insert(String::new());
                        }
                        _ => {}
                    }
                }
                (_, found) => return Err(format!("found '{found}', expected: ',', or identifier")),
            }
        }
    }

    fn exact_value(&mut self) -> Result<BTreeSet<String>, String> {
        if matches!(self.peek(Context::Values).0, Token::End | Token::Comma) {
            return Ok([String::new()].into());
        }
        match self.take(Context::Values) {
            (Token::Identifier, word) => Ok([word].into()),
            (_, found) => Err(format!("found '{found}', expected: identifier")),
        }
    }
}
