//! keelson-proto
