//! Samples → the points of a curve: breakpoints kept, noise against physics removed, errors attached.
use super::Sample;
use capsim::device::Point;

/// A rate that falls where physics says that it rises, beyond noise: another kernel, or a scheduling cliff.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fall {
    /// The last place before it.
    pub before: f64,
    /// The first place after it.
    pub after: f64,
    /// Rate after over rate before.
    pub factor: f64,
}

/// Sorted by x; samples at the same place (to 1 %) become their best.
pub fn merged(mut samples: Vec<Sample>) -> Vec<Sample> {
    samples.sort_by(|a, b| a.x.total_cmp(&b.x));
    let mut out: Vec<Sample> = vec![];
    for s in samples {
        match out.last_mut() {
            Some(last) if s.x <= last.x * 1.01 => {
                if s.rate() > last.rate() {
                    *last = Sample { x: last.x, ..s };
                }
            }
            _ => out.push(s),
        }
    }
    out
}

/// Makes rates rise (or stay) with x by pooling neighbours that violate it within three standard deviations; a fall
/// beyond that is kept as it was measured.
pub fn rising(samples: &mut [Sample]) -> Vec<Fall> {
    let mut falls = vec![];
    let mut begin = 0;
    for i in 1..=samples.len() {
        let breaks = i < samples.len() && {
            let (a, b) = (&samples[i - 1], &samples[i]);
            let sd = libm::hypot(a.weight(), b.weight());
            libm::log(a.rate() / b.rate()) > (3.0 * sd).max(0.05)
        };
        if breaks {
            falls.push(Fall {
                before: samples[i - 1].x,
                after: samples[i].x,
                factor: samples[i].rate() / samples[i - 1].rate(),
            });
        }
        if breaks || i == samples.len() {
            pool(&mut samples[begin..i]);
            begin = i;
        }
    }
    falls
}

/// Pool adjacent violators on ln rate with weights 1/σ².
fn pool(samples: &mut [Sample]) {
    let mut blocks: Vec<(f64, f64, usize)> = vec![];
    for s in samples.iter() {
        let w = 1.0 / (s.weight() * s.weight());
        blocks.push((libm::log(s.rate()), w, 1));
        while blocks.len() > 1 && blocks[blocks.len() - 2].0 > blocks[blocks.len() - 1].0 {
            let (b, a) = (blocks.pop().expect("two"), blocks.pop().expect("two"));
            let w = a.1 + b.1;
            blocks.push(((a.0 * a.1 + b.0 * b.1) / w, w, a.2 + b.2));
        }
    }
    let mut i = 0;
    for (value, _, n) in blocks {
        for s in &mut samples[i..i + n] {
            let shift = libm::exp(value) / s.rate();
            s.spread = libm::hypot(s.spread, libm::log(shift));
            s.seconds /= shift;
        }
        i += n;
    }
}

/// More never takes less time: makes x / rate, the time of one unit of work per unit of x, rise or stay with x by pooling neighbours
/// that violate it, whatever their noise. What was measured stays among the raw points.
pub fn never_faster(samples: &mut [Sample]) {
    let time = |s: &Sample| libm::log(s.x / s.rate());
    let mut blocks: Vec<(f64, f64, usize)> = vec![];
    for s in samples.iter() {
        let w = 1.0 / (s.weight() * s.weight());
        blocks.push((time(s), w, 1));
        while blocks.len() > 1 && blocks[blocks.len() - 2].0 > blocks[blocks.len() - 1].0 {
            let (b, a) = (blocks.pop().expect("two"), blocks.pop().expect("two"));
            let w = a.1 + b.1;
            blocks.push(((a.0 * a.1 + b.0 * b.1) / w, w, a.2 + b.2));
        }
    }
    let mut i = 0;
    for (value, _, n) in blocks {
        for s in samples[i..i + n].iter_mut().filter(|_| n > 1) {
            s.spread = libm::hypot(s.spread, value - time(s));
            s.seconds = libm::exp(value) * (s.amount / s.x);
        }
        i += n;
    }
}

/// The points.
pub fn points(samples: &[Sample]) -> Vec<Point> {
    samples
        .iter()
        .map(|s| Point {
            x: s.x,
            y: s.rate(),
            rel_sd: s.rel_sd(),
        })
        .collect()
}

/// Relative errors of predicting each inner point from its neighbours, as the curve would without it.
pub fn leave_one_out(samples: &[Sample]) -> Vec<f64> {
    samples
        .windows(3)
        .map(|w| {
            let t = libm::log(w[1].x / w[0].x) / libm::log(w[2].x / w[0].x);
            let guess = w[0].rate() * libm::pow(w[2].rate() / w[0].rate(), t);
            (guess / w[1].rate() - 1.0).abs()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(x: f64, rate: f64, spread: f64) -> Sample {
        Sample {
            x,
            amount: 1.0,
            seconds: 1.0 / rate,
            spread,
            error: spread,
        }
    }

    #[test]
    fn noise_is_pooled_and_a_cliff_is_kept() {
        let mut s = vec![
            at(1.0, 10.0, 0.02),
            at(2.0, 9.9, 0.02),
            at(4.0, 20.0, 0.02),
            at(8.0, 12.0, 0.02),
            at(16.0, 30.0, 0.02),
        ];
        let falls = rising(&mut s);
        assert_eq!(falls.len(), 1);
        assert_eq!((falls[0].before, falls[0].after), (4.0, 8.0));
        assert!((s[0].rate() - s[1].rate()).abs() < 1e-9);
        // Rates are kept as times.
        assert!((s[2].rate() - 20.0).abs() < 1e-9);
        assert!((s[3].rate() - 12.0).abs() < 1e-9);
    }

    #[test]
    fn more_never_takes_less_time() {
        // Times 1, 0.9, 2, 1.5, 8 at unit work.
        let mut s: Vec<Sample> = [(1.0, 1.0), (2.0, 0.9), (4.0, 2.0), (8.0, 1.5), (16.0, 8.0)]
            .map(|(x, seconds)| Sample {
                x,
                amount: x,
                seconds,
                spread: 0.01,
                error: 0.01,
            })
            .into();
        never_faster(&mut s);
        assert!(s.windows(2).all(|w| w[0].seconds <= w[1].seconds), "{s:?}");
        assert!((s[0].seconds - libm::sqrt(0.9)).abs() < 1e-12);
        assert_eq!(s[0].seconds, s[1].seconds);
        assert_eq!(s[4].seconds, 8.0);
        // How far the pooled ones moved is part of their spread.
        assert!(s[2].spread > 0.1 && s[4].spread == 0.01);
    }

    #[test]
    fn a_power_law_predicts_itself() {
        let s: Vec<Sample> = (1..6)
            .map(|i| at(f64::from(i), libm::pow(f64::from(i), 0.7), 0.01))
            .collect();
        assert!(leave_one_out(&s).iter().all(|e| *e < 1e-9));
    }
}
