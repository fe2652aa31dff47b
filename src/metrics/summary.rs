//! Figures of a whole run.
use super::{Dist, Latency, Metric, Percentiles, Statistic, Timing};

/// The mean time to first token, divided; seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TtftParts {
    /// From the client's send to the engine's queue.
    pub front_end: f64,
    /// In the engine's queue.
    pub waiting: f64,
    /// From being scheduled to the first token: the prompt, in one step or several.
    pub prefill: f64,
    /// From the engine to the client.
    pub way_back: f64,
}

impl TtftParts {
    /// The engine's own time to first token: from its queue to the token.
    pub fn engine(&self) -> f64 {
        self.waiting + self.prefill
    }
}

/// What `vllm bench serve` reports, and what it does not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// From the first measured request's arrival to the last answer's end, in seconds.
    pub duration: f64,
    /// Requests answered.
    pub completed: u64,
    /// Requests refused; no other figure contains them, except where its name says so.
    pub refused: u64,
    /// Their prompt tokens.
    pub input_tokens: u64,
    /// Their output tokens.
    pub output_tokens: u64,
    /// Time to first token.
    pub ttft: Dist,
    /// Time per output token after the first.
    pub tpot: Dist,
    /// End-to-end latency.
    pub e2el: Dist,
    /// From arrival to being scheduled first.
    pub queue: Dist,
    /// What the time to first token is made of.
    pub ttft_parts: TtftParts,
    /// Mean of the pooled inter-token latencies, in seconds.
    pub itl_mean: f64,
    /// Their population standard deviation, in seconds.
    pub itl_std: f64,
    /// Percentiles 50, 90, 95, 99 of the pooled inter-token latencies, in seconds (relative error ≤ 0.1 %).
    pub itl_percentiles: [f64; 4],
    /// The same, with refused requests as in [`latency_of_asked`](Self::latency_of_asked).
    pub itl_percentiles_of_asked: [f64; 4],
    /// Prompt tokens found in the prefix cache at first admission.
    pub cached_tokens: u64,
    /// Preemptions of all requests together.
    pub preemptions: u64,
}

impl Summary {
    /// Counts, duration and the latencies that follow from instants; gaps, queueing and the cache are left at zero.
    pub fn of(timings: &[Timing]) -> Self {
        let all = || timings.iter();
        let duration = match (all().map(|t| t.start).min(), all().map(|t| t.end).max()) {
            (Some(begin), Some(end)) => end.since(begin).secs(),
            _ => 0.0,
        };
        Self {
            duration,
            completed: timings.len() as u64,
            input_tokens: all().map(|t| u64::from(t.input_tokens)).sum(),
            output_tokens: all().map(|t| u64::from(t.output_tokens)).sum(),
            ttft: Dist::new(all().map(|t| t.ttft().secs()).collect()),
            tpot: Dist::new(all().filter_map(Timing::tpot).collect()),
            e2el: Dist::new(all().map(|t| t.e2el().secs()).collect()),
            ..Self::default()
        }
    }

    /// Requests per second.
    pub fn request_throughput(&self) -> f64 {
        self.completed as f64 / self.duration
    }
    /// Output tokens per second.
    pub fn output_throughput(&self) -> f64 {
        self.output_tokens as f64 / self.duration
    }
    /// Prompt and output tokens per second.
    pub fn total_throughput(&self) -> f64 {
        (self.input_tokens + self.output_tokens) as f64 / self.duration
    }
    /// Part of the prompt tokens that the prefix cache saved, 0 to 1.
    pub fn prefix_hit_rate(&self) -> f64 {
        self.cached_tokens as f64 / (self.input_tokens as f64).max(1.0)
    }

    /// Requests answered or refused.
    pub fn asked(&self) -> u64 {
        self.completed + self.refused
    }

    /// As [`metric`](Self::metric), of a latency of all requests asked for: that of a refused request is infinite. A mean is
    /// then infinite, and a percentile is where it falls among the refused. Of the pooled gaps between tokens, refused
    /// requests have their share of the requests. In milliseconds; NaN if it has none.
    pub fn latency_of_asked(
        &self,
        latency: Latency,
        statistic: Statistic,
        how: Percentiles,
    ) -> f64 {
        let of_answered = |s| self.metric(Metric::Latency(latency, s), how);
        let p = match statistic {
            _ if self.refused == 0 => return of_answered(statistic),
            Statistic::Mean | Statistic::Max => return f64::INFINITY,
            Statistic::Std | Statistic::Min => return f64::NAN,
            Statistic::Percentile(p) => p,
        };
        let Some(sample) = self.sample(latency) else {
            let kept = super::PERCENTILES.iter().position(|q| *q == p);
            return kept.map_or(f64::NAN, |k| 1e3 * self.itl_percentiles_of_asked[k]);
        };
        match among_answered(p, sample.count() as u64, self.refused) {
            Some(p) => of_answered(Statistic::Percentile(p)),
            None => f64::INFINITY,
        }
    }

    /// The sample of a latency that is kept per request.
    fn sample(&self, latency: Latency) -> Option<&Dist> {
        match latency {
            Latency::Ttft => Some(&self.ttft),
            Latency::Tpot => Some(&self.tpot),
            Latency::E2el => Some(&self.e2el),
            Latency::Queue => Some(&self.queue),
            Latency::Itl => None,
        }
    }

    /// The value of a metric in its [unit](Metric::unit); NaN if there is none, as of nothing that was answered, or if it is
    /// not [kept](Metric::is_kept).
    pub fn metric(&self, metric: Metric, how: Percentiles) -> f64 {
        match metric {
            Metric::Duration => self.duration,
            Metric::Completed => self.completed as f64,
            Metric::RequestThroughput => self.request_throughput(),
            Metric::OutputThroughput => self.output_throughput(),
            Metric::TotalThroughput => self.total_throughput(),
            Metric::PrefixHitRate => self.prefix_hit_rate(),
            Metric::Latency(latency, statistic) => 1e3 * self.seconds(latency, statistic, how),
        }
    }

    /// A statistic of a latency, in seconds.
    fn seconds(&self, latency: Latency, statistic: Statistic, how: Percentiles) -> f64 {
        let Some(sample) = self.sample(latency) else {
            return match statistic {
                Statistic::Mean => self.itl_mean,
                Statistic::Std => self.itl_std,
                Statistic::Percentile(p) => super::PERCENTILES
                    .iter()
                    .position(|q| *q == p)
                    .map_or(f64::NAN, |k| self.itl_percentiles[k]),
                Statistic::Min | Statistic::Max => f64::NAN,
            };
        };
        match statistic {
            Statistic::Mean => sample.mean(),
            Statistic::Std => sample.std(),
            Statistic::Min => sample.min(),
            Statistic::Max => sample.max(),
            Statistic::Percentile(p) => sample.percentile(p, how),
        }
    }
}

/// Which percentile of `answered` requests is the `p`-th of them and `refused` ones that take infinitely long; `None` if it
/// falls among the refused, or between them and the answered.
pub(super) fn among_answered(p: f64, answered: u64, refused: u64) -> Option<f64> {
    if refused == 0 {
        return Some(p);
    }
    let last = answered.checked_sub(1)? as f64;
    // Linear interpolation between order statistics, as everywhere.
    let position = p / 100.0 * (answered + refused - 1) as f64;
    (position <= last).then(|| 100.0 * position / last.max(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_request_takes_for_ever() {
        let s = |refused| Summary {
            refused,
            completed: 5,
            e2el: Dist::new(vec![0.1, 0.2, 0.3, 0.4, 0.5]),
            itl_mean: 0.1,
            ..Summary::default()
        };
        let of = |refused, statistic| {
            s(refused).latency_of_asked(Latency::E2el, statistic, Percentiles::Linear)
        };
        assert_eq!(of(0, Statistic::MEDIAN), 300.0);
        // 0.1, 0.2, 0.3, 0.4, 0.5, ∞, ∞: the median is the fourth.
        assert_eq!(of(2, Statistic::MEDIAN), 400.0);
        // Position 4 is the last that is answered; beyond it lies infinity.
        assert_eq!(of(3, Statistic::MEDIAN).round(), 450.0);
        assert_eq!(of(4, Statistic::MEDIAN), 500.0);
        assert_eq!(of(5, Statistic::MEDIAN), f64::INFINITY);
        assert_eq!(of(1, Statistic::Percentile(100.0)), f64::INFINITY);
        assert_eq!(of(1, Statistic::Mean), f64::INFINITY);
        let gaps = Statistic::Percentile(97.0);
        assert!(
            s(1).latency_of_asked(Latency::Itl, gaps, Percentiles::Linear)
                .is_nan()
        );
        assert_eq!(among_answered(50.0, 0, 3), None);
        assert_eq!(among_answered(0.0, 1, 3), Some(0.0));
    }

    #[test]
    fn metrics_are_found_by_the_names_of_vllm_bench() {
        let s = Summary {
            duration: 2.0,
            completed: 4,
            output_tokens: 100,
            e2el: Dist::new(vec![0.3, 0.1, 0.2, 0.4]),
            ..Summary::default()
        };
        let m = |n: &str| Some(s.metric(n.parse().ok()?, Percentiles::Linear));
        assert_eq!(m("request_throughput"), Some(2.0));
        assert_eq!(m("output_throughput"), Some(50.0));
        assert_eq!(m("mean_e2el_ms"), Some(250.0));
        assert_eq!(m("min_e2el_ms"), Some(100.0));
        assert_eq!(m("p100_e2el_ms"), Some(400.0));
        assert_eq!(m("p101_e2el_ms"), None);
        assert_eq!(m("nonsense"), None);
        let p75 = Metric::percentile(Latency::E2el, 75.0);
        assert_eq!(s.metric(p75, Percentiles::LowerIndex), 400.0);
    }
}
