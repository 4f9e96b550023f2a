//! Every fault does what it says, seen from outside: on a cluster of three members, ours by `KEELSON_KVSTORE_BIN` or a
//! real etcd by `ETCD`.

mod cluster;
mod disks;
mod network;
mod processes;
mod stage;
