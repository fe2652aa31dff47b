//! Kernels and backends.
mod backends;
mod curves;
mod kernel_sources;
mod kernels;
mod torch;
