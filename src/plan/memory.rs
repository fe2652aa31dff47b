//! Will it fit: where the device memory goes, how many requests of which length the KV cache holds, and the smallest change
//! that makes a refused configuration start.
mod ways;

use crate::engine::settings::*;
use crate::engine::vllm::Release;
use crate::engine::{SchedulingPolicy, StagePlan};
use crate::predict::memory::MemoryError;
use crate::predict::{About, Scenario, Settings, SettingsError};
use crate::units::Bytes;
use serde::{Deserialize, Serialize};
use ways::{largest, ways};

/// What must fit besides the engine starting at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Requests whose KV is held at the same time.
    pub concurrency: u32,
    /// Tokens of each, prompt and output together.
    pub context: u32,
}

/// Memory of a machine whose host and device share it, in bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HostMemory {
    /// All of it.
    pub ram: f64,
    /// What the host is to keep.
    pub reserve: f64,
    /// Whether the firmware set the device's part aside (UMA carve-out); else the device takes from the host's as it goes
    /// (GTT).
    pub carved_out: bool,
}

/// Requests of one length.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Row {
    /// Tokens, prompt and output together.
    pub context: u32,
    /// KV blocks of one request.
    pub blocks: u32,
    /// Bytes of KV of one request.
    pub bytes: f64,
    /// Requests that the KV cache holds.
    pub held: u32,
    /// Requests that run: no more than max_num_seqs.
    pub running: u32,
}

/// A change that makes it fit.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Way {
    /// The change, as flags where there are.
    pub change: String,
    /// Whether answers stay the same.
    pub same_answers: bool,
    /// KV tokens then.
    pub kv_tokens: u64,
}

/// What is left for a host that shares its memory.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HostPart {
    /// Bytes left for the host while the engine holds all that it may.
    pub left: f64,
    /// Bytes that it is to keep.
    pub reserve: f64,
    /// The highest gpu_memory_utilization, in hundredths, that leaves them; absent: none does, or it does not depend on it.
    pub utilization: Option<f64>,
    /// Whether the firmware set the device's part aside.
    pub carved_out: bool,
}

/// A stage of a pipeline.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StagePart {
    /// Its layers.
    pub layers: u32,
    /// Bytes of weights on each of its devices.
    pub weights: f64,
    /// KV blocks that each of its devices holds; all stages have as many as the one that holds the fewest.
    pub num_gpu_blocks: u32,
}

/// The answer. Sizes in bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Memory {
    /// `capsim.memory/1`.
    pub schema: String,
    /// The answer in words, as the command prints it first; empty where no command was asked.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(!default))]
    pub answer: String,
    /// What was asked; absent where no command was.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(!default))]
    pub about: Option<About>,
    /// Whether the engine starts, and holds what was demanded.
    pub fits: bool,
    /// Whether the engine starts.
    pub starts: bool,
    /// Why not.
    pub problem: Option<String>,
    /// Device memory.
    pub total: f64,
    /// `--gpu-memory-utilization`.
    pub utilization: f64,
    /// What the engine may use.
    pub requested: f64,
    /// Weights.
    pub weights: f64,
    /// Weights in the host's memory.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(!default))]
    pub host_weights: f64,
    /// Keys and values in the host's memory.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(!default))]
    pub host_kv: f64,
    /// The table of the rotary embedding, which engines load with them.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(!default))]
    pub position_table: f64,
    /// The vision tower.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(!default))]
    pub encoder: f64,
    /// What drafts, in speculative decoding.
    #[serde(default, skip_serializing_if = "is_nothing")]
    #[cfg_attr(feature = "schema", schemars(!default))]
    pub drafter: f64,
    /// Parameters of the whole model, on all devices.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(!default))]
    pub parameters: f64,
    /// Those without the routed experts that a token does not visit.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(!default))]
    pub active_parameters: f64,
    /// Peak activations of the profiling run, estimated.
    pub activations: f64,
    /// Runtime context and libraries, estimated.
    pub non_torch: f64,
    /// KV cache.
    pub kv_cache: f64,
    /// What the utilisation leaves on the device: graphs, which are captured once the KV cache is sized, and other processes.
    pub outside: f64,
    /// KV bytes of one token, all layers.
    pub kv_per_token: f64,
    /// Bytes of the states that recurrent layers keep of a sequence, all layers; 0 without such layers.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(!default))]
    pub state_per_sequence: f64,
    /// Tokens per block.
    pub block_size: u32,
    /// KV bytes of one block.
    pub kv_per_block: f64,
    /// Blocks, the null block included.
    pub num_gpu_blocks: u32,
    /// `GPU KV cache size` in vLLM's log: blocks × block size, where layers of one kind share the blocks.
    pub kv_tokens: u64,
    /// `--max-model-len`; 0 if the engine does not get so far.
    pub max_model_len: u32,
    /// `--max-num-seqs`.
    pub max_num_seqs: u32,
    /// `--max-num-batched-tokens`.
    pub max_num_batched_tokens: u32,
    /// `Maximum concurrency for N tokens per request` in vLLM's log.
    pub max_concurrency: f64,
    /// Context × concurrency.
    pub table: Vec<Row>,
    /// With max_num_seqs requests running, the mean context at which the KV cache is full; absent: never, requests end before.
    pub preempts_at: Option<f64>,
    /// Whether it is the most recently admitted that is preempted (first come, first served), or the least urgent.
    pub fcfs: bool,
    /// The host's part, on machines that share memory.
    pub host: Option<HostPart>,
    /// Single changes that make it fit, those that change no answers first.
    pub ways: Vec<Way>,
    /// The least device memory on which it fits unchanged; absent: even 16 TiB are too few.
    pub device_needed: Option<f64>,
    /// The stages of a pipeline, whose figures above are those of the one that holds the fewest blocks; none without one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(!default))]
    pub stages: Vec<StagePart>,
    /// Flags of a pasted server line that may matter and are not modelled.
    pub unmodelled: Vec<String>,
    /// Flags of a pasted line that change neither memory nor speed.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(!default))]
    pub harmless: Vec<String>,
    /// What a reader must know of what the engine profile and its rules were not made from.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(!default))]
    pub notes: Vec<String>,
}

/// Requests of a length that the KV cache holds. One block is the null block, which no request gets.
fn held(s: &Settings, context: u32) -> u32 {
    (s.config.num_gpu_blocks - 1) / s.config.blocks_for(context).max(1)
}

fn holds(s: &Settings, d: &Demand) -> bool {
    d.context <= s.config.max_model_len
        && d.concurrency <= s.config.max_num_seqs
        && (d.context == 0 || held(s, d.context) >= d.concurrency)
}

fn fits(scenario: &Scenario, d: &Demand) -> Option<Settings> {
    scenario.settings().ok().filter(|s| holds(s, d))
}

/// `GPU KV cache size` in vLLM's log (`v1/core/kv_cache_utils.py`). 0.12.0, `_report_kv_cache_config`: blocks, divided by the groups of
/// layers that draw on them, × block size; so still 0.19.0 (vLLM issue #40691). Later, `get_kv_cache_capacity`: what as many requests
/// as run at once hold, each of max_model_len; so at the latest 0.28 (#54458). Without recurrent layers there is one group.
fn kv_tokens(s: &Settings) -> u64 {
    let c = &s.config;
    if Release::of(c.version).reports_request_capacity {
        return (max_concurrency(s) * f64::from(c.max_model_len)) as u64;
    }
    u64::from(c.num_gpu_blocks / s.memory.groups) * u64::from(c.block_size)
}

/// Requests of max_model_len that the blocks hold (vLLM 0.12.0, `get_max_concurrency_for_kv_cache_config`).
fn max_concurrency(s: &Settings) -> f64 {
    let c = &s.config;
    f64::from(c.num_gpu_blocks) / s.memory.request_blocks.max(1.0)
}

/// Where the memory goes.
///
/// # Errors
/// Settings that contradict each other. That the model or the context does not fit is an answer.
pub fn memory(
    scenario: &Scenario,
    demand: &Demand,
    host: Option<HostMemory>,
    contexts: &[u32],
) -> Result<Memory, SettingsError> {
    let mut m = unknown(scenario);
    match scenario.settings() {
        Ok(s) => {
            fill(&mut m, &s);
            m.starts = true;
            m.fits = holds(&s, demand);
            table(&mut m, &s, contexts);
            if !m.fits {
                m.problem = Some(shortfall(&s, demand));
            }
        }
        Err(SettingsError::Memory(e)) => refuse(&mut m, scenario, e, contexts),
        Err(e) => return Err(e),
    }
    if !m.fits {
        m.ways = ways(scenario, demand, &m);
        m.device_needed = device_needed(&asked(scenario, demand, &m).0, demand);
    }
    m.host = host.map(|h| host_part(&m, h));
    Ok(m)
}

fn is_nothing(bytes: &f64) -> bool {
    *bytes == 0.0
}

/// What is known before the engine starts.
fn unknown(scenario: &Scenario) -> Memory {
    let model = &scenario.model;
    Memory {
        schema: "capsim.memory/1".into(),
        answer: String::new(),
        about: None,
        fits: false,
        starts: false,
        problem: None,
        total: scenario.device.memory.total_bytes.value,
        utilization: scenario.serve.get(GPU_MEMORY_UTILIZATION).unwrap_or(0.9),
        requested: 0.0,
        weights: model.total_weight_bytes().as_f64(),
        host_weights: 0.0,
        host_kv: 0.0,
        position_table: 0.0,
        encoder: 0.0,
        drafter: 0.0,
        parameters: model.parameters().total() as f64,
        active_parameters: model.parameters().active() as f64,
        activations: 0.0,
        non_torch: 0.0,
        kv_cache: 0.0,
        outside: 0.0,
        kv_per_token: model.kv_bytes_per_token().as_f64(),
        state_per_sequence: model.state_bytes_per_sequence().as_f64(),
        block_size: scenario.serve.get(BLOCK_SIZE).unwrap_or(16),
        kv_per_block: 0.0,
        num_gpu_blocks: 0,
        kv_tokens: 0,
        max_model_len: scenario
            .serve
            .get(MAX_MODEL_LEN)
            .unwrap_or_else(|| model.max_position_embeddings()),
        max_num_seqs: scenario.serve.get(MAX_NUM_SEQS).unwrap_or(0),
        max_num_batched_tokens: scenario.serve.get(MAX_NUM_BATCHED_TOKENS).unwrap_or(0),
        max_concurrency: 0.0,
        table: vec![],
        preempts_at: None,
        fcfs: scenario.serve.get(SCHEDULING_POLICY).as_deref() != Some("priority"),
        host: None,
        ways: vec![],
        device_needed: None,
        stages: vec![],
        unmodelled: scenario.notes.not_simulated.clone(),
        harmless: scenario.notes.harmless.clone(),
        notes: [&scenario.notes.line[..], &scenario.beyond_memory()].concat(),
    }
}

/// What is known of an engine that does not start for want of memory: why, and how far the memory was divided.
fn refuse(m: &mut Memory, scenario: &Scenario, e: MemoryError, contexts: &[u32]) {
    m.problem = Some(e.to_string());
    match e {
        MemoryError::NoRoom {
            weights,
            activations,
            non_torch,
            requested,
            utilization,
            ..
        } => {
            on_device(m, weights);
            m.activations = activations.as_f64();
            m.non_torch = non_torch.as_f64();
            m.requested = requested.as_f64();
            m.utilization = utilization;
        }
        MemoryError::KvTooLarge(e) => {
            if e.setting == "num_gpu_blocks_override" {
                m.num_gpu_blocks = u32::try_from(e.asked).unwrap_or(u32::MAX);
                m.kv_per_block = e.kv_cache.as_f64() / e.asked as f64;
            }
            on_device(m, e.weights);
            m.activations = e.activations.as_f64();
            m.non_torch = e.non_torch.as_f64();
            m.requested = e.requested.as_f64();
            m.kv_cache = e.kv_cache.as_f64();
        }
        MemoryError::TooFewStates { blocks, .. } => {
            // The same division of the memory but for a few activations, which depend on the number of sequences.
            let mut fewer = scenario.clone();
            fewer.serve.set(MAX_NUM_SEQS, blocks.max(1));
            if let Ok(s) = fewer.settings() {
                let asked = m.max_num_seqs;
                fill(m, &s);
                m.max_num_seqs = asked;
            }
        }
        MemoryError::ModelLenTooLong { largest, .. } => {
            // The same division of the memory, which does not depend on the length.
            let mut shorter = scenario.clone();
            shorter.serve.set(MAX_MODEL_LEN, largest.max(1));
            if let Ok(s) = shorter.settings() {
                let asked = m.max_model_len;
                fill(m, &s);
                m.max_model_len = asked;
                table(m, &s, contexts);
            }
        }
    }
    m.outside = m.total - m.requested;
}

/// Of the whole model's weights, those that an engine wanted on the device, its table of positions among them; the others are the host's.
fn on_device(m: &mut Memory, weights: Bytes) {
    m.host_weights = (m.weights - weights.as_f64()).max(0.0);
    m.weights -= m.host_weights;
}

fn fill(m: &mut Memory, s: &Settings) {
    let (p, c) = (&s.memory, &s.config);
    m.utilization = s.gpu_memory_utilization;
    m.requested = p.requested.as_f64();
    m.position_table = p.rotary.as_f64();
    m.encoder = p.encoder.as_f64();
    m.drafter = p.drafter.as_f64();
    m.weights = p.weights.as_f64() - m.position_table - m.encoder - m.drafter;
    m.host_weights = p.host_weights.as_f64();
    m.host_kv = p.host_kv.as_f64();
    m.activations = p.activations.as_f64();
    m.non_torch = p.non_torch.as_f64();
    m.kv_cache = p.kv_cache.as_f64();
    m.outside = m.total - m.requested;
    m.block_size = c.block_size;
    m.kv_per_block = p.kv_cache.as_f64() / f64::from(c.num_gpu_blocks);
    m.num_gpu_blocks = c.num_gpu_blocks;
    m.kv_tokens = kv_tokens(s);
    m.max_model_len = c.max_model_len;
    m.max_num_seqs = c.max_num_seqs;
    m.max_num_batched_tokens = c.max_num_batched_tokens;
    m.fcfs = c.policy == SchedulingPolicy::Fcfs;
    m.max_concurrency = max_concurrency(s);
    let part = |s: &StagePlan| StagePart {
        layers: s.layers,
        weights: s.memory.weights.as_f64(),
        num_gpu_blocks: s.memory.num_gpu_blocks,
    };
    m.stages = s.stages.iter().map(part).collect();
    let seqs = f64::from(c.max_num_seqs);
    let states = seqs * f64::from(c.state_blocks);
    let usable = (f64::from(c.num_gpu_blocks - 1) - states).max(0.0) * f64::from(c.block_size);
    let mean = usable / seqs;
    m.preempts_at = (mean < f64::from(c.max_model_len)).then_some(mean);
}

fn table(m: &mut Memory, s: &Settings, contexts: &[u32]) {
    let c = &s.config;
    m.table = contexts
        .iter()
        .map(|&context| {
            let held = held(s, context);
            let n = c.blocks_for(context);
            Row {
                context,
                blocks: n,
                bytes: f64::from(n) * m.kv_per_block,
                held,
                running: if context > c.max_model_len {
                    0
                } else {
                    held.min(c.max_num_seqs)
                },
            }
        })
        .collect();
}

fn shortfall(s: &Settings, d: &Demand) -> String {
    let c = &s.config;
    if d.context > c.max_model_len {
        format!(
            "requests of {} tokens exceed max_model_len {}",
            d.context, c.max_model_len
        )
    } else if held(s, d.context) < d.concurrency {
        format!(
            "{} requests of {} tokens need {} KV blocks, there are {}: {} such requests fit",
            d.concurrency,
            d.context,
            u64::from(d.concurrency) * u64::from(c.blocks_for(d.context)),
            c.num_gpu_blocks - 1,
            held(s, d.context)
        )
    } else {
        format!(
            "max_num_seqs {} lets fewer than {} run",
            c.max_num_seqs, d.concurrency
        )
    }
}

fn with(scenario: &Scenario, change: impl FnOnce(&mut Scenario)) -> Scenario {
    let mut s = scenario.clone();
    change(&mut s);
    s
}

/// What a demand asks for by itself: places and length. The scenario with them, and the flags.
fn asked(scenario: &Scenario, d: &Demand, m: &Memory) -> (Scenario, Vec<String>) {
    let (mut s, mut flags) = (scenario.clone(), vec![]);
    let now = scenario.settings().ok();
    let seqs = now
        .as_ref()
        .map_or(m.max_num_seqs, |n| n.config.max_num_seqs);
    if d.concurrency > seqs && seqs > 0 {
        s.serve.set(MAX_NUM_SEQS, d.concurrency);
        flags.push(format!("--max-num-seqs {}", d.concurrency));
        if now.is_some_and(|n| n.config.max_num_batched_tokens < d.concurrency) {
            s.serve.set(MAX_NUM_BATCHED_TOKENS, d.concurrency);
            flags.push(format!("--max-num-batched-tokens {}", d.concurrency));
        }
    }
    if d.context > m.max_model_len {
        s.serve.set(MAX_MODEL_LEN, d.context);
        flags.push(format!("--max-model-len {}", d.context));
    }
    (s, flags)
}

/// The least device memory on which it fits, to a MiB.
fn device_needed(scenario: &Scenario, d: &Demand) -> Option<f64> {
    const MIB: f64 = 1_048_576.0;
    let on = |mib: u32| {
        with(scenario, |s| {
            s.device.memory.total_bytes.value = f64::from(mib) * MIB
        })
    };
    let last_short = largest(1, 16 << 20, |mib| fits(&on(mib), d).is_none())?;
    (last_short < 16 << 20).then(|| f64::from(last_short + 1) * MIB)
}

fn host_part(m: &Memory, h: HostMemory) -> HostPart {
    // A carve-out is gone whatever the engine does; of GTT the host loses what the engine takes.
    let left = if h.carved_out {
        h.ram - m.total
    } else {
        h.ram - m.requested
    };
    let utilization = (!h.carved_out)
        .then(|| libm::floor(100.0 * (h.ram - h.reserve) / m.total + 1e-9) / 100.0)
        .filter(|u| *u > 0.0)
        .map(|u| u.min(0.98));
    HostPart {
        left,
        reserve: h.reserve,
        utilization,
        carved_out: h.carved_out,
    }
}
