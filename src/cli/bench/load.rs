//! The load of a run, under `vllm bench serve`'s names.
use super::super::files::Files;
use super::super::load_args::LoadArgs;
use crate::units::Span;
use crate::workload::{Arrival, PromptKind, WorkloadSpec};
use anyhow::{Context, bail, ensure};
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

/// `serve`: any load.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Load (vllm bench serve's names)")]
pub struct ServeLoad {
    /// Requests per second; inf: all at once
    #[arg(long, default_value_t = f64::INFINITY, allow_negative_numbers = true)]
    request_rate: f64,
    /// Shape of the gamma-distributed gaps: 1 is Poisson, below is burstier
    #[arg(long, default_value_t = 1.0)]
    burstiness: f64,
    /// Most requests that the client has open
    #[arg(long)]
    max_concurrency: Option<u32>,
    /// Prompt tokens
    #[arg(long, visible_alias = "input-len", default_value_t = 1024)]
    random_input_len: u32,
    /// Output tokens
    #[arg(long, visible_alias = "output-len", default_value_t = 128)]
    random_output_len: u32,
    /// Lengths are uniform in len · (1 ± this)
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    random_range_ratio: f64,
    /// Send the very requests of `vllm bench serve --dataset-name random` for the same flags and seed (the default)
    #[arg(long)]
    vllm_bench: bool,
    /// Draw capsim's own arrivals and lengths instead
    #[arg(long, conflicts_with = "vllm_bench")]
    own_draws: bool,
    #[command(flatten)]
    shapes: LoadArgs,
    #[command(flatten)]
    pub common: CommonLoad,
}

/// Whether `vllm bench serve --dataset-name random` can send such a load.
fn vllm_has(w: &WorkloadSpec) -> bool {
    let arrival = matches!(
        w.arrival,
        None | Some(Arrival::Gamma | Arrival::Constant | Arrival::RampUp { .. })
    );
    arrival
        && w.users.is_none()
        && w.trace.is_none()
        && w.input_dist.is_none()
        && w.output_dist.is_none()
}

impl ServeLoad {
    /// The load.
    pub fn spec(&self, greedy: bool) -> anyhow::Result<WorkloadSpec> {
        ensure!(
            self.shapes.users.len() <= 1 && self.shapes.trace_speedup.len() <= 1,
            "--users and --trace-speedup: one value each for one run"
        );
        let mut w =
            WorkloadSpec::closed_loop(1000, 1, self.random_input_len, self.random_output_len);
        w.max_concurrency = self.max_concurrency;
        w.request_rate = (self.request_rate != f64::INFINITY).then_some(self.request_rate);
        w.burstiness = self.burstiness;
        w.range_ratio = self.random_range_ratio;
        w.seed = self.common.seed;
        self.shapes.apply(&mut w, &Files::default())?;
        if let (Some(t), Some(&v)) = (&mut w.trace, self.shapes.trace_speedup.first()) {
            t.speedup = v;
        }
        w.num_prompts = self.shapes.num_prompts(&w).unwrap_or(w.num_prompts);
        w.vllm_bench = self.vllm_bench || (!self.own_draws && vllm_has(&w));
        self.common.apply(&mut w, greedy)?;
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
