//! Measures what a device can do: microbenchmarks through OpenCL, WebGPU or natively on the CPU → device profile.
pub mod backend;
pub mod bounds;
pub mod clock;
pub mod compare;
pub mod cpu;
pub mod datasheet;
pub mod families;
pub mod family;
pub mod fit;
pub mod meaning;
#[cfg(feature = "opencl")]
pub mod opencl;
pub mod protocol;
pub mod samples;
pub mod sources;
pub mod synthetic;
