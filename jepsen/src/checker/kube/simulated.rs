//! Good runs for tests: API servers that do everything right, on the small store of the golden runs.

use crate::checker::Evidence;
use crate::checker::golden::{Dice, Run};
use crate::history::{InformerKind, InformerRecord, InformerStart, Op, Seen};
use crate::workload::kube::mark;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub const WORKLOAD: &str = "kube-watch";
pub const PREFIX: &str = "/registry/configmaps/kube-watch/";

/// What an object is at a revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    pub rv: i64,
    pub v: u64,
    pub color: String,
    pub uid: String,
}

/// A run on the API.
#[derive(Clone, Default)]
pub struct Kube {
    pub run: Run,
    pub informers: BTreeMap<String, Vec<InformerRecord>>,
    /// By revision: what there was.
    pub states: BTreeMap<i64, BTreeMap<String, Stored>>,
    v: u64,
}

impl Kube {
    pub fn new() -> Kube {
        Kube {
            run: Run::new(),
            states: BTreeMap::from([(1, BTreeMap::new())]),
            ..Kube::default()
        }
    }

    pub fn rv(&self) -> i64 {
        self.run.revision()
    }

    pub fn state(&self, rv: i64) -> &BTreeMap<String, Stored> {
        self.states
            .range(..=rv)
            .next_back()
            .expect("there is one from the beginning")
            .1
    }

    fn seen(name: &str, stored: &Stored) -> Seen {
        Seen {
            name: name.to_owned(),
            rv: stored.rv,
            uid: stored.uid.clone(),
            v: stored.v,
            color: stored.color.clone(),
            node: String::new(),
        }
    }

    /// A creation, or an update upon what is there.
    pub fn write(&mut self, name: &str, color: &str) -> &mut Op {
        self.v += 1;
        let (v, before) = (self.v, self.state(self.rv()).get(name).cloned());
        let uid = before.as_ref().map_or_else(|| format!("uid-{v}-"), |b| b.uid.clone());
        self.run
            .put(&format!("{PREFIX}{name}"), &format!("k8s {uid} {}", mark(v, color)));
        let rv = self.rv();
        let stored = Stored {
            rv,
            v,
            color: color.to_owned(),
            uid,
        };
        let mut state = self.state(rv).clone();
        state.insert(name.to_owned(), stored.clone());
        self.states.insert(rv, state);
        let (f, value) = match before {
            None => ("create", json!({"v": v, "color": color})),
            Some(b) => ("update", json!({"v": v, "color": color, "rv": b.rv.to_string()})),
        };
        self.run.ok(
            WORKLOAD,
            1,
            f,
            Some(name),
            value,
            json!(Kube::seen(name, &stored)),
            Some(rv),
        )
    }

    pub fn delete(&mut self, name: &str) -> Option<&mut Op> {
        let before = self.state(self.rv()).get(name).cloned()?;
        self.run.delete(&format!("{PREFIX}{name}"));
        let mut state = self.state(self.rv()).clone();
        state.remove(name);
        self.states.insert(self.rv(), state);
        let value = json!({"rv": before.rv.to_string(), "uid": before.uid});
        Some(self.run.ok(
            WORKLOAD,
            1,
            "delete",
            Some(name),
            value,
            json!({"uid": before.uid}),
            None,
        ))
    }

    /// A consistent read.
    pub fn get(&mut self, name: &str) -> &mut Op {
        let seen = self.state(self.rv()).get(name).map(|s| Kube::seen(name, s));
        self.run
            .ok(WORKLOAD, 2, "get", Some(name), json!({"rv": ""}), json!(seen), None)
    }

    /// A list of the state at a revision.
    pub fn list(&mut self, asked: &str, matching: &str, at: i64, color: &str) -> &mut Op {
        let value =
            json!({"rv": asked, "match": matching, "color": color, "limit": 0, "token": "", "walk": 0, "page": 0});
        let answer = json!({"rv": at, "items": self.items(at, color, ""), "more": false, "remaining": null});
        self.run.ok(WORKLOAD, 2, "list", None, value, answer, Some(at))
    }

    fn items(&self, at: i64, color: &str, after: &str) -> Vec<Seen> {
        let met = self
            .state(at)
            .iter()
            .filter(|(name, s)| name.as_str() > after && (color.is_empty() || s.color == color));
        met.map(|(name, s)| Kube::seen(name, s)).collect()
    }

    /// A walk of pages over the newest state.
    pub fn walk(&mut self, number: u64, limit: usize) {
        let (at, mut after, mut page) = (self.rv(), String::new(), 0);
        loop {
            let mut items = self.items(at, "", &after);
            let left = items.len().saturating_sub(limit);
            items.truncate(limit);
            after = items.last().map_or_else(String::new, |i| i.name.clone());
            let token = if page == 0 { "" } else { "consistent" };
            let value = json!({"rv": "", "match": "", "color": "", "limit": limit, "token": token, "walk": number, "page": page});
            let remaining = if left > 0 { json!(left) } else { Value::Null };
            let answer = json!({"rv": at, "items": items, "more": left > 0, "remaining": remaining});
            self.run.ok(WORKLOAD, 2, "list", None, value, answer, Some(at));
            if left == 0 {
                return;
            }
            page += 1;
        }
    }

    pub fn line(&mut self, client: &str, stream: u64, what: InformerKind) {
        let time_ns = self.run.tick();
        let record = InformerRecord {
            time_ns,
            node: 1,
            stream,
            what,
        };
        self.informers.entry(client.to_owned()).or_default().push(record);
    }

    /// The transitions after `from` to `through` for a selector.
    pub fn transitions(&self, from: i64, through: i64, color: &str) -> Vec<InformerKind> {
        let mut all = Vec::new();
        for rv in from + 1..=through {
            let (before, after) = (self.state(rv - 1), self.state(rv));
            let names = before.keys().chain(after.keys().filter(|n| !before.contains_key(*n)));
            for name in names.filter(|n| before.get(*n) != after.get(*n)) {
                let meets = |s: &&Stored| color.is_empty() || s.color == color;
                all.extend(match (before.get(name).filter(meets), after.get(name).filter(meets)) {
                    (None, Some(s)) => Some(InformerKind::Added {
                        object: Kube::seen(name, s),
                    }),
                    (Some(_), Some(s)) => Some(InformerKind::Modified {
                        object: Kube::seen(name, s),
                    }),
                    (Some(s), None) => Some(InformerKind::Deleted {
                        object: Seen {
                            rv,
                            ..Kube::seen(name, s)
                        },
                    }),
                    (None, None) => None,
                });
            }
        }
        all
    }

    /// A stream from a revision; `content` is how it begins: nothing, a content with a mark, or one without.
    pub fn watch(&mut self, client: &str, stream: u64, from: i64, through: i64, color: &str, content: Content) {
        let start = InformerStart {
            prefix: PREFIX.to_owned(),
            color: color.to_owned(),
            resource_version: if content == Content::None {
                from.to_string()
            } else {
                "0".to_owned()
            },
            send_initial_events: content == Content::Marked,
            bookmarks: true,
            ..InformerStart::default()
        };
        self.line(client, stream, InformerKind::Start(start));
        self.line(client, stream, InformerKind::Created);
        if content != Content::None {
            for object in self.items(from, color, "") {
                self.line(client, stream, InformerKind::Added { object });
            }
        }
        if content == Content::Marked {
            self.line(
                client,
                stream,
                InformerKind::Bookmark {
                    rv: from,
                    initial_end: true,
                },
            );
        }
        let middle = (from + through) / 2;
        for what in self.transitions(from, middle, color) {
            self.line(client, stream, what);
        }
        self.line(
            client,
            stream,
            InformerKind::Bookmark {
                rv: middle,
                initial_end: false,
            },
        );
        for what in self.transitions(middle, through, color) {
            self.line(client, stream, what);
        }
        self.line(client, stream, InformerKind::Closed);
    }

    pub fn evidence(&self) -> Evidence {
        let mut run = self.run.clone();
        run.spectators(2);
        Evidence {
            informers: self.informers.clone(),
            ..run.evidence()
        }
    }
}

/// How a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    None,
    Marked,
    Unmarked,
}

/// A run with everything in it.
pub fn simulate(seed: u64) -> Kube {
    let mut dice = Dice::new(seed);
    let mut kube = Kube::new();
    for number in 0..80 {
        let name = format!("n{}", dice.below(8));
        match dice.below(10) {
            0 => drop(kube.delete(&name)),
            1 => drop(kube.get(&name)),
            2 => {
                let rv = kube.rv();
                kube.list("", "", rv, ["", "red"][dice.below(2) as usize]);
            }
            3 => {
                let rv = 1 + dice.below(kube.rv() as u64) as i64;
                kube.list(&rv.to_string(), "Exact", rv, "");
            }
            4 => kube.walk(number, 1 + dice.below(3) as usize),
            // What is shared with others takes revisions as well.
            5 => drop(kube.run.put("register/1", &number.to_string())),
            _ => drop(kube.write(&name, ["", "red", "blue"][dice.below(3) as usize])),
        }
    }
    for client in 0..6 {
        let mut from = 1;
        for stream in 1..4 {
            let color = ["", "red"][client % 2];
            let through = (from + 5 + dice.below(40) as i64).min(kube.rv());
            let content = [Content::None, Content::Marked, Content::Unmarked][dice.below(3) as usize];
            kube.watch(&format!("kube-watch-{client}"), stream, from, through, color, content);
            from = through;
        }
    }
    kube
}
