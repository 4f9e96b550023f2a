//! The datastore from outside: started as a process with etcd's flags, asked by programs that nobody here wrote
//! (etcdctl, etcdutl, etcd's Go client, a stock kube-apiserver), beside a real etcd that is asked the same.
//!
//! Needs root (every cluster lives in a network namespace of its own, on etcd's own ports), and `ETCD`, `ETCDCTL`,
//! `ETCDUTL` as `bench/peers/build` prints them: without them there is nothing to compare with, and that is a failure.
//! `docs/testing.md` names the knobs for longer runs.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cluster;
mod compare;
mod etcdctl;
mod failures;
mod goclient;
mod kube;
mod limits;
mod load;
mod net;
mod power;
mod script;
mod tls;
mod transfer;
