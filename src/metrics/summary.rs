//! Figures of a whole run.
use super::{Dist, Percentiles, Timing};

/// What `vllm bench serve` reports, and what it does not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// From the first measured request's arrival to the last answer's end, in seconds.
    pub duration: f64,
    /// Requests answered.
    pub completed: u64,
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
                let dist = match metric {
                    "ttft" => &self.ttft,
                    "tpot" => &self.tpot,
                    "e2el" => &self.e2el,
                    "queue" => &self.queue,
                    _ => return None,
                };
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

#[cfg(test)]
mod tests {
    use super::*;

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
