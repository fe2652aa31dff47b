//! The memory guard: a device that refuses to hold more than it safely can. Over-committing an integrated GPU freezes the host.
use super::super::backend::{
    Api, Backend, BackendError, BufferId, DeviceInfo, Kernel, KernelId, Launch, Slice, Timing,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A device behind the guard. It also remembers what is allocated, to clean up after a family that failed half-way.
pub struct Guarded<'a> {
    inner: &'a mut dyn Backend,
    budget: u64,
    live: BTreeMap<usize, u64>,
    /// Kernels that were compiled.
    pub names: BTreeSet<&'static str>,
}

impl<'a> Guarded<'a> {
    /// Lets through at most `budget` bytes at any time.
    pub fn new(inner: &'a mut dyn Backend, budget: u64) -> Self {
        Self {
            inner,
            budget,
            live: BTreeMap::new(),
            names: BTreeSet::new(),
        }
    }
    /// Size of a buffer that exists.
    pub fn bytes(&self, buffer: BufferId) -> Option<u64> {
        self.live.get(&buffer.0).copied()
    }
    /// Buffers that exist now.
    pub fn live(&self) -> Vec<BufferId> {
        self.live.keys().map(|&k| BufferId(k)).collect()
    }
    /// Frees everything but `keep`.
    pub fn sweep(&mut self, keep: &[BufferId]) {
        for b in self.live() {
            if !keep.contains(&b) {
                self.free(b);
            }
        }
    }
}

impl Backend for Guarded<'_> {
    fn api(&self) -> Api {
        self.inner.api()
    }
    fn info(&self) -> &DeviceInfo {
        self.inner.info()
    }
    fn compile(&mut self, kernel: &Kernel) -> Result<KernelId, BackendError> {
        self.names.insert(kernel.name);
        self.inner.compile(kernel)
    }
    fn alloc(&mut self, bytes: u64) -> Result<BufferId, BackendError> {
        let held: u64 = self.live.values().sum();
        if held.saturating_add(bytes) > self.budget {
            return Err(BackendError::Memory {
                bytes,
                reason: format!(
                    "{held} bytes are held and the memory guard allows {} in all",
                    self.budget
                ),
            });
        }
        let id = self.inner.alloc(bytes)?;
        self.live.insert(id.0, bytes);
        Ok(id)
    }
    fn free(&mut self, buffer: BufferId) {
        if self.live.remove(&buffer.0).is_some() {
            self.inner.free(buffer);
        }
    }
    fn write(&mut self, to: Slice, data: &[u8]) -> Result<Duration, BackendError> {
        self.inner.write(to, data)
    }
    fn read(&mut self, from: Slice, data: &mut [u8]) -> Result<Duration, BackendError> {
        self.inner.read(from, data)
    }
    fn run(&mut self, launches: &[Launch]) -> Result<Timing, BackendError> {
        self.inner.run(launches)
    }
    fn meter(&self) -> Option<String> {
        self.inner.meter()
    }
    fn watts(&mut self) -> Option<f64> {
        self.inner.watts()
    }
}
