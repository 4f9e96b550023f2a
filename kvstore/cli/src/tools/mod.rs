//! Verbs that work on files, without a running server: etcdutl's, and `verify`.

mod flags;
mod folder;
mod outcome;
mod print;
mod save;
mod snapshot;

use std::process::ExitCode;

/// `args` are what follows the verb.
type Verb = fn(args: &[String]) -> ExitCode;

/// Name, and what runs it.
const VERBS: &[(&str, Verb)] = &[
    ("snapshot", |args| outcome::end(snapshot::run(args))),
    ("hashkv", |args| outcome::end(folder::hashkv(args))),
    ("defrag", |args| outcome::end(folder::defrag(args))),
    ("migrate", |args| outcome::end(folder::migrate(args))),
    ("verify", |args| outcome::end(folder::verify(args))),
];

/// Words that are etcd's and mean a proxy.
const PROXIES: [&str; 2] = ["gateway", "grpc-proxy"];

/// Runs the verb that `args` begin with. `None`: they do not begin with one, and a server is wanted.
pub fn dispatch(program: &str, args: &[String]) -> Option<ExitCode> {
    let (first, rest) = args.split_first()?;
    if PROXIES.contains(&first.as_str()) {
        eprintln!("{program}: {first} is not supported: run etcd's own, it works with this server");
        return Some(ExitCode::FAILURE);
    }
    VERBS.iter().find(|(name, _)| name == first).map(|(_, run)| run(rest))
}
