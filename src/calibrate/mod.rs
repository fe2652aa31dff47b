//! Measures what a device can do: microbenchmarks through OpenCL, WebGPU or natively on the CPU → device profile.
pub mod backend;
pub mod bounds;
pub mod cpu;
pub mod families;
pub mod child;
pub mod discover;
pub mod environment;
pub mod family;
#[cfg(feature = "opencl")]
pub mod opencl;
pub mod sources;
#[cfg(feature = "wgpu")]
pub mod wgpu;
