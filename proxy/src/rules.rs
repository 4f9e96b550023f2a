//! What a Service, or a pod with host ports, contributes to the table: chains and map elements. Two
//! contributions are compared to write only what changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// One element of a named map or set; `value` is empty for a set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Element {
    pub map: &'static str,
    pub key: String,
    pub value: String,
}

/// A named affinity map, with its timeout in seconds.
pub type AffinityMaps = BTreeMap<String, u32>;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Rules by chain.
    pub chains: BTreeMap<String, Vec<String>>,
    pub elements: BTreeSet<Element>,
    pub affinity: AffinityMaps,
    /// UDP endpoints by the address that clients use: a flow to one that left must be forgotten.
    pub udp: BTreeSet<(String, String)>,
}

/// Text for `nft -f -`. Sections are kept apart since nft wants a chain to be there before a rule jumps to it,
/// and free of references before it is deleted.
#[derive(Default)]
pub struct Script {
    add: String,
    fill: String,
    drop_elements: String,
    add_elements: String,
    delete: String,
}

impl Script {
    /// Adds the statements that turn `old` into `new`.
    pub fn diff(&mut self, table: &str, old: &Rules, new: &Rules) {
        for (name, timeout) in &new.affinity {
            if old.affinity.get(name) != Some(timeout) {
                if old.affinity.contains_key(name) {
                    // A map's timeout cannot be changed in place; its chains are filled anew below.
                    continue;
                }
                let _ = writeln!(
                    self.add,
                    "add map inet {table} {name} {{ type ipv4_addr : ipv4_addr . inet_service; flags dynamic,timeout; timeout {timeout}s; size 65536; }}"
                );
            }
        }
        for (name, rules) in &new.chains {
            let before = old.chains.get(name);
            if before == Some(rules) {
                continue;
            }
            let _ = writeln!(self.add, "add chain inet {table} {name}");
            if before.is_some() {
                let _ = writeln!(self.fill, "flush chain inet {table} {name}");
            }
            for r in rules {
                let _ = writeln!(self.fill, "add rule inet {table} {name} {r}");
            }
        }
        for e in old.elements.difference(&new.elements) {
            let _ = writeln!(
                self.drop_elements,
                "delete element inet {table} {} {{ {} }}",
                e.map, e.key
            );
        }
        for e in new.elements.difference(&old.elements) {
            let value = if e.value.is_empty() {
                String::new()
            } else {
                format!(" : {}", e.value)
            };
            let _ = writeln!(
                self.add_elements,
                "add element inet {table} {} {{ {}{value} }}",
                e.map, e.key
            );
        }
        for name in old.chains.keys().filter(|c| !new.chains.contains_key(*c)) {
            // Emptied first: one doomed chain may jump to another.
            let _ = writeln!(self.fill, "flush chain inet {table} {name}");
            let _ = writeln!(self.delete, "delete chain inet {table} {name}");
        }
        for name in old.affinity.keys().filter(|m| !new.affinity.contains_key(*m)) {
            let _ = writeln!(self.delete, "delete map inet {table} {name}");
        }
    }

    pub fn is_empty(&self) -> bool {
        [
            &self.add,
            &self.fill,
            &self.drop_elements,
            &self.add_elements,
            &self.delete,
        ]
        .iter()
        .all(|s| s.is_empty())
    }

    /// The whole transaction.
    pub fn text(&self) -> String {
        [
            &self.add,
            &self.drop_elements,
            &self.fill,
            &self.add_elements,
            &self.delete,
        ]
        .map(String::as_str)
        .concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(chain: &str, rule: &str, key: &str) -> Rules {
        Rules {
            chains: BTreeMap::from([(chain.to_owned(), vec![rule.to_owned()])]),
            elements: BTreeSet::from([Element {
                map: "m",
                key: key.into(),
                value: format!("goto {chain}"),
            }]),
            ..Rules::default()
        }
    }

    #[test]
    fn only_what_changed_is_written_and_chains_go_last() {
        let (a, b) = (rules("c1", "r1", "k1"), rules("c2", "r2", "k1"));
        let mut s = Script::default();
        s.diff("t", &a, &a);
        assert!(s.is_empty());
        s.diff("t", &a, &b);
        let expected = "add chain inet t c2\n\
                        delete element inet t m { k1 }\n\
                        add rule inet t c2 r2\n\
                        flush chain inet t c1\n\
                        add element inet t m { k1 : goto c2 }\n\
                        delete chain inet t c1\n";
        assert_eq!(s.text(), expected);
    }
}
