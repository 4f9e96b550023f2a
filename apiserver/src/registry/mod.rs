//! The generic registry: create, get, list, watch, update, patch, delete and deletecollection of every kind.
