//! What breaks, when, and how it is healed.
//!
//! What it is: [`choose`] turns words of the command line into kinds, [`Plan::draw`] makes faults with times and victims
//! of them, all from a seed; [`Nemesis`] does them to a [`World`](crate::world::World), writes down what was done and
//! what came of it, and heals. What it is not: it judges nothing.
//!
//! # Invariants
//! - The cluster can survive what is done to it. What takes a member's data away or makes it wrong strikes one member at
//!   a time, nobody else touches that member meanwhile, and it comes again as a new one, with an empty disk.
//! - Faults may overlap; each undoes only what it did, in any order, and [`Nemesis::heal`] undoes everything.
//!
//! # What is written to `faults.jsonl`
//! `begin` and `end`, or `once`, of each fault by the name of its [`Kind`]. Effects, which are what a run must have some
//! of to be worth anything, have names of their own:
//!
//! | effect | id | detail |
//! |---|---|---|
//! | `status` | 0 | role (`leader`, `follower`, `learner`, `none`), term, revision, index, applied, errors; once a second a member |
//! | `leader-change` | 0 | from, to, term |
//! | `ended` | 0 | a member's process ended by itself: status, expected (a fault may make it do so), log |
//! | `started-again` | 0 | after that |
//! | `panic` | 0 | line of the log, expected |
//! | `snapshot-install` | 0 | |
//! | `compacted` | 0 | revision, as the leader measures it |
//! | `bytes-lost` | of the fault | by a power loss: bytes, files, of_bytes |
//! | `compact` | of the fault | revision; before the request is sent |
//! | `compaction` | of the fault | revision; acknowledged |
//! | `compact-failed` | of the fault | revision, definite, error |
//! | `gave-up` | of the fault | a member ended because of its disk: status |
//! | `replaced` | of the fault | a member came again with nothing: how |
//! | `flips-noticed`, `flips-harmless` | of the fault | how, log |
//! | `skipped` | of the fault | a fault that was not done, at these members: fault, why |
//! | `fault-panicked` | of the fault | a mistake of the runner's |
//! | `healed` | 0 | error, when the cluster did not recover |

mod act;
mod admin;
mod draw;
mod heal;
mod kind;
mod nemesis;
mod plan;
mod poll;
mod scene;
mod shape;
mod step;

pub use kind::{Kind, choose};
pub use nemesis::Nemesis;
pub use plan::Plan;
pub use shape::Shape;
pub use step::{Fault, Return, Step, Victims, Way};
