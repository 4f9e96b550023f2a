//! keelson-wal
