//! Short runs with the program itself: every workload once under faults, a real etcd as a control, a planted bug, and
//! what the exit codes say. Runs need root, for namespaces and disks.

mod control;
mod ends;
mod kube;
mod program;
mod verdicts;
mod workloads;
