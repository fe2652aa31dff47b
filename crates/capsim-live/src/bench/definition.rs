//! What a latency is depends on who measures: the same answers under the definitions of several tools.
//!
//! Sources: vllm 0.12.0 and 0.33.0, `vllm/benchmarks/serve.py` and `lib/endpoint_request_func.py`; guidellm 0.8.1,
//! `schemas/request_stats.py`; aiperf 0.13.0, `metrics/types/`.
use super::outcome::Outcome;
use capsim::metrics::{Dist, Latency, Percentiles, Timing};

/// Whose definitions apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetricsAs {
    /// `vllm bench serve` of today (0.33): the first token is the first chunk with output.
    #[default]
    Vllm,
    /// `vllm bench serve` 0.12: for chat the role chunk counts as the first token, and the answer ends with the usage chunk.
    Vllm012,
    /// GuideLLM.
    Guidellm,
    /// AIPerf.
    Aiperf,
}

impl MetricsAs {
    /// The name that `--metrics-as` takes.
    pub fn name(self) -> &'static str {
        match self {
            MetricsAs::Vllm => "vllm",
            MetricsAs::Vllm012 => "vllm-0.12",
            MetricsAs::Guidellm => "guidellm",
            MetricsAs::Aiperf => "aiperf",
        }
    }

    /// The definitions in words, one line per metric.
    pub fn words(self) -> [&'static str; 4] {
        match self {
            MetricsAs::Vllm => [
                "TTFT: send to first chunk with output",
                "TPOT: (E2EL - TTFT) / (output tokens - 1) per request, requests with more than one token",
                "ITL: all gaps between chunks, pooled",
                "E2EL: send to last chunk with output; percentiles interpolate linearly",
            ],
            MetricsAs::Vllm012 => [
                "TTFT: send to first chunk with choices (for chat the empty role chunk)",
                "TPOT: (E2EL - TTFT) / (output tokens - 1) per request, requests with more than one token",
                "ITL: all gaps between chunks, pooled (for chat with the gap after the role chunk)",
                "E2EL: send to last chunk (for chat the usage chunk); percentiles interpolate linearly",
            ],
            MetricsAs::Guidellm => [
                "TTFT: send to first token",
                "TPOT: (last token - send) / output tokens, the first one included; weighted by tokens",
                "ITL: (last token - first token) / (output tokens - 1) per request; weighted by tokens",
                "E2EL: send to end of the response; percentiles are the nearest rank",
            ],
            MetricsAs::Aiperf => [
                "TTFT: send to first chunk with content",
                "TPOT: as ITL (AIPerf has no other)",
                "ITL: (E2EL - TTFT) / (output tokens - 1) per request",
                "E2EL: send to last chunk with content; percentiles interpolate linearly",
            ],
        }
    }
}

impl std::str::FromStr for MetricsAs {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Vllm, Self::Vllm012, Self::Guidellm, Self::Aiperf]
            .into_iter()
            .find(|m| m.name() == text)
            .ok_or_else(|| format!("`{text}` must be vllm, vllm-0.12, guidellm or aiperf"))
    }
}

/// A sample under a tool's own statistics, in seconds.
#[derive(Clone, Debug, PartialEq)]
pub enum Stat {
    /// Every value once; NumPy's percentiles.
    Plain(Dist),
    /// (value, weight), sorted by value; percentiles are the nearest rank by weight.
    Weighted(Vec<(f64, f64)>),
}

impl Stat {
    fn weighted(values: impl Iterator<Item = (f64, f64)>) -> Self {
        let mut all: Vec<_> = values.collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        Self::Weighted(all)
    }

    /// Number of values.
    pub fn count(&self) -> usize {
        match self {
            Stat::Plain(d) => d.count(),
            Stat::Weighted(v) => v.len(),
        }
    }

    /// Mean; NaN if empty.
    pub fn mean(&self) -> f64 {
        match self {
            Stat::Plain(d) => d.mean(),
            Stat::Weighted(v) => {
                let weight: f64 = v.iter().map(|(_, w)| w).sum();
                v.iter().map(|(x, w)| x * w).sum::<f64>() / weight
            }
        }
    }

    /// Population standard deviation; NaN if empty.
    pub fn std(&self) -> f64 {
        match self {
            Stat::Plain(d) => d.std(),
            Stat::Weighted(v) => {
                let mean = self.mean();
                let weight: f64 = v.iter().map(|(_, w)| w).sum();
                libm::sqrt(
                    v.iter()
                        .map(|(x, w)| w * (x - mean) * (x - mean))
                        .sum::<f64>()
                        / weight,
                )
            }
        }
    }

    /// The `p`-th percentile; NaN if empty.
    pub fn percentile(&self, p: f64) -> f64 {
        match self {
            Stat::Plain(d) => d.percentile(p, Percentiles::Linear),
            Stat::Weighted(v) => {
                let target = p / 100.0 * v.iter().map(|(_, w)| w).sum::<f64>();
                let mut seen = 0.0;
                for (x, w) in v {
                    seen += w;
                    if seen >= target {
                        return *x;
                    }
                }
                v.last().map_or(f64::NAN, |(x, _)| *x)
            }
        }
    }

    /// Smallest; NaN if empty.
    pub fn min(&self) -> f64 {
        self.percentile(0.0)
    }
    /// Largest; NaN if empty.
    pub fn max(&self) -> f64 {
        self.percentile(100.0)
    }
}

/// The four latencies.
#[derive(Clone, Debug, PartialEq)]
pub struct Latencies {
    /// Time to first token.
    pub ttft: Stat,
    /// Time per output token.
    pub tpot: Stat,
    /// Inter-token latency.
    pub itl: Stat,
    /// End-to-end latency.
    pub e2el: Stat,
}

impl Latencies {
    /// Of the requests that were answered whole.
    pub fn of(outcomes: &[Outcome], rule: MetricsAs) -> Self {
        let ok: Vec<(&Outcome, Timing)> = outcomes
            .iter()
            .filter_map(|o| Some((o, timing(o, rule)?)))
            .collect();
        // Without a stream there is no first token to be seen.
        let streamed = || ok.iter().filter(|(o, _)| o.streamed);
        let plain = |v: Vec<f64>| Stat::Plain(Dist::new(v));
        let ttft = plain(streamed().map(|(_, t)| t.ttft().secs()).collect());
        let e2el = plain(ok.iter().map(|(_, t)| t.e2el().secs()).collect());
        let tpots = || streamed().filter_map(|(_, t)| t.tpot());
        let (tpot, itl) = match rule {
            MetricsAs::Vllm | MetricsAs::Vllm012 => {
                let mut gaps = vec![];
                for (o, _) in streamed() {
                    let early = o.first_chunk.filter(|c| {
                        rule == MetricsAs::Vllm012 && o.chunks.first().is_some_and(|f| f > c)
                    });
                    gaps.extend(early.map(|c| o.chunks[0].since(c).secs()));
                    gaps.extend(o.gaps().map(|g| g.secs()));
                }
                (plain(tpots().collect()), plain(gaps))
            }
            MetricsAs::Guidellm => (
                Stat::weighted(streamed().map(|(_, t)| {
                    let n = f64::from(t.output_tokens.max(1));
                    (t.e2el().secs() / n, n)
                })),
                Stat::weighted(
                    streamed()
                        .filter_map(|(_, t)| t.tpot().map(|v| (v, f64::from(t.output_tokens - 1)))),
                ),
            ),
            MetricsAs::Aiperf => (plain(tpots().collect()), plain(tpots().collect())),
        };
        Self {
            ttft,
            tpot,
            itl,
            e2el: match rule {
                // Nearest rank, every request once.
                MetricsAs::Guidellm => Stat::weighted(ok.iter().map(|(o, t)| {
                    let end = o.end.max(t.end);
                    (end.since(t.start).secs(), 1.0)
                })),
                _ => e2el,
            },
        }
    }

    /// The sample of a latency; a client does not see how long requests queue.
    pub fn get(&self, latency: Latency) -> Option<&Stat> {
        match latency {
            Latency::Ttft => Some(&self.ttft),
            Latency::Tpot => Some(&self.tpot),
            Latency::Itl => Some(&self.itl),
            Latency::E2el => Some(&self.e2el),
            Latency::Queue => None,
        }
    }
}

/// The instants that a rule takes for first and last token.
pub fn timing(o: &Outcome, rule: MetricsAs) -> Option<Timing> {
    let mut t = o.timing()?;
    if rule == MetricsAs::Vllm012
        && o.streamed
        && let Some(first) = o.first_chunk.filter(|c| *c < t.first_token)
    {
        t.first_token = first;
        t.end = o.usage_at.map_or(t.end, |u| u.max(t.end));
    }
    Some(t)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::outcome::Counted;
    use capsim::units::SimTime;

    /// The stub of workloads-and-clients: TTFT 50 ms, ITL 5 ms, 32 tokens.
    fn answer() -> Outcome {
        let ms = |v: u64| SimTime(v * 1_000_000);
        Outcome {
            measured: true,
            streamed: true,
            sent: ms(0),
            chunks: (0..32).map(|i| ms(50 + 5 * i)).collect(),
            first_chunk: Some(ms(49)),
            usage_at: Some(ms(206)),
            end: ms(206),
            usage: Some(Counted {
                prompt: 8,
                completion: 32,
                cached: None,
            }),
            ..Outcome::default()
        }
    }

    #[test]
    fn one_answer_has_four_different_tpots() {
        let of = |rule| {
            let l = Latencies::of(&[answer()], rule);
            [&l.ttft, &l.tpot, &l.itl, &l.e2el].map(|s| (1e5 * s.mean()).round() / 1e2)
        };
        assert_eq!(of(MetricsAs::Vllm), [50.0, 5.0, 5.0, 205.0]);
        // The role chunk a millisecond before, one gap more; the end is the usage chunk's.
        assert_eq!(of(MetricsAs::Vllm012), [49.0, 5.06, 4.88, 206.0]);
        assert_eq!(of(MetricsAs::Guidellm), [50.0, 6.41, 5.0, 206.0]);
        assert_eq!(of(MetricsAs::Aiperf), [50.0, 5.0, 5.0, 205.0]);
    }

    #[test]
    fn weights_count_and_the_nearest_rank_is_a_value() {
        let s = Stat::weighted([(3.0, 1.0), (1.0, 8.0), (2.0, 1.0)].into_iter());
        assert_eq!(s.mean(), 1.3);
        assert_eq!(s.percentile(50.0), 1.0);
        assert_eq!(s.percentile(85.0), 2.0);
        assert_eq!((s.min(), s.max()), (1.0, 3.0));
    }
}
