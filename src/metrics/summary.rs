//! Figures of a whole run.
use super::{Dist, Percentiles, Timing};

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
    /// Mean of the pooled inter-token latencies, in seconds.
    pub itl_mean: f64,
    /// Their population standard deviation, in seconds.
    pub itl_std: f64,
    /// Percentiles 50, 90, 95, 99 of the pooled inter-token latencies, in seconds (relative error ≤ 0.1 %).
    pub itl_percentiles: [f64; 4],
    /// The same, with refused requests as in [`metric_of_asked`](Self::metric_of_asked).
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
    /// requests have their share of the requests.
    pub fn metric_of_asked(&self, name: &str, how: Percentiles) -> Option<f64> {
        if self.refused == 0 {
            return self.metric(name, how);
        }
        let (stat, latency) = name.strip_suffix("_ms")?.split_once('_')?;
        let p = match stat {
            "mean" | "max" => return self.metric(name, how).map(|_| f64::INFINITY),
            "median" => 50.0,
            p => p.strip_prefix('p')?.parse().ok()?,
        };
        if latency == "itl" {
            let k = super::PERCENTILES.iter().position(|q| *q == p)?;
            return Some(1e3 * self.itl_percentiles_of_asked[k]);
        }
        match among_answered(p, self.latency(latency)?.count() as u64, self.refused) {
            Some(p) => self.metric(&format!("p{p}_{latency}_ms"), how),
            None => Some(f64::INFINITY),
        }
    }

    /// A latency that is kept per request.
    fn latency(&self, name: &str) -> Option<&Dist> {
        Some(match name {
            "ttft" => &self.ttft,
            "tpot" => &self.tpot,
            "e2el" => &self.e2el,
            "queue" => &self.queue,
            _ => return None,
        })
    }

    /// The named metric, in the unit its name ends with (`_ms`), or per second, or seconds; `None` for an
    /// unknown name. Names are those of `vllm bench serve`'s result file, with `e2el_ms`, `duration_s`
    /// and `min_`/`max_`/`pNN_` forms of every latency.
    pub fn metric(&self, name: &str, how: Percentiles) -> Option<f64> {
        Some(match name {
            "duration_s" | "duration" => self.duration,
            "successful_requests" | "completed" => self.completed as f64,
            "request_throughput" => self.request_throughput(),
            "output_token_throughput" | "output_throughput" => self.output_throughput(),
            "total_token_throughput" => self.total_throughput(),
            "prefix_cache_hit_rate" => self.prefix_hit_rate(),
            _ => {
                let (stat, metric) = name.strip_suffix("_ms")?.split_once('_')?;
                if metric == "itl" {
                    return Some(
                        1e3 * match stat {
                            "mean" => self.itl_mean,
                            "std" => self.itl_std,
                            "median" | "p50" => self.itl_percentiles[0],
                            "p90" => self.itl_percentiles[1],
                            "p95" => self.itl_percentiles[2],
                            "p99" => self.itl_percentiles[3],
                            _ => return None,
                        },
                    );
                }
                let dist = self.latency(metric)?;
                1e3 * match stat {
                    "mean" => dist.mean(),
                    "median" => dist.percentile(50.0, how),
                    "std" => dist.std(),
                    "min" => dist.min(),
                    "max" => dist.max(),
                    p => {
                        let p: f64 = p.strip_prefix('p')?.parse().ok()?;
                        if !(0.0..=100.0).contains(&p) {
                            return None;
                        }
                        dist.percentile(p, how)
                    }
                }
            }
        })
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
        let of = |refused, name| s(refused).metric_of_asked(name, Percentiles::Linear);
        assert_eq!(of(0, "p50_e2el_ms"), Some(300.0));
        // 0.1, 0.2, 0.3, 0.4, 0.5, ∞, ∞: the median is the fourth.
        assert_eq!(of(2, "median_e2el_ms"), Some(400.0));
        assert_eq!(of(2, "p50_e2el_ms"), Some(400.0));
        // Position 4 is the last that is answered; beyond it lies infinity.
        assert_eq!(of(3, "p50_e2el_ms").map(f64::round), Some(450.0));
        assert_eq!(of(4, "p50_e2el_ms"), Some(500.0));
        assert_eq!(of(5, "p50_e2el_ms"), Some(f64::INFINITY));
        assert_eq!(of(1, "p100_e2el_ms"), Some(f64::INFINITY));
        assert_eq!(of(1, "mean_e2el_ms"), Some(f64::INFINITY));
        assert_eq!(of(1, "p97_itl_ms"), None);
        assert_eq!(of(1, "nonsense"), None);
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
        let m = |n: &str| s.metric(n, Percentiles::Linear);
        assert_eq!(m("request_throughput"), Some(2.0));
        assert_eq!(m("output_throughput"), Some(50.0));
        assert_eq!(m("mean_e2el_ms"), Some(250.0));
        assert_eq!(m("min_e2el_ms"), Some(100.0));
        assert_eq!(m("p100_e2el_ms"), Some(400.0));
        assert_eq!(m("p101_e2el_ms"), None);
        assert_eq!(m("nonsense"), None);
        assert_eq!(
            s.metric("p75_e2el_ms", Percentiles::LowerIndex),
            Some(400.0)
        );
    }
}
