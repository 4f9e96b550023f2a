//! What the operations of the register workload ask and answer.

use crate::checker::{Evidence, Judgement};
use crate::history::{Op, Outcome};
use serde_json::Value;
use std::collections::BTreeMap;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request<'a> {
    Put(&'a str),
    Get,
    /// A read of what one member happens to have.
    GetSerializable,
    /// Writes when the value is `from`; `None` is an absent key.
    Cas {
        from: Option<&'a str>,
        to: &'a str,
    },
    /// Writes when the key was last written at this revision; 0 is an absent key.
    CasMod {
        modified: i64,
        to: &'a str,
    },
    Delete,
}

impl<'a> Request<'a> {
    /// The value that it writes, if it does.
    pub(super) fn writes(&self) -> Option<&'a str> {
        match *self {
            Request::Put(value) | Request::Cas { to: value, .. } | Request::CasMod { to: value, .. } => Some(value),
            Request::Get | Request::GetSerializable | Request::Delete => None,
        }
    }

    pub(super) fn is_read(&self) -> bool {
        matches!(self, Request::Get | Request::GetSerializable)
    }
}

/// What an operation that succeeded answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer<'a> {
    Written,
    Read {
        value: Option<&'a str>,
        modified: i64,
        version: i64,
    },
    Swapped(bool),
    /// `previous` is what stood there, when that was answered.
    Deleted {
        any: bool,
        previous: Option<&'a str>,
    },
}

/// An operation, understood.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub op: &'a Op,
    pub key: &'a str,
    pub request: Request<'a>,
    /// `None` unless it succeeded.
    pub answer: Option<Answer<'a>>,
}

impl<'a> Call<'a> {
    /// Whether it certainly changed the key.
    pub(super) fn wrote(&self) -> bool {
        match self.answer {
            Some(Answer::Written | Answer::Swapped(true) | Answer::Deleted { any: true, .. }) => true,
            Some(Answer::Read { .. } | Answer::Swapped(false) | Answer::Deleted { any: false, .. }) | None => false,
        }
    }

    /// The value that it tells was there at some time, which its writer must have written.
    pub(super) fn saw(&self) -> Option<&'a str> {
        match (self.request, self.answer) {
            (_, Some(Answer::Read { value, .. })) => value,
            (_, Some(Answer::Deleted { previous, .. })) => previous,
            (Request::Cas { from, .. }, Some(Answer::Swapped(true))) => from,
            _ => None,
        }
    }

    /// For messages.
    pub(super) fn text(&self) -> String {
        let asked = match self.request {
            Request::Put(value) => format!("put {value}"),
            Request::Get => "get".to_owned(),
            Request::GetSerializable => "get-serializable".to_owned(),
            Request::Cas { from, to } => format!("cas {} to {to}", from.unwrap_or("absent")),
            Request::CasMod { modified, to } => format!("cas-mod {modified} to {to}"),
            Request::Delete => "delete".to_owned(),
        };
        let answered = match (self.answer, &self.op.outcome) {
            (_, Outcome::Fail { .. }) => " failed".to_owned(),
            (_, Outcome::Info { .. }) => " with unknown end".to_owned(),
            (Some(Answer::Read { value, modified, .. }), _) => {
                format!(" {} (mod {modified})", value.unwrap_or("absent"))
            }
            (Some(Answer::Swapped(done)), _) => format!(" {done}"),
            (Some(Answer::Deleted { any, .. }), _) => format!(" {any}"),
            (Some(Answer::Written) | None, _) => String::new(),
        };
        let at = self.op.revision().map_or_else(String::new, |r| format!(" @{r}"));
        format!("{asked}{answered}{at}")
    }
}

/// The operations of the workload by key. What cannot be understood makes the verdict unknown.
pub(super) fn by_key<'a>(evidence: &'a Evidence, judgement: &mut Judgement) -> BTreeMap<&'a str, Vec<Call<'a>>> {
    let mut all: BTreeMap<&str, Vec<Call<'_>>> = BTreeMap::new();
    for op in evidence.history.ops.iter().filter(|op| op.workload == super::WORKLOAD) {
        match call(op) {
            Some(call) => all.entry(call.key).or_default().push(call),
            None => judgement.unknown(format!(
                "operation {} ({}) is not of the form of the register workload",
                op.index, op.f
            )),
        }
    }
    all
}

fn call(op: &Op) -> Option<Call<'_>> {
    let value = &op.value;
    let request = match op.f.as_str() {
        "put" => Request::Put(value.as_str()?),
        "get" => Request::Get,
        "get-serializable" => Request::GetSerializable,
        "cas" => Request::Cas {
            from: optional(value.get("from")?)?,
            to: value.get("to")?.as_str()?,
        },
        "cas-mod" => Request::CasMod {
            modified: value.get("mod")?.as_i64()?,
            to: value.get("to")?.as_str()?,
        },
        "delete" => Request::Delete,
        _ => return None,
    };
    let answer = match op.answer() {
        None => None,
        Some(answer) => Some(match request {
            Request::Put(_) => Answer::Written,
            Request::Get | Request::GetSerializable => Answer::Read {
                value: optional(answer.get("value")?)?,
                modified: answer.get("mod")?.as_i64()?,
                version: answer.get("version")?.as_i64()?,
            },
            Request::Cas { .. } | Request::CasMod { .. } => Answer::Swapped(answer.as_bool()?),
            Request::Delete => Answer::Deleted {
                any: answer.get("deleted")?.as_i64()? > 0,
                previous: answer.get("prev").and_then(Value::as_str),
            },
        }),
    };
    Some(Call {
        op,
        key: op.key.as_deref()?,
        request,
        answer,
    })
}

/// Text or null.
#[allow(clippy::option_option)]
fn optional(value: &Value) -> Option<Option<&str>> {
    match value {
        Value::Null => Some(None),
        Value::String(text) => Some(Some(text)),
        _ => None,
    }
}
