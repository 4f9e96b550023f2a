//! keelson-raft
