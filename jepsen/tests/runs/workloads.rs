//! Every workload passes under faults that it is made for.

use crate::program::Runner;

macro_rules! workloads {
    ($($name:ident: $workload:literal under $faults:literal from $seed:literal;)*) => {
        $(
            #[test]
            fn $name() {
                Runner::new().passes(concat!(
                    "--time 10s --workload ", $workload, " --faults ", $faults, " --seed ", $seed
                ));
            }
        )*

        /// No workload is forgotten.
        #[test]
        fn all_are_here() {
            let here = [$($workload),*];
            for workload in keelson_jepsen::workload::all() {
                assert!(here.contains(&workload.name()), "{} has no run", workload.name());
            }
        }
    };
}

workloads! {
    register: "register" under "kill" from 1;
    append: "append" under "partition" from 2;
    wr: "wr" under "pause" from 3;
    set: "set" under "power-loss" from 4;
    watch: "watch" under "kill,compact" from 5;
    lease: "lease" under "leader,pause" from 6;
    lock: "lock" under "pause" from 7;
    election: "election" under "kill" from 8;
    integrity: "integrity" under "defrag,kill" from 9;
    past: "past" under "compact,leader" from 10;
    terms: "terms" under "partition,leader" from 11;
}
