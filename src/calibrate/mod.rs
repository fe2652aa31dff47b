//! Measures what a device can do: microbenchmarks through OpenCL, WebGPU or natively on the CPU → device profile.
pub mod backend;
pub mod family;
pub mod sources;
