//! The host's processor as a device: native kernels on all cores, with the widest vectors that it has.
//!
//! A kernel is a function that splits its output between the threads of one pool (rayon); each part runs inside
//! `pulp::Arch::dispatch`, which compiles it for AVX-512, AVX2 + FMA and the baseline and picks one at run time.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a device is timed by the host's clock"
)]
mod call;
mod host;
mod kernels;
mod memory;

use super::backend::{
    Access, Api, Backend, BackendError, BufferId, DeviceInfo, Kernel, KernelId, Launch, Slice,
    Timing,
};
use call::{Call, Function};
use memory::Memory;
use std::time::{Duration, Instant};

/// The vector instructions in use, for people, from the debug form of [`pulp::Arch`], which lists each feature.
fn vectors(arch: &str) -> &'static str {
    match arch.split(['(', ' ']).next() {
        Some("V4") => "AVX-512",
        Some("V3") => "AVX2 and FMA",
        Some("Neon") => "NEON",
        _ => "baseline vectors",
    }
}

struct Compiled {
    kernel: Kernel,
    function: Function,
}

/// The host's processor.
pub struct Cpu {
    info: DeviceInfo,
    pool: rayon::ThreadPool,
    arch: pulp::Arch,
    kernels: Vec<Compiled>,
    buffers: Vec<Option<Memory>>,
}

impl Cpu {
    /// The processor with one thread per logical core.
    ///
    /// # Errors
    /// No threads to be had.
    pub fn open() -> Result<Self, BackendError> {
        Self::with_threads(None)
    }

    /// The processor with this many threads; its name says so. `None`: one per logical core.
    ///
    /// # Errors
    /// No threads to be had.
    pub fn with_threads(threads: Option<usize>) -> Result<Self, BackendError> {
        let chosen = threads;
        let threads =
            chosen.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("capsim-cpu-{i}"))
            .build()
            .map_err(|e| BackendError::Unavailable(format!("no threads: {e}")))?;
        let arch = pulp::Arch::new();
        let mut info = host::describe(threads, vectors(&format!("{arch:?}")));
        if chosen.is_some() {
            let s = if threads == 1 { "" } else { "s" };
            info.name = format!("{threads} thread{s} of {}", info.name);
        }
        Ok(Self {
            info,
            pool,
            arch,
            kernels: vec![],
            buffers: vec![],
        })
    }

    fn slot(&self, slice: Slice) -> Result<&Memory, BackendError> {
        let memory = self.buffers.get(slice.buffer.0).and_then(Option::as_ref);
        let memory = memory.ok_or_else(|| BackendError::Device("no such buffer".into()))?;
        match slice.offset.checked_add(slice.len) {
            Some(end) if end <= memory.bytes() => Ok(memory),
            _ => Err(BackendError::Device(format!(
                "bytes {}..{} of a buffer of {}",
                slice.offset,
                slice.offset.saturating_add(slice.len),
                memory.bytes()
            ))),
        }
    }

    /// What would otherwise go wrong in the middle of a timed run.
    fn validate(&self, launch: &Launch) -> Result<(), BackendError> {
        let bad = |what: &str| Err(BackendError::Device(what.into()));
        let Some(compiled) = self.kernels.get(launch.kernel.0) else {
            return bad("no such kernel");
        };
        let kernel = &compiled.kernel;
        if launch.buffers.len() != kernel.buffers.len() || launch.numbers.len() != kernel.numbers {
            return bad(&format!("kernel `{}` has other arguments", kernel.name));
        }
        for (i, (slice, access)) in launch.buffers.iter().zip(&kernel.buffers).enumerate() {
            self.slot(*slice)?;
            if slice.offset % 4 != 0 || slice.len % 4 != 0 {
                return bad("a slice that is not of whole 32-bit words");
            }
            let shared = |(j, s): (usize, &Slice)| j != i && s.buffer == slice.buffer;
            if *access == Access::ReadWrite && launch.buffers.iter().enumerate().any(shared) {
                return bad(&format!(
                    "kernel `{}` writes a buffer that it also has as another argument",
                    kernel.name
                ));
            }
        }
        Ok(())
    }
}

/// Runs one validated launch.
fn launch(arch: pulp::Arch, kernels: &[Compiled], buffers: &mut [Option<Memory>], l: &Launch) {
    let compiled = &kernels[l.kernel.0];
    let kernel = &compiled.kernel;
    // Written buffers leave the table for the time of the launch, so that the others can be lent.
    let mut taken: Vec<(Slice, Memory)> = l
        .buffers
        .iter()
        .zip(&kernel.buffers)
        .filter(|(_, a)| **a == Access::ReadWrite)
        .filter_map(|(s, _)| Some((*s, buffers[s.buffer.0].take()?)))
        .collect();
    let reads = l
        .buffers
        .iter()
        .zip(&kernel.buffers)
        .filter(|(_, a)| **a == Access::Read)
        .filter_map(|(s, _)| Some(buffers[s.buffer.0].as_ref()?.words(*s)))
        .collect();
    (compiled.function)(Call {
        arch,
        kernel,
        numbers: &l.numbers,
        groups: l.groups,
        reads,
        writes: taken.iter_mut().map(|(s, m)| m.words_mut(*s)).collect(),
    });
    for (slice, memory) in taken {
        buffers[slice.buffer.0] = Some(memory);
    }
}

impl Backend for Cpu {
    fn api(&self) -> Api {
        Api::Cpu
    }

    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn compile(&mut self, kernel: &Kernel) -> Result<KernelId, BackendError> {
        let unsupported = |feature: String| BackendError::Unsupported {
            kernel: kernel.name,
            feature,
        };
        if let Some(need) = kernel.needs.first() {
            return Err(unsupported((*need).into()));
        }
        let function = kernels::find(kernel.name)
            .ok_or_else(|| unsupported("a native implementation".into()))?;
        self.kernels.push(Compiled {
            kernel: kernel.clone(),
            function,
        });
        Ok(KernelId(self.kernels.len() - 1))
    }

    fn alloc(&mut self, bytes: u64) -> Result<BufferId, BackendError> {
        let memory = Memory::new(bytes)?;
        let free = self.buffers.iter().position(Option::is_none);
        let at = free.unwrap_or_else(|| {
            self.buffers.push(None);
            self.buffers.len() - 1
        });
        self.buffers[at] = Some(memory);
        Ok(BufferId(at))
    }

    fn free(&mut self, buffer: BufferId) {
        if let Some(slot) = self.buffers.get_mut(buffer.0) {
            *slot = None;
        }
    }

    fn write(&mut self, to: Slice, data: &[u8]) -> Result<Duration, BackendError> {
        self.slot(to)?;
        if data.len() as u64 != to.len {
            return Err(BackendError::Device("data of another length".into()));
        }
        let begin = Instant::now();
        if let Some(memory) = &mut self.buffers[to.buffer.0] {
            memory.bytes_mut(to).copy_from_slice(data);
        }
        Ok(begin.elapsed())
    }

    fn read(&mut self, from: Slice, data: &mut [u8]) -> Result<Duration, BackendError> {
        let memory = self.slot(from)?;
        if data.len() as u64 != from.len {
            return Err(BackendError::Device("data of another length".into()));
        }
        let begin = Instant::now();
        data.copy_from_slice(bytemuck::cast_slice(memory.words(from)));
        Ok(begin.elapsed())
    }

    fn run(&mut self, launches: &[Launch]) -> Result<Timing, BackendError> {
        for l in launches {
            self.validate(l)?;
        }
        let (arch, kernels, buffers) = (self.arch, &self.kernels, &mut self.buffers);
        let begin = Instant::now();
        self.pool.install(|| {
            for l in launches {
                launch(arch, kernels, buffers, l);
            }
        });
        Ok(Timing {
            device: None,
            host: begin.elapsed(),
        })
    }
}
