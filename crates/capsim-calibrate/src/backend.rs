//! What every device can do for a microbenchmark: compile a kernel, hold buffers, run launches, tell the time.
//!
//! One trait stands for OpenCL, WebGPU, the CPU and a synthetic device, so that every probe is written once. A kernel has one
//! name and, per API, one source (`kernels/<name>.cl`, `kernels/<name>.wgsl`, or a native function); its compile-time
//! constants are *defines*, its run-time arguments are buffers and 32-bit numbers.
use std::time::Duration;

/// Which API drives a device.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    /// OpenCL through the `ocl` crate.
    Opencl,
    /// Vulkan, Metal or DX12 through the `wgpu` crate.
    Wgpu,
    /// Native code on the host's processor.
    Cpu,
    /// The user's PyTorch, and the engine's kernels where it can be imported.
    Torch,
    /// A made-up device with known truth, for tests.
    Synthetic,
}

/// What a device is, as its driver tells.
#[derive(
    Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
pub struct DeviceInfo {
    /// Name, as the driver spells it.
    pub name: String,
    /// Vendor.
    pub vendor: String,
    /// Driver name and version.
    pub driver: String,
    /// API version: "OpenCL 3.0 …", "Vulkan 1.3".
    pub api_version: String,
    /// Whether this is a software device (PoCL, lavapipe, the CPU backend): never a speed claim about a GPU.
    pub software: bool,
    /// Whether host and device share memory.
    pub unified_memory: bool,
    /// Device memory in bytes, 0 if the API does not tell (then the host's, if `unified_memory`).
    pub memory_bytes: u64,
    /// Largest single buffer in bytes.
    pub max_buffer_bytes: u64,
    /// Largest range of a buffer that one kernel argument may cover, in bytes.
    pub max_binding_bytes: u64,
    /// Local (shared) memory per work-group in bytes.
    pub local_memory_bytes: u64,
    /// Most work-items in a work-group.
    pub max_group: u32,
    /// Compute units, 0 if unknown.
    pub compute_units: u32,
    /// Clock in MHz as the driver states it, 0 if unknown.
    pub clock_mhz: u32,
    /// Last-level cache in bytes, 0 if unknown.
    pub cache_bytes: u64,
    /// Resolution of device timestamps in nanoseconds as stated; `None`: no device timestamps, the host's clock only.
    pub timestamp_ns: Option<f64>,
    /// Extensions and features that a kernel may ask for (see [`Kernel::needs`]), plus what else is worth recording.
    pub features: Vec<String>,
}

/// How a kernel uses a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only reads.
    Read,
    /// Reads and writes.
    ReadWrite,
}

/// A kernel variant to compile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Name of the source files and of the entry point.
    pub name: &'static str,
    /// Compile-time constants, in order: `-D NAME=VALUE` for OpenCL; for WGSL every `${NAME}` in the source is replaced.
    pub defines: Vec<(&'static str, String)>,
    /// Work-group size. The sources find it as the defines `WG` (x) and `WG_Y`.
    pub group: [u32; 2],
    /// Buffers, in order: OpenCL arguments 0 …, WGSL `@group(0) @binding(i)`.
    pub buffers: Vec<Access>,
    /// Number of 32-bit arguments after the buffers: OpenCL `uint` arguments; in WGSL a `var<uniform>` of
    /// `array<vec4<u32>, 4>` at the next binding (at most 16 numbers).
    pub numbers: usize,
    /// Features without which the kernel does not compile, by the names of [`DeviceInfo::features`]
    /// (`f16`, `bf16-wmma`, `ptx-mma`, `coop-matrix-f16`, `subgroups`, `int8-dot`); empty for plain kernels.
    pub needs: Vec<&'static str>,
}

/// A compiled kernel of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KernelId(pub usize);

/// A buffer of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BufferId(pub usize);

/// What the offset of a [`Slice`] must be a multiple of, in bytes: the largest of `CL_DEVICE_MEM_BASE_ADDR_ALIGN` (NVIDIA: 4096
/// bits; AMD: 2048; PoCL: 1024) and of Vulkan's and WebGPU's `minStorageBufferOffsetAlignment` (at most 256).
pub const SLICE_ALIGN: u64 = 512;

/// A part of a buffer, bound as one kernel argument. `offset` is a multiple of [`SLICE_ALIGN`], `len` of 4, all in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The buffer.
    pub buffer: BufferId,
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub len: u64,
}

/// One launch.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// What.
    pub kernel: KernelId,
    /// On what. WebGPU refuses a launch that binds one buffer both as [`Access::Read`] and as [`Access::ReadWrite`], whatever the
    /// offsets.
    pub buffers: Vec<Slice>,
    /// With which numbers.
    pub numbers: Vec<u32>,
    /// Number of work-groups.
    pub groups: [u32; 3],
    /// What it does, in terms of the device model. Real devices ignore it; the synthetic one prices it.
    pub work: Work,
}

/// What a launch does: the terms of the cost model.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
pub struct Work {
    /// Bytes that have to come from or go to memory, each counted once.
    pub bytes: f64,
    /// Arithmetic operations (a multiply-add is two).
    pub flops: f64,
    /// Size of the working set that repeated launches cycle through, in bytes: decides which cache level serves it.
    pub working_set: f64,
}

/// How long some launches took, all together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// By the device's own clock, from the begin of the first to the end of the last; `None` where it has none.
    pub device: Option<Duration>,
    /// By the host's clock, from before the first is enqueued until all are known to be complete.
    pub host: Duration,
}

/// Why a device did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The driver, the library or the device is not there or not usable.
    #[error("{0}")]
    Unavailable(String),
    /// The kernel was refused; the compiler's words.
    #[error("kernel `{kernel}` does not compile: {log}")]
    Compile {
        /// Its name.
        kernel: &'static str,
        /// What the compiler says.
        log: String,
    },
    /// This device has no such kernel or lacks a feature it needs.
    #[error("kernel `{kernel}` needs {feature}, which this device does not have")]
    Unsupported {
        /// Its name.
        kernel: &'static str,
        /// What is missing.
        feature: String,
    },
    /// A buffer larger than the device or the memory guard allows.
    #[error("cannot allocate {bytes} bytes on the device: {reason}")]
    Memory {
        /// Asked for.
        bytes: u64,
        /// Why not.
        reason: String,
    },
    /// The device does not answer any more, and nothing else will run on it in this process.
    #[error("device error: {0}")]
    Lost(String),
    /// Anything that goes wrong while running.
    #[error("device error: {0}")]
    Device(String),
}

/// A device that runs microbenchmarks. Not shared between threads; dropping it frees everything.
pub trait Backend {
    /// The API.
    fn api(&self) -> Api;
    /// What the driver tells.
    fn info(&self) -> &DeviceInfo;
    /// Compiles a kernel variant.
    ///
    /// # Errors
    /// A missing source or feature, or the compiler's refusal.
    fn compile(&mut self, kernel: &Kernel) -> Result<KernelId, BackendError>;
    /// A buffer of `bytes`, contents undefined but touched (no page fault or lazy clearing falls into a timed launch).
    ///
    /// # Errors
    /// Too large.
    fn alloc(&mut self, bytes: u64) -> Result<BufferId, BackendError>;
    /// Gives a buffer back.
    fn free(&mut self, buffer: BufferId);
    /// Copies host memory to the device and waits; the host's time for it.
    ///
    /// # Errors
    /// Out of range, or a device error.
    fn write(&mut self, to: Slice, data: &[u8]) -> Result<Duration, BackendError>;
    /// Copies device memory to the host and waits; the host's time for it.
    ///
    /// # Errors
    /// Out of range, or a device error.
    fn read(&mut self, from: Slice, data: &mut [u8]) -> Result<Duration, BackendError>;
    /// Runs launches in order, each after the one before where they share a written buffer, and waits for all.
    ///
    /// # Errors
    /// A device error or a wait beyond the backend's deadline.
    fn run(&mut self, launches: &[Launch]) -> Result<Timing, BackendError>;
    /// What tells the device's power; `None`: nothing does.
    fn meter(&self) -> Option<String> {
        None
    }
    /// Watts that the device draws now, as far as its sensor tells.
    fn watts(&mut self) -> Option<f64> {
        None
    }
}
