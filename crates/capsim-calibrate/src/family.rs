//! What is measured: families of points, each point in several variants of which the best is kept.
//!
//! A family knows its kernels, its shapes and the right answers; it knows nothing of statistics. The protocol knows how to sample
//! and nothing of kernels.
use capsim::device::CurveId;

use super::backend::{
    Backend, BackendError, BufferId, DeviceInfo, Kernel, Launch, Slice, Timing, Work,
};

/// How much is measured.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    /// At most 20 s: what a device profile cannot do without.
    Quick,
    /// At most 2 min.
    Standard,
    /// As long as it takes.
    Full,
}

/// What a family may know when it chooses its points.
#[derive(Clone, Debug)]
pub struct Scope<'a> {
    /// The device.
    pub device: &'a DeviceInfo,
    /// How much is asked for.
    pub effort: Effort,
    /// Bytes that a working set must exceed to come from DRAM: max(4 × last-level cache, 256 MiB).
    pub ring_bytes: u64,
    /// Most bytes that may be allocated at any time: the memory guard.
    pub budget_bytes: u64,
    /// Seed of all random contents.
    pub seed: u64,
}

/// One point of a family's sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Unique within the family, short, for files and tables: `64MiB`, `m8-qkv-bf16`.
    pub id: String,
    /// The axes of the fit: `bytes`, `m`, `n`, `k`, `tokens`, `distinct`, `context`, `batch`, …
    pub axes: Vec<(&'static str, f64)>,
    /// Whether a device profile cannot be made without it; the others are dropped first when time runs out.
    pub required: bool,
}

/// One way to measure a point: access shape, work-group size, matrix unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// Unique within the family: `lanes-256x512`, `items-1x4`, `wmma-128x128`.
    pub id: String,
    /// The kernels, in the order in which the family launches them.
    pub kernels: Vec<Kernel>,
    /// Other choices, for the family's own use.
    pub options: Vec<(&'static str, u32)>,
}

/// A point in one variant, in memory and ready to be timed.
#[derive(Debug)]
pub struct Prepared {
    /// One pass, which visits the whole ring once: every timed sample is a whole number of passes.
    pub pass: Vec<Launch>,
    /// What one pass does.
    pub work: Work,
    /// What to free afterwards.
    pub buffers: Vec<BufferId>,
    /// A copy that is the pass, instead of launches.
    pub transfer: Option<Transfer>,
    /// What goes on beside it; ends when dropped.
    pub companion: Option<Box<dyn std::any::Any>>,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From host to device.
    ToDevice,
    /// From device to host.
    ToHost,
}

/// A copy between host and device.
#[derive(Debug)]
pub struct Transfer {
    /// Which way.
    pub direction: Direction,
    /// The device's side.
    pub slice: Slice,
    /// The host's side, as long as `slice`.
    pub data: std::cell::RefCell<Vec<u8>>,
}

impl Prepared {
    /// Runs the pass once. A copy is timed by the host's clock.
    ///
    /// # Errors
    /// A device error.
    pub fn once(&self, device: &mut dyn Backend) -> Result<Timing, BackendError> {
        let Some(t) = &self.transfer else {
            return device.run(&self.pass);
        };
        let mut data = t.data.borrow_mut();
        let host = match t.direction {
            Direction::ToDevice => device.write(t.slice, &data)?,
            Direction::ToHost => device.read(t.slice, &mut data)?,
        };
        Ok(Timing { device: None, host })
    }
}

/// Why a point has no time.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The device does not do it.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The kernel's answer is wrong: no time is taken of a wrong answer.
    #[error("wrong answer: {0}")]
    Wrong(String),
}

/// A family of points that share kernels, shapes and an answer.
pub trait Family {
    /// Short name: `stream_read`, `gemm_skinny`, `moe`, `attention_decode`, …
    fn name(&self) -> &'static str;
    /// In plain words, for people: what it measures and what it stands for in a serving step.
    fn about(&self) -> &'static str;
    /// The curves of a device profile that its points feed; with none it is measured at full effort only, or when it is named.
    fn feeds(&self) -> &'static [CurveId];
    /// The sweep.
    fn points(&self, scope: &Scope) -> Vec<Point>;
    /// The variants that this device may try for a point, most promising first.
    fn variants(&self, scope: &Scope, point: &Point) -> Vec<Variant>;
    /// Runs the variant at a small shape on random data, outputs poisoned with NaN first, and compares with a float64 host
    /// reference. Called once per variant before any of its points is timed.
    ///
    /// # Errors
    /// A wrong answer (by how much, where) or a device error.
    fn check(
        &self,
        device: &mut dyn Backend,
        scope: &Scope,
        variant: &Variant,
    ) -> Result<(), ProbeError>;
    /// Allocates and fills (random data, never zeros) what the point needs, and lists the launches of one pass. No single launch
    /// may take longer than 200 ms on the slowest device that is worth measuring (display watchdogs): split.
    ///
    /// # Errors
    /// No memory, or a device error; nothing stays allocated then.
    fn prepare(
        &self,
        device: &mut dyn Backend,
        scope: &Scope,
        point: &Point,
        variant: &Variant,
    ) -> Result<Prepared, ProbeError>;
}
