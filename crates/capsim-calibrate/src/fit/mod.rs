//! Samples → device profile, with errors. Pure: the same samples give the same profile.
mod curve;
mod gemm;
mod kernels;
mod kind;
mod launch;
mod layer;
mod least_squares;
mod library;
mod power;
mod profile;
mod source;
mod steps;
mod stream;
mod surfaces;

pub use curve::Fall;
pub use kind::Kind;
pub use kind::of as kind_of;
pub use profile::slug;
pub use stream::Plateaus;

use super::samples::{Flag, PointRecord, SamplesFile};
use capsim::device::{DeviceProfile, ProfileError};
use std::collections::BTreeMap;

/// A rate at a place: `amount` in `seconds`, launch cost taken off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// The place.
    pub x: f64,
    /// Bytes or operations.
    pub amount: f64,
    /// Seconds that they take.
    pub seconds: f64,
    /// Relative standard deviation of one measurement.
    pub spread: f64,
    /// Relative standard error of `seconds`.
    pub error: f64,
}

/// What a session can repeat at best: clocks wander by about this much between runs of one device.
const FLOOR: f64 = 0.002;

impl Sample {
    /// Amount per second.
    pub fn rate(&self) -> f64 {
        self.amount / self.seconds
    }
    /// Standard deviation for fits: of the median.
    pub fn weight(&self) -> f64 {
        self.error.max(FLOOR)
    }
    /// What a profile states: how far another measurement may be.
    pub fn rel_sd(&self) -> f64 {
        libm::hypot(self.spread, self.error).clamp(FLOOR, 1.0)
    }
}

/// How well a family hangs together.
#[derive(Clone, Debug, PartialEq)]
pub struct FamilyFit {
    /// Name of the curve.
    pub name: String,
    /// Points in it.
    pub points: usize,
    /// Median of the leave-one-out errors; NaN with fewer than three points.
    pub median_error: f64,
    /// 90th percentile of them.
    pub p90_error: f64,
    /// Median spread of the samples, relative.
    pub spread: f64,
}

impl FamilyFit {
    /// Whether interpolation between the points can be trusted: median ≤ 5 %, p90 ≤ 12 %. `None` if it cannot be judged.
    pub fn good(&self) -> Option<bool> {
        self.median_error
            .is_finite()
            .then_some(self.median_error <= 0.05 && self.p90_error <= 0.12)
    }
}

/// A fitted number for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// What.
    pub name: &'static str,
    /// In base units.
    pub value: f64,
    /// Relative standard deviation.
    pub rel_sd: f64,
    /// `B/s`, `op/s`, `B`, `s`.
    pub unit: &'static str,
}

/// A device profile, and what it is worth.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// The profile.
    pub profile: DeviceProfile,
    /// Per curve.
    pub families: Vec<FamilyFit>,
    /// Fitted parameters.
    pub parameters: Vec<Parameter>,
    /// Cliffs: rates that fall where they should rise, by curve.
    pub falls: Vec<(String, Fall)>,
    /// What had to be assumed, and other caveats.
    pub notes: Vec<String>,
}

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// A curve that nothing can stand in for has no point.
    #[error("no {what} was measured, so there is no device profile: {why}")]
    Missing {
        /// The curve.
        what: &'static str,
        /// What became of its points.
        why: String,
    },
    /// The profile would not be accepted.
    #[error("the fitted profile is not valid: {0}")]
    Profile(#[from] ProfileError),
}

/// Points of a kind.
fn of(file: &SamplesFile, kind: Kind) -> Vec<&PointRecord> {
    file.points
        .iter()
        .filter(|p| p.seconds().is_some() && kind_of(p) == kind)
        .collect()
}

/// What a launch costs, in seconds with its relative standard deviation: on its own, and in a replayed graph.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Launches {
    alone: (f64, f64),
    graph: Option<(f64, f64)>,
}

impl Launches {
    /// What a launch of this point cost.
    fn of(self, p: &PointRecord) -> (f64, f64) {
        let replayed = p.variant.as_deref().is_some_and(|v| v.ends_with("-graph"));
        self.graph.filter(|_| replayed).unwrap_or(self.alone)
    }
}

/// A point as a sample, launch cost taken off.
fn sample(p: &PointRecord, x: f64, amount: f64, launches: Launches) -> Option<Sample> {
    let s = p.stats?;
    let launch = launches.of(p);
    let cost = launch.0 * f64::from(p.launches);
    // What is left of a small launch is uncertain by what was taken off; never less than a fifth.
    let left = (s.median - cost).max(0.2 * s.median);
    let stretch = s.median / left;
    let taken = launch.1 * cost / left;
    let clipped = s.median - cost < 0.2 * s.median;
    Some(Sample {
        x,
        amount,
        seconds: left,
        spread: s.rel_sd() * stretch,
        error: libm::hypot(s.rel_error() * stretch, taken).max(if clipped { 0.5 } else { 0.0 }),
    })
    .filter(|s| s.x > 0.0 && s.amount > 0.0 && s.seconds > 0.0)
}

fn judged(name: &str, samples: &[Sample]) -> FamilyFit {
    let mut errors = curve::leave_one_out(samples);
    errors.sort_by(f64::total_cmp);
    let mut spreads: Vec<f64> = samples.iter().map(|s| s.spread).collect();
    spreads.sort_by(f64::total_cmp);
    FamilyFit {
        name: name.into(),
        points: samples.len(),
        median_error: capsim::stats::percentile(&errors, 50.0),
        p90_error: capsim::stats::percentile(&errors, 90.0),
        spread: capsim::stats::percentile(&spreads, 50.0),
    }
}

/// Fits a device profile. `source` says where the samples are: it goes into the provenance.
///
/// # Errors
/// Streaming or matrix products were not measured.
pub fn fit(file: &SamplesFile, source: &str) -> Result<Fit, FitError> {
    profile::fit(file, source)
}

/// How many points carry each flag.
pub fn flags(file: &SamplesFile) -> BTreeMap<Flag, usize> {
    let mut count = BTreeMap::new();
    for f in file.points.iter().flat_map(|p| &p.flags) {
        *count.entry(*f).or_insert(0) += 1;
    }
    count
}
