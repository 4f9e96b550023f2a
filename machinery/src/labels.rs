//! Label selectors (both syntaxes) and field selectors
//! (upstream: apimachinery/pkg/labels/selector.go, pkg/fields/selector.go, with their messages).
mod fields;
mod lexer;
mod parse;
mod validate;

pub use fields::FieldSelector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::collections::BTreeMap;
use std::fmt;
pub use validate::{dns1123_label, dns1123_subdomain, label_key, label_value};

/// `=` and `==` are [`Operator::In`] with one value, `!=` is [`Operator::NotIn`] with one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    Gt,
    Lt,
}
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
    pub values: Vec<String>,
}
/// A conjunction; the empty selector matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    pub requirements: Vec<Requirement>,
}

impl Requirement {
    /// A requirement that is sure to be valid; the error is worded as upstream's `labels.NewRequirement`.
    pub fn new(key: &str, operator: Operator, values: Vec<String>) -> Result<Self, String> {
        let mut errors = validate::Errors::default();
        errors.add_key("key", key);
        let list = || serde_json::to_string(&values).unwrap_or_default();
        match operator {
            Operator::In | Operator::NotIn if values.is_empty() => errors.add(
                "values",
                &list(),
                "for 'in', 'notin' operators, values set can't be empty",
            ),
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => errors.add(
                "values",
                &list(),
                "values set must be empty for exists and does not exist",
            ),
            Operator::Gt | Operator::Lt => {
                if values.len() != 1 {
                    errors.add(
                        "values",
                        &list(),
                        "for 'Gt', 'Lt' operators, exactly one value is required",
                    );
                }
                for (i, v) in values.iter().enumerate() {
                    if v.parse::<i64>().is_err() {
                        let why = "for 'Gt', 'Lt' operators, the value must be an integer";
                        errors.add(&format!("values[{i}]"), &format!("{v:?}"), why);
                    }
                }
            }
            _ => {}
        }
        for (i, v) in values.iter().enumerate() {
            errors.add_value(&format!("values[{i}][{key}]"), v);
        }
        errors.into_result()?;
        Ok(Requirement {
            key: key.to_owned(),
            operator,
            values,
        })
    }

    /// `value` is the label's, or `None` where there is no such label.
    pub fn matches(&self, value: Option<&str>) -> bool {
        let number = |text: &str| text.parse::<i64>().ok();
        match self.operator {
            Operator::In => value.is_some_and(|v| self.values.iter().any(|w| w == v)),
            Operator::NotIn => !value.is_some_and(|v| self.values.iter().any(|w| w == v)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Gt | Operator::Lt => {
                let [bound] = self.values.as_slice() else { return false };
                match (value.and_then(number), number(bound)) {
                    (Some(v), Some(b)) if self.operator == Operator::Gt => v > b,
                    (Some(v), Some(b)) => v < b,
                    _ => false,
                }
            }
        }
    }
}

impl Selector {
    /// Parses `a=b,c!=d,e in (f,g),!h`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut requirements = parse::requirements(text)?;
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Selector { requirements })
    }
    /// From the structured form; `None` selects nothing in upstream's workload kinds, so it is an `Option` there.
    pub fn from_structured(s: &LabelSelector) -> Result<Self, String> {
        let mut requirements = Vec::new();
        for (k, v) in s.match_labels.iter().flatten() {
            requirements.push(Requirement::new(k, Operator::In, vec![v.clone()])?);
        }
        for e in s.match_expressions.iter().flatten() {
            let operator = match e.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => return Err(format!("{other:?} is not a valid label selector operator")),
            };
            requirements.push(Requirement::new(
                &e.key,
                operator,
                e.values.clone().unwrap_or_default(),
            )?);
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Selector { requirements })
    }
    /// Exactly these labels, unchecked (Services, ReplicationControllers).
    pub fn from_map(labels: &BTreeMap<String, String>) -> Self {
        let one = |(k, v): (&String, &String)| Requirement {
            key: k.clone(),
            operator: Operator::In,
            values: vec![v.clone()],
        };
        Selector {
            requirements: labels.iter().map(one).collect(),
        }
    }
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }
    /// `get` looks a label up.
    pub fn matches<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|r| r.matches(get(&r.key)))
    }
    pub fn matches_map(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        self.matches(|k| labels?.get(k).map(String::as_str))
    }
    /// The one value that a label must have, where the selector asks for exactly one.
    pub fn requires(&self, key: &str) -> Option<&str> {
        let r = self.requirements.iter().find(|r| r.key == key)?;
        match (&r.operator, r.values.as_slice()) {
            (Operator::In, [one]) => Some(one),
            _ => None,
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        let mut values: Vec<&str> = self.values.iter().map(String::as_str).collect();
        values.sort_unstable();
        match (&self.operator, values.as_slice()) {
            (Operator::Exists, _) => write!(f, "{key}"),
            (Operator::DoesNotExist, _) => write!(f, "!{key}"),
            (Operator::In, [one]) => write!(f, "{key}={one}"),
            (Operator::NotIn, [one]) => write!(f, "{key}!={one}"),
            (Operator::In, many) => write!(f, "{key} in ({})", many.join(",")),
            (Operator::NotIn, many) => write!(f, "{key} notin ({})", many.join(",")),
            (Operator::Gt, many) => write!(f, "{key}>{}", many.join(",")),
            (Operator::Lt, many) => write!(f, "{key}<{}", many.join(",")),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, r) in self.requirements.iter().enumerate() {
            write!(f, "{}{r}", if i > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
