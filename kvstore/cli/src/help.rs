//! What `--help` says, from the table of flags.

use crate::args::{Effect, FLAGS, Group};
use crate::gates::Gates;

pub fn usage() -> String {
    "Usage:\n\n  \
     etcd [flags]\n    Runs a member.\n\n  \
     etcd --config-file FILE\n    Runs a member by a YAML file; other flags and ETCD_* variables are not read then. Durations in the\n    \
     file are whole nanoseconds.\n\n  \
     etcd --version\n    Prints the version.\n\n  \
     etcd -h | --help\n    Prints this help.\n"
        .to_owned()
}

const GROUPS: [(Group, &str); 9] = [
    (Group::Member, "Member"),
    (Group::Clustering, "Clustering"),
    (Group::Security, "Security"),
    (Group::Auth, "Auth"),
    (Group::Monitoring, "Profiling and Monitoring"),
    (Group::Logging, "Logging"),
    (Group::Tracing, "Distributed tracing"),
    (Group::Features, "Features"),
    (Group::Unsafe, "Unsafe feature"),
];

pub fn flags() -> String {
    let mut text = String::new();
    for (group, title) in GROUPS {
        text += &format!("\n{title}:\n");
        for flag in FLAGS.iter().filter(|f| f.group == group) {
            text += &format!("  --{} '{}'\n    {}", flag.name, flag.default, flag.help);
            if let Effect::None(why) = flag.effect {
                text += &format!(" Without effect: {why}.");
            }
            text.push('\n');
            if flag.name == "feature-gates" {
                for gate in Gates::describe() {
                    text += &format!("    {gate}\n");
                }
            }
        }
    }
    text
}
