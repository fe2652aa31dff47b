//! Stored benchmark results.
