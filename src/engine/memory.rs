//! How many KV blocks there are: vLLM's own arithmetic (0.12.0, `v1/worker/gpu_worker.py:
//! determine_available_memory`, `v1/core/kv_cache_utils.py: get_num_blocks`).
use super::EngineVersion;
use super::vllm::Release;
use crate::device::{DeviceProfile, EngineProfile};
use crate::model::{AttentionLayers, Model};
use crate::units::Bytes;

/// What the arithmetic starts from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemoryInputs {
    /// `--gpu-memory-utilization`.
    pub utilization: f64,
    /// `--block-size`.
    pub block_size: u32,
    /// `--max-num-batched-tokens`: the profiling run has that many.
    pub max_num_batched_tokens: u32,
    /// `--max-num-seqs`: the profiling run samples for that many.
    pub max_num_seqs: u32,
    /// `--max-model-len`.
    pub max_model_len: u32,
    /// `--kv-cache-memory-bytes`.
    pub kv_cache_memory_bytes: Option<u64>,
    /// `--num-gpu-blocks-override`.
    pub num_gpu_blocks_override: Option<u32>,
    /// Release of the engine.
    pub version: EngineVersion,
    /// No graphs.
    pub enforce_eager: bool,
    /// Whether the states of recurrent layers live in blocks of the KV cache, as in vLLM.
    pub states_in_blocks: bool,
    /// Whether full blocks are kept for requests that begin alike.
    pub prefix_caching: bool,
    /// Weights that lie in the host's memory.
    pub host_weights: Bytes,
    /// Whether activations are part of the share that the engine may use.
    pub activations_within: bool,
    /// What a drafter takes.
    pub drafter: DrafterMemory,
}

/// Memory of a drafter (its layers join the groups of the KV cache: `get_kv_cache_configs`, vLLM 0.12.0).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DrafterMemory {
    /// Weights beside the model's.
    pub weights: Bytes,
    /// Bytes of keys and values per token, beside the model's.
    pub kv_per_token: f64,
    /// Drafts of a sequence and step: each needs a state of the recurrent layers, to go back to (`MambaSpec.num_speculative_blocks`).
    pub drafts: u32,
}

/// Where the device memory goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemoryPlan {
    /// What the device has.
    pub total: Bytes,
    /// total × utilisation.
    pub requested: Bytes,
    /// Weights as loaded, with the table of the rotary embedding, but for those of the host.
    pub weights: Bytes,
    /// Weights in the host's memory.
    pub host_weights: Bytes,
    /// Keys and values in the host's memory.
    pub host_kv: Bytes,
    /// That table.
    pub rotary: Bytes,
    /// The vision tower, of which `weights` contains the bytes.
    pub encoder: Bytes,
    /// The drafter, of which `weights` contains the bytes.
    pub drafter: Bytes,
    /// Peak activations of the profiling run (estimated).
    pub activations: Bytes,
    /// Runtime, libraries, captured graphs where they are counted (estimated).
    pub non_torch: Bytes,
    /// What is left for the KV cache.
    pub kv_cache: Bytes,
    /// KV blocks, the null block included.
    pub num_gpu_blocks: u32,
    /// Tokens per block: as asked for, or more, so that the state of a recurrent layer fits a block.
    pub block_size: u32,
    /// Blocks of a running request for states of recurrent layers.
    pub state_blocks: u32,
    /// Groups of layers that draw on the blocks: a block holds the KV of one of them.
    pub groups: u32,
    /// Blocks of a request of full length: fewer than its tokens fill where some layers keep a window only.
    pub request_blocks: f64,
}

/// A KV cache that was asked for and does not fit beside the model.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error(
    "the KV cache does not fit: the {kv_cache} of {setting} {asked}, {weights} of weights, {activations} of activations and \
     {non_torch} of runtime overhead exceed the {total} of the device; {setting} {largest} fits, or leave it out"
)]
pub struct KvTooLarge {
    /// vLLM's name of the setting.
    pub setting: &'static str,
    /// Its value.
    pub asked: u64,
    /// The largest value that fits.
    pub largest: u64,
    /// Bytes of the KV cache asked for.
    pub kv_cache: Bytes,
    /// Weights.
    pub weights: Bytes,
    /// Activations.
    pub activations: Bytes,
    /// Overhead.
    pub non_torch: Bytes,
    /// Device memory × utilisation.
    pub requested: Bytes,
    /// Device memory.
    pub total: Bytes,
}

/// Why an engine would not start.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum MemoryError {
    /// Weights and overheads leave nothing.
    #[error(
        "the model does not fit: {weights} of weights, {activations} of activations and {non_torch} of runtime \
         overhead leave nothing of the {requested} that gpu_memory_utilization {utilization} allows on {total}; \
         {hint}"
    )]
    NoRoom {
        /// Weights.
        weights: Bytes,
        /// Activations.
        activations: Bytes,
        /// Overhead.
        non_torch: Bytes,
        /// Allowed.
        requested: Bytes,
        /// Setting.
        utilization: f64,
        /// Device memory.
        total: Bytes,
        /// What to do.
        hint: String,
    },
    /// KV blocks, bytes or tokens that were asked for do not fit beside the model.
    #[error(transparent)]
    KvTooLarge(Box<KvTooLarge>),
    /// More sequences than states: vLLM refuses to capture graphs of them.
    #[error(
        "max_num_seqs ({max_num_seqs}) exceeds available Mamba cache blocks ({blocks}): each sequence that decodes needs one; lower \
         max_num_seqs to {blocks} or raise gpu_memory_utilization"
    )]
    TooFewStates {
        /// Setting.
        max_num_seqs: u32,
        /// Blocks.
        blocks: u32,
    },
    /// Not even one request of full length fits.
    #[error(
        "max_model_len {max_model_len} needs {needed} of KV cache for one request, but only {available} are left; \
         lower max_model_len to {largest} or raise gpu_memory_utilization"
    )]
    ModelLenTooLong {
        /// Setting.
        max_model_len: u32,
        /// For one request.
        needed: Bytes,
        /// Left.
        available: Bytes,
        /// The longest that fits.
        largest: u32,
    },
}

/// Bytes of activations alive at the peak of the profiling run, before allocator rounding.
///
/// Counted, not measured: hidden state and residual for every token, plus the largest of (fused QKV and
/// attention output), (gate+up and its product), (the fused-MoE workspaces, `top_k` rows per token), or the
/// logits of the sampled rows with what sampling makes of them.
fn activation_bytes(model: &Model, inputs: &MemoryInputs) -> f64 {
    let tokens = f64::from(inputs.max_num_batched_tokens);
    let base = 2.0 * 2.0 * tokens * f64::from(model.hidden_size());
    let rows = f64::from(inputs.max_num_seqs.min(inputs.max_num_batched_tokens));
    let vocab = f64::from(model.vocab_size());
    let logits = if Release::of(inputs.version).profiles_top_k_kernel {
        // The dummy sampling: 16-bit logits, their 32-bit copy, probabilities, exponential noise; and the scratch rows
        // of the Triton top-k/top-p kernel, one per multiprocessor.
        rows * vocab * (2.0 + 4.0 + 4.0 + 4.0) + rows.min(128.0) * vocab * 4.0
    } else {
        rows * vocab * (2.0 + 4.0 + 4.0)
    };
    let widest = tokens * model.widest_activation_bytes_per_token();
    // Only the last stage of a pipeline makes logits.
    base + widest.max(if model.stage().last { logits } else { 0.0 })
}

/// The table of the rotary embedding, one for all layers: sine and cosine of half a head each for every position
/// (`rotary_embedding/base.py`: `cos_sin_cache`).
fn rotary_bytes(model: &Model) -> f64 {
    if !model.config().rotary {
        return 0.0;
    }
    f64::from(model.max_position_embeddings())
        * f64::from(model.config().head_dim)
        * model.precision().dtype.bytes() as f64
}

/// One device's part of the vision tower, which stays in the activations' type. Its heads and columns are divided among the devices
/// (`--mm-encoder-tp-mode weights`, the default of vLLM 0.32.0).
fn encoder_bytes(model: &Model) -> f64 {
    if !model.stage().first {
        return 0.0;
    }
    let dtype = model.precision().dtype;
    let whole = model
        .config()
        .encoder
        .as_ref()
        .map_or(0.0, |e| e.weight_bytes(dtype));
    whole / f64::from(model.parallel().tensor.max(1))
}

/// What the profiling run adds for a vision tower: the peak of its own run over as many of the largest images as its budget holds, and
/// their results, which are kept while the language model runs (`profile_run` of vLLM 0.32.0, `v1/worker/gpu_model_runner.py`). Counted,
/// not measured.
fn encoder_activations(model: &Model, inputs: &MemoryInputs) -> (f64, f64) {
    let encoder = model.config().encoder.as_ref();
    let Some(encoder) = encoder.filter(|_| model.stage().first) else {
        return (0.0, 0.0);
    };
    let Some(largest) = encoder.largest().filter(|i| i.embeds > 0) else {
        return (0.0, 0.0);
    };
    let dtype = model.precision().dtype;
    let images = (inputs.max_num_batched_tokens / largest.embeds).max(1);
    let patches = u64::from(images) * u64::from(largest.patches);
    let run = encoder.activation_bytes(patches, dtype) / f64::from(model.parallel().tensor.max(1));
    let width = f64::from(model.hidden_size()) * f64::from(encoder.vectors);
    let results = f64::from(images) * f64::from(largest.embeds) * width * dtype.bytes() as f64;
    (run + results, results)
}

/// How the KV cache is cut.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pages {
    /// Tokens per block.
    block_size: u32,
    /// Bytes of one block in one layer.
    page: f64,
    /// Layers that a block spans.
    layers: f64,
    /// Blocks of a running request for states.
    state_blocks: u32,
    /// Groups of layers.
    groups: u32,
}

/// Tokens that an attention kernel's block is a multiple of (`get_supported_kernel_block_sizes` of FlashAttention, Triton and
/// ROCm attention: `MultipleOf(16)`).
const KERNEL_BLOCK: u32 = 16;

/// The pages of a model. Where some layers are recurrent, one page size serves all (vLLM 0.12 to 0.28):
///
/// - a block has so many tokens that one attention layer's page holds one recurrent layer's state
///   (`HybridAttentionMambaModelConfig.verify_and_update_config`, later `Platform._align_hybrid_block_size`);
/// - layers are put into groups of equally many, as many as there are of the rarer kind, or of the other if that is less than
///   half as many again (`_get_kv_cache_groups_uniform_page_size`); all groups draw on one pool of blocks, each spanning
///   the layers of one group (`get_num_blocks`);
/// - a running request holds one block in every recurrent group (`MambaSpec.max_memory_usage_bytes`, cache mode `none`), two with prefix
///   caching (mode `align`, vLLM 0.33.0: the state at the last full block and the running one).
fn pages(model: &Model, inputs: &MemoryInputs) -> Pages {
    let attention: u32 = model.attention_layers().iter().map(|a| a.layers).sum();
    let token = model.kv_bytes_per_token().as_f64() / f64::from(attention.max(1));
    let Some((recurrent, r)) = model
        .recurrent()
        .filter(|_| inputs.states_in_blocks && attention > 0)
    else {
        let layers = f64::from(attention.max(1));
        return Pages {
            block_size: inputs.block_size,
            page: token * f64::from(inputs.block_size),
            layers: layers + drafter_layers(inputs, token),
            state_blocks: 0,
            groups: 1,
        };
    };
    let unit = f64::from(KERNEL_BLOCK);
    let needed = unit * libm::ceil(r.kept.as_f64() / (unit * token));
    let block_size = inputs.block_size.max(needed as u32);
    let (few, many) = (attention.min(recurrent), attention.max(recurrent));
    // A token's block spans all attention layers: more attention than recurrent layers do not occur.
    let group = if 2 * many < 3 * few || few == recurrent {
        many
    } else {
        few
    };
    Pages {
        block_size,
        page: token * f64::from(block_size),
        layers: f64::from(group) + drafter_layers(inputs, token),
        state_blocks: recurrent.div_ceil(group)
            * (inputs.drafter.drafts + if inputs.prefix_caching { 2 } else { 1 }),
        groups: attention.div_ceil(group) + recurrent.div_ceil(group),
    }
}

/// Layers of the model whose keys and values take as much as the drafter's.
fn drafter_layers(inputs: &MemoryInputs, token: f64) -> f64 {
    match inputs.drafter.kv_per_token {
        kv if kv > 0.0 && token > 0.0 => kv / token,
        _ => 0.0,
    }
}

/// Blocks, each of all layers, whose bytes a request of `tokens` holds: layers with a window keep what it and a step span
/// (`SlidingWindowSpec.max_memory_usage_bytes` in `v1/kv_cache_interface.py` of vLLM 0.12.0).
fn request_blocks(model: &Model, inputs: &MemoryInputs, pages: &Pages, tokens: u32) -> f64 {
    let whole = tokens.div_ceil(pages.block_size);
    let all = model.kv_bytes_per_token().as_f64();
    let kept = |window: Option<u32>| match window {
        Some(w) => {
            let span = (w - 1).saturating_add(inputs.max_num_batched_tokens);
            whole.min(span.div_ceil(pages.block_size) + 1)
        }
        None => whole,
    };
    let layers = model.attention_layers();
    if layers.iter().all(|l| l.window.is_none()) || all <= 0.0 {
        return f64::from(whole + pages.state_blocks);
    }
    let share = |l: &AttentionLayers| l.kv_bytes_per_token.as_f64() / all;
    let sum: f64 = layers
        .iter()
        .map(|l| share(l) * f64::from(kept(l.window)))
        .sum();
    sum + f64::from(pages.state_blocks)
}

/// Layers whose KV a block of `--num-gpu-blocks-override` holds. Where some layers slide and others see everything, vLLM's blocks
/// span one group of layers of a kind, of as many as the rarer kind has (0.12.0, `_get_kv_cache_groups_uniform_page_size`).
fn layers_of_a_counted_block(model: &Model, pages: &Pages) -> f64 {
    let layers = |slides: bool| -> u32 {
        let all = model.attention_layers().into_iter();
        all.filter(|a| a.window.is_some() == slides)
            .map(|a| a.layers)
            .sum()
    };
    match (layers(true), layers(false)) {
        (0, _) | (_, 0) => pages.layers,
        (sliding, full) => pages.layers.min(f64::from(sliding.min(full))),
    }
}

/// Runtime and libraries, graphs where the release counts them, and what collectives set aside.
fn non_torch_bytes(model: &Model, engine: &EngineProfile, inputs: &MemoryInputs) -> f64 {
    let mut non_torch = engine.memory.non_torch_bytes.value;
    if let Some(q) = &engine.memory.graph_bytes
        && Release::of(inputs.version).counts_graph_memory
        && !inputs.enforce_eager
    {
        non_torch += q.value;
    }
    if let Some(q) = &engine.memory.collective_bytes
        && model.parallel().all_devices() > 1
    {
        non_torch += q.value;
    }
    non_torch
}

/// Bytes that are taken before the KV cache.
struct Used {
    weights: f64,
    activations: f64,
    non_torch: f64,
}

/// The refusal of a device on which nothing is left for the KV cache, with what would leave some.
fn no_room(used: Used, total: f64, inputs: &MemoryInputs) -> MemoryError {
    let needed = used.weights + used.activations + used.non_torch;
    let hint = if needed < total * 0.98 {
        format!(
            "gpu_memory_utilization {:.2} would leave room",
            libm::ceil((needed / total + 0.02) * 100.0) / 100.0
        )
    } else {
        "quantised weights or a device with more memory would be needed".into()
    };
    let bytes = |v: f64| Bytes(v.max(0.0) as u64);
    MemoryError::NoRoom {
        weights: bytes(used.weights),
        activations: bytes(used.activations),
        non_torch: bytes(used.non_torch),
        requested: bytes(total * inputs.utilization),
        utilization: inputs.utilization,
        total: bytes(total),
        hint,
    }
}

/// Divides the memory as vLLM does at start-up.
///
/// # Errors
/// As vLLM: if nothing is left, one request of `max_model_len` does not fit, or the KV cache asked for exceeds the device.
pub fn plan(
    model: &Model,
    device: &DeviceProfile,
    engine: &EngineProfile,
    inputs: &MemoryInputs,
) -> Result<MemoryPlan, MemoryError> {
    let total = device.memory.total_bytes.value;
    let requested = total * inputs.utilization;
    let weights = (model.total_weight_bytes() - inputs.host_weights).as_f64()
        + rotary_bytes(model)
        + encoder_bytes(model)
        + inputs.drafter.weights.as_f64();
    let language = activation_bytes(model, inputs) * engine.memory.activation_factor.value;
    let (run, results) = encoder_activations(model, inputs);
    let activations = run.max(language + results);
    let non_torch = non_torch_bytes(model, engine, inputs);
    let bytes = |v: f64| Bytes(v.max(0.0) as u64);
    let left = match inputs.kv_cache_memory_bytes {
        Some(b) => b as f64,
        None if inputs.activations_within => requested - weights - activations - non_torch,
        None => requested - weights - non_torch,
    };
    let cut = pages(model, inputs);
    let Pages {
        block_size,
        page,
        mut layers,
        state_blocks,
        groups,
    } = cut;
    if inputs.num_gpu_blocks_override.is_some() {
        layers = layers_of_a_counted_block(model, &cut);
    }
    let blocks = match inputs.num_gpu_blocks_override {
        Some(n) => f64::from(n),
        None => libm::floor(libm::floor(left.max(0.0) / page) / layers),
    };
    let asked = match (inputs.num_gpu_blocks_override, inputs.kv_cache_memory_bytes) {
        (Some(n), _) => Some(("num_gpu_blocks_override", u64::from(n), page * layers)),
        (None, Some(b)) => Some(("kv_cache_memory_bytes", b, 1.0)),
        (None, None) => None,
    };
    let room = total - weights - activations - non_torch;
    if blocks < 2.0 || (asked.is_some() && room < 2.0 * page * layers) {
        let used = Used {
            weights,
            activations,
            non_torch,
        };
        return Err(no_room(used, total, inputs));
    }
    if let Some((setting, asked, each)) = asked
        && blocks * page * layers > room
    {
        return Err(MemoryError::KvTooLarge(Box::new(KvTooLarge {
            setting,
            asked,
            largest: libm::floor(room.max(0.0) / each) as u64,
            kv_cache: bytes(asked as f64 * each),
            weights: bytes(weights),
            activations: bytes(activations),
            non_torch: bytes(non_torch),
            requested: bytes(requested),
            total: bytes(total),
        })));
    }
    let request_blocks = request_blocks(model, inputs, &cut, inputs.max_model_len);
    if request_blocks > blocks {
        return Err(MemoryError::ModelLenTooLong {
            max_model_len: inputs.max_model_len,
            needed: bytes(request_blocks * page * layers),
            available: bytes(blocks * page * layers),
            largest: longest(model, inputs, &cut, blocks),
        });
    }
    enough_states(inputs, state_blocks, blocks)?;
    Ok(MemoryPlan {
        total: bytes(total),
        requested: bytes(requested),
        weights: bytes(weights),
        host_weights: inputs.host_weights,
        host_kv: Bytes::ZERO,
        rotary: bytes(rotary_bytes(model)),
        encoder: bytes(encoder_bytes(model)),
        drafter: inputs.drafter.weights,
        activations: bytes(activations),
        non_torch: bytes(non_torch),
        kv_cache: bytes(blocks * page * layers),
        num_gpu_blocks: blocks.min(f64::from(u32::MAX)) as u32,
        block_size,
        state_blocks,
        groups,
        request_blocks,
    })
}

/// Refuses graphs for more sequences than there are blocks for their states, where the release does.
fn enough_states(inputs: &MemoryInputs, states: u32, blocks: f64) -> Result<(), MemoryError> {
    if Release::of(inputs.version).refuses_more_seqs_than_states
        && states > 0
        && !inputs.enforce_eager
        && f64::from(inputs.max_num_seqs) > blocks
    {
        return Err(MemoryError::TooFewStates {
            max_num_seqs: inputs.max_num_seqs,
            blocks: blocks as u32,
        });
    }
    Ok(())
}

/// The most tokens of a request that so many blocks hold.
fn longest(model: &Model, inputs: &MemoryInputs, pages: &Pages, blocks: f64) -> u32 {
    let (mut low, mut high) = (0, inputs.max_model_len);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if request_blocks(model, inputs, pages, middle) <= blocks {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Precision, builtin};

    fn of(name: &str, block_size: u32) -> Pages {
        let config = builtin::find(name).unwrap().config();
        let model = Model::new(&config, Precision::of(&config));
        pages(
            &model,
            &MemoryInputs {
                utilization: 0.9,
                block_size,
                max_num_batched_tokens: 2048,
                max_num_seqs: 8,
                max_model_len: 4096,
                kv_cache_memory_bytes: None,
                num_gpu_blocks_override: None,
                version: EngineVersion::V0_12,
                enforce_eager: false,
                states_in_blocks: true,
                prefix_caching: false,
                host_weights: Bytes::ZERO,
                activations_within: true,
                drafter: DrafterMemory::default(),
            },
        )
    }

    /// vLLM says so when it starts: "Setting attention block size to 544 tokens" for Qwen3-Next-80B-A3B, whose states are bf16, and
    /// 1056, with "Padding mamba page size by 0.76%", for Qwen3.5-35B-A3B, whose states are fp32.
    #[test]
    fn blocks_of_hybrid_models_are_as_long_as_vllm_says() {
        let next = of("Qwen/Qwen3-Next-80B-A3B-Instruct", 16);
        assert_eq!((next.block_size, next.page), (544, 544.0 * 2048.0));
        // 12 layers of attention, 36 of states: four groups of 12.
        assert_eq!((next.layers, next.state_blocks, next.groups), (12.0, 3, 4));
        let config = builtin::find("Qwen/Qwen3.5-35B-A3B").unwrap().config();
        let model = Model::new(&config, Precision::of(&config));
        let (_, r) = model.recurrent().unwrap();
        let page = of("Qwen/Qwen3.5-35B-A3B", 16);
        assert_eq!(page.block_size, 1056);
        let padding = page.page / r.kept.as_f64() - 1.0;
        assert!((padding - 0.0076).abs() < 5e-5, "{padding}");
        // A longer block stays what it is.
        assert_eq!(of("Qwen/Qwen3.5-35B-A3B", 2048).block_size, 2048);
    }

    #[test]
    fn without_recurrent_layers_a_block_is_what_was_asked_for() {
        let p = of("Qwen/Qwen3-30B-A3B", 16);
        assert_eq!((p.block_size, p.state_blocks, p.layers), (16, 0, 48.0));
        assert_eq!(p.page, 16.0 * 2048.0);
    }
}
