//! Kernels and backends.
mod backends;
mod kernel_sources;
mod kernels;
