//! Measures what a device can do: microbenchmarks through OpenCL, WebGPU or natively on the CPU → device profile.
pub mod backend;
pub mod cpu;
pub mod families;
pub mod family;
pub mod sources;
