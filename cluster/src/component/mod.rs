//! Components as processes of their own, under upstream's names and with upstream's flags.
//!
//! Only flags that are honoured exist: any other is an error of the command line, so that nothing is believed to be in
//! force that is not.

mod apiserver;
mod flags;
mod health;
mod scheduler;

pub use apiserver::ApiserverArgs;
pub use scheduler::SchedulerArgs;

use crate::fail::{Context, Result};
use std::ffi::OsString;
use std::path::Path;

/// Names under which this program is that component.
const NAMES: [&str; 2] = ["kube-apiserver", "kube-scheduler"];

/// The command line with the component as its subcommand, where the program was started under a component's name.
pub fn command_line(mut args: Vec<OsString>) -> Vec<OsString> {
    let name = args.first().and_then(|program| Path::new(program).file_name());
    if let Some(name) = name
        .filter(|n| NAMES.iter().any(|known| n == known))
        .map(OsString::from)
    {
        args.insert(1, name);
    }
    args
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, |n| n.get().min(4)))
        .enable_all()
        .build()
        .context(|| "start the runtime")
}

/// Runs a component until it ends or a signal comes.
pub fn run(component: Component) -> Result<()> {
    crate::logs::init(None)?;
    runtime()?.block_on(async {
        match component {
            Component::Apiserver(args) => apiserver::run(*args).await,
            Component::Scheduler(args) => scheduler::run(args).await,
        }
    })
}

/// What is run.
pub enum Component {
    Apiserver(Box<ApiserverArgs>),
    Scheduler(SchedulerArgs),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_program_is_the_subcommand() {
        let line = |args: &[&str]| command_line(args.iter().map(OsString::from).collect());
        assert_eq!(
            line(&["/usr/bin/kube-scheduler", "--config=x"]),
            ["/usr/bin/kube-scheduler", "kube-scheduler", "--config=x"]
        );
        assert_eq!(line(&["keelson", "up"]), ["keelson", "up"]);
        assert_eq!(line(&["kube-proxy"]), ["kube-proxy"]);
        assert_eq!(line(&[]), [""; 0]);
    }
}
