//! One prepared point → samples.
use super::super::backend::{Backend, BackendError, Launch, Timing};
use super::super::clock::Clock;
use super::super::family::Prepared;
use super::super::samples::{Flag, Stats};
use std::time::Duration;

/// Shortest sample.
pub const MIN_SAMPLE_S: f64 = 2e-3;
/// A sample lasts at least this many ticks of its clock: 0.5 % resolution.
pub const MIN_TICKS: f64 = 200.0;
/// Samples at least, and at most while the spread is large.
pub const SAMPLES: (usize, usize) = (11, 31);
/// More samples are taken while MAD / median is above this.
pub const SPREAD: f64 = 0.02;
/// Launches before the first sample.
const WARM_LAUNCHES: usize = 3;
/// Longest launch on a device that may also drive a display: its watchdog kills longer ones.
pub const LAUNCH_CAP_S: f64 = 0.2;
/// Launches in one submission at most, to bound the queue.
const MAX_LAUNCHES: usize = 20_000;

/// How the session's clocks behave.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClockFacts {
    /// Smallest step, in seconds; 0 unknown.
    pub tick_s: f64,
    /// Host time of a submission on top of the device's, in seconds.
    pub submit_s: f64,
}

/// Samples of one prepared point.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    /// Passes in each.
    pub passes: u32,
    /// Seconds per pass by the clock in use.
    pub samples_s: Vec<f64>,
    /// Seconds per pass by the host's clock.
    pub host_s: Vec<f64>,
    /// Their figures.
    pub stats: Stats,
    /// What is to be known.
    pub flags: Vec<Flag>,
}

/// The time that counts: the device's where there is one.
pub fn seconds(t: &Timing) -> f64 {
    t.device.unwrap_or(t.host).as_secs_f64()
}

/// One pass as it is, for an estimate. Launch by launch the first time, so that a launch beyond the cap is found before a
/// whole pass of them is queued.
///
/// # Errors
/// A device error, or a launch too long.
pub fn estimate(device: &mut dyn Backend, prepared: &Prepared) -> Result<f64, BackendError> {
    if prepared.transfer.is_some() {
        return Ok(seconds(&prepared.once(device)?).max(1e-9));
    }
    let first = seconds(&device.run(&prepared.pass[..1])?);
    if first > LAUNCH_CAP_S && !device.info().software {
        return Err(BackendError::Device(format!(
            "one launch takes {:.0} ms, above the cap of {:.0} ms that display watchdogs leave",
            first * 1e3,
            LAUNCH_CAP_S * 1e3
        )));
    }
    if prepared.pass.len() == 1 {
        return Ok(first.max(1e-9));
    }
    Ok(seconds(&device.run(&prepared.pass)?).max(1e-9))
}

/// Takes the samples of a point, until they are enough or `deadline` (on `clock`) is over.
///
/// # Errors
/// A device error.
pub fn sample(
    device: &mut dyn Backend,
    clock: &dyn Clock,
    prepared: &Prepared,
    estimate_s: f64,
    facts: ClockFacts,
    deadline: Duration,
) -> Result<Samples, BackendError> {
    let target = MIN_SAMPLE_S.max(MIN_TICKS * facts.tick_s);
    let per = prepared.pass.len().max(1);
    let most = (MAX_LAUNCHES / per).max(1);
    let count = |s: f64| (libm::ceil(target / s.max(1e-9)) as usize).clamp(1, most);
    // Warm-up: at least three launches of this kernel, and a better estimate than the first pass gave.
    let mut per_pass = estimate_s;
    let mut warm = per;
    let enough = |warm: usize, s: f64| {
        warm >= WARM_LAUNCHES && (s >= target / 4.0 || warm >= 4 * WARM_LAUNCHES)
    };
    while !enough(warm, per_pass) && clock.now() < deadline {
        per_pass = per_pass.min(seconds(&prepared.once(device)?).max(1e-9));
        warm += per;
    }
    let mut passes = count(per_pass);
    let repeated = |passes: usize| -> Vec<Launch> {
        let mut all = Vec::with_capacity(passes * prepared.pass.len());
        (0..passes).for_each(|_| all.extend_from_slice(&prepared.pass));
        all
    };
    let mut launches = repeated(passes);
    let (mut samples_s, mut host_s): (Vec<f64>, Vec<f64>) = (vec![], vec![]);
    let mut has_device = true;
    let mut grown = 0;
    while samples_s.len() < SAMPLES.1 {
        if samples_s.len() >= SAMPLES.0 {
            let s = Stats::of(&samples_s);
            if s.mad / s.median <= SPREAD {
                break;
            }
        }
        if samples_s.len() >= 3 && clock.now() >= deadline {
            break;
        }
        let t = match prepared.transfer {
            None => device.run(&launches)?,
            Some(_) => {
                let mut host = Duration::ZERO;
                for _ in 0..passes {
                    host += prepared.once(device)?.host;
                }
                Timing { device: None, host }
            }
        };
        has_device &= t.device.is_some();
        let s = seconds(&t);
        // The estimate included start-up costs: a sample that turns out too short is no sample.
        if s < 0.9 * target && passes < most && grown < 6 {
            grown += 1;
            passes = (passes + 1)
                .max((passes as f64 * 1.1 * target / s.max(target / 50.0)) as usize)
                .min(most);
            launches = repeated(passes);
            samples_s.clear();
            host_s.clear();
            continue;
        }
        samples_s.push((s / passes as f64).max(1e-12));
        host_s.push((t.host.as_secs_f64() / passes as f64).max(1e-12));
    }
    let stats = Stats::of(&samples_s);
    let mut flags = vec![];
    if stats.cv > 0.05 {
        flags.push(Flag::Noisy);
    }
    if samples_s.len() < SAMPLES.0 {
        flags.push(Flag::FewSamples);
    }
    if !has_device {
        flags.push(Flag::HostClock);
    } else {
        let host = Stats::of(&host_s).median - facts.submit_s / passes as f64;
        if (host - stats.median).abs() > 0.1 * stats.median {
            flags.push(Flag::ClocksDisagree);
        }
    }
    Ok(Samples {
        passes: passes as u32,
        samples_s,
        host_s,
        stats,
        flags,
    })
}

/// Smallest step of the clock and the cost of a submission, from launching one cheap kernel often.
///
/// # Errors
/// A device error.
pub fn clock_facts(
    device: &mut dyn Backend,
    cheap: &[Launch],
    runs: usize,
) -> Result<ClockFacts, BackendError> {
    let (mut times, mut over) = (vec![], vec![]);
    for _ in 0..runs {
        let t = device.run(cheap)?;
        times.push(seconds(&t));
        if let Some(d) = t.device {
            over.push(t.host.as_secs_f64() - d.as_secs_f64());
        }
    }
    times.sort_by(f64::total_cmp);
    // A Duration resolves a nanosecond: half of that tells two ticks apart.
    let tick_s = times
        .windows(2)
        .map(|w| w[1] - w[0])
        .filter(|d| *d > 0.5e-9)
        .fold(f64::INFINITY, f64::min);
    over.sort_by(f64::total_cmp);
    let submit = capsim::stats::percentile(&over, 50.0);
    Ok(ClockFacts {
        tick_s: if tick_s.is_finite() { tick_s } else { 0.0 },
        submit_s: if submit.is_finite() {
            submit.max(0.0)
        } else {
            0.0
        },
    })
}
