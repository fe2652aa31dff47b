//! A device with known truth, for tests of everything above it: noise, outliers, throttling, cliffs, coarse clocks, wrong
//! answers. Its time is simulated; it never sleeps.
mod families;
mod truth;

pub use families::families;
pub use truth::{Knee, Throttle, Truth};

use super::backend::{
    Api, Backend, BackendError, BufferId, DeviceInfo, Kernel, KernelId, Launch, Slice, Timing, Work,
};
use super::clock::{Clock, SimulatedClock};
use capsim::rng::{Rng, Seed};
use rand_distr::{Distribution, StandardNormal};
use std::time::Duration;

/// The one kernel that it can run by itself: `out[i] = 3 · in[i]` on floats.
pub const TRIPLE: &str = "synthetic_triple";

/// Contents are kept up to this size; larger buffers are only counted.
const REAL_BYTES: u64 = 32 << 20;

/// Launches beyond this are priced but not computed.
const REAL_FLOPS: f64 = 5e8;

/// Launches of one kernel that are computed: enough for a correctness check, few enough to be quick.
const REAL_LAUNCHES: u32 = 8;

struct Buffer {
    bytes: u64,
    data: Vec<u8>,
    inner: Option<BufferId>,
}

struct Compiled {
    name: &'static str,
    inner: Option<KernelId>,
    launches: u32,
}

/// The device.
pub struct Synthetic {
    info: DeviceInfo,
    truth: Truth,
    clock: SimulatedClock,
    rng: Rng,
    inner: Option<Box<dyn Backend>>,
    kernels: Vec<Compiled>,
    buffers: Vec<Option<Buffer>>,
    allocated: u64,
    busy_s: f64,
    idle_since: Duration,
    /// What ran last: nothing, a stream or a product.
    doing: usize,
}

impl Synthetic {
    /// A device that lives by `clock`. With `inner`, small launches of real kernels are computed there, so that
    /// correctness checks mean something.
    pub fn new(
        truth: Truth,
        seed: u64,
        clock: SimulatedClock,
        inner: Option<Box<dyn Backend>>,
    ) -> Self {
        let features = inner
            .as_ref()
            .map_or_else(Vec::new, |i| i.info().features.clone());
        let info = DeviceInfo {
            name: "Synthetic".into(),
            vendor: "capsim".into(),
            driver: "none".into(),
            api_version: "synthetic 1".into(),
            software: truth.software,
            unified_memory: false,
            memory_bytes: truth.memory_bytes,
            max_buffer_bytes: truth.memory_bytes / 4,
            max_binding_bytes: truth.memory_bytes / 4,
            local_memory_bytes: 64 << 10,
            max_group: 1024,
            compute_units: 40,
            clock_mhz: 2900,
            cache_bytes: truth.told_cache_bytes.unwrap_or(truth.cache_bytes as u64),
            timestamp_ns: (truth.tick_s > 0.0).then_some(truth.tick_s * 1e9),
            features,
        };
        Self {
            info,
            truth,
            clock,
            rng: Seed(seed).stream("synthetic device"),
            inner,
            kernels: vec![],
            buffers: vec![],
            allocated: 0,
            busy_s: 0.0,
            idle_since: Duration::ZERO,
            doing: 0,
        }
    }

    fn buffer(&mut self, slice: Slice) -> Result<&mut Buffer, BackendError> {
        let b = self
            .buffers
            .get_mut(slice.buffer.0)
            .and_then(|b| b.as_mut())
            .ok_or_else(|| BackendError::Device("no such buffer".into()))?;
        if slice.offset.saturating_add(slice.len) > b.bytes {
            return Err(BackendError::Device("out of the buffer's range".into()));
        }
        Ok(b)
    }

    /// Seconds of one launch, noise and throttling included.
    fn price(&mut self, launch: &Launch) -> f64 {
        let mut s = self.truth.seconds(&launch.work);
        if let Some(t) = self.truth.throttle
            && self.busy_s > t.after_s
        {
            s /= t.factor;
        }
        s
    }

    /// Computes what is small enough, by the inner device or by itself.
    fn compute(&mut self, launch: &Launch) -> Result<(), BackendError> {
        let k = self
            .kernels
            .get_mut(launch.kernel.0)
            .ok_or_else(|| BackendError::Device("no such kernel".into()))?;
        if k.launches >= REAL_LAUNCHES || launch.work.flops > REAL_FLOPS {
            return Ok(());
        }
        k.launches += 1;
        let (name, kernel) = (k.name, k.inner);
        if let (Some(inner), Some(kernel)) = (&mut self.inner, kernel) {
            let mut buffers = vec![];
            for s in &launch.buffers {
                match self.buffers.get(s.buffer.0).and_then(|b| b.as_ref()) {
                    Some(Buffer { inner: Some(b), .. }) => buffers.push(Slice { buffer: *b, ..*s }),
                    _ => return Ok(()),
                }
            }
            inner.run(&[Launch {
                kernel,
                buffers,
                ..launch.clone()
            }])?;
        } else if name == TRIPLE
            && let [from, to] = launch.buffers[..]
        {
            let range = |s: Slice| s.offset as usize..(s.offset + s.len) as usize;
            let source = &self.buffer(from)?.data;
            if source.is_empty() {
                return Ok(());
            }
            let tripled: Vec<u8> = source[range(from)]
                .chunks_exact(4)
                .flat_map(|b| (3.0 * f32::from_le_bytes([b[0], b[1], b[2], b[3]])).to_le_bytes())
                .collect();
            let target = &mut self.buffer(to)?.data;
            if target.len() >= range(to).end && tripled.len() as u64 == to.len {
                target[range(to)].copy_from_slice(&tripled);
            }
        }
        Ok(())
    }
}

impl Backend for Synthetic {
    fn api(&self) -> Api {
        Api::Synthetic
    }
    fn info(&self) -> &DeviceInfo {
        &self.info
    }
    fn compile(&mut self, kernel: &Kernel) -> Result<KernelId, BackendError> {
        let inner = match &mut self.inner {
            Some(inner) => Some(inner.compile(kernel)?),
            None if kernel.name == TRIPLE => None,
            None => {
                return Err(BackendError::Unsupported {
                    kernel: kernel.name,
                    feature: "a device that computes".into(),
                });
            }
        };
        self.kernels.push(Compiled {
            name: kernel.name,
            inner,
            launches: 0,
        });
        Ok(KernelId(self.kernels.len() - 1))
    }
    fn alloc(&mut self, bytes: u64) -> Result<BufferId, BackendError> {
        if self.allocated + bytes > self.truth.memory_bytes {
            return Err(BackendError::Memory {
                bytes,
                reason: "the device is full".into(),
            });
        }
        let inner = match &mut self.inner {
            Some(inner) if bytes <= REAL_BYTES => Some(inner.alloc(bytes)?),
            _ => None,
        };
        let real = self.inner.is_none() && bytes <= REAL_BYTES;
        let data = if real {
            vec![0; bytes as usize]
        } else {
            vec![]
        };
        self.allocated += bytes;
        self.buffers.push(Some(Buffer { bytes, data, inner }));
        Ok(BufferId(self.buffers.len() - 1))
    }
    fn free(&mut self, buffer: BufferId) {
        if let Some(b) = self.buffers.get_mut(buffer.0).and_then(Option::take) {
            self.allocated -= b.bytes;
            if let (Some(inner), Some(b)) = (&mut self.inner, b.inner) {
                inner.free(b);
            }
        }
    }
    fn write(&mut self, to: Slice, data: &[u8]) -> Result<Duration, BackendError> {
        let b = self.buffer(to)?;
        let inner = b.inner;
        if !b.data.is_empty() {
            b.data[to.offset as usize..to.offset as usize + data.len()].copy_from_slice(data);
        }
        if let (Some(inner), Some(buffer)) = (&mut self.inner, inner) {
            inner.write(Slice { buffer, ..to }, data)?;
        }
        let took = Duration::from_secs_f64(5e-6 + data.len() as f64 / 50e9);
        self.clock.pause(took);
        Ok(took)
    }
    fn read(&mut self, from: Slice, data: &mut [u8]) -> Result<Duration, BackendError> {
        let b = self.buffer(from)?;
        let inner = b.inner;
        if !b.data.is_empty() {
            let at = from.offset as usize;
            data.copy_from_slice(&b.data[at..at + data.len()]);
        }
        if let (Some(inner), Some(buffer)) = (&mut self.inner, inner) {
            inner.read(Slice { buffer, ..from }, data)?;
        }
        if self.truth.wrong {
            // A sign flipped here and there: what a racy kernel does.
            data.iter_mut().skip(3).step_by(68).for_each(|b| *b ^= 0x80);
        }
        let took = Duration::from_secs_f64(5e-6 + data.len() as f64 / 50e9);
        self.clock.pause(took);
        Ok(took)
    }
    fn run(&mut self, launches: &[Launch]) -> Result<Timing, BackendError> {
        let begin = self.clock.now();
        if let Some(t) = self.truth.throttle
            && (begin.saturating_sub(self.idle_since)).as_secs_f64() >= t.recovers_s
        {
            self.busy_s = 0.0;
        }
        let mut seconds = 0.0;
        for launch in launches {
            self.compute(launch)?;
            seconds += self.price(launch);
        }
        let z: f64 = StandardNormal.sample(&mut self.rng);
        let mut noise = libm::exp(self.truth.noise * z);
        let u: f64 = rand_distr::Open01.sample(&mut self.rng);
        if u < self.truth.outliers {
            noise *= 3.0;
        }
        seconds *= noise;
        self.busy_s += seconds;
        let device = (self.truth.tick_s > 0.0).then(|| {
            let tick = self.truth.tick_s;
            let from = begin.as_secs_f64();
            let ticks = libm::floor((from + seconds) / tick) - libm::floor(from / tick);
            Duration::from_secs_f64((ticks * tick * self.truth.clock_rate).max(0.0))
        });
        let host = Duration::from_secs_f64(seconds + self.truth.submit_s);
        self.clock.pause(host);
        self.idle_since = self.clock.now();
        let total = |of: fn(&Work) -> f64| launches.iter().map(|l| of(&l.work)).sum::<f64>();
        self.doing = 1 + usize::from(total(|w| w.flops) > 0.0);
        Ok(Timing { device, host })
    }
    fn meter(&self) -> Option<String> {
        self.truth.watts.map(|_| "made up".into())
    }
    fn watts(&mut self) -> Option<f64> {
        Some(self.truth.watts?[self.doing])
    }
}
