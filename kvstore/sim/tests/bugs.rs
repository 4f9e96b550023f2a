//! That the simulator bites: bugs put in on purpose are found within a few seeds.
#![allow(clippy::unwrap_used)]

use keelson_sim::{Bug, Options, run};

/// The violation that finds the bug, of the first seeds. They are different ones from those that must be good.
fn found(bugged: &Options, seeds_max: u64) -> String {
    let bug = bugged.bug;
    for seed in 1000..1000 + seeds_max {
        let options = Options { seed, ..bugged.clone() };
        if let Some(violation) = run(&options).unwrap().violation {
            println!("{bug:?}: seed {seed}: {violation}");
            let without = run(&Options {
                bug: Bug::None,
                ..options
            });
            assert_eq!(
                without.unwrap().violation,
                None,
                "seed {seed} is bad without the bug, too"
            );
            return violation;
        }
    }
    panic!("{bug:?} is not found in {seeds_max} seeds");
}

fn check(bug: Bug, members: u64, seeds_max: u64, says: &[&str]) {
    let options = Options {
        bug,
        members,
        ..Options::new(0)
    };
    check_with(&options, seeds_max, says);
}

fn check_with(options: &Options, seeds_max: u64, says: &[&str]) {
    let violation = found(options, seeds_max);
    assert!(says.iter().any(|says| violation.contains(says)), "{violation}");
}

#[test]
fn an_answer_before_the_sync_is_found() {
    let says = [
        "another entry",
        "the log was lost",
        "cannot start",
        "the model says",
        "when",
    ];
    check(Bug::AckBeforeSync, 1, 20, &says);
    check(Bug::AckBeforeSync, 3, 20, &says);
}

#[test]
fn a_forgotten_vote_is_found() {
    // By the votes themselves, by two leaders of one term, or by what a member makes of a log from a term that it
    // has forgotten.
    let says = [
        "voted for",
        "lead term",
        "must be >= current accepted.committed_vote",
        "does not come right",
    ];
    let options = Options {
        bug: Bug::VoteNotDurable,
        members: 3,
        // It shows in the few milliseconds between a vote and the first entry of whom it elects.
        voters_die_permille: 300,
        ..Options::new(0)
    };
    check_with(&options, 40, &says);
}

#[test]
fn a_read_without_a_quorum_is_found() {
    check(
        Bug::ReadWithoutQuorum,
        3,
        20,
        &["a read saw revision", "future revision"],
    );
}

#[test]
fn a_guard_judged_too_early_is_found() {
    check(Bug::GuardsJudgedEarly, 3, 40, &["the model says", "answered entry"]);
}

#[test]
fn an_installation_that_forgets_leases_is_found() {
    check(Bug::InstallForgetsLeases, 3, 40, &["and told of"]);
}
