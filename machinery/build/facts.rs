//! `facts.txt`: what neither source tells about upstream's Go types.
//!
//! A line is an OpenAPI type name and then one word a field that differs from the default (a value,
//! omitted when empty unless required, of the Go type that its protobuf type suggests):
//! `flags name [:GoType] [=protobuf name]`, with the flags `*` pointer, `!` written even when empty,
//! `?` omitted when empty although required, `0` omitted when zero (`omitzero`), `~` inlined.
use std::collections::BTreeMap;

#[derive(Clone, Default)]
pub struct Fact {
    pub pointer: bool,
    pub always: bool,
    pub omit: bool,
    pub omit_zero: bool,
    pub inlined: bool,
    pub json: String,
    pub go_type: Option<String>,
}

#[derive(Default)]
pub struct Facts {
    /// By lower-case type name and normalized field name.
    fields: BTreeMap<(String, String), Fact>,
    /// Exact type names, by lower-case name.
    pub names: BTreeMap<String, String>,
}

/// `cluster_ip`, `clusterIP` and `podIPs`, `pod_i_ps` become alike.
pub fn normalize(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_alphanumeric())
        .collect::<String>()
        .to_lowercase()
}

impl Facts {
    pub fn get(&self, type_name: &str, field: &str) -> Fact {
        let key = (type_name.to_lowercase(), normalize(field));
        self.fields.get(&key).cloned().unwrap_or_default()
    }
}

pub fn parse(text: &str) -> Result<Facts, String> {
    let mut facts = Facts::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some(type_name) = words.next().filter(|w| !w.starts_with('#')) else {
            continue;
        };
        facts.names.insert(type_name.to_lowercase(), type_name.to_owned());
        for word in words {
            let mut fact = Fact::default();
            let mut rest = word;
            while let Some(flag) = rest.chars().next().filter(|c| !c.is_alphabetic() && *c != '$') {
                match flag {
                    '*' => fact.pointer = true,
                    '!' => fact.always = true,
                    '?' => fact.omit = true,
                    '0' => fact.omit_zero = true,
                    '~' => fact.inlined = true,
                    other => return Err(format!("facts.txt: unknown flag {other:?} in {word:?}")),
                }
                rest = &rest[1..];
            }
            let (rest, proto) = rest.split_once('=').map_or((rest, None), |(a, b)| (a, Some(b)));
            let (name, go_type) = rest.split_once(':').map_or((rest, None), |(a, b)| (a, Some(b)));
            fact.json = name.to_owned();
            fact.go_type = go_type.map(str::to_owned);
            facts
                .fields
                .insert((type_name.to_lowercase(), normalize(proto.unwrap_or(name))), fact);
        }
    }
    Ok(facts)
}
