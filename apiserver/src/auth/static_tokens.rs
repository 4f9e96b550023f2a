//! Tokens from a file: one a line, `token,user,uid[,"group1,group2"]`
//! (upstream: apiserver/pkg/authentication/token/tokenfile).
//!
//! The file is read once, at the start, as upstream does.
use super::UserInfo;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::Path;

/// Largest file read, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A file that cannot be used: a sentence for the user.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

/// Users by the digest of their token: comparing digests tells nothing about a token by the time that it takes.
#[derive(Default)]
pub struct StaticTokens(HashMap<[u8; 32], UserInfo>);

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

impl StaticTokens {
    /// # Errors
    /// A file that cannot be read, is too large, or has a line that is not of the form.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let size = std::fs::metadata(path)
            .map_err(|e| Error(format!("read it: {e}")))?
            .len();
        if size > FILE_BYTES_MAX {
            return Err(Error(format!("it has {size} bytes, more than {FILE_BYTES_MAX}")));
        }
        Self::parse(&std::fs::read_to_string(path).map_err(|e| Error(format!("read it: {e}")))?)
    }

    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let mut all = HashMap::new();
        for (number, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let bad = |why: &str| Error(format!("line {}: {why}", number + 1));
            let f = fields(line).ok_or_else(|| bad("a quote is not closed"))?;
            let [token, name, uid, groups @ ..] = f.as_slice() else {
                return Err(bad(
                    "token file must have at least 3 columns (token, user name, user uid)",
                ));
            };
            if token.is_empty() {
                return Err(bad("empty token"));
            }
            let groups = groups.first().map(String::as_str).unwrap_or_default();
            let user = UserInfo {
                name: name.clone(),
                uid: uid.clone(),
                groups: groups
                    .split(',')
                    .map(str::trim)
                    .filter(|g| !g.is_empty())
                    .map(str::to_owned)
                    .collect(),
                ..UserInfo::default()
            };
            all.insert(digest(token), user);
        }
        Ok(StaticTokens(all))
    }

    /// Who a token is.
    pub fn user(&self, token: &str) -> Option<UserInfo> {
        self.0.get(&digest(token)).cloned()
    }
}

/// The fields of a line of comma-separated values (RFC 4180); `None` when a quote is not closed.
fn fields(line: &str) -> Option<Vec<String>> {
    let (mut all, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' if quoted && rest.peek() == Some(&'"') => {
                rest.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => all.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    all.push(field);
    (!quoted).then(|| all.into_iter().map(|f| f.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tokens_name_users_and_groups() {
        let t = StaticTokens::parse("abc,jane,7,\"system:masters,dev\"\n\n x , joe , 8\n").unwrap();
        let jane = t.user("abc").unwrap();
        assert_eq!((jane.name.as_str(), jane.uid.as_str()), ("jane", "7"));
        assert_eq!(jane.groups, ["system:masters", "dev"]);
        assert_eq!(t.user("x").unwrap().groups, [""; 0]);
        assert_eq!(t.user("ab"), None);
        assert_eq!(t.user(""), None);
    }

    #[test]
    fn broken_lines_are_named() {
        let error = |text: &str| StaticTokens::parse(text).err().unwrap().to_string();
        assert!(error("a,b,c\nx,y").starts_with("line 2: token file must have"));
        assert_eq!(error(",b,c"), "line 1: empty token");
        assert_eq!(error("a,b,c,\"d"), "line 1: a quote is not closed");
    }
}
