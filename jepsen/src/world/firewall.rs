//! What the network drops: nftables rules in the namespace of each member, written anew as a whole when something
//! changes, so that faults that overlap can be undone in any order.

use super::command::run;
use super::error::WorldError;
use super::network::{CLIENTS, Namespace, address};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

/// Where packets come from or go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    Clients,
    Node(usize),
}

impl End {
    fn address(self) -> String {
        match self {
            End::Clients => CLIENTS.to_owned(),
            End::Node(node) => address(node),
        }
    }
}

/// Packets in one direction. Those of TCP are lost for both when their acknowledgements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    pub from: End,
    pub to: End,
}

impl Flow {
    pub fn between(a: End, b: End) -> [Flow; 2] {
        [Flow { from: a, to: b }, Flow { from: b, to: a }]
    }
}

/// Flows of which a share is dropped.
#[derive(Clone, Debug)]
struct Rule {
    flows: Vec<Flow>,
    percent: u8,
}

/// All rules, by the number of the fault that made them.
#[derive(Debug, Default)]
pub(super) struct Firewall {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    rules: BTreeMap<u64, Rule>,
    /// What was written to each member's namespace last.
    written: BTreeMap<usize, String>,
}

impl Firewall {
    /// Sets the rule of a fault: this share of the packets is dropped, all of them at 100. No flows take it away.
    pub(super) fn set(
        &self,
        fault: u64,
        flows: &[Flow],
        percent: u8,
        nodes: &[(usize, Namespace)],
    ) -> Result<(), WorldError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if flows.is_empty() {
            held.rules.remove(&fault);
        } else {
            let flows = flows.to_vec();
            held.rules.insert(fault, Rule { flows, percent });
        }
        held.write(nodes)
    }

    pub(super) fn clear(&self, nodes: &[(usize, Namespace)]) -> Result<(), WorldError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.rules.clear();
        held.write(nodes)
    }
}

impl Held {
    fn write(&mut self, nodes: &[(usize, Namespace)]) -> Result<(), WorldError> {
        for (node, namespace) in nodes {
            let text = ruleset(*node, self.rules.values());
            if self.written.get(node).is_some_and(|w| *w == text) {
                continue;
            }
            namespace.inside(|| run("nft", &["-f", "-"], &text))??;
            self.written.insert(*node, text);
        }
        Ok(())
    }
}

/// The table of one member, replaced in one transaction. What comes in is dropped where it arrives; what goes to
/// clients, who share the runner's namespace, where it leaves.
fn ruleset<'a>(node: usize, rules: impl Iterator<Item = &'a Rule>) -> String {
    let (mut input, mut output) = (String::new(), String::new());
    for rule in rules {
        let chance = match rule.percent {
            100.. => String::new(),
            percent => format!("numgen random mod 100 < {percent} "),
        };
        for flow in &rule.flows {
            // Writing to a string does not fail.
            let _ = match (flow.from, flow.to) {
                (from, End::Node(to)) if to == node => {
                    writeln!(input, "    ip saddr {} {chance}drop", from.address())
                }
                (End::Node(from), End::Clients) if from == node => {
                    writeln!(output, "    ip daddr {CLIENTS} {chance}drop")
                }
                _ => Ok(()),
            };
        }
    }
    format!(
        "table inet faults\ndelete table inet faults\ntable inet faults {{\n  chain in {{\n    \
         type filter hook input priority 0\n{input}  }}\n  chain out {{\n    type filter hook output priority 0\n\
         {output}  }}\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_drops_what_comes_to_it_and_what_it_sends_to_clients() {
        let cut = Rule {
            flows: vec![
                Flow {
                    from: End::Node(1),
                    to: End::Node(2),
                },
                Flow {
                    from: End::Node(2),
                    to: End::Clients,
                },
            ],
            percent: 100,
        };
        let lose = Rule {
            flows: vec![Flow {
                from: End::Clients,
                to: End::Node(2),
            }],
            percent: 30,
        };
        assert_eq!(
            ruleset(2, [&cut, &lose].into_iter()),
            "table inet faults
delete table inet faults
table inet faults {
  chain in {
    type filter hook input priority 0
    ip saddr 10.77.0.1 drop
    ip saddr 10.77.0.254 numgen random mod 100 < 30 drop
  }
  chain out {
    type filter hook output priority 0
    ip daddr 10.77.0.254 drop
  }
}
"
        );
        assert!(!ruleset(1, [&cut, &lose].into_iter()).contains("drop"));
    }
}
