//! Is there one order of a history's operations that explains every answer, each taking effect between its call and
//! its return?
//!
//! The search of Wing and Gong with Lowe's cache: take an operation that could come first, step the model, go on with
//! the rest; when nothing fits, take the last one back. What was reached once, the set of operations taken and the
//! state after them, is not tried again. Sets are kept as what lies behind the first gap ([`frontier`]), so a long
//! history costs what its concurrency costs and not the square of its length.
//!
//! Operations that ended indefinitely need not be taken. Those that are alike to the model form a [`Call::alike`]
//! group, of which only the one called first has to be tried. And what was reached once with some of them taken is not
//! tried again with more of them: whatever can follow the latter can follow the former. So lost writes that nobody saw
//! hardly make the search longer, where trying their subsets would double it with each.

mod frontier;
#[cfg(test)]
mod tests;

use frontier::Frontier;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// What the operations work on, one at a time.
pub trait Model {
    type State: Clone + Eq + Hash + Debug;
    type Op;

    fn init(&self) -> Self::State;

    /// The state after `op`, or `None` when its answer could not come of `state`.
    fn step(&self, state: &Self::State, op: &Self::Op) -> Option<Self::State>;
}

/// An operation between its call and its return, both inclusive.
#[derive(Clone, Debug)]
pub struct Call<O> {
    pub op: O,
    pub call_ns: u64,
    /// `None`: it may take effect at any time after the call, or never.
    pub return_ns: Option<u64>,
    /// Only for calls without a return. Those of the same number do the same to every state, as far as any answer in
    /// the history can tell.
    pub alike: u64,
}

/// How long a search may go on.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Steps of the model; each costs memory for the cache, some 100 bytes.
    pub steps: u64,
    pub time: Duration,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            steps: 10_000_000,
            time: Duration::from_secs(20),
        }
    }
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Linearizable {
    Yes,
    No,
    /// A bound was reached.
    Unknown(String),
}

/// An order as long as could be found, where the search got stuck.
#[derive(Clone, Debug)]
pub struct Partial<S> {
    /// How many operations are in it.
    pub length: usize,
    /// The last of them with the state after each, by position in the calls given.
    pub tail: Vec<(usize, S)>,
    /// The state at the end.
    pub state: S,
    /// The operation that returned before anything else could be taken.
    pub stuck: Option<usize>,
    /// All that could come next by time, and cannot by their answers; `stuck` is one of them.
    pub refused: Vec<usize>,
}

/// The result of [`search`].
#[derive(Clone, Debug)]
pub struct Searched<S> {
    pub linearizable: Linearizable,
    /// The longest partial linearizations, all of one length; empty when there is a whole one.
    pub partials: Vec<Partial<S>>,
    pub steps: u64,
}

/// Operations of a partial linearization that are kept, from its end.
const TAIL_OPS: usize = 48;
/// Partial linearizations of the greatest length that are kept.
const PARTIALS: usize = 4;

/// Searches an order that explains all calls that returned.
pub fn search<M: Model>(model: &M, calls: &[Call<M::Op>], bounds: Bounds) -> Searched<M::State> {
    Search::new(model, calls).run(bounds)
}

/// An entry of the list of calls and returns, in the order of time. 0 is its head; links to 0 end it.
struct Entry {
    /// Position in `definite`.
    op: usize,
    is_return: bool,
    time_ns: u64,
    previous: usize,
    next: usize,
}

/// What was taken, and what was there before.
struct Frame<S> {
    taken: Taken,
    before: S,
    marks: frontier::Marks,
}

/// Which operation a step takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// One that returned, by its call's entry.
    Returned(usize),
    /// The next of a group of those that did not.
    Open(usize),
}

/// Calls without a return that are alike, in the order of their calls.
struct Group {
    members: Vec<usize>,
    used: usize,
}

/// By the returned operations taken and the state: with how many of the others that was reached, least ones alone.
type Cache<S> = HashMap<(Box<[u64]>, S), Vec<BTreeMap<usize, usize>>>;

/// Notes what was reached, unless it was reached before with no more.
fn is_new<S: Clone + Eq + Hash>(
    seen: &mut Cache<S>,
    taken: Box<[u64]>,
    state: &S,
    open: &BTreeMap<usize, usize>,
) -> bool {
    let least = seen.entry((taken, state.clone())).or_default();
    let no_more = |a: &BTreeMap<usize, usize>, b: &BTreeMap<usize, usize>| {
        a.iter()
            .all(|(group, used)| b.get(group).is_some_and(|other| used <= other))
    };
    if least.iter().any(|before| no_more(before, open)) {
        return false;
    }
    least.retain(|before| !no_more(open, before));
    least.push(open.clone());
    true
}

struct Search<'a, M: Model> {
    model: &'a M,
    calls: &'a [Call<M::Op>],
    /// Positions of the calls that returned, by the time of their call.
    definite: Vec<usize>,
    entries: Vec<Entry>,
    /// For each of `definite` its entries: call and return.
    places: Vec<(usize, usize)>,
    groups: Vec<Group>,
    /// How many of each group are taken, of those that have any.
    open: BTreeMap<usize, usize>,
    frontier: Frontier,
    stack: Vec<Frame<M::State>>,
    partials: Vec<Partial<M::State>>,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a M, calls: &'a [Call<M::Op>]) -> Search<'a, M> {
        let mut definite: Vec<usize> = Vec::new();
        let mut groups: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (at, call) in calls.iter().enumerate() {
            match call.return_ns {
                Some(_) => definite.push(at),
                None => groups.entry(call.alike).or_default().push(at),
            }
        }
        definite.sort_by_key(|&at| calls[at].call_ns);
        let groups = groups.into_values().map(|mut members| {
            members.sort_by_key(|&at| calls[at].call_ns);
            Group { members, used: 0 }
        });
        // Closed intervals: a call at the time of a return comes before it.
        let mut order: Vec<(u64, bool, usize)> = Vec::with_capacity(2 * definite.len());
        for (op, &at) in definite.iter().enumerate() {
            let call = &calls[at];
            order.push((call.call_ns, false, op));
            order.push((call.return_ns.unwrap_or(u64::MAX).max(call.call_ns), true, op));
        }
        order.sort_unstable();
        let mut entries = vec![Entry {
            op: usize::MAX,
            is_return: false,
            time_ns: 0,
            previous: order.len(),
            next: usize::from(!order.is_empty()),
        }];
        let mut places = vec![(0, 0); definite.len()];
        for (i, &(time_ns, is_return, op)) in order.iter().enumerate() {
            let at = i + 1;
            if is_return {
                places[op].1 = at;
            } else {
                places[op].0 = at;
            }
            entries.push(Entry {
                op,
                is_return,
                time_ns,
                previous: i,
                next: (at + 1) % (order.len() + 1),
            });
        }
        Search {
            model,
            calls,
            frontier: Frontier::new(definite.len()),
            definite,
            entries,
            places,
            groups: groups.collect(),
            open: BTreeMap::new(),
            stack: Vec::new(),
            partials: Vec::new(),
        }
    }

    fn run(mut self, bounds: Bounds) -> Searched<M::State> {
        let began = Instant::now();
        let mut seen: Cache<M::State> = Cache::new();
        let mut state = self.model.init();
        let mut steps = 0_u64;
        let mut after: Option<Taken> = None;
        let linearizable = loop {
            if self.entries[0].next == 0 {
                break Linearizable::Yes;
            }
            let Some(taken) = self.candidate(after) else {
                self.note_stuck(&state);
                let Some(frame) = self.stack.pop() else {
                    break Linearizable::No;
                };
                self.put_back(frame.taken, frame.marks);
                state = frame.before;
                after = Some(frame.taken);
                continue;
            };
            steps += 1;
            if steps > bounds.steps {
                break Linearizable::Unknown(format!("the search took more than {} steps", bounds.steps));
            }
            if steps.is_multiple_of(4096) && began.elapsed() > bounds.time {
                break Linearizable::Unknown(format!("the search took longer than {} s", bounds.time.as_secs()));
            }
            after = Some(taken);
            let Some(next) = self.model.step(&state, &self.calls[self.position(taken)].op) else {
                continue;
            };
            let marks = self.take(taken);
            if is_new(&mut seen, self.frontier.key(), &next, &self.open) {
                let before = std::mem::replace(&mut state, next);
                self.stack.push(Frame { taken, before, marks });
                after = None;
            } else {
                self.put_back(taken, marks);
            }
        };
        Searched {
            partials: if linearizable == Linearizable::Yes {
                Vec::new()
            } else {
                self.partials
            },
            linearizable,
            steps,
        }
    }

    /// The next operation that could come first by time, after the one tried last. What returns first is tried first:
    /// a write that may take effect for a long time is taken when an answer needs it, and not to be overwritten at
    /// once. Those that never returned are tried last, which are rarely needed.
    fn candidate(&self, after: Option<Taken>) -> Option<Taken> {
        let group = if let Some(Taken::Open(last)) = after {
            last + 1
        } else {
            let end_of = |entry: usize| self.places[self.entries[entry].op].1;
            let tried = match after {
                Some(Taken::Returned(entry)) => end_of(entry),
                _ => 0,
            };
            let mut best: Option<usize> = None;
            let mut at = self.entries[0].next;
            while at != 0 && !self.entries[at].is_return {
                let end = end_of(at);
                if end > tried && best.is_none_or(|best| end < end_of(best)) {
                    best = Some(at);
                }
                at = self.entries[at].next;
            }
            if let Some(best) = best {
                return Some(Taken::Returned(best));
            }
            0
        };
        let limit_ns = self.first_return_ns();
        (group..self.groups.len()).find_map(|number| {
            let group = &self.groups[number];
            let next = *group.members.get(group.used)?;
            (self.calls[next].call_ns <= limit_ns).then_some(Taken::Open(number))
        })
    }

    /// Nothing that is called later can come first.
    fn first_return_ns(&self) -> u64 {
        let mut at = self.entries[0].next;
        while at != 0 {
            if self.entries[at].is_return {
                return self.entries[at].time_ns;
            }
            at = self.entries[at].next;
        }
        u64::MAX
    }

    fn position(&self, taken: Taken) -> usize {
        match taken {
            Taken::Returned(entry) => self.definite[self.entries[entry].op],
            Taken::Open(group) => self.groups[group].members[self.groups[group].used],
        }
    }

    fn take(&mut self, taken: Taken) -> frontier::Marks {
        match taken {
            Taken::Returned(entry) => {
                let op = self.entries[entry].op;
                let (call, end) = self.places[op];
                self.unlink(call);
                self.unlink(end);
                self.frontier.set(op)
            }
            Taken::Open(group) => {
                self.groups[group].used += 1;
                *self.open.entry(group).or_default() += 1;
                self.frontier.marks()
            }
        }
    }

    fn put_back(&mut self, taken: Taken, marks: frontier::Marks) {
        match taken {
            Taken::Returned(entry) => {
                let op = self.entries[entry].op;
                let (call, end) = self.places[op];
                self.link(end);
                self.link(call);
                self.frontier.unset(op, marks);
            }
            Taken::Open(group) => {
                self.groups[group].used -= 1;
                if let Some(used) = self.open.get_mut(&group) {
                    *used -= 1;
                }
                self.open.retain(|_, used| *used > 0);
            }
        }
    }

    fn unlink(&mut self, at: usize) {
        let (previous, next) = (self.entries[at].previous, self.entries[at].next);
        self.entries[previous].next = next;
        self.entries[next].previous = previous;
    }

    fn link(&mut self, at: usize) {
        let (previous, next) = (self.entries[at].previous, self.entries[at].next);
        self.entries[previous].next = at;
        self.entries[next].previous = at;
    }

    /// Nothing fits: keeps the order so far when none was longer.
    fn note_stuck(&mut self, state: &M::State) {
        let length = self.stack.len();
        match self.partials.first() {
            Some(best) if best.length > length => return,
            Some(best) if best.length == length => {
                if self.partials.len() == PARTIALS {
                    return;
                }
            }
            _ => self.partials.clear(),
        }
        let mut refused = Vec::new();
        let mut at = self.entries[0].next;
        while at != 0 && !self.entries[at].is_return {
            refused.push(self.definite[self.entries[at].op]);
            at = self.entries[at].next;
        }
        self.partials.push(Partial {
            length,
            tail: self.tail(state),
            state: state.clone(),
            stuck: (at != 0).then(|| self.definite[self.entries[at].op]),
            refused,
        });
    }

    fn tail(&self, state: &M::State) -> Vec<(usize, M::State)> {
        let mut used: Vec<usize> = self.groups.iter().map(|group| group.used).collect();
        let mut after = state;
        let mut tail = Vec::new();
        for frame in self.stack.iter().rev().take(TAIL_OPS) {
            let position = match frame.taken {
                Taken::Returned(entry) => self.definite[self.entries[entry].op],
                Taken::Open(group) => {
                    used[group] -= 1;
                    self.groups[group].members[used[group]]
                }
            };
            tail.push((position, after.clone()));
            after = &frame.before;
        }
        tail.reverse();
        tail
    }
}
