//! What clients do: each workload is a kind of clients, with what they read at the end.
//!
//! All chance comes from the seed of the run. Clients are paced, so that histories stay small enough to be judged, and
//! each has a member of its own that it mostly asks.

mod append;
mod election;
mod env;
mod integrity;
mod keys;
pub mod kube;
mod lease;
mod lock;
mod observer;
pub mod past;
mod register;
mod session;
mod set;
pub mod spectator;
mod terms;
mod txn;
mod watch;
mod wr;

pub use env::{Counts, Env, Seen, Settings, Until};
pub use session::{Answer, Call, Session, answer};

use futures::future::BoxFuture;
use std::time::Duration;

/// A client at work: it ends soon after [`Env::stopped`] says so.
pub type Worker = BoxFuture<'static, ()>;

/// One kind of clients.
pub trait Workload: Send + Sync {
    /// Its name: in `--workload`, in each line of the history, and before the `/` of its keys.
    fn name(&self) -> &'static str;

    /// One line of what it does.
    fn about(&self) -> &'static str;

    /// Clients, when nothing else is said.
    fn clients(&self) -> usize;

    /// Operations a second of all its clients together, when nothing else is said.
    fn rate(&self) -> f64;

    /// Fewest acknowledged operations with which a run says anything. Most of the time may be lost to faults, and
    /// machines differ: a twentieth of what was asked for.
    fn ops_min(&self, time: Duration, rate: f64) -> u64 {
        // The product is far below 2^53 and not negative.
        (time.as_secs_f64() * rate / 20.0) as u64
    }

    /// What must be there before the clients begin; the cluster is healthy.
    fn setup<'a>(&'a self, _env: &'a Env) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    /// Its clients.
    fn workers(&self, env: &Env) -> Vec<Worker>;

    /// Clients that only watch: they go on after the others have ended, until [`Env::until`] tells the last revision and
    /// they have been sent everything up to it.
    fn observers(&self, _env: &Env) -> Vec<Worker> {
        Vec::new()
    }

    /// What is read after everything was healed.
    fn finals<'a>(&'a self, _env: &'a Env) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }
}

/// Name of all workloads on API servers, where workloads are named.
pub const KUBE: &str = "kube";

/// Every workload: those on the datastore, then those on API servers.
pub fn every() -> Vec<Box<dyn Workload>> {
    let mut every = all();
    every.extend(kube::all());
    every
}

/// All workloads on the datastore, in the order of their listing.
pub fn all() -> Vec<Box<dyn Workload>> {
    vec![
        Box::new(register::Register),
        Box::new(append::Append),
        Box::new(wr::Wr),
        Box::new(set::Set),
        Box::new(watch::Watch),
        Box::new(lease::Lease),
        Box::new(lock::Lock),
        Box::new(election::Election),
        Box::new(integrity::Integrity),
        Box::new(past::Past),
        Box::new(terms::Terms),
    ]
}

/// The workloads by name; `all` are those on the datastore, `kube` those on API servers.
///
/// # Errors
/// A sentence, for a name that there is not, and when there is none.
pub fn chosen(names: &[String]) -> Result<Vec<Box<dyn Workload>>, String> {
    let group = |name: &str| if kube::is_one(name) { KUBE } else { "all" };
    let wanted = |name: &str| names.iter().any(|w| w == name || w == group(name));
    let mut known: Vec<&str> = every().iter().map(|w| w.name()).collect();
    known.extend(["all", KUBE]);
    if let Some(unknown) = names.iter().find(|w| !known.contains(&w.as_str())) {
        return Err(format!(
            "no workload is named {unknown:?}: there are {}",
            known.join(", ")
        ));
    }
    if names.is_empty() {
        return Err("a run needs a workload".to_owned());
    }
    Ok(every().into_iter().filter(|w| wanted(w.name())).collect())
}
