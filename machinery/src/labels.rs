//! Label selectors (both syntaxes) and field selectors.
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

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
impl Selector {
    /// Parses `a=b,c!=d,e in (f,g),!h`.
    pub fn parse(_text: &str) -> Result<Self, String> {
        todo!()
    }
    /// From the structured form; `None` selects nothing in upstream's workload kinds, so it is an `Option` there.
    pub fn from_structured(_s: &LabelSelector) -> Result<Self, String> {
        todo!()
    }
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }
    /// `get` looks a label up.
    pub fn matches<'a>(&self, _get: impl Fn(&str) -> Option<&'a str>) -> bool {
        todo!()
    }
    pub fn matches_map(&self, _labels: Option<&std::collections::BTreeMap<String, String>>) -> bool {
        todo!()
    }
}
impl std::fmt::Display for Selector {
    fn fmt(&self, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        todo!()
    }
}

/// `metadata.name=x,spec.nodeName!=y`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    /// path, equal (true) or unequal, value
    pub terms: Vec<(String, bool, String)>,
}
impl FieldSelector {
    pub fn parse(_text: &str) -> Result<Self, String> {
        todo!()
    }
    pub fn matches(&self, _get: impl Fn(&str) -> String) -> bool {
        todo!()
    }
}
