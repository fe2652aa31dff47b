//! The load of a run, under `vllm bench serve`'s names.
use super::super::files::Files;
use super::super::flags::{Flagged, Given};
use anyhow::{Context, bail};
use capsim::fields::{Field, Section};
use capsim::units::Span;
use capsim::workload::load::*;
use capsim::workload::{PromptKind, WorkloadSpec};
use clap::Args;

/// What all modes share.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Load (vllm bench serve's names)")]
pub struct CommonLoad {
    /// Requests measured
    #[arg(long)]
    pub num_prompts: Option<u32>,
    /// Requests sent one by one before, not measured
    #[arg(long)]
    pub num_warmups: Option<u32>,
    /// What prompts have in common: distinct, identical, shared-prefix
    #[arg(long, default_value = "distinct")]
    prompts: String,
    /// Shared tokens for --prompts shared-prefix
    #[arg(long, default_value_t = 0)]
    shared_prefix_len: u32,
    /// Milliseconds between the first sends of successive clients
    #[arg(long, default_value_t = 0.0)]
    send_skew_ms: f64,
    /// Seed of all chance
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

impl CommonLoad {
    /// Applies to a load.
    pub fn apply(&self, w: &mut WorkloadSpec, greedy: bool) -> anyhow::Result<()> {
        w.prompts = match self.prompts.as_str() {
            "distinct" => PromptKind::Distinct,
            "identical" => PromptKind::Identical,
            "shared-prefix" => PromptKind::SharedPrefix,
            other => bail!("--prompts `{other}`: must be distinct, identical or shared-prefix"),
        };
        w.shared_prefix_len = self.shared_prefix_len;
        w.seed = self.seed;
        w.greedy = greedy;
        if let Some(n) = self.num_prompts {
            w.num_prompts = n;
        }
        if let Some(n) = self.num_warmups {
            w.warmup = n;
        }
        if !(0.0..=3_600_000.0).contains(&self.send_skew_ms) {
            bail!(
                "--send-skew-ms {}: must lie between 0 and 3600000",
                self.send_skew_ms
            );
        }
        w.send_skew = Span::from_secs(self.send_skew_ms / 1e3);
        w.check().context("load")
    }
}

/// The load's fields without the temperature, which the client sends.
#[derive(Clone, Copy, Debug)]
pub struct ClientLoad;

impl Section for ClientLoad {
    const WHAT: &'static str = LoadSection::WHAT;
    const LEN: usize = LoadSection::LEN;
    fn field(at: usize) -> &'static Field {
        LoadSection::field(at)
    }
}

impl Flagged for ClientLoad {
    const HEADING: &'static str = LoadSection::HEADING;
    fn has(field: &Field) -> bool {
        field.name != TEMPERATURE.name()
    }
}

/// `serve`: any load.
#[derive(Args, Debug, Clone)]
pub struct ServeLoad {
    #[command(flatten)]
    given: Given<ClientLoad>,
    /// Draw capsim's own arrivals and lengths instead of those of vllm bench serve
    #[arg(long, conflicts_with = "vllm_bench", help_heading = LoadSection::HEADING)]
    own_draws: bool,
}

impl ServeLoad {
    /// The flags that were given.
    pub fn flags(&self) -> Vec<String> {
        let given = self
            .given
            .iter()
            .map(|(at, _)| format!("--{}", LoadSection::field(at).flag()));
        given
            .chain(self.own_draws.then(|| "--own-draws".into()))
            .collect()
    }

    /// The load. What is not said is `vllm bench serve`'s default, and its draws where it can send such a load.
    pub fn spec(&self, greedy: bool) -> anyhow::Result<WorkloadSpec> {
        let mut load = LoadValues::default();
        for (field, value) in self.given.alone()?.iter() {
            load.put(LoadSection::place(field.name)?, value.clone());
        }
        let own = [
            USERS.name(),
            TRACE_FILE.name(),
            INPUT_DIST.name(),
            OUTPUT_DIST.name(),
        ];
        let vllm_has = !load.iter().any(|(f, _)| own.contains(&f.name))
            && matches!(
                load.get(ARRIVAL).as_deref(),
                None | Some("gamma" | "poisson" | "constant")
            );
        let theirs = load.get(VLLM_BENCH).unwrap_or(vllm_has && !self.own_draws);
        // The defaults of vllm bench serve also where the draws are capsim's.
        let mut unsaid = |key, default: u32| {
            if load.get(key).is_none() {
                load.set(key, default);
            }
        };
        unsaid(NUM_WARMUPS, 0);
        if vllm_has {
            unsaid(RANDOM_INPUT_LEN, 1024);
            unsaid(RANDOM_OUTPUT_LEN, 128);
            unsaid(NUM_PROMPTS, 1000);
            if load.get(REQUEST_RATE).is_none()
                && load.get(ARRIVAL).is_none()
                && load.get(RAMP_UP_STRATEGY).is_none()
            {
                load.set(REQUEST_RATE, f64::INFINITY);
            }
        }
        load.set(VLLM_BENCH, theirs);
        let (mut w, _) = resolve(&load, &Files::default())?;
        w.greedy = greedy;
        w.check().context("load")?;
        Ok(w)
    }
}

/// `throughput`: a fixed number of requests, some at a time.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Load (vllm bench serve's names)")]
pub struct ThroughputLoad {
    /// Prompt tokens
    #[arg(long, visible_alias = "random-input-len", default_value_t = 256)]
    input_len: u32,
    /// Output tokens
    #[arg(long, visible_alias = "random-output-len", default_value_t = 256)]
    output_len: u32,
    /// Requests open at a time
    #[arg(long, default_value_t = 16)]
    max_concurrency: u32,
    #[command(flatten)]
    pub common: CommonLoad,
}

impl ThroughputLoad {
    /// The load.
    pub fn spec(&self, greedy: bool) -> anyhow::Result<WorkloadSpec> {
        let mut w = WorkloadSpec::closed_loop(
            self.max_concurrency.max(16),
            self.max_concurrency,
            self.input_len,
            self.output_len,
        );
        w.warmup = 5;
        self.common.apply(&mut w, greedy)?;
        Ok(w)
    }
}

/// `latency`: one request after another.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Load (vllm bench serve's names)")]
pub struct LatencyLoad {
    /// Prompt tokens
    #[arg(long, visible_alias = "random-input-len", default_value_t = 128)]
    input_len: u32,
    /// Output tokens
    #[arg(long, visible_alias = "random-output-len", default_value_t = 128)]
    output_len: u32,
    #[command(flatten)]
    pub common: CommonLoad,
}

impl LatencyLoad {
    /// The load.
    pub fn spec(&self, greedy: bool) -> anyhow::Result<WorkloadSpec> {
        let mut w = WorkloadSpec::closed_loop(10, 1, self.input_len, self.output_len);
        w.warmup = 5;
        self.common.apply(&mut w, greedy)?;
        Ok(w)
    }
}

/// `sweep`: every combination.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Load (vllm bench serve's names)")]
pub struct SweepLoad {
    /// Prompt tokens, several values
    #[arg(long, visible_alias = "random-input-len", value_delimiter = ',', default_values_t = [128, 512])]
    input_len: Vec<u32>,
    /// Output tokens, several values
    #[arg(long, visible_alias = "random-output-len", value_delimiter = ',', default_values_t = [128])]
    output_len: Vec<u32>,
    /// Requests open at a time, several values
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4, 8, 16])]
    max_concurrency: Vec<u32>,
    #[command(flatten)]
    pub common: CommonLoad,
}

/// Most points of one sweep.
const MAX_POINTS: usize = 1000;

impl SweepLoad {
    /// The loads: four requests per client, eight at least, unless told otherwise. Every point has prompts of its own, so
    /// that none finds another's in the prefix cache.
    pub fn specs(&self, greedy: bool) -> anyhow::Result<Vec<WorkloadSpec>> {
        let mut all = vec![];
        for &input in &self.input_len {
            for &output in &self.output_len {
                for &c in &self.max_concurrency {
                    let mut w =
                        WorkloadSpec::closed_loop(c.saturating_mul(4).max(8), c, input, output);
                    w.warmup = 1;
                    self.common.apply(&mut w, greedy)?;
                    w.seed = w.seed.wrapping_add(all.len() as u64);
                    all.push(w);
                    if all.len() > MAX_POINTS {
                        bail!("more than {MAX_POINTS} combinations: give fewer values");
                    }
                }
            }
        }
        Ok(all)
    }
}
