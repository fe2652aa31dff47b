//! A finished (or interrupted) run as figures.
use super::definition::{Latencies, MetricsAs, timing};
use super::drive::Driven;
use super::outcome::{FailureKind, Outcome};
use super::scrape::{ServerInfo, Watched};
use capsim::metrics::{Dist, Summary, Timing};
use std::collections::BTreeMap;

/// Service-level objectives, in seconds (`--goodput ttft:MS …`).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Goodput {
    /// Largest TTFT.
    pub ttft: Option<f64>,
    /// Largest TPOT.
    pub tpot: Option<f64>,
    /// Largest E2EL.
    pub e2el: Option<f64>,
}

impl Goodput {
    fn met(&self, t: &Timing) -> bool {
        let within = |limit: Option<f64>, v: f64| limit.is_none_or(|l| v <= l);
        within(self.ttft, t.ttft().secs())
            // As vLLM: a single token has no time per further token.
            && within(self.tpot, t.tpot().unwrap_or(0.0))
            && within(self.e2el, t.e2el().secs())
    }
}

/// Everything about one run.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Every request, warm-up included.
    pub outcomes: Vec<Outcome>,
    /// Requests that the load would have had, warm-up included.
    pub planned: u64,
    /// Whether the run was interrupted: all figures are of a part.
    pub interrupted: bool,
    /// Whose definitions apply.
    pub rule: MetricsAs,
    /// The latencies under these definitions.
    pub latencies: Latencies,
    /// Counts, throughputs, and latencies under vLLM's definitions.
    pub summary: Summary,
    /// Requests per second that met the objectives, where there are any.
    pub goodput: Option<f64>,
    /// Wait at the client for a free place, of every measured request that was sent.
    pub held: Dist,
    /// Delay by the client itself.
    pub lateness: Dist,
    /// The server's account of itself.
    pub server: ServerInfo,
    /// What `/metrics` said.
    pub watched: Watched,
    /// Whether outputs were asked to have their full length.
    pub ignore_eos: bool,
}

impl Measured {
    /// Figures of what was driven.
    pub fn new(
        driven: Driven,
        rule: MetricsAs,
        goodput: Option<Goodput>,
        ignore_eos: bool,
        server: ServerInfo,
    ) -> Self {
        let watched = driven.watched;
        let measured: Vec<Outcome> = driven
            .outcomes
            .iter()
            .filter(|o| o.measured)
            .cloned()
            .collect();
        let timings: Vec<Timing> = measured
            .iter()
            .filter_map(|o| timing(o, MetricsAs::Vllm))
            .collect();
        let mut summary = Summary::of(&timings);
        let streamed = measured.iter().any(|o| o.ok() && o.streamed);
        if !streamed {
            summary.ttft = Dist::default();
            summary.tpot = Dist::default();
        }
        // The run lasts until its last request ended, in whatever way.
        let begin = measured.iter().map(|o| o.sent).min();
        let end = measured.iter().map(|o| o.end).max();
        if let (Some(b), Some(e)) = (begin, end) {
            summary.duration = e.since(b).secs();
        }
        let gaps = Dist::new(
            measured
                .iter()
                .filter(|o| o.ok() && o.streamed)
                .flat_map(|o| o.gaps().map(|g| g.secs()).collect::<Vec<_>>())
                .collect(),
        );
        let p = |p| gaps.percentile(p, capsim::metrics::Percentiles::Linear);
        summary.itl_mean = gaps.mean();
        summary.itl_percentiles = capsim::metrics::PERCENTILES.map(p);
        summary.cached_tokens = watched
            .deltas
            .get("vllm:prefix_cache_hits_total")
            .map_or(0, |v| *v as u64);
        summary.preemptions = watched
            .deltas
            .get("vllm:num_preemptions_total")
            .map_or(0, |v| *v as u64);
        let good = goodput.map(|g| {
            let good = measured
                .iter()
                .filter_map(|o| timing(o, rule))
                .filter(|t| g.met(t))
                .count();
            good as f64 / summary.duration
        });
        let sent = || measured.iter().filter(|o| o.sent < o.end || o.ok());
        Self {
            latencies: Latencies::of(&measured, rule),
            held: Dist::new(sent().map(|o| o.held().secs()).collect()),
            lateness: Dist::new(sent().map(|o| o.lateness().secs()).collect()),
            outcomes: driven.outcomes,
            planned: driven.planned,
            interrupted: driven.interrupted,
            rule,
            summary,
            goodput: good,
            server,
            watched,
            ignore_eos,
        }
    }

    /// The measured requests.
    pub fn measured(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(|o| o.measured)
    }

    /// Measured requests answered whole.
    pub fn completed(&self) -> u64 {
        self.measured().filter(|o| o.ok()).count() as u64
    }

    /// Measured requests that failed, by kind.
    pub fn failures(&self) -> BTreeMap<FailureKind, u64> {
        let mut all = BTreeMap::new();
        for o in self.measured() {
            if let Some(f) = &o.failure {
                *all.entry(f.kind).or_default() += 1;
            }
        }
        all
    }

    /// Measured requests that failed.
    pub fn failed(&self) -> u64 {
        self.failures().values().sum()
    }

    /// Requests of the load that were never created, because the run was interrupted.
    pub fn never_sent(&self) -> u64 {
        self.planned.saturating_sub(self.outcomes.len() as u64)
    }

    /// What a reader must know.
    pub fn remarks(&self) -> Vec<String> {
        let mut all = self.remarks_on_failures();
        all.extend(self.remarks_on_tokens());
        all.extend(self.remarks_on_the_load());
        all
    }

    fn count(&self, f: impl Fn(&Outcome) -> bool) -> usize {
        self.measured().filter(|o| f(o)).count()
    }

    /// Requests that are missing from the figures.
    fn remarks_on_failures(&self) -> Vec<String> {
        let mut all = vec![];
        if self.interrupted {
            all.push(format!(
                "PARTIAL: interrupted; {} of {} requests were never sent",
                self.never_sent(),
                self.planned
            ));
        }
        for (kind, count) in self.failures() {
            let example = self
                .measured()
                .find_map(|o| o.failure.as_ref().filter(|f| f.kind == kind))
                .map_or(String::new(), |f| f.detail.clone());
            all.push(format!("{count} failed: {}: {example}", kind.words()));
        }
        let lost_warmups = self
            .outcomes
            .iter()
            .filter(|o| !o.measured && !o.ok())
            .count();
        if lost_warmups > 0 {
            all.push(format!("{lost_warmups} warm-up requests failed"));
        }
        all
    }

    /// How tokens were counted.
    fn remarks_on_tokens(&self) -> Vec<String> {
        let mut all = vec![];
        let wrong = self.count(|o| o.wrong_count(self.ignore_eos));
        if wrong > 0 {
            all.push(format!(
                "{wrong} answers have another number of tokens than was asked for"
            ));
        }
        let uncounted = self.count(|o| o.ok() && o.usage.is_none());
        if uncounted > 0 {
            all.push(format!(
                "{uncounted} answers without usage: tokens counted by {}",
                if self.measured().any(|o| o.recounted.is_some()) {
                    "the tokenizer"
                } else {
                    "chunks"
                }
            ));
        }
        let multi = self.count(|o| o.multi_token_chunks());
        if multi > 0 {
            let (tokens, chunks) = self
                .measured()
                .filter(|o| o.ok() && o.streamed)
                .fold((0u64, 0u64), |(t, c), o| {
                    (t + u64::from(o.output_tokens()), c + o.chunks.len() as u64)
                });
            all.push(format!(
                "{multi} answers have chunks of several tokens ({:.2} per chunk on average): ITL is between chunks; compare TPOT",
                tokens as f64 / chunks.max(1) as f64
            ));
        }
        let uncounted = self.count(|o| o.ok() && o.uncounted);
        if uncounted > 0 {
            all.push(format!(
                "the server counted 0 output tokens of {uncounted} answers that have text: they are counted by {}",
                match self.count(|o| o.uncounted && o.recounted.is_some()) {
                    0 => "their chunks, one token each (--tokenizer FILE counts them)",
                    _ => "the tokenizer",
                }
            ));
        }
        if let Some(field) = self.measured().find_map(|o| o.unknown_field.as_ref()) {
            all.push(format!(
                "the stream has fields that event streams do not have, such as `{field}`: they are ignored"
            ));
        }
        let not_streamed = self.count(|o| o.ok() && !o.streamed);
        if not_streamed > 0 {
            all.push(format!(
                "{not_streamed} answers were not streamed: they have no TTFT, TPOT or ITL"
            ));
        }
        all
    }

    /// Where the load was not the one that was asked for.
    fn remarks_on_the_load(&self) -> Vec<String> {
        let mut all = vec![];
        let hits = self.watched.deltas.get("vllm:prefix_cache_hits_total");
        if let Some(hits) = hits.filter(|_| self.distinct()) {
            all.push(format!(
                "{hits:.0} prompt tokens came from the prefix cache although all prompts are distinct: an earlier run with the \
                 same --seed filled it"
            ));
        }
        let retried: u64 = self.measured().map(|o| u64::from(o.retries)).sum();
        if retried > 0 {
            all.push(format!(
                "{retried} retries; latencies count from the first try"
            ));
        }
        let (nominal, actual) = self.lengths();
        if nominal != actual {
            all.push(format!(
                "prompts were meant to have {nominal} tokens in all; the server counted {actual} ({:+.1} %)",
                100.0 * (actual as f64 / nominal.max(1) as f64 - 1.0)
            ));
        }
        let late = self
            .lateness
            .percentile(99.0, capsim::metrics::Percentiles::Linear);
        if late > 0.02 {
            all.push(format!(
                "the client itself was late by {:.1} ms at P99: it competes for the CPU, and latencies below that mean little",
                1e3 * late
            ));
        }
        all
    }

    /// Whether no two prompts have anything in common.
    fn distinct(&self) -> bool {
        let mut streams: Vec<_> = self
            .outcomes
            .iter()
            .filter_map(|o| o.prompt.as_ref())
            .flat_map(|p| p.segments().iter().map(|s| s.stream))
            .collect();
        let all = streams.len();
        streams.sort_unstable();
        streams.dedup();
        streams.len() == all
    }

    /// Prompt tokens of answered requests: meant, and counted.
    pub fn lengths(&self) -> (u64, u64) {
        self.measured()
            .filter(|o| o.ok())
            .fold((0, 0), |(a, b), o| {
                (
                    a + u64::from(o.nominal_input),
                    b + u64::from(o.input_tokens()),
                )
            })
    }

    /// Most tokens and most open requests in any one-second bin, as `vllm bench serve` counts them: chunks, and every request
    /// that touches the second.
    pub fn peaks(&self) -> (f64, f64) {
        let ok: Vec<&Outcome> = self.measured().filter(|o| o.ok()).collect();
        let Some(begin) = ok.iter().map(|o| o.sent).min() else {
            return (0.0, 0.0);
        };
        let second = |t: capsim::units::SimTime| (t.since(begin).secs()) as usize;
        let last = ok.iter().map(|o| second(o.end)).max().unwrap_or(0);
        let (mut tokens, mut open) = (vec![0u32; last + 1], vec![0u32; last + 1]);
        for o in &ok {
            for c in &o.chunks {
                tokens[second(*c)] += 1;
            }
            for s in &mut open[second(o.sent)..=second(*o.chunks.last().unwrap_or(&o.end))] {
                *s += 1;
            }
        }
        let max = |v: Vec<u32>| f64::from(v.into_iter().max().unwrap_or(0));
        (max(tokens), max(open))
    }
}
