//! What a synthetic device really does: every parameter that the protocol and the fit must find, survive or reject.
use super::super::backend::Work;

/// How reads change from the cache's rate to the memory's as the working set grows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Knee {
    /// At once: cyclic reads of a set beyond an LRU cache never hit.
    Sharp,
    /// As 1 / (1 + (S/C)ⁿ).
    Smooth(f64),
}

/// Slows down after being busy, recovers after a pause.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Throttle {
    /// Busy seconds until it sets in.
    pub after_s: f64,
    /// All rates are multiplied by this.
    pub factor: f64,
    /// Idle seconds until it is over.
    pub recovers_s: f64,
}

/// The truth about a synthetic device. Units: seconds, bytes, operations.
#[derive(Clone, Debug, PartialEq)]
pub struct Truth {
    /// Device time that a dependent launch adds.
    pub launch_s: f64,
    /// Host time that a submission adds.
    pub submit_s: f64,
    /// Last-level cache.
    pub cache_bytes: f64,
    /// What the driver tells of it; `None`: the truth.
    pub told_cache_bytes: Option<u64>,
    /// Bytes per second from the cache.
    pub cache_rate: f64,
    /// Bytes per second from memory.
    pub dram_rate: f64,
    /// Between the two.
    pub knee: Knee,
    /// Operations per second at unlimited intensity.
    pub flops: f64,
    /// Operations per byte at which half of `flops` is reached.
    pub half_intensity: f64,
    /// Beyond this intensity another kernel runs, its rate multiplied by the second number.
    pub cliff: Option<(f64, f64)>,
    /// Exponent of the soft maximum of streaming and arithmetic time; `None`: the hard maximum.
    pub softness: Option<f64>,
    /// Multiplicative noise, standard deviation of the logarithm.
    pub noise: f64,
    /// Chance that a run takes three times as long.
    pub outliers: f64,
    /// Thermal or power limit.
    pub throttle: Option<Throttle>,
    /// Resolution of the device's clock; 0: none, the host's clock only.
    pub tick_s: f64,
    /// The device's clock runs this much fast (1: right).
    pub clock_rate: f64,
    /// Whether answers are wrong.
    pub wrong: bool,
    /// Watts idle, while streaming and while multiplying; `None`: it has no sensor.
    pub watts: Option<[f64; 3]>,
    /// Device memory.
    pub memory_bytes: u64,
    /// Whether it says that it is a software device.
    pub software: bool,
}

impl Default for Truth {
    /// Something like a small integrated GPU.
    fn default() -> Self {
        Self {
            launch_s: 4e-6,
            submit_s: 20e-6,
            cache_bytes: (32 << 20) as f64,
            told_cache_bytes: None,
            cache_rate: 900e9,
            dram_rate: 210e9,
            knee: Knee::Smooth(6.0),
            flops: 30e12,
            half_intensity: 60.0,
            cliff: None,
            softness: None,
            noise: 0.005,
            outliers: 0.0,
            throttle: None,
            tick_s: 10e-9,
            clock_rate: 1.0,
            wrong: false,
            watts: None,
            memory_bytes: 16 << 30,
            software: false,
        }
    }
}

impl Truth {
    /// Bytes per second for a working set.
    pub fn stream_rate(&self, working_set: f64) -> f64 {
        let cached = match self.knee {
            Knee::Sharp => f64::from(u8::from(working_set <= self.cache_bytes)),
            Knee::Smooth(n) => 1.0 / (1.0 + libm::pow(working_set.max(1.0) / self.cache_bytes, n)),
        };
        self.dram_rate + (self.cache_rate - self.dram_rate) * cached
    }

    /// Operations per second at an intensity in operations per byte.
    pub fn compute_rate(&self, intensity: f64) -> f64 {
        let smooth = self.flops * intensity / (intensity + self.half_intensity);
        match self.cliff {
            Some((at, factor)) if intensity > at => smooth * factor,
            _ => smooth,
        }
    }

    /// Seconds for one launch, without noise.
    pub fn seconds(&self, work: &Work) -> f64 {
        let stream = if work.bytes > 0.0 {
            work.bytes / self.stream_rate(work.working_set)
        } else {
            0.0
        };
        let compute = if work.flops > 0.0 {
            work.flops / self.compute_rate(work.flops / work.bytes.max(1.0))
        } else {
            0.0
        };
        self.launch_s
            + match self.softness {
                None => stream.max(compute),
                Some(p) => libm::pow(libm::pow(stream, p) + libm::pow(compute, p), 1.0 / p),
            }
    }
}
