//! Two calibrations, point by point: faster or slower only where the intervals are apart.
use super::samples::{Flag, PointRecord, SamplesFile};

/// What can be said of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The second takes less time.
    Faster,
    /// The second takes more time.
    Slower,
    /// The intervals overlap.
    NoDifference,
    /// The work differs: other bytes or operations under the same name.
    NotComparable,
}

impl Verdict {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Verdict::Faster => "faster",
            Verdict::Slower => "slower",
            Verdict::NoDifference => "no difference seen",
            Verdict::NotComparable => "not comparable (other work)",
        }
    }
}

/// One point in both files.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// `family/id`.
    pub key: String,
    /// Seconds in the second over seconds in the first.
    pub ratio: f64,
    /// 99 % interval of the ratio.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// What follows.
    pub verdict: Verdict,
}

/// Two-sided 99 % of the normal distribution.
const Z: f64 = 2.575_829_303_548_901;

/// Spread between sessions on one device that no statistics within a session shows: clocks, temperature, page placement. The
/// sentinel's own readings widen it.
const SESSION: f64 = 0.01;

/// Relative error of a point's median as another session would see it.
fn error(file: &SamplesFile, p: &PointRecord) -> f64 {
    let wander: Vec<f64> = file
        .sentinel
        .iter()
        .flat_map(|r| [r.stream, r.gemm])
        .map(|v| (v - 1.0) * (v - 1.0))
        .collect();
    let drift = libm::sqrt(capsim::stats::mean(&wander).max(0.0));
    let drift = if drift.is_finite() { drift } else { 0.0 };
    let s = p.stats.expect("measured");
    let mut e = libm::hypot(s.rel_error(), SESSION.max(drift));
    if s.median > 0.0 {
        let ticks = file.timer_tick_s / (s.median * f64::from(p.passes));
        e = libm::hypot(e, ticks);
    }
    if p.flags.contains(&Flag::Throttled) || p.flags.contains(&Flag::Drifted) {
        e *= 3.0;
    }
    e
}

/// Every point that both have measured, in the first file's order.
pub fn compare(a: &SamplesFile, b: &SamplesFile) -> Vec<Difference> {
    a.points
        .iter()
        .filter_map(|p| {
            let q = b.find(&p.family, &p.id)?;
            let (s, t) = (p.seconds()?, q.seconds()?);
            let ratio = t / s;
            let (ea, eb) = (error(a, p), error(b, q));
            // Apart: the two intervals do not touch, which is stricter than the ratio's own interval.
            let apart = libm::log(ratio).abs() > Z * (ea + eb);
            let near = |x: f64, y: f64| (x - y).abs() <= 0.01 * x.abs().max(y.abs());
            // Backends differ in the format of activations, and so in bytes; the work that is asked for is the same.
            let bytes = a.api != b.api || near(p.work.bytes, q.work.bytes);
            let same = bytes && near(p.work.flops, q.work.flops);
            let verdict = match (same, apart) {
                (false, _) => Verdict::NotComparable,
                (true, false) => Verdict::NoDifference,
                (true, true) if ratio < 1.0 => Verdict::Faster,
                (true, true) => Verdict::Slower,
            };
            let e = Z * libm::hypot(ea, eb);
            Some(Difference {
                key: p.key(),
                ratio,
                low: ratio * libm::exp(-e),
                high: ratio * libm::exp(e),
                verdict,
            })
        })
        .collect()
}
