//! Flags that describe a scenario; several values for one flag make a what-if table.
use super::files::Files;
use super::flags::Given;
use super::load;
use super::load_args::LoadArgs;
use crate::cost::Routing;
use crate::engine::EngineVersion;
use crate::engine::settings::{
    DTYPE, EngineSection, KV_CACHE_DTYPE, MAX_MODEL_LEN, QUANTIZATION, SettingValues,
};
use crate::fields::{Section, Value};
use crate::predict::{Scenario, read_line};
use crate::units::Span;
use crate::workload::{PromptKind, WorkloadSpec};
use anyhow::{Context, bail};
use clap::Args;

/// One point of the table: what varies, as (flag, value), and the scenario.
#[derive(Clone, Debug)]
pub struct Point {
    /// Flags that differ between points, with this point's values.
    pub varied: Vec<(&'static str, String)>,
    /// The scenario.
    pub scenario: Scenario,
}

/// All points, and what was said about flags that are not modelled.
pub struct Grid {
    /// The points, the last flag varying fastest.
    pub points: Vec<Point>,
    /// Flags of the pasted line that are not modelled.
    pub unmodelled: Vec<String>,
}

/// Heading of the flags for model and device.
pub(super) const SERVED: &str = "What to serve";

/// Heading of the flags for the engine.
pub(super) const ENGINE: &str = "Engine settings (vLLM's names and defaults)";

#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = SERVED)]
pub struct SweepArgs {
    /// Model: a built-in name (see `capsim models`), or the path of a Hugging Face config.json
    #[arg(long)]
    model: Option<String>,
    /// Weight format: bf16, fp16, fp8, int8, awq, gptq, mxfp4, q4_k_m, q8_0 (default: the model's own)
    #[arg(long, value_delimiter = ',')]
    weights: Vec<String>,
    /// Device profile: a built-in id, or a path
    #[arg(long, value_delimiter = ',')]
    device: Vec<String>,
    /// Engine profile: a built-in id, or a path
    #[arg(long, value_delimiter = ',')]
    engine: Vec<String>,
    /// Release of vLLM whose rules and defaults apply, such as 0.24 (default: the engine profile's)
    #[arg(long, value_name = "RELEASE")]
    engine_version: Option<EngineVersion>,
    /// Way the engine runs its expert kernels (a name in the engine profile, e.g. default or tuned)
    #[arg(long, value_delimiter = ',')]
    moe_tiles: Vec<String>,
    /// Expert popularity: uniform, or zipf:S
    #[arg(long, default_value = "uniform")]
    routing: String,

    #[command(flatten)]
    pub engine_settings: Given<EngineSection>,

    /// Requests measured
    #[arg(long, help_heading = "Load (vllm bench serve's names)")]
    pub num_prompts: Option<u32>,
    /// Most requests that the client has open
    #[arg(
        long,
        value_delimiter = ',',
        help_heading = "Load (vllm bench serve's names)"
    )]
    pub max_concurrency: Vec<u32>,
    /// Requests per second; inf: all at once
    #[arg(
        long,
        allow_negative_numbers = true,
        value_delimiter = ',',
        help_heading = "Load (vllm bench serve's names)"
    )]
    pub request_rate: Vec<f64>,
    /// Shape of the gamma-distributed gaps: 1 is Poisson, below is burstier
    #[arg(
        long,
        default_value_t = 1.0,
        help_heading = "Load (vllm bench serve's names)"
    )]
    burstiness: f64,
    /// Prompt tokens
    #[arg(
        long,
        visible_alias = "input-len",
        value_delimiter = ',',
        help_heading = "Load (vllm bench serve's names)"
    )]
    random_input_len: Vec<u32>,
    /// Output tokens
    #[arg(
        long,
        visible_alias = "output-len",
        value_delimiter = ',',
        help_heading = "Load (vllm bench serve's names)"
    )]
    random_output_len: Vec<u32>,
    /// Lengths are uniform in len · (1 ± this)
    #[arg(
        long,
        allow_negative_numbers = true,
        default_value_t = 0.0,
        help_heading = "Load (vllm bench serve's names)"
    )]
    random_range_ratio: f64,
    /// What prompts have in common: distinct, identical, shared-prefix
    #[arg(
        long,
        value_delimiter = ',',
        help_heading = "Load (vllm bench serve's names)"
    )]
    prompts: Vec<String>,
    /// Shared tokens for --prompts shared-prefix
    #[arg(
        long,
        default_value_t = 0,
        help_heading = "Load (vllm bench serve's names)"
    )]
    shared_prefix_len: u32,
    /// Sampling temperature; at 0 equal prompts get equal answers
    #[arg(
        long,
        default_value_t = 0.0,
        help_heading = "Load (vllm bench serve's names)"
    )]
    temperature: f64,
    /// Requests sent one by one before the measured ones
    #[arg(
        long,
        default_value_t = 1,
        help_heading = "Load (vllm bench serve's names)"
    )]
    num_warmups: u32,
    /// Milliseconds between the first sends of successive clients; at 0 all are admitted in one step
    #[arg(
        long,
        default_value_t = 0.0,
        help_heading = "Load (vllm bench serve's names)"
    )]
    send_skew_ms: f64,
    /// Send the very requests of `vllm bench serve --dataset-name random` for the same flags and seed
    #[arg(long, help_heading = "Load (vllm bench serve's names)")]
    vllm_bench: bool,
    /// Seed of all chance
    #[arg(
        long,
        default_value_t = 0,
        help_heading = "Load (vllm bench serve's names)"
    )]
    seed: u64,

    #[command(flatten)]
    pub load: LoadArgs,

    /// A `vllm serve …`, `llama-server …` or `python -m sglang.launch_server …` line, pasted as it is; its settings apply where
    /// no flag above says otherwise
    #[arg(last = true, value_name = "vllm serve …")]
    line: Vec<String>,

    /// Where the files named above are read.
    #[arg(skip)]
    pub files: Files,
}

/// The model that the built-in profiles were made for.
const DEFAULT_MODEL: &str = "Qwen/Qwen3-30B-A3B-Instruct-2507";

/// Longest sequence simulated unless one is given: what the first recorded runs used, and small enough for any box.
pub(super) const DEFAULT_MODEL_LEN: u32 = 4096;

fn kind(word: &str) -> anyhow::Result<PromptKind> {
    Ok(match word {
        "distinct" => PromptKind::Distinct,
        "identical" => PromptKind::Identical,
        "shared-prefix" => PromptKind::SharedPrefix,
        other => bail!("--prompts `{other}`: must be distinct, identical or shared-prefix"),
    })
}

fn routing(text: &str) -> anyhow::Result<Routing> {
    if text == "uniform" {
        return Ok(Routing::Uniform);
    }
    if let Some(s) = text.strip_prefix("zipf:")
        && let Ok(s) = s.parse::<f64>()
        && (0.0..=5.0).contains(&s)
    {
        return Ok(Routing::Zipf(s));
    }
    bail!("--routing `{text}`: must be uniform or zipf:S with S between 0 and 5")
}

/// `values`, or one `None` if there are none.
fn or_none<T: Clone>(values: &[T]) -> Vec<Option<T>> {
    if values.is_empty() {
        vec![None]
    } else {
        values.iter().cloned().map(Some).collect()
    }
}

/// Most points of one table: beyond it a sweep file is the right tool.
const MAX_POINTS: usize = 4096;

impl SweepArgs {
    /// Whether nothing was said at all.
    pub fn is_silent(&self) -> bool {
        self.model.is_none()
            && self.line.is_empty()
            && self.engine_settings.of("max_num_seqs").is_empty()
            && self.max_concurrency.is_empty()
            && self.request_rate.is_empty()
            && self.random_input_len.is_empty()
            && self.random_output_len.is_empty()
            && self.num_prompts.is_none()
            && self.prompts.is_empty()
            && self.moe_tiles.is_empty()
            && self.load.is_silent()
    }

    /// The pasted line.
    #[cfg(feature = "http")]
    pub fn line(&self) -> &[String] {
        &self.line
    }

    /// Whether a flag or the pasted line says how long a sequence may be.
    pub fn says_model_len(&self) -> anyhow::Result<bool> {
        let pasted = read_line(&self.line).context("in the pasted line")?;
        Ok(!self.engine_settings.of("max_model_len").is_empty()
            || pasted.args.get(MAX_MODEL_LEN).is_some())
    }

    /// The one scenario that was described, and flags that are not modelled.
    pub fn one(&self) -> anyhow::Result<(Scenario, Vec<String>)> {
        let mut said = self.clone();
        // Where nothing is said, `predict` shows a table; here the defaults are meant.
        said.num_prompts = said.num_prompts.or(Some(1));
        let grid = said.grid()?;
        let [point] = &grid.points[..] else {
            let flags: Vec<&str> = grid.points[0].varied.iter().map(|(f, _)| *f).collect();
            bail!(
                "one value per setting is wanted here; several were given for: {}",
                flags.join(", ")
            );
        };
        Ok((point.scenario.clone(), grid.unmodelled))
    }

    /// The one scenario that was described, with the load's own number of requests, and flags that are not modelled.
    pub fn single(&self) -> anyhow::Result<(Scenario, Vec<String>)> {
        let mut said = self.clone();
        if said.is_silent() {
            // Where nothing is said, `predict` shows a table; here the defaults are meant.
            said.max_concurrency = vec![32];
        }
        let mut grid = said.grid()?;
        match (grid.points.pop(), grid.points.first()) {
            (Some(point), None) => Ok((point.scenario, grid.unmodelled)),
            (_, first) => {
                let flags: Vec<&str> =
                    first.map_or(vec![], |p| p.varied.iter().map(|(f, _)| *f).collect());
                bail!(
                    "several values were given for: {}; in a plan, a list belongs in [grid] or [[together]]",
                    flags.join(", ")
                )
            }
        }
    }

    /// Every combination of the values given.
    pub fn grid(&self) -> anyhow::Result<Grid> {
        let pasted = read_line(&self.line).context("in the pasted line")?;
        let mut base = pasted.args;
        base.overlay(&self.engine_settings.single());
        let model_name = self
            .model
            .clone()
            .or(pasted.model.clone())
            .unwrap_or_else(|| DEFAULT_MODEL.into());
        let config = self.files.config(&model_name)?;
        let load = self.workload()?;
        let mut settings = self.engine_settings.clone();
        if self.is_silent() {
            let table = [1, 2, 4, 8, 16, 32].map(Value::Count).to_vec();
            settings.set("max_num_seqs", table);
        }
        // A what-if table of a mixture of experts answers for both kinds of prompts and all kernel paths, unless one is
        // asked for: these two matter more than the settings in it.
        let table = settings.of("max_num_seqs").len() > 1 || self.max_concurrency.len() > 1;
        let device_names = or_none(&self.device);
        let engine_names = or_none(&self.engine);
        let mut points: Vec<Point> = vec![];
        for device_name in &device_names {
            let device = self
                .files
                .device(device_name.as_deref().unwrap_or("gfx1151"))?;
            for engine_name in &engine_names {
                let engine =
                    self.files
                        .engine_for(engine_name.as_deref(), &device, pasted.starts)?;
                // Recorded prompts and conversations are what they are.
                let told = load.trace.is_some() || load.users.as_ref().is_some_and(|u| u.turns > 1);
                let both = table && config.moe.is_some() && !self.is_silent() && !told;
                let tiles: Vec<Option<String>> =
                    if self.moe_tiles.is_empty() && table && config.moe.is_some() {
                        engine.moe_paths.keys().cloned().map(Some).collect()
                    } else {
                        or_none(&self.moe_tiles)
                    };
                let prompts = if self.prompts.is_empty() && both {
                    vec![Some("distinct".to_string()), Some("identical".into())]
                } else {
                    or_none(&self.prompts)
                };
                for weights in or_none(&self.weights) {
                    let model = load::model(
                        &config,
                        weights.as_deref(),
                        base.get(QUANTIZATION).as_deref(),
                        base.get(DTYPE).as_deref(),
                        base.get(KV_CACHE_DTYPE).as_deref(),
                    )?;
                    for prompt in &prompts {
                        for path in &tiles {
                            let scenario = self.scenario(
                                &model_name,
                                model.clone(),
                                device.clone(),
                                engine.clone(),
                                &base,
                                &load,
                                prompt.as_deref(),
                            )?;
                            let mut varied: Vec<(&'static str, String)> = vec![];
                            let mut note = |flag, value: &Option<String>, n: usize| {
                                if let (Some(v), true) = (value, n > 1) {
                                    varied.push((flag, v.clone()));
                                }
                            };
                            note("device", device_name, self.device.len());
                            note("engine", engine_name, self.engine.len());
                            note("weights", &weights, self.weights.len());
                            note("prompts", prompt, prompts.len());
                            note("moe-tiles", path, tiles.len());
                            self.settings(&mut points, scenario, path.clone(), varied, &settings)?;
                        }
                    }
                }
            }
        }
        Ok(Grid {
            points,
            unmodelled: pasted.unmodelled,
        })
    }

    /// The load, but for what varies between points.
    fn workload(&self) -> anyhow::Result<WorkloadSpec> {
        if !(0.0..=3_600_000.0).contains(&self.send_skew_ms) {
            bail!(
                "--send-skew-ms {}: must lie between 0 and 3600000",
                self.send_skew_ms
            );
        }
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            bail!("--temperature {}: must be at least 0", self.temperature);
        }
        let mut workload = WorkloadSpec::closed_loop(1, 1, 256, 256);
        workload.max_concurrency = None;
        workload.burstiness = self.burstiness;
        workload.range_ratio = self.random_range_ratio;
        workload.shared_prefix_len = self.shared_prefix_len;
        workload.greedy = self.temperature == 0.0;
        workload.warmup = self.num_warmups;
        workload.send_skew = Span::from_secs(self.send_skew_ms / 1e3);
        workload.seed = self.seed;
        workload.vllm_bench = self.vllm_bench;
        self.load.apply(&mut workload, &self.files)?;
        Ok(workload)
    }

    #[allow(clippy::too_many_arguments)]
    fn scenario(
        &self,
        name: &str,
        model: crate::model::Model,
        device: crate::device::DeviceProfile,
        engine: crate::device::EngineProfile,
        base: &SettingValues,
        load: &WorkloadSpec,
        prompts: Option<&str>,
    ) -> anyhow::Result<Scenario> {
        let mut serve = base.clone();
        serve.set(
            MAX_MODEL_LEN,
            serve
                .get(MAX_MODEL_LEN)
                .or(Some(DEFAULT_MODEL_LEN.min(model.max_position_embeddings()))),
        );
        let mut workload = load.clone();
        workload.prompts = prompts.map(kind).transpose()?.unwrap_or_default();
        Ok(Scenario {
            model_name: name.into(),
            model,
            device,
            engine,
            release: self.engine_version,
            serve,
            moe_path: None,
            routing: routing(&self.routing)?,
            workload,
        })
    }

    /// All combinations of settings and load on top of `base`.
    fn settings(
        &self,
        points: &mut Vec<Point>,
        base: Scenario,
        tiles: Option<String>,
        varied: Vec<(&'static str, String)>,
        engine: &Given<EngineSection>,
    ) -> anyhow::Result<()> {
        let mut all = vec![Point {
            varied,
            scenario: Scenario {
                moe_path: tiles,
                ..base
            },
        }];
        /// Multiplies the points by the values of one flag.
        fn vary<T: Clone + ToString>(
            all: &mut Vec<Point>,
            flag: &'static str,
            values: &[T],
            apply: impl Fn(&mut Scenario, T),
        ) {
            if values.is_empty() {
                return;
            }
            let mut next = vec![];
            for p in all.iter() {
                for v in values {
                    let mut q = p.clone();
                    apply(&mut q.scenario, v.clone());
                    if values.len() > 1 {
                        q.varied.push((flag, v.to_string()));
                    }
                    next.push(q);
                }
            }
            *all = next;
        }
        for (at, values) in engine.iter().filter(|(_, v)| v.len() > 1) {
            let flag = EngineSection::field(at).name;
            vary(&mut all, flag, values, |s, v| s.serve.put(at, v));
        }
        vary(&mut all, "input-len", &self.random_input_len, |s, v| {
            s.workload.input_len = v
        });
        vary(&mut all, "output-len", &self.random_output_len, |s, v| {
            s.workload.output_len = v
        });
        vary(&mut all, "request-rate", &self.request_rate, |s, v| {
            s.workload.request_rate = (v != f64::INFINITY).then_some(v)
        });
        let default_concurrency = [32];
        let concurrency: &[u32] = if self.max_concurrency.is_empty()
            && self.request_rate.is_empty()
            && !self.load.paced()
        {
            &default_concurrency
        } else {
            &self.max_concurrency
        };
        vary(&mut all, "max-concurrency", concurrency, |s, v| {
            s.workload.max_concurrency = Some(v)
        });
        vary(&mut all, "users", &self.load.users, |s, v| {
            if let Some(u) = &mut s.workload.users {
                u.count = v
            }
        });
        vary(
            &mut all,
            "trace-speedup",
            &self.load.trace_speedup,
            |s, v| {
                if let Some(t) = &mut s.workload.trace {
                    t.speedup = v
                }
            },
        );
        for p in &mut all {
            // Enough requests for a steady state: four per client, or a thousand arrivals.
            let w = &p.scenario.workload;
            let default = self.load.num_prompts(w).unwrap_or(match w.max_concurrency {
                Some(c) => c.saturating_mul(4),
                None => 1000,
            });
            p.scenario.workload.num_prompts = self.num_prompts.unwrap_or(default);
        }
        points.extend(all);
        if points.len() > MAX_POINTS {
            bail!("more than {MAX_POINTS} combinations: give fewer values");
        }
        Ok(())
    }
}
