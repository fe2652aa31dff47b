//! Ends of intervals that cannot be: percentiles out of order, more throughput than was offered, and figures farther away than any
//! likely value of the coefficients takes them.
use super::interval::{Interval, METRICS};
use super::prediction::Scenario;
use super::run::{Dearer, Load};
use super::uncertain::{Uncertain, Z95};
use crate::metrics::{Latency, Metric, Statistic};
use crate::units::Span;
use crate::workload::Pace;
use std::collections::BTreeMap;

/// Intervals by metric.
pub(super) type Intervals = BTreeMap<Metric, Interval>;

/// Figures of one latency, each at least as large as the one before it.
const RISING: [&[Metric]; 4] = [
    &[
        Metric::median(Latency::Ttft),
        Metric::percentile(Latency::Ttft, 90.0),
        Metric::percentile(Latency::Ttft, 95.0),
        Metric::percentile(Latency::Ttft, 99.0),
    ],
    &[
        Metric::median(Latency::Tpot),
        Metric::percentile(Latency::Tpot, 90.0),
        Metric::percentile(Latency::Tpot, 95.0),
        Metric::percentile(Latency::Tpot, 99.0),
    ],
    &[
        Metric::median(Latency::Itl),
        Metric::percentile(Latency::Itl, 90.0),
        Metric::percentile(Latency::Itl, 95.0),
        Metric::percentile(Latency::Itl, 99.0),
    ],
    &[
        Metric::Latency(Latency::E2el, Statistic::Min),
        Metric::median(Latency::E2el),
        Metric::percentile(Latency::E2el, 90.0),
        Metric::percentile(Latency::E2el, 95.0),
        Metric::percentile(Latency::E2el, 99.0),
        Metric::Latency(Latency::E2el, Statistic::Max),
    ],
];

/// Puts ends into the order of the figures: what a percentile exceeds in 95 of 100 cases, a higher one exceeds as well, and what
/// a percentile stays below, a lower one stays below. Every interval still holds its value.
pub(super) fn ordered(all: &mut Intervals) {
    for chain in RISING {
        let mut low = f64::NEG_INFINITY;
        for metric in chain {
            if let Some(i) = all.get_mut(metric).filter(|i| !i.low.is_nan()) {
                low = low.max(i.low);
                i.low = low;
            }
        }
        let mut high = f64::INFINITY;
        for metric in chain.iter().rev() {
            if let Some(i) = all.get_mut(metric).filter(|i| !i.high.is_nan()) {
                high = high.min(i.high);
                i.high = high;
            }
        }
    }
}

/// Time from the first planned send to the last; `None` where a send follows an answer.
pub(super) fn planned_span(scenario: &Scenario, load: Load<'_>) -> Option<Span> {
    match load {
        Load::Own => scenario.workload.planned_span(),
        Load::Recorded(replay) => {
            let sent = replay.requests().get(replay.warmup() as usize..)?;
            let at = || sent.iter().map(|r| r.arrival);
            match replay.pace() {
                Pace::Recorded => Some(at().max()?.since(at().min()?)),
                Pace::Clients { .. } | Pace::Answers(_) => None,
            }
        }
    }
}

/// Bounds duration and throughputs by a load whose sends are planned: a run lasts as long as the sends and the fastest answer.
/// `value` is a metric's own.
pub(super) fn within_load(all: &mut Intervals, span: Span, value: impl Fn(Metric) -> f64) {
    let fastest = all
        .get(&Metric::Latency(Latency::E2el, Statistic::Min))
        .map_or(0.0, |i| i.low / 1e3);
    let least = span.secs() + fastest.max(0.0);
    let duration = value(Metric::Duration);
    if !(least > 0.0 && duration > 0.0) {
        return;
    }
    if let Some(i) = all.get_mut(&Metric::Duration) {
        i.low = i.low.max(least).min(duration);
    }
    for metric in [
        Metric::RequestThroughput,
        Metric::OutputThroughput,
        Metric::TotalThroughput,
    ] {
        let v = value(metric);
        if let Some(i) = all.get_mut(&metric) {
            i.high = i.high.min(v * duration / least).max(v);
        }
    }
}

/// The scenario with the coefficients that make steps slowest, and fastest, among values as likely as the ends of a 90 % interval
/// ([`crate::plan::Extremes`] has the method): of steps that compute prompts or of the others, whichever a coefficient moves more.
pub(super) fn extremes(
    scenario: &Scenario,
    all: &[Uncertain],
    covariance: &[Vec<f64>],
    dearer: &[Dearer],
    step: f64,
) -> [Scenario; 2] {
    let classes: [fn(&Dearer) -> f64; 2] = [|d| d.prefill, |d| d.decode];
    let mut shifts = vec![0.0_f64; all.len()];
    for class in classes {
        let slope: Vec<f64> = dearer.iter().map(|d| class(d) / step).collect();
        let moved: Vec<f64> = covariance
            .iter()
            .map(|row| row.iter().zip(&slope).map(|(c, s)| c * s).sum())
            .collect();
        let variance: f64 = moved.iter().zip(&slope).map(|(m, s)| m * s).sum();
        if variance > 0.0 {
            for (shift, m) in shifts.iter_mut().zip(&moved) {
                let to = Z95 * m / libm::sqrt(variance);
                if to.abs() > shift.abs() {
                    *shift = to;
                }
            }
        }
    }
    [1.0, -1.0].map(|sign| {
        let mut s = scenario.clone();
        for (u, shift) in all.iter().zip(&shifts) {
            u.coefficient.scale(&mut s, libm::exp(sign * shift));
        }
        s
    })
}

/// The scenario with one coefficient at the upper and the lower end of its 90 % interval.
pub(super) fn ends_of(scenario: &Scenario, u: &Uncertain) -> [Scenario; 2] {
    let shift = Z95 * libm::sqrt(libm::log1p(u.rel_sd * u.rel_sd));
    [shift, -shift].map(|shift| {
        let mut s = scenario.clone();
        u.coefficient.scale(&mut s, libm::exp(shift));
        s
    })
}

/// How far runs lie from the best estimate of a metric, in logarithms: at most 0 and at least 0.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reach {
    pub down: f64,
    pub up: f64,
}

/// Bounds intervals by what pairs of runs with coefficients at their ends show, all pairs together; `open` is the relative standard
/// deviation of each metric that no coefficient explains, `None` where an interval is not bounded.
pub(super) fn within_runs(
    all: &mut Intervals,
    pairs: &[Vec<Reach>],
    open: &[Option<f64>],
    value: impl Fn(Metric) -> f64,
) {
    for (m, metric) in METRICS.iter().enumerate() {
        let Some(open) = open[m] else { continue };
        let up: f64 = pairs.iter().map(|p| p[m].up).sum();
        let down: f64 = pairs.iter().map(|p| p[m].down).sum();
        let v = value(*metric);
        if let Some(i) = all.get_mut(metric).filter(|_| v.is_finite()) {
            i.low = i.low.max(v * libm::exp(down - Z95 * open));
            i.high = i.high.min(v * libm::exp(up + Z95 * open));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intervals(of: &[(Metric, f64, f64)]) -> Intervals {
        let one = |(name, low, high): &(Metric, f64, f64)| {
            let (low, high) = (*low, *high);
            (*name, Interval { low, high })
        };
        of.iter().map(one).collect()
    }

    fn ends(all: &Intervals, metric: Metric) -> (f64, f64) {
        (all[&metric].low, all[&metric].high)
    }

    #[test]
    fn ends_rise_with_the_percentile() {
        let mut all = intervals(&[
            (Metric::median(Latency::Ttft), 80.0, 150.0),
            (Metric::percentile(Latency::Ttft, 90.0), 60.0, 140.0),
            (Metric::percentile(Latency::Ttft, 95.0), 100.0, 1e9),
            (Metric::percentile(Latency::Ttft, 99.0), 0.5, 1e6),
            (Metric::median(Latency::Tpot), f64::NAN, f64::NAN),
            (Metric::percentile(Latency::Tpot, 99.0), 3.0, 4.0),
        ]);
        ordered(&mut all);
        assert_eq!(ends(&all, Metric::median(Latency::Ttft)), (80.0, 140.0));
        assert_eq!(
            ends(&all, Metric::percentile(Latency::Ttft, 90.0)),
            (80.0, 140.0)
        );
        assert_eq!(
            ends(&all, Metric::percentile(Latency::Ttft, 95.0)),
            (100.0, 1e6)
        );
        assert_eq!(
            ends(&all, Metric::percentile(Latency::Ttft, 99.0)),
            (100.0, 1e6)
        );
        assert!(all[&Metric::median(Latency::Tpot)].low.is_nan());
        assert_eq!(
            ends(&all, Metric::percentile(Latency::Tpot, 99.0)),
            (3.0, 4.0)
        );
    }

    #[test]
    fn no_throughput_exceeds_what_is_offered() {
        let value = |m: Metric| match m {
            Metric::Duration => 102.0,
            Metric::OutputThroughput => 10.0,
            _ => f64::NAN,
        };
        let mut all = intervals(&[
            (Metric::Duration, 90.0, 120.0),
            (Metric::OutputThroughput, 8.0, 12.0),
            (Metric::Latency(Latency::E2el, Statistic::Min), 500.0, 800.0),
        ]);
        within_load(&mut all, Span::from_secs(100.0), value);
        assert_eq!(ends(&all, Metric::Duration), (100.5, 120.0));
        let (low, high) = ends(&all, Metric::OutputThroughput);
        assert_eq!(low, 8.0);
        assert!((high - 10.0 * 102.0 / 100.5).abs() < 1e-9, "{high}");
    }

    #[test]
    fn no_interval_reaches_farther_than_runs_and_what_they_leave_open() {
        let m = METRICS
            .iter()
            .position(|m| *m == Metric::percentile(Latency::Ttft, 99.0))
            .unwrap();
        let mut steps = vec![Reach::default(); METRICS.len()];
        let mut clients = steps.clone();
        (steps[m].up, clients[m].up) = (libm::log(3.0), libm::log(4.0 / 3.0));
        let mut all = intervals(&[
            (Metric::percentile(Latency::Ttft, 99.0), 0.5, 1e6),
            (Metric::mean(Latency::Tpot), 95.0, 105.0),
            (Metric::mean(Latency::E2el), 0.5, 1e6),
        ]);
        let mut open = vec![Some(0.1); METRICS.len()];
        open[METRICS
            .iter()
            .position(|m| *m == Metric::mean(Latency::E2el))
            .unwrap()] = None;
        within_runs(&mut all, &[steps, clients], &open, |_| 100.0);
        let noise = libm::exp(Z95 * 0.1);
        let (low, high) = ends(&all, Metric::percentile(Latency::Ttft, 99.0));
        assert!((high / (400.0 * noise) - 1.0).abs() < 1e-9, "{high}");
        assert!((low * noise / 100.0 - 1.0).abs() < 1e-9, "{low}");
        // What is narrow already stays.
        assert_eq!(ends(&all, Metric::mean(Latency::Tpot)), (95.0, 105.0));
        assert_eq!(ends(&all, Metric::mean(Latency::E2el)), (0.5, 1e6));
    }
}
