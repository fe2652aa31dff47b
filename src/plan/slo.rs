//! Service-level objectives as people write them: `ttft.p95<2s,tpot.p95<100ms`.
mod read;

use super::Trial;
use crate::metrics::{Latency, Metric, Percentiles, Statistic, Summary};
use std::fmt;

/// One condition. Equality counts as met.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Term {
    /// A figure of a latency is at most so many seconds.
    Latency {
        /// Which.
        latency: Latency,
        /// Which figure of it.
        stat: Statistic,
        /// Seconds.
        limit: f64,
    },
    /// At least this share of requests (0 to 1) meets every per-request limit of the SLO.
    Goodput(f64),
    /// At least so much per second.
    Throughput {
        /// Of output tokens, all tokens or requests.
        metric: Metric,
        /// Per second.
        least: f64,
    },
}

/// Limits that a request meets or not (`vllm bench serve --goodput`), in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PerRequest {
    /// Time to first token.
    pub ttft: Option<f64>,
    /// Time per output token; a request of one token meets it.
    pub tpot: Option<f64>,
    /// End-to-end latency.
    pub e2el: Option<f64>,
}

impl PerRequest {
    /// Whether a request with these times, in seconds, meets every limit.
    pub fn met_by(&self, ttft: f64, tpot: f64, e2el: f64) -> bool {
        let within = |value: f64, limit: Option<f64>| limit.is_none_or(|l| value <= l);
        within(ttft, self.ttft) && within(tpot, self.tpot) && within(e2el, self.e2el)
    }
}

/// Conditions that must hold together.
#[derive(Clone, Debug, PartialEq)]
pub struct Slo {
    /// The conditions, in the order given.
    pub terms: Vec<Term>,
    /// What a request must meet to count for [`Term::Goodput`].
    pub per_request: PerRequest,
}

/// A condition that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{token}`: {problem}")]
pub struct SloError {
    /// The part of the text that is wrong.
    pub token: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl Slo {
    /// Reads conditions separated by commas.
    ///
    /// # Errors
    /// Names the condition that is wrong.
    pub fn parse(text: &str) -> Result<Self, SloError> {
        read::read(text)
    }

    /// Whether every condition holds.
    pub fn met(&self, trial: &Trial) -> bool {
        self.terms.iter().all(|t| t.margin(trial) <= 1.0)
    }

    /// The condition that is nearest to being broken, or broken most, and its margin.
    pub fn tightest(&self, trial: &Trial) -> (Term, f64) {
        self.terms
            .iter()
            .map(|t| (*t, t.margin(trial)))
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .expect("there is at least one condition")
    }

    /// The conditions that more load can only break.
    pub fn against_load(&self) -> Slo {
        Slo {
            terms: self
                .terms
                .iter()
                .copied()
                .filter(|t| !t.wants_load())
                .collect(),
            ..self.clone()
        }
    }

    /// Whether all conditions are about requests that run, so that it does not matter how many wait.
    pub fn blind_to_queue(&self) -> bool {
        let r = &self.per_request;
        self.terms.iter().all(|t| match t {
            Term::Latency { latency, .. } => matches!(latency, Latency::Tpot | Latency::Itl),
            Term::Goodput(_) => r.ttft.is_none() && r.e2el.is_none(),
            Term::Throughput { .. } => true,
        })
    }

    /// Whether some condition is about the time between tokens, which answers of one token do not have.
    pub fn needs_two_tokens(&self) -> bool {
        self.terms.iter().any(|t| {
            matches!(
                t,
                Term::Latency {
                    latency: Latency::Tpot | Latency::Itl,
                    ..
                }
            )
        })
    }

    /// The most extreme percentile that is asked for; 50 if none is.
    pub fn tail(&self) -> f64 {
        let share = |t: &Term| match t {
            Term::Latency {
                stat: Statistic::Percentile(p),
                ..
            } => *p,
            Term::Goodput(share) => 100.0 * share,
            _ => 50.0,
        };
        self.terms.iter().map(share).fold(50.0, f64::max)
    }
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let r = &self.per_request;
        let single = [("ttft", r.ttft), ("tpot", r.tpot), ("e2el", r.e2el)];
        let single = single
            .into_iter()
            .filter_map(|(n, v)| Some(format!("{n}<{}", time(v?))));
        let all: Vec<String> = self
            .terms
            .iter()
            .map(ToString::to_string)
            .chain(single)
            .collect();
        f.write_str(&all.join(","))
    }
}

/// Seconds as people write them.
pub(crate) fn time(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{}ms", trimmed(1e3 * seconds))
    } else {
        format!("{}s", trimmed(seconds))
    }
}

/// Four significant digits, without zeros that say nothing.
fn trimmed(v: f64) -> String {
    let digits = (3 - libm::floor(libm::log10(v.max(1e-12))) as i32).clamp(0, 6) as usize;
    let text = format!("{v:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').into()
    } else {
        text
    }
}

impl Term {
    /// What it is about: `ttft.p95`.
    pub fn name(&self) -> String {
        match self {
            Term::Latency { latency, stat, .. } => format!("{}.{stat}", latency.name()),
            Term::Goodput(_) => "goodput".into(),
            Term::Throughput { metric, .. } => metric.to_string(),
        }
    }

    /// Whether it is more load that helps.
    pub fn wants_load(&self) -> bool {
        matches!(self, Term::Throughput { .. })
    }

    /// What a run has of it, in seconds, as a share or per second; NaN if it has none. Refused requests count: a latency is
    /// infinite if it falls among them.
    pub fn value(&self, trial: &Trial) -> f64 {
        self.value_of(&trial.run.summary, trial.good_share)
    }

    /// The same of a run's figures, measured or simulated, and the share of its requests that met every per-request limit.
    pub fn value_of(&self, summary: &Summary, good_share: f64) -> f64 {
        match self {
            Term::Latency { latency, stat, .. } => figure_of_asked(summary, *latency, *stat),
            Term::Goodput(_) => good_share,
            Term::Throughput { metric, .. } => summary.metric(*metric, Percentiles::Linear),
        }
    }

    /// How much of the limit a run uses up: at most 1 if it is met. What cannot be told is not met.
    pub fn margin(&self, trial: &Trial) -> f64 {
        self.margin_of(self.value(trial))
    }

    /// As [`margin`](Self::margin), of a value.
    pub fn margin_of(&self, v: f64) -> f64 {
        let m = match self {
            Term::Latency { limit, .. } => v / limit,
            // Of the requests that may fail, how many did.
            Term::Goodput(share) if *share < 1.0 => (1.0 - v) / (1.0 - share),
            Term::Goodput(_) => 1.0 / v,
            Term::Throughput { least, .. } => least / v,
        };
        if m.is_nan() { f64::INFINITY } else { m }
    }

    /// The same condition with another limit.
    pub fn with_limit(&self, to: f64) -> Term {
        match *self {
            Term::Latency { latency, stat, .. } => Term::Latency {
                latency,
                stat,
                limit: to,
            },
            Term::Goodput(_) => Term::Goodput(to),
            Term::Throughput { metric, .. } => Term::Throughput { metric, least: to },
        }
    }

    /// The limit alone, with its unit.
    pub fn limit(&self) -> String {
        match self {
            Term::Latency { limit, .. } => time(*limit),
            Term::Goodput(share) => format!("{}%", trimmed(100.0 * share)),
            Term::Throughput { least, .. } => trimmed(*least),
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self {
            Term::Latency { .. } => '<',
            _ => '>',
        };
        write!(f, "{}{sign}{}", self.name(), self.limit())
    }
}

/// A figure of a run's latency, in seconds, of the requests that were answered.
pub fn figure(s: &Summary, latency: Latency, stat: Statistic) -> f64 {
    s.metric(Metric::Latency(latency, stat), Percentiles::Linear) / 1e3
}

/// The same of all requests asked for: a refused one misses every limit ([`Summary::latency_of_asked`]).
fn figure_of_asked(s: &Summary, latency: Latency, stat: Statistic) -> f64 {
    s.latency_of_asked(latency, stat, Percentiles::Linear) / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn conditions_are_read_in_every_spelling_in_use() {
        let one = |text: &str| Slo::parse(text).unwrap().terms[0];
        let p95 = |latency, limit| Term::Latency {
            latency,
            stat: Statistic::Percentile(95.0),
            limit,
        };
        for text in [
            "ttft.p95<2s",
            " TTFT.p95 <= 2000 ms ",
            "p95_ttft_ms<=2000",
            "ttft p95≤2s",
        ] {
            assert_eq!(one(text), p95(Latency::Ttft, 2.0), "{text}");
        }
        assert_eq!(one("interactivity.p95>10tok/s"), p95(Latency::Tpot, 0.1));
        assert_eq!(one("e2e.p95<1min"), p95(Latency::E2el, 60.0));
        let slo = Slo::parse("ttft<2s,tpot<100ms,goodput>95%").unwrap();
        assert_eq!(slo.terms, [Term::Goodput(0.95)]);
        assert_eq!(
            (slo.per_request.ttft, slo.per_request.tpot),
            (Some(2.0), Some(0.1))
        );
        assert_eq!(slo.to_string(), "goodput>95%,ttft<2s,tpot<100ms");
    }

    #[test]
    fn errors_name_the_condition_and_say_what_to_do() {
        for (text, token, says) in [
            (
                "ttft.p95<2s,,tpot.p95<1s",
                "ttft.p95<2s,,tpot.p95<1s",
                "empty",
            ),
            ("ttft.p95<2", "ttft.p95<2", "no unit"),
            ("ttft.p95>2s", "ttft.p95>2s", "upper limit"),
            ("ttft.p95<2parsec", "ttft.p95<2parsec", "parsec"),
            ("ttft<2s", "ttft<2s", "goodput"),
            ("goodput>95%", "goodput", "single requests"),
            ("goodput>120%,ttft<1s", "goodput>120%", "all requests"),
            ("tftt.p95<2s", "tftt.p95<2s", "none of ttft"),
            ("ttft.p95<2s,ttft.p95<1s", "ttft.p95<1s", "twice"),
            ("ttft.p105<2s", "ttft.p105<2s", "percentile"),
            ("itl.p97<2s", "itl.p97<2s", "p95"),
            ("throughput<5", "throughput<5", "lower limit"),
            ("throughput>5req/s", "throughput>5req/s", "tok/s"),
            ("ttft.p95=2s", "ttft.p95=2s", "`=`"),
            ("ttft.p95<0s", "ttft.p95<0s", "above 0"),
            ("ttft.p95", "ttft.p95", "`<`"),
        ] {
            let e = Slo::parse(text).unwrap_err();
            assert_eq!(e.token, token, "{text}");
            assert!(e.problem.contains(says), "{text}: {e}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a-z0-9.,<>=≤ %_é/]{0,40}") {
            let _ = Slo::parse(&text);
        }

        #[test]
        fn what_is_printed_reads_back(
            which in prop::sample::subsequence(vec!["ttft.p95", "tpot.mean", "itl.p99", "e2el.p50"], 1..4),
            ms in 1u32..100_000,
        ) {
            let text: Vec<String> = which.iter().map(|w| format!("{w}<{ms}ms")).collect();
            let slo = Slo::parse(&text.join(",")).unwrap();
            let again = Slo::parse(&slo.to_string()).unwrap();
            for (a, b) in slo.terms.iter().zip(&again.terms) {
                prop_assert_eq!(a.name(), b.name());
                let (Term::Latency { limit: x, .. }, Term::Latency { limit: y, .. }) = (a, b) else { unreachable!() };
                // Four digits are printed.
                prop_assert!((x / y - 1.0).abs() < 1e-3, "{} {}", x, y);
            }
        }
    }
}
