//! The objects that every cluster starts with.
pub mod policy;
