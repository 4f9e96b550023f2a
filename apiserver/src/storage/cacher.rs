//! The watch cache: one a kind, over a persistent ordered map.
