//! The Storage trait over the store in this process: no socket, no copy of values.
