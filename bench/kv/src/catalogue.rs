//! The rows of the table. A name such as `put-3x256` is three members and 256 calls outstanding.

use crate::upkeep;
use crate::watching::FanOut;
use crate::workload::{Data, Work, Workload};

/// All workloads, in the order of the table.
pub fn all() -> impl Iterator<Item = &'static Workload> {
    SMALL.iter().chain(LARGE).chain(STREAMS).chain(upkeep::ALL)
}

const fn row(name: &'static str, members: usize, outstanding: usize, work: Work) -> Workload {
    Workload {
        name,
        data: Data {
            members,
            keys: 10_000,
            value: 256,
            scattered: false,
        },
        outstanding,
        work,
        quick: false,
    }
}

/// On one member, with values of 1 KiB.
const fn large(name: &'static str, keys: u64, outstanding: usize, work: Work) -> Workload {
    Workload {
        name,
        data: Data {
            members: 1,
            keys,
            value: 1024,
            scattered: false,
        },
        outstanding,
        work,
        quick: false,
    }
}

const fn watch(name: &'static str, streams: usize, watchers_per_stream: usize, keys: u64, prev_kv: bool) -> Workload {
    let fan_out = FanOut {
        streams,
        watchers_per_stream,
        keys,
        prev_kv,
    };
    row(name, 1, 1, Work::Watch(fan_out))
}

const fn quick(workload: Workload) -> Workload {
    Workload {
        quick: true,
        ..workload
    }
}

const fn scattered(workload: Workload) -> Workload {
    Workload {
        data: Data {
            scattered: true,
            ..workload.data
        },
        ..workload
    }
}

const PUT: Work = Work::Put { value: 256 };
const LINEARIZABLE: Work = Work::Get { serializable: false };
const SERIALIZABLE: Work = Work::Get { serializable: true };
const PAGE: Work = Work::Page { limit: 500 };
const PAGED: Work = Work::ListPaged { limit: 500 };
const UPDATE: Work = Work::Update { value: 1024 };
const CREATE: Work = Work::Create { value: 1024 };
const WARM: Work = Work::Restart { cold: false };
const COLD: Work = Work::Restart { cold: true };
const KEEP_ALIVE: Work = Work::LeaseKeepAlive { leases: 100_000 };

const fn mixed(reads_of_ten: u64) -> Work {
    Work::Mixed {
        reads_of_ten,
        value: 256,
    }
}

/// Over 10,000 keys of 256 bytes.
const SMALL: &[Workload] = &[
    quick(row("put-1x1", 1, 1, PUT)),
    row("put-1x64", 1, 64, PUT),
    quick(row("put-1x256", 1, 256, PUT)),
    row("put-1x1000", 1, 1000, PUT),
    row("put-3x1", 3, 1, PUT),
    row("put-3x64", 3, 64, PUT),
    quick(row("put-3x256", 3, 256, PUT)),
    row("put-3x1000", 3, 1000, PUT),
    row("mixed-90-10-1x256", 1, 256, mixed(9)),
    row("mixed-50-50-1x256", 1, 256, mixed(5)),
    row("mixed-90-10-3x256", 3, 256, mixed(9)),
    row("mixed-50-50-3x256", 3, 256, mixed(5)),
    row("get-linearizable-1x1", 1, 1, LINEARIZABLE),
    row("get-linearizable-1x64", 1, 64, LINEARIZABLE),
    quick(row("get-linearizable-1x256", 1, 256, LINEARIZABLE)),
    row("get-linearizable-1x1000", 1, 1000, LINEARIZABLE),
    row("get-serializable-1x1", 1, 1, SERIALIZABLE),
    row("get-serializable-1x64", 1, 64, SERIALIZABLE),
    row("get-serializable-1x256", 1, 256, SERIALIZABLE),
    row("get-serializable-1x1000", 1, 1000, SERIALIZABLE),
    row("get-linearizable-3x1", 3, 1, LINEARIZABLE),
    row("get-linearizable-3x64", 3, 64, LINEARIZABLE),
    row("get-linearizable-3x256", 3, 256, LINEARIZABLE),
    row("get-linearizable-3x1000", 3, 1000, LINEARIZABLE),
    row("get-serializable-3x1", 3, 1, SERIALIZABLE),
    row("get-serializable-3x64", 3, 64, SERIALIZABLE),
    row("get-serializable-3x256", 3, 256, SERIALIZABLE),
    row("get-serializable-3x1000", 3, 1000, SERIALIZABLE),
];

/// Over many keys of 1 KiB.
const LARGE: &[Workload] = &[
    large("list-10000", 10_000, 1, Work::List),
    large("list-stream-10000", 10_000, 1, Work::ListStream),
    large("list-paged-10000", 10_000, 1, PAGED),
    quick(large("page-500-of-100000", 100_000, 1, PAGE)),
    quick(large("count-100000", 100_000, 1, Work::Count)),
    large("list-paged-100000", 100_000, 1, PAGED),
    large("list-stream-100000", 100_000, 1, Work::ListStream),
    quick(large("list-100000", 100_000, 1, Work::List)),
    large("restart-100000", 100_000, 1, WARM),
    quick(large("update-100000", 100_000, 256, UPDATE)),
    scattered(large("list-scattered-100000", 100_000, 1, Work::List)),
    large("list-200000", 200_000, 1, Work::List),
    large("list-stream-200000", 200_000, 1, Work::ListStream),
    large("size-1000000", 1_000_000, 1, Work::Size),
    large("page-500-of-1000000", 1_000_000, 1, PAGE),
    large("count-1000000", 1_000_000, 1, Work::Count),
    large("restart-1000000", 1_000_000, 1, WARM),
    large("restart-cold-1000000", 1_000_000, 1, COLD),
    large("update-1000000", 1_000_000, 256, UPDATE),
    large("create-1000000", 1_000_000, 256, CREATE),
];

/// Watches and leases.
const STREAMS: &[Workload] = &[
    watch("watch-1000-on-1-key", 10, 100, 1, false),
    watch("watch-1000-on-1-key-prev", 10, 100, 1, true),
    quick(watch("watch-10000-on-10000-keys", 100, 100, 10_000, false)),
    watch("watch-10000-on-10000-keys-prev", 100, 100, 10_000, true),
    watch("watch-100x100-on-100-keys", 100, 100, 100, false),
    watch("watch-100x100-on-100-keys-prev", 100, 100, 100, true),
    large("lease-grant-1x256", 0, 256, Work::LeaseGrant),
    quick(large("lease-keepalive-1x256", 0, 256, KEEP_ALIVE)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        let mut names: Vec<_> = all().map(|w| w.name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
