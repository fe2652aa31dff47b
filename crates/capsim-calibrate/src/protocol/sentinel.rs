//! The sentinel: one stream and one matrix product, measured again and again. If they slow down, so did everything else.
use super::super::backend::{Backend, BackendError, BufferId};
use super::super::clock::Clock;
use super::super::family::Prepared;
use super::super::samples::SentinelReading;
use super::sampling::{MIN_SAMPLE_S, seconds};
use std::time::Duration;

/// A reading that is further off than this means that the device changed.
pub const DRIFT: f64 = 0.03;
/// Longest pause to let a device recover.
pub const PAUSE: Duration = Duration::from_secs(5);

struct Probe {
    prepared: Prepared,
    passes: usize,
    reference: f64,
    /// Relative spread of the readings that the reference was taken from.
    spread: f64,
}

/// What is measured again and again.
#[derive(Default)]
pub struct Sentinel {
    stream: Option<Probe>,
    gemm: Option<Probe>,
}

fn times(
    device: &mut dyn Backend,
    prepared: &Prepared,
    passes: usize,
    runs: usize,
) -> Result<Vec<f64>, BackendError> {
    let mut launches = vec![];
    (0..passes).for_each(|_| launches.extend_from_slice(&prepared.pass));
    let mut all = vec![];
    for _ in 0..runs {
        all.push(seconds(&device.run(&launches)?).max(1e-12));
    }
    all.sort_by(f64::total_cmp);
    Ok(all)
}

impl Probe {
    fn new(device: &mut dyn Backend, prepared: Prepared) -> Result<Self, BackendError> {
        let once = times(device, &prepared, 1, 2)?[0];
        let passes = (libm::ceil(MIN_SAMPLE_S / once) as usize)
            .clamp(1, 20_000 / prepared.pass.len().max(1) + 1);
        let t = times(device, &prepared, passes, 7)?;
        let median = t[t.len() / 2];
        Ok(Self {
            passes,
            reference: median,
            spread: capsim::stats::mad(&t) / median,
            prepared,
        })
    }
    fn read(&self, device: &mut dyn Backend) -> Result<f64, BackendError> {
        let t = times(device, &self.prepared, self.passes, 5)?;
        Ok(t[t.len() / 2] / self.reference)
    }
}

impl Sentinel {
    /// Takes the references. Any of the two may be missing.
    ///
    /// # Errors
    /// A device error.
    pub fn new(
        device: &mut dyn Backend,
        stream: Option<Prepared>,
        gemm: Option<Prepared>,
    ) -> Result<Self, BackendError> {
        Ok(Self {
            stream: stream.map(|p| Probe::new(device, p)).transpose()?,
            gemm: gemm.map(|p| Probe::new(device, p)).transpose()?,
        })
    }

    /// Buffers that it holds.
    pub fn buffers(&self) -> Vec<BufferId> {
        [&self.stream, &self.gemm]
            .into_iter()
            .flatten()
            .flat_map(|p| p.prepared.buffers.iter().copied())
            .collect()
    }

    /// Reads both.
    ///
    /// # Errors
    /// A device error.
    pub fn read(
        &self,
        device: &mut dyn Backend,
        clock: &dyn Clock,
    ) -> Result<SentinelReading, BackendError> {
        let one = |p: &Option<Probe>, device: &mut dyn Backend| {
            p.as_ref().map_or(Ok(1.0), |p| p.read(device))
        };
        Ok(SentinelReading {
            stream: one(&self.stream, device)?,
            gemm: one(&self.gemm, device)?,
            at_s: clock.now().as_secs_f64(),
        })
    }

    /// Whether a reading is slower than the first by more than the limit, or than three times the spread with which
    /// this device can be read at all.
    pub fn slow(&self, r: &SentinelReading) -> bool {
        let off = |p: &Option<Probe>, v: f64| {
            p.as_ref()
                .is_some_and(|p| v > 1.0 + DRIFT.max(3.0 * 1.4826 * p.spread))
        };
        off(&self.stream, r.stream) || off(&self.gemm, r.gemm)
    }

    /// Pauses until the device is as fast as before, at most [`PAUSE`]; the last reading.
    ///
    /// # Errors
    /// A device error.
    pub fn recover(
        &self,
        device: &mut dyn Backend,
        clock: &dyn Clock,
    ) -> Result<SentinelReading, BackendError> {
        let until = clock.now() + PAUSE;
        loop {
            let left = until.saturating_sub(clock.now());
            clock.pause(left.min(Duration::from_millis(1250)));
            let r = self.read(device, clock)?;
            if !self.slow(&r) || clock.now() >= until {
                return Ok(r);
            }
        }
    }
}
