//! The engine profile: what a serving engine achieves of a device.
use super::{ModelSpread, ProcessorKernels, ProfileError, Provenance, Quantity, parse};
use serde::{Deserialize, Serialize};

/// What a serving engine achieves of a device: a few named coefficients, each with a physical meaning.
///
/// Efficiencies are relative to the device profile's curve of the same kind; 1 means that the engine's
/// kernels reach what the microbenchmark reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct EngineProfile {
    /// `"capsim.engine/1"`.
    pub schema: String,
    /// Short name, as `--engine` takes it.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Scheduler semantics: the engine's release, `"0.12.0"`.
    pub version: String,
    /// How requests are admitted and batches composed.
    #[serde(default, skip_serializing_if = "EngineId::is_vllm")]
    pub scheduler: EngineId,
    /// Ids of the device profiles that the efficiencies refer to; empty: any.
    #[serde(default)]
    pub devices: Vec<String>,
    /// Of an engine on processors: whose kernels measured the processors that the efficiencies refer to. Absent: accelerators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processor: Option<ProcessorKernels>,
    /// Kinds of weight format that the coefficients are known for: those of the runs that they were fitted to, or that the
    /// profile's own deviation was estimated from. Names without group sizes (`int4`, `q4_k`); `bf16` and `fp16` count as
    /// one. Empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weights: Vec<String>,
    /// Kinds of layers that the coefficients are known for, besides those that every profile is: `latent attention`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<String>,
    /// How far prices of other weight formats may be off, where something is known about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_weights: Vec<OtherWeights>,
    /// How far prices may be off for a release that is one minor release away; with n between them √n times as far.
    /// Absent: [`EngineProfile::PER_RELEASE`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_release: Option<Quantity>,
    /// The engine whose runs and sources gave the coefficients, where it is not the one whose rules compose batches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prices_of: Option<EngineId>,
    /// Streaming efficiency of dense matrix products with few rows (decode).
    pub dense_stream: Quantity,
    /// Arithmetic efficiency of dense matrix products with many rows (prefill).
    pub dense_compute: Quantity,
    /// Most rows with which a dense product runs as a matrix-vector kernel, whose time is that of streaming the weights
    /// alone; 0: the matrix rate of the device's curve holds from one row on.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub matvec_rows: u32,
    /// Rows of the tiles, in increasing order, that the engine's own dense kernels are compiled for: a product of n rows takes the
    /// smallest tile that holds them, or the largest as often as needed, and computes whole tiles at one rate, `dense_compute` of
    /// the device curve's largest. The experts' tiled kernels keep one rate then, too. Empty: the kernels are those that the device's
    /// curve was measured with, and follow it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dense_tiles: Vec<u32>,
    /// How streaming and arithmetic of one matrix product share time: (streaming^p + arithmetic^p)^(1/p). 1: one after the other, as
    /// on a processor core; absent: they overlap entirely and the longer one counts, as on a device that switches
    /// between thousands of threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roofline_power: Option<f64>,
    /// Ways in which the engine may run its mixture-of-experts kernels, by name (`--moe-tiles`).
    pub moe_paths: std::collections::BTreeMap<String, MoePath>,
    /// The path taken unless another is named.
    pub moe_default: String,
    /// Streaming efficiency of decode attention over the KV cache.
    pub attention_stream: Quantity,
    /// How many times as long decode attention takes in a server as the same kernels timed one by one (a device profile's
    /// `attention_backend`): requests of different lengths, split sums and page tables.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub attention_in_server: std::collections::BTreeMap<String, Quantity>,
    /// Arithmetic efficiency of prefill attention.
    pub attention_compute: Quantity,
    /// Queries in a tile of the engine's own prefill attention kernel: chunks are computed in whole tiles, at one rate,
    /// `attention_compute` of the device curve's largest. Absent: the rate follows the device's curve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention_tile: Option<u32>,
    /// Arithmetic efficiency of linear attention over a prompt, relative to the device's attention curve; absent:
    /// that of prefill attention.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recurrence_compute: Option<Quantity>,
    /// Efficiency of elementwise kernels.
    pub elementwise: Quantity,
    /// Host time.
    pub host: HostCost,
    /// Device memory that is neither weights nor KV cache.
    pub memory: MemoryOverhead,
    /// Run-to-run spread of a repeated measurement, relative standard deviation.
    pub repeat_rel_sd: Quantity,
    /// What the model itself may get wrong beyond its coefficients, relative standard deviation.
    pub model_rel_sd: Quantity,
    /// The same for times to the first token, where it differs: prefill is priced by other kernels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_rel_sd_prefill: Option<Quantity>,
    /// Both by class of run, where recorded runs tell classes apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub model_spread: Vec<ModelSpread>,
    /// The runs that the coefficients were fitted to, if any, and how well that determines them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fit: Option<FitRecord>,
    /// What the whole profile rests on.
    pub provenance: Provenance,
}

fn tiles_are_sane(tiles: &[u32]) -> bool {
    tiles.iter().all(|t| (1..=4096).contains(t)) && tiles.windows(2).all(|w| w[0] < w[1])
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// How far the prices of weight formats may be off that a profile was not made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OtherWeights {
    /// Kinds of weight format, as in [`EngineProfile::weights`]; empty: every other one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub formats: Vec<String>,
    /// Relative standard deviation of their prices.
    pub rel_sd: f64,
    /// Where that comes from.
    pub provenance: Provenance,
}

/// An engine, by whose rules requests are admitted and batches composed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum EngineId {
    /// vLLM's V1 scheduler.
    #[default]
    Vllm,
    /// llama.cpp's `llama-server` (and `llama-bench`, and Ollama's runner, which are built on the same batches): a fixed
    /// number of slots that share the context evenly.
    LlamaServer,
    /// SGLang: prefill batches before decode batches, a radix cache, a token budget.
    Sglang,
    /// TensorRT-LLM: blocks for a whole answer are there before a request begins.
    Trtllm,
}

impl EngineId {
    /// Whether it is vLLM's.
    pub fn is_vllm(&self) -> bool {
        *self == Self::Vllm
    }
}

/// What a fit was made from and how its coefficients hang together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FitRecord {
    /// Ids of the runs used, as `file#run`.
    pub runs: Vec<String>,
    /// Dotted names of the coefficients, in the order of the matrix.
    pub coefficients: Vec<String>,
    /// Covariance of their logarithms after the fit, row by row. A sequential run determines their sum well
    /// and their split hardly, which only the off-diagonal elements tell.
    pub covariance: Vec<Vec<f64>>,
}

/// One way to run the grouped expert matrix products: kernels switch with the number of tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MoePath {
    /// Regimes in order of increasing `max_tokens`; the last has none.
    pub regimes: Vec<MoeRegime>,
    /// Whether experts are computed one after another, so that the arithmetic rate is that of one expert's rows; a grouped
    /// kernel on a GPU works on all of them at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub one_by_one: bool,
}

/// The kernel configuration used for batches of up to `max_tokens` tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MoeRegime {
    /// Largest number of new tokens in the batch that runs this way; absent in the last regime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Rows of one tile: an expert's tokens are padded to a multiple of it.
    pub tile_rows: u32,
    /// Rate at which this configuration streams the weights of the distinct experts, relative to the
    /// device's streaming read. It stands for bandwidth and occupancy alike: for a fixed tile both time
    /// per byte and time per work-group are proportional to the number of distinct experts.
    pub stream: Quantity,
    /// Arithmetic efficiency relative to `gemm_f16` at M = padded rows of all experts together.
    pub compute: Quantity,
    /// Below how many work-groups the device is not filled, so that `stream` is not reached; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fill: Option<Fill>,
}

/// The smallest of `tiles` (increasing) that holds `rows`, else the largest; `None` of none.
pub fn tile_of(tiles: &[u32], rows: u32) -> Option<u32> {
    tiles.iter().find(|&&t| rows <= t).or(tiles.last()).copied()
}

/// When a grouped kernel fills the device. Each expert's product is cut into columns of `tile_cols`, one work-group each (per
/// tile of rows); with fewer than `workgroups` of them the rate is less in proportion: a batch of one touches few
/// experts, and wide tiles leave most compute units idle (jvantuyl/strix-halo-sglang:bench/results.md@a02323ab54:
/// 64 work-groups on 40 units, 19 % of the bandwidth; narrower tiles 2.3 times as fast).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Fill {
    /// Columns of one tile (`BLOCK_SIZE_N`).
    pub tile_cols: u32,
    /// Work-groups from which on the full rate is reached.
    pub workgroups: Quantity,
}

/// Host time per engine step and per request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HostCost {
    /// Scheduling, input preparation, sampling and output handling of one step, in seconds. It adds to the
    /// device's time, or overlaps with it under async scheduling.
    pub step: Quantity,
    /// The same for each sequence in the batch, in seconds.
    pub per_seq: Quantity,
    /// Host time to launch one kernel without graphs, in seconds; launching runs ahead of the device, so
    /// that the slower of the two counts.
    pub launch_eager: Quantity,
    /// Host time to launch the experts of one layer without graphs, in seconds, beyond [`HostCost::launch_eager`] per kernel:
    /// vLLM's fused experts choose a configuration, sort tokens and start Triton kernels from Python. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch_experts: Option<Quantity>,
    /// Host time per layer with `--enforce-eager`, in seconds, instead of [`HostCost::launch_eager`] per kernel: nothing is compiled then, and
    /// every operator is started from Python. Absent: the same as without a graph.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch_uncompiled: Option<Quantity>,
    /// Host time per step to replay captured graphs, in seconds.
    pub launch_graph: Quantity,
    /// Between an answer's last token on the device and the same client's next request in the engine's
    /// queue: detokenisation, HTTP both ways, tokenisation; in seconds. Only where nothing is known of a front end with a queue.
    pub turnaround: Quantity,
    /// The processes between clients and engine; absent: they cost no more than the turnaround.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub front_end: Option<FrontEndTimes>,
}

/// Seconds of a core that a front end takes: HTTP, tokenisation and hand-over of a request, detokenisation and streaming of tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FrontEndTimes {
    /// For each request, before the engine sees it.
    pub per_request: Quantity,
    /// For each token of its prompt: tokenisation. Absent: within `per_request`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_prompt_token: Option<Quantity>,
    /// For each step with output.
    pub per_step: Quantity,
    /// For each token that is streamed.
    pub per_token: Quantity,
    /// How many times as long it takes on the host's core as on the one where these were measured.
    pub core: Quantity,
}

/// Device memory that the engine takes besides weights and KV cache.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MemoryOverhead {
    /// Runtime context and libraries (`non_torch`), in bytes.
    pub non_torch_bytes: Quantity,
    /// Peak activations of the profiling run relative to capsim's count of them.
    pub activation_factor: Quantity,
    /// What the engine sets aside for captured graphs, in bytes: vLLM on CUDA since 0.20
    /// (`VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS`; before, they came out of what the utilisation leaves).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graph_bytes: Option<Quantity>,
    /// Buffers of the communication library on each of several devices, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collective_bytes: Option<Quantity>,
}

/// A value that cannot be meant.
fn bad(field: String, problem: String) -> ProfileError {
    ProfileError::Value { field, problem }
}

impl MoePath {
    /// Regimes follow each other by batch size, and have tiles that a kernel can have; `field` names them in errors.
    fn check(&self, field: &str) -> Result<(), ProfileError> {
        let bad = |problem: &str| Err(bad(field.into(), problem.into()));
        let Some((last, before)) = self.regimes.split_last() else {
            return bad("needs at least one regime");
        };
        if last.max_tokens.is_some() || before.iter().any(|r| r.max_tokens.is_none()) {
            return bad("every regime but the last needs max_tokens, the last must have none");
        }
        if before
            .windows(2)
            .any(|w| w[0].max_tokens >= w[1].max_tokens)
        {
            return bad("max_tokens must increase");
        }
        if self
            .regimes
            .iter()
            .any(|r| !(1..=4096).contains(&r.tile_rows))
        {
            return bad("tile_rows must lie between 1 and 4096");
        }
        if self
            .regimes
            .iter()
            .filter_map(|r| r.fill.as_ref())
            .any(|f| !(1..=4096).contains(&f.tile_cols))
        {
            return bad("tile_cols must lie between 1 and 4096");
        }
        Ok(())
    }
}

impl EngineProfile {
    /// The schema tag that this version reads and writes.
    pub const SCHEMA: &'static str = "capsim.engine/1";

    /// Largest efficiency that is believed; more is a slip of a unit.
    pub const MOST_EFFICIENT: f64 = 3.0;

    /// Relative standard deviation of prices for weight formats about which a profile says nothing. Root mean square of ln(float /
    /// quantised) over the decode efficiencies of the fitted profiles of gfx1151, vLLM's and llama.cpp's: dense 1.06 against
    /// 0.54 and 0.58, 1.02 against 0.94, 0.97 against 0.97, 0.66 against 1.10; experts 0.79 against 0.22, 0.68 against 0.84,
    /// 0.19 against 1.00, 0.23 against 0.84.
    pub const OTHER_WEIGHTS: f64 = 0.9;

    /// Relative standard deviation of prices one minor release away, for a profile that says nothing of it. Root mean square of
    /// ln(efficiency of one release / of another) / √(minor releases between them) on gfx1151: dense products 0.76 (0.12)
    /// against 1.06 (0.19), experts 0.40 against 0.79, dense products 0.61 (source build of 2025-08, about 0.10) against 0.76.
    pub const PER_RELEASE: f64 = 0.19;

    /// Reads a profile from JSON text; `name` (a file name) appears in errors.
    ///
    /// # Errors
    /// Names the field that is missing, unknown, of the wrong type or out of range.
    pub fn parse(text: &str, name: &str) -> Result<Self, ProfileError> {
        let profile: Self = parse(text, name, Self::SCHEMA)?;
        profile.check().map_err(|e| match e {
            ProfileError::Value { field, problem } => ProfileError::Shape {
                name: name.into(),
                field,
                problem,
            },
            e => e,
        })?;
        Ok(profile)
    }

    fn check(&self) -> Result<(), ProfileError> {
        self.check_shapes()?;
        for (i, o) in self.other_weights.iter().enumerate() {
            if !(0.0..=3.0).contains(&o.rel_sd) {
                return Err(bad(
                    format!("other_weights[{i}].rel_sd"),
                    format!("must lie between 0 and 3, not {}", o.rel_sd),
                ));
            }
        }
        if let Some(q) = &self.per_release {
            q.check("per_release", 1.0)?;
        }
        for c in Self::coefficients(self) {
            // Host times above 10 s are slips of a unit.
            let most = match c.0.as_str() {
                n if n.starts_with("host.") => 10.0,
                n if n.ends_with(".fill") => 1e6,
                _ => Self::MOST_EFFICIENT,
            };
            c.1.check(&c.0, most)?;
        }
        if let Some(f) = &self.host.front_end {
            f.per_request.check("host.front_end.per_request", 10.0)?;
            if let Some(q) = &f.per_prompt_token {
                q.check("host.front_end.per_prompt_token", 1.0)?;
            }
            f.per_step.check("host.front_end.per_step", 10.0)?;
            f.per_token.check("host.front_end.per_token", 10.0)?;
        }
        self.memory
            .non_torch_bytes
            .check("memory.non_torch_bytes", 1e13)?;
        self.memory
            .activation_factor
            .check("memory.activation_factor", 100.0)?;
        for (name, q) in [
            ("memory.graph_bytes", &self.memory.graph_bytes),
            ("memory.collective_bytes", &self.memory.collective_bytes),
        ] {
            if let Some(q) = q {
                q.check(name, 1e13)?;
            }
        }
        if let Some(fit) = &self.fit {
            self.check_fit(fit)?;
        }
        self.repeat_rel_sd.check("repeat_rel_sd", 1.0)?;
        self.model_rel_sd.check("model_rel_sd", 1.0)?;
        if let Some(q) = &self.model_rel_sd_prefill {
            q.check("model_rel_sd_prefill", 1.0)?;
        }
        for (i, s) in self.model_spread.iter().enumerate() {
            if !(0.0..=3.0).contains(&s.rel_sd) {
                return Err(bad(
                    format!("model_spread[{i}].rel_sd"),
                    format!("must lie between 0 and 3, not {}", s.rel_sd),
                ));
            }
            if !(0.0..=1.0).contains(&s.explained) {
                return Err(bad(
                    format!("model_spread[{i}].explained"),
                    format!("must lie between 0 and 1, not {}", s.explained),
                ));
            }
        }
        if self.moe_paths.is_empty() {
            return Err(bad("moe_paths".into(), "needs at least one path".into()));
        }
        if !self.moe_paths.contains_key(&self.moe_default) {
            return Err(bad(
                "moe_default".into(),
                format!("no path `{}` in moe_paths", self.moe_default),
            ));
        }
        for (name, path) in &self.moe_paths {
            path.check(&format!("moe_paths.{name}.regimes"))?;
        }
        Ok(())
    }

    /// Tiles, and how streaming and arithmetic share time.
    fn check_shapes(&self) -> Result<(), ProfileError> {
        if !tiles_are_sane(self.attention_tile.as_slice()) {
            return Err(bad(
                "attention_tile".into(),
                "must lie between 1 and 4096".into(),
            ));
        }
        if !tiles_are_sane(&self.dense_tiles) {
            return Err(bad(
                "dense_tiles".into(),
                "must increase from 1 to at most 4096".into(),
            ));
        }
        if let Some(p) = self.roofline_power
            && !(1.0..=100.0).contains(&p)
        {
            return Err(bad(
                "roofline_power".into(),
                format!("must lie between 1 and 100, not {p}"),
            ));
        }
        Ok(())
    }

    /// The covariance is square and each of its rows a coefficient.
    fn check_fit(&self, fit: &FitRecord) -> Result<(), ProfileError> {
        let n = fit.coefficients.len();
        let square = fit.covariance.len() == n && fit.covariance.iter().all(|r| r.len() == n);
        if !square || fit.covariance.iter().flatten().any(|v| !v.is_finite()) {
            return Err(bad(
                "fit.covariance".into(),
                format!("must be {n} rows of {n} numbers, one per coefficient"),
            ));
        }
        let known = self.coefficients();
        for name in &fit.coefficients {
            if !known.iter().any(|(k, _)| k == name) {
                return Err(bad(
                    "fit.coefficients".into(),
                    format!("no coefficient is called `{name}`"),
                ));
            }
        }
        Ok(())
    }

    /// Whether the coefficients are known for a kind of weight format.
    pub fn knows(&self, format: &str) -> bool {
        let float16 = |f: &str| matches!(f, "bf16" | "fp16");
        let same = |w: &String| w == format || (float16(w) && float16(format));
        self.weights.is_empty() || self.weights.iter().any(same)
    }

    /// How far prices of a kind of weight format may be off, beyond the profile's own deviation: 0 for one that it knows.
    pub fn weights_rel_sd(&self, format: &str) -> f64 {
        if self.knows(format) {
            return 0.0;
        }
        let named = |o: &&OtherWeights| o.formats.iter().any(|f| f == format);
        let any = |o: &&OtherWeights| o.formats.is_empty();
        let all = &self.other_weights;
        let told = all.iter().find(named).or(all.iter().find(any));
        told.map_or(Self::OTHER_WEIGHTS, |o| o.rel_sd)
    }

    /// Every fitted or fittable coefficient with its dotted name, in a fixed order: efficiencies and host
    /// times.
    pub fn coefficients(&self) -> Vec<(String, &Quantity)> {
        let mut all = vec![
            ("dense_stream".to_string(), &self.dense_stream),
            ("dense_compute".into(), &self.dense_compute),
        ];
        for (name, path) in &self.moe_paths {
            for (i, r) in path.regimes.iter().enumerate() {
                all.push((format!("moe_paths.{name}.regimes[{i}].stream"), &r.stream));
                all.push((format!("moe_paths.{name}.regimes[{i}].compute"), &r.compute));
                if let Some(f) = &r.fill {
                    all.push((format!("moe_paths.{name}.regimes[{i}].fill"), &f.workgroups));
                }
            }
        }
        all.extend([
            ("attention_stream".to_string(), &self.attention_stream),
            ("attention_compute".into(), &self.attention_compute),
        ]);
        if let Some(q) = &self.recurrence_compute {
            all.push(("recurrence_compute".into(), q));
        }
        for (backend, q) in &self.attention_in_server {
            all.push((format!("attention_in_server.{backend}"), q));
        }
        all.extend([
            ("elementwise".to_string(), &self.elementwise),
            ("host.step".into(), &self.host.step),
            ("host.per_seq".into(), &self.host.per_seq),
            ("host.launch_eager".into(), &self.host.launch_eager),
            ("host.launch_graph".into(), &self.host.launch_graph),
        ]);
        all.push(match &self.host.front_end {
            Some(f) => ("host.front_end".into(), &f.core),
            None => ("host.turnaround".into(), &self.host.turnaround),
        });
        if let Some(q) = &self.host.launch_experts {
            all.push(("host.launch_experts".into(), q));
        }
        if let Some(q) = &self.host.launch_uncompiled {
            all.push(("host.launch_uncompiled".into(), q));
        }
        all
    }

    /// The coefficient of that dotted name, to be changed.
    pub fn coefficient_mut(&mut self, name: &str) -> Option<&mut Quantity> {
        Some(match name {
            "dense_stream" => &mut self.dense_stream,
            "dense_compute" => &mut self.dense_compute,
            "attention_stream" => &mut self.attention_stream,
            "attention_compute" => &mut self.attention_compute,
            "recurrence_compute" => self.recurrence_compute.as_mut()?,
            "elementwise" => &mut self.elementwise,
            "host.step" => &mut self.host.step,
            "host.per_seq" => &mut self.host.per_seq,
            "host.launch_eager" => &mut self.host.launch_eager,
            "host.launch_experts" => self.host.launch_experts.as_mut()?,
            "host.launch_uncompiled" => self.host.launch_uncompiled.as_mut()?,
            "host.launch_graph" => &mut self.host.launch_graph,
            "host.turnaround" => &mut self.host.turnaround,
            "host.front_end" => &mut self.host.front_end.as_mut()?.core,
            other if other.starts_with("attention_in_server.") => {
                let backend = other.strip_prefix("attention_in_server.")?;
                self.attention_in_server.get_mut(backend)?
            }
            moe => {
                let rest = moe.strip_prefix("moe_paths.")?;
                let (path, rest) = rest.split_once(".regimes[")?;
                let (index, kind) = rest.split_once("].")?;
                let regime = self
                    .moe_paths
                    .get_mut(path)?
                    .regimes
                    .get_mut(index.parse::<usize>().ok()?)?;
                match kind {
                    "stream" => &mut regime.stream,
                    "compute" => &mut regime.compute,
                    "fill" => &mut regime.fill.as_mut()?.workgroups,
                    _ => return None,
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_tile_that_holds_the_rows_is_taken_else_the_largest() {
        assert_eq!(tile_of(&[], 5), None);
        let tiles = [32, 64, 128];
        let taken: Vec<Option<u32>> = [1, 32, 33, 65, 500].map(|n| tile_of(&tiles, n)).into();
        assert_eq!(taken, [Some(32), Some(32), Some(64), Some(128), Some(128)]);
    }
}
