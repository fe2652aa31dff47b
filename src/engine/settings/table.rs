//! The table of settings. Flags and their help, documents, pasted lines, printed lines, grids, the knobs of `tune` and of the page,
//! what-if changes, JSON, Python's fields and the table in docs/engine.md come from it. A new setting is a row here, and the line
//! that reads it.
use super::EngineSection;
use crate::device::EngineId;
use crate::device::EngineId::{LlamaServer, Sglang, Trtllm, Vllm};
use crate::fields::{Field, Key, Kind, position};

/// What a flag of an engine says of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// The value that follows it.
    Value,
    /// On.
    On,
    /// Off.
    Off,
}

/// An engine's flags for a setting.
#[derive(Clone, Copy, Debug)]
pub struct Spelling {
    /// Whose flags.
    pub engine: EngineId,
    /// The flags with their dashes, the one to print first.
    pub flags: &'static [&'static str],
    /// What they say.
    pub means: Means,
}

/// Values that `capsim tune` tries besides today's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tries {
    /// None, unless they are given with `--knob`.
    Asked,
    /// These numbers.
    Counts(&'static [u32]),
    /// These fractions.
    Fractions(&'static [f64]),
    /// On and off.
    Both,
    /// The shortest context that serves the load.
    Needed,
}

/// Changes that `what_if` offers, one at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Offers {
    /// None.
    Nothing,
    /// Today's value times these.
    Times(&'static [f64]),
    /// On, where it is off.
    On,
    /// Off, where it is on.
    Off,
    /// This value, where today's is lower.
    Raise(f64),
}

/// Stops of the page's slider.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Slider {
    /// The page has no such knob.
    None,
    /// Powers of two and the values between them, from one number to another.
    Doubling(u32, u32),
    /// Hundredths from one to another, in steps.
    Hundredths(u32, u32, usize),
    /// These values.
    Stops(&'static [f64]),
    /// On and off.
    OnOff,
    /// One of these words.
    Words(&'static [&'static str]),
}

/// A setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Name, type and documentation.
    pub field: Field,
    /// Short forms of vLLM's flag.
    pub short: &'static [&'static str],
    /// Whether vLLM has it, as `--` and its name with dashes (and `--no-` for off).
    pub vllm: bool,
    /// The flags of the other engines.
    pub spelled: &'static [Spelling],
    /// What `tune` tries.
    pub tries: Tries,
    /// What `what_if` offers.
    pub offers: Offers,
    /// How the page turns it.
    pub slider: Slider,
}

const fn setting(
    kind: Kind,
    name: &'static str,
    label: &'static str,
    help: &'static str,
) -> Setting {
    Setting {
        field: Field::new(name, kind, label, help),
        short: &[],
        vllm: true,
        spelled: &[],
        tries: Tries::Asked,
        offers: Offers::Nothing,
        slider: Slider::None,
    }
}

const fn count(name: &'static str, label: &'static str, help: &'static str) -> Setting {
    setting(Kind::Count(u32::MAX as u64), name, label, help)
}

const fn switch(name: &'static str, label: &'static str, help: &'static str) -> Setting {
    let mut s = setting(Kind::Switch, name, label, help);
    s.slider = Slider::OnOff;
    s
}

const fn sglang(flags: &'static [&'static str]) -> Spelling {
    Spelling {
        engine: Sglang,
        flags,
        means: Means::Value,
    }
}

const fn sglang_off(flags: &'static [&'static str]) -> Spelling {
    Spelling {
        engine: Sglang,
        flags,
        means: Means::Off,
    }
}

const fn trtllm(flags: &'static [&'static str]) -> Spelling {
    Spelling {
        engine: Trtllm,
        flags,
        means: Means::Value,
    }
}

const fn trtllm_switch(flags: &'static [&'static str], means: Means) -> Spelling {
    Spelling {
        engine: Trtllm,
        flags,
        means,
    }
}

const fn vllm(flags: &'static [&'static str]) -> Spelling {
    Spelling {
        engine: Vllm,
        flags,
        means: Means::Value,
    }
}

const fn llama(flags: &'static [&'static str]) -> Spelling {
    Spelling {
        engine: LlamaServer,
        flags,
        means: Means::Value,
    }
}

impl Setting {
    const fn many(mut self) -> Self {
        self.field = self.field.many();
        self
    }
    const fn alias(mut self, aliases: &'static [&'static str]) -> Self {
        self.field = self.field.alias(aliases);
        self
    }
    const fn short(mut self, short: &'static [&'static str]) -> Self {
        self.short = short;
        self
    }
    const fn not_vllm(mut self) -> Self {
        self.vllm = false;
        self
    }
    const fn spelled(mut self, spelled: &'static [Spelling]) -> Self {
        self.spelled = spelled;
        self
    }
    const fn tries(mut self, tries: Tries) -> Self {
        self.tries = tries;
        self
    }
    const fn offers(mut self, offers: Offers) -> Self {
        self.offers = offers;
        self
    }
    const fn slider(mut self, slider: Slider) -> Self {
        self.slider = slider;
        self
    }

    /// The environment variable by which an engine takes it, where it has no flag.
    pub fn variable_of(&self, engine: EngineId) -> Option<&'static str> {
        let spelled = self.spelled.iter().find(|s| s.engine == engine)?;
        let name = spelled.flags[0];
        (!name.starts_with('-')).then_some(name)
    }

    /// Whether an engine has this setting.
    pub fn of(&self, engine: EngineId) -> bool {
        (engine == Vllm && self.vllm) || self.spelled.iter().any(|s| s.engine == engine)
    }
}

/// All settings.
pub static TABLE: [Setting; N] = ROWS;

const N: usize = 44;

const ROWS: [Setting; N] = [
    count(
        "max_num_seqs",
        "Most sequences in a batch",
        "Most sequences in a batch (default of vLLM: 256, or 1024 on a device with 70 GiB or more)",
    )
    .many()
    .spelled(&[
        sglang(&["--max-running-requests"]),
        trtllm(&["--max_batch_size"]),
        llama(&["-np", "--parallel"]),
    ])
    .tries(Tries::Counts(&[4, 8, 16, 32, 64, 128, 256]))
    .offers(Offers::Times(&[0.5, 2.0]))
    .slider(Slider::Doubling(1, 1024)),
    count(
        "max_num_batched_tokens",
        "Most new tokens in a step",
        "Most new tokens in a step (default of vLLM: 2048, or 8192 on a device with 70 GiB or more)",
    )
    .many()
    .spelled(&[
        sglang(&["--chunked-prefill-size"]),
        trtllm(&["--max_num_tokens"]),
        llama(&["-b", "--batch-size"]),
    ])
    .tries(Tries::Counts(&[256, 512, 1024, 2048, 4096, 8192]))
    .offers(Offers::Times(&[0.25, 0.5, 2.0]))
    .slider(Slider::Doubling(64, 32_768)),
    count(
        "max_model_len",
        "Longest sequence",
        "Longest sequence in tokens, prompt and output together (default: the model's own)",
    )
    .many()
    .spelled(&[
        sglang(&["--context-length"]),
        trtllm(&["--max_seq_len"]),
        llama(&["-c", "--ctx-size"]),
    ])
    .tries(Tries::Needed)
    .slider(Slider::Doubling(128, 262_144)),
    setting(
        Kind::Number,
        "gpu_memory_utilization",
        "Share of the device memory",
        "Share of the device memory that the engine may use, above 0 to 1 (default of vLLM: 0.9, from 0.21 on 0.92)",
    )
    .many()
    .spelled(&[
        sglang(&["--mem-fraction-static"]),
        trtllm(&[
            "--free_gpu_memory_fraction",
            "--kv_cache_free_gpu_memory_fraction",
            "--kv_cache_config.free_gpu_memory_fraction",
        ]),
    ])
    .tries(Tries::Fractions(&[0.85, 0.9, 0.95]))
    .offers(Offers::Raise(0.95))
    .slider(Slider::Hundredths(10, 100, 2)),
    count(
        "block_size",
        "Tokens per KV block",
        "Tokens per KV block (default of vLLM: 16)",
    )
    .many()
    .spelled(&[trtllm(&["--kv_cache_config.tokens_per_block"])])
    .tries(Tries::Counts(&[16, 32])),
    switch(
        "enable_chunked_prefill",
        "Chunked prefill",
        "Compute a long prompt in chunks beside other requests (default: on)",
    )
    .spelled(&[trtllm_switch(&["--enable_chunked_prefill"], Means::On)])
    .alias(&["chunked_prefill"])
    .tries(Tries::Both)
    .offers(Offers::On),
    switch(
        "enable_prefix_caching",
        "Prefix caching",
        "Keep KV blocks for prompts that begin alike (default: on)",
    )
    .spelled(&[
        sglang_off(&["--disable-radix-cache"]),
        trtllm_switch(&["--kv_cache_config.enable_block_reuse"], Means::On),
        Spelling {
            engine: LlamaServer,
            flags: &["--no-cache-prompt"],
            means: Means::Off,
        },
    ])
    .alias(&["prefix_caching"])
    .tries(Tries::Both)
    .offers(Offers::On),
    switch(
        "async_scheduling",
        "Asynchronous scheduling",
        "Schedule a step before the output of the previous one is known (default of vLLM: off, from 0.14 on on)",
    )
    .spelled(&[
        sglang_off(&["--disable-overlap-schedule"]),
        trtllm_switch(&["--disable_overlap_scheduler"], Means::Off),
    ])
    .tries(Tries::Both)
    .offers(Offers::On),
    switch(
        "enforce_eager",
        "Without CUDA/HIP graphs",
        "Disable CUDA/HIP graphs (default: graphs are used)",
    )
    .spelled(&[
        Spelling {
            engine: Sglang,
            flags: &["--disable-cuda-graph"],
            means: Means::On,
        },
        trtllm_switch(&["--cuda_graph_config"], Means::On),
    ])
    .offers(Offers::Off),
    setting(
        Kind::Text,
        "kv_cache_dtype",
        "Data type of the KV cache",
        "Data type of the KV cache: auto, fp8, … (default: auto, that of the activations)",
    )
    .spelled(&[
        sglang(&["--kv-cache-dtype"]),
        trtllm(&["--kv_cache_config.dtype"]),
        llama(&["-ctk", "--cache-type-k"]),
    ])
    .slider(Slider::Words(&["auto", "fp8"])),
    setting(
        Kind::Text,
        "dtype",
        "Data type of activations",
        "Data type of weights and activations: auto, float16, bfloat16, float32 (default: auto, the model's own)",
    )
    .spelled(&[sglang(&["--dtype"]), trtllm(&["--dtype"])]),
    setting(
        Kind::Text,
        "quantization",
        "Quantization",
        "Weight quantization: fp8, awq, gptq, mxfp4, … (default: what the model's config says)",
    )
    .short(&["-q"])
    .spelled(&[sglang(&["--quantization"])]),
    count(
        "tensor_parallel_size",
        "Tensor-parallel size",
        "Number of devices that share every layer (default: 1)",
    )
    .many()
    .short(&["-tp"])
    .spelled(&[
        sglang(&["--tensor-parallel-size", "--tp-size", "--tp"]),
        trtllm(&["--tp_size", "--tensor_parallel_size"]),
    ])
    .slider(Slider::Stops(&[1.0, 2.0, 4.0, 8.0])),
    count(
        "pipeline_parallel_size",
        "Pipeline-parallel size",
        "Number of groups of devices that each have some of the layers (default: 1)",
    )
    .many()
    .short(&["-pp"]),
    setting(
        Kind::Text,
        "pp_layer_partition",
        "Layers of each pipeline stage",
        "Layers of each pipeline stage with commas between them, vLLM's VLLM_PP_LAYER_PARTITION (default: equally many)",
    )
    .not_vllm()
    .spelled(&[Spelling {
        engine: Vllm,
        flags: &["VLLM_PP_LAYER_PARTITION"],
        means: Means::Value,
    }]),
    count(
        "decode_context_parallel_size",
        "Devices that share a sequence's KV cache",
        "Number of the tensor-parallel devices that divide the KV cache of each sequence among them (default: 1)",
    )
    .short(&["-dcp"]),
    count(
        "nnodes",
        "Nodes",
        "Number of machines among which the devices are divided evenly (default: 1)",
    )
    .spelled(&[sglang(&["--nnodes"])]),
    count(
        "data_parallel_size",
        "Data-parallel size",
        "Number of engines behind one router; those of a mixture of experts share the experts (default: 1)",
    )
    .many()
    .short(&["-dp"])
    .spelled(&[sglang(&["--data-parallel-size", "--dp-size", "--dp"])])
    .slider(Slider::Stops(&[1.0, 2.0, 4.0, 8.0, 16.0])),
    switch(
        "enable_expert_parallel",
        "Expert parallelism",
        "Give each device whole experts instead of slices of all (default: off)",
    )
    .short(&["-ep"])
    .spelled(&[trtllm_switch(&["--ep_size"], Means::On)]),
    switch(
        "enable_dp_attention",
        "Attention in data parallel",
        "Divide the devices of SGLang or TensorRT-LLM among data-parallel ranks for attention, while all share the experts (default: off)",
    )
    .not_vllm()
    .spelled(&[
        Spelling {
            engine: Sglang,
            flags: &["--enable-dp-attention"],
            means: Means::On,
        },
        trtllm_switch(&["--enable_attention_dp"], Means::On),
    ]),
    switch(
        "data_parallel_external_lb",
        "External load balancer",
        "Route requests to the engines in turn, as a load balancer outside of vLLM does (default: off)",
    ),
    setting(
        Kind::Text,
        "scheduling_policy",
        "Scheduling policy",
        "Order of waiting requests: fcfs or priority (default: fcfs)",
    ),
    count(
        "long_prefill_token_threshold",
        "Most tokens of one prompt per step",
        "Most new tokens of one request in a step; 0: no limit (default: 0)",
    ),
    switch(
        "scheduler_reserve_full_isl",
        "Room for the whole prompt",
        "Admit a request only when there are KV blocks for its whole prompt, not for the next chunk only (default of vLLM from 0.19 on: on)",
    ),
    setting(
        Kind::Text,
        "capacity_scheduler_policy",
        "What a request needs to begin",
        "KV blocks that a request of TensorRT-LLM needs to begin: guaranteed_no_evict (for its whole answer) or max_utilization (for its \
         prompt) (default: guaranteed_no_evict)",
    )
    .not_vllm()
    .spelled(&[trtllm(&["--scheduler_config.capacity_scheduler_policy"])])
    .slider(Slider::Words(&["guaranteed_no_evict", "max_utilization"])),
    count(
        "stream_interval",
        "Tokens in a message",
        "Tokens of an answer that SGLang or TensorRT-LLM sends at once, after the first (default: 1)",
    )
    .not_vllm()
    .spelled(&[sglang(&["--stream-interval"]), trtllm(&["--stream_interval"])]),
    count(
        "num_gpu_blocks_override",
        "Number of KV blocks",
        "Override the number of KV blocks (default: as many as the memory holds)",
    )
    .many()
    .spelled(&[
        sglang(&["--max-total-tokens"]),
        trtllm(&["--kv_cache_config.max_tokens"]),
    ]),
    setting(
        Kind::Count(u64::MAX),
        "kv_cache_memory_bytes",
        "Bytes of the KV cache",
        "Size of the KV cache in bytes, instead of what the memory share leaves (default: not set)",
    )
    .short(&["--kv-cache-memory"]),
    count(
        "api_server_count",
        "Front-end processes",
        "Processes that take in requests and hand out tokens (default: as many as data-parallel engines)",
    ),
    count(
        "micro_batch",
        "Tokens computed at a time",
        "Tokens that llama.cpp computes at a time, its --ubatch-size (default: 512)",
    )
    .not_vllm()
    .spelled(&[llama(&["-ub", "--ubatch-size"])]),
    setting(
        Kind::Number,
        "cpu_offload_gb",
        "GiB of weights in the host's memory",
        "GiB of weights of each device that stay in the host's memory and are read over the bus in every step (default: 0)",
    ),
    count(
        "n_gpu_layers",
        "Layers on the device",
        "Layers whose weights and KV cache are on the device, the output head being one of them; the processor computes the others (default: all)",
    )
    .many()
    .not_vllm()
    .spelled(&[llama(&["-ngl", "--gpu-layers", "--n-gpu-layers"])]),
    count(
        "n_cpu_moe",
        "Layers whose experts are the host's",
        "First layers whose experts stay in the host's memory, where the processor computes them (default: 0)",
    )
    .many()
    .not_vllm()
    .spelled(&[llama(&["-ncmoe", "--n-cpu-moe"])]),
    switch(
        "cpu_moe",
        "All experts in the host's memory",
        "Leave the experts of all layers in the host's memory (default: off)",
    )
    .not_vllm()
    .spelled(&[Spelling {
        engine: LlamaServer,
        flags: &["-cmoe", "--cpu-moe"],
        means: Means::On,
    }]),
    setting(
        Kind::Text,
        "override_tensor",
        "Where tensors lie",
        "Patterns of tensor names and where they lie, as PATTERN=CPU or PATTERN=CUDA0, with commas between; the first one counts (default: none)",
    )
    .not_vllm()
    .spelled(&[llama(&["-ot", "--override-tensor"])]),
    switch(
        "op_offload",
        "Large batches on the device",
        "Copy weights from the host's memory to the device for batches of 32 tokens and more (default: on)",
    )
    .not_vllm()
    .spelled(&[
        Spelling {
            engine: LlamaServer,
            flags: &["--op-offload"],
            means: Means::On,
        },
        Spelling {
            engine: LlamaServer,
            flags: &["--no-op-offload"],
            means: Means::Off,
        },
    ]),
    setting(
        Kind::Text,
        "speculative_method",
        "What drafts tokens",
        "What drafts tokens for speculative decoding: none, ngram, draft_model, eagle, eagle3, mtp, dflash (default: none)",
    )
    .not_vllm()
    .spelled(&[
        vllm(&["--speculative-config.method"]),
        sglang(&["--speculative-algorithm"]),
        trtllm(&["--speculative_config.decoding_type"]),
    ]),
    count(
        "num_speculative_tokens",
        "Draft tokens per step",
        "Tokens that are drafted for each sequence and step; 0: no speculative decoding (default: 1 of mtp, 3 of llama-server, 3 or 5 of SGLang)",
    )
    .many()
    .not_vllm()
    .spelled(&[
        vllm(&[
            "--speculative-config.num_speculative_tokens",
            "--num-speculative-tokens",
        ]),
        sglang(&["--speculative-num-steps"]),
        trtllm(&[
            "--speculative_config.max_draft_len",
            "--speculative_config.num_nextn_predict_layers",
        ]),
        llama(&["--draft-max", "--draft", "--draft-n", "--spec-draft-n-max"]),
    ])
    .tries(Tries::Counts(&[0, 1, 3, 5])),
    setting(
        Kind::Text,
        "speculative_model",
        "Draft model",
        "Model that drafts: a name that ships with capsim or the path of its config.json (default: a layer like the model's own)",
    )
    .not_vllm()
    .spelled(&[
        vllm(&["--speculative-config.model"]),
        sglang(&["--speculative-draft-model-path"]),
        trtllm(&[
            "--speculative_config.speculative_model_dir",
            "--speculative_config.speculative_model",
        ]),
        llama(&["-md", "--model-draft", "--spec-draft-model"]),
    ]),
    setting(
        Kind::Text,
        "speculative_quantization",
        "Weights of the drafter",
        "Weight format of the draft model (default: what its config says)",
    )
    .not_vllm()
    .spelled(&[
        vllm(&[
            "--speculative-config.quantization",
            "--speculative-model-quantization",
        ]),
        sglang(&["--speculative-draft-model-quantization"]),
    ]),
    setting(
        Kind::Text,
        "speculative_acceptance",
        "Accepted drafts",
        "Share of drafts that are accepted: one for every draft (0.7), one for each position as engines print them (0.73,0.52,0.35), a mean \
         acceptance length (length:2.6), or recorded numbers of accepted drafts (trace:FILE) (default: published figures of the method)",
    )
    .not_vllm(),
    setting(
        Kind::Number,
        "speculative_drafted",
        "Steps with drafts",
        "Share of the steps of a sequence that have drafts, from 0 to 1 (default: 1; of ngram 0.1)",
    )
    .not_vllm(),
    count(
        "speculative_eagle_topk",
        "Branches of the draft",
        "Branches of SGLang's draft tree in each step (default of SGLang: 1, of Llama models 4)",
    )
    .not_vllm()
    .spelled(&[sglang(&["--speculative-eagle-topk"])]),
    count(
        "speculative_num_draft_tokens",
        "Rows of a verification",
        "Tokens of SGLang's draft tree that a step verifies, the one before the drafts included (default of SGLang: one more than the drafts, \
         of Llama models 8)",
    )
    .not_vllm()
    .spelled(&[sglang(&["--speculative-num-draft-tokens"])]),
];

const NAMES: [&str; N] = {
    let mut names = [""; N];
    let mut at = 0;
    while at < N {
        names[at] = ROWS[at].field.name;
        at += 1;
    }
    names
};

macro_rules! keys {
    ($($(#[$doc:meta])* $key:ident: $kind:ty = $name:literal;)*) => {
        $($(#[$doc])* pub const $key: Key<EngineSection, $kind> = Key::at(position(&NAMES, $name));)*
    };
}

keys! {
    /// Data type of weights and activations.
    DTYPE: String = "dtype";
    /// Weight quantization.
    QUANTIZATION: String = "quantization";
    /// Groups of devices that each have some of the layers.
    PIPELINE_PARALLEL_SIZE: u32 = "pipeline_parallel_size";
    /// Layers of each of them.
    PP_LAYER_PARTITION: String = "pp_layer_partition";
    /// Tensor-parallel devices that divide the KV cache of a sequence.
    DECODE_CONTEXT_PARALLEL_SIZE: u32 = "decode_context_parallel_size";
    /// Machines among which the devices are divided.
    NNODES: u32 = "nnodes";
    /// Data type of the KV cache.
    KV_CACHE_DTYPE: String = "kv_cache_dtype";
    /// Longest sequence, tokens.
    MAX_MODEL_LEN: u32 = "max_model_len";
    /// Most sequences in a batch.
    MAX_NUM_SEQS: u32 = "max_num_seqs";
    /// Most new tokens in a step.
    MAX_NUM_BATCHED_TOKENS: u32 = "max_num_batched_tokens";
    /// Share of the device memory, above 0 to 1.
    GPU_MEMORY_UTILIZATION: f64 = "gpu_memory_utilization";
    /// Tokens per KV block.
    BLOCK_SIZE: u32 = "block_size";
    /// Prefix caching.
    ENABLE_PREFIX_CACHING: bool = "enable_prefix_caching";
    /// Chunked prefill.
    ENABLE_CHUNKED_PREFILL: bool = "enable_chunked_prefill";
    /// No CUDA/HIP graphs.
    ENFORCE_EAGER: bool = "enforce_eager";
    /// Asynchronous scheduling.
    ASYNC_SCHEDULING: bool = "async_scheduling";
    /// `fcfs` or `priority`.
    SCHEDULING_POLICY: String = "scheduling_policy";
    /// Most new tokens of one request in a step; 0: no limit.
    LONG_PREFILL_TOKEN_THRESHOLD: u32 = "long_prefill_token_threshold";
    /// Whether a request waits until there are blocks for its whole prompt.
    SCHEDULER_RESERVE_FULL_ISL: bool = "scheduler_reserve_full_isl";
    /// What a request of TensorRT-LLM needs to begin.
    CAPACITY_SCHEDULER_POLICY: String = "capacity_scheduler_policy";
    /// Tokens in a message.
    STREAM_INTERVAL: u32 = "stream_interval";
    /// Number of KV blocks.
    NUM_GPU_BLOCKS_OVERRIDE: u32 = "num_gpu_blocks_override";
    /// Size of the KV cache, bytes.
    KV_CACHE_MEMORY_BYTES: u64 = "kv_cache_memory_bytes";
    /// Processes of the front end.
    API_SERVER_COUNT: u32 = "api_server_count";
    /// Tokens that llama.cpp computes at a time.
    MICRO_BATCH: u32 = "micro_batch";
    /// GiB of weights in the host's memory.
    CPU_OFFLOAD_GB: f64 = "cpu_offload_gb";
    /// Layers on the device, the head among them.
    N_GPU_LAYERS: u32 = "n_gpu_layers";
    /// First layers whose experts are the host's.
    N_CPU_MOE: u32 = "n_cpu_moe";
    /// Whether all layers' experts are the host's.
    CPU_MOE: bool = "cpu_moe";
    /// Patterns of tensors and where they lie.
    OVERRIDE_TENSOR: String = "override_tensor";
    /// Whether large batches take weights to the device.
    OP_OFFLOAD: bool = "op_offload";
    /// Devices that share every layer.
    TENSOR_PARALLEL_SIZE: u32 = "tensor_parallel_size";
    /// Engines behind one router.
    DATA_PARALLEL_SIZE: u32 = "data_parallel_size";
    /// Whether a load balancer outside of vLLM routes requests in turn.
    DATA_PARALLEL_EXTERNAL_LB: bool = "data_parallel_external_lb";
    /// Whether attention's ranks share the experts' devices.
    ENABLE_DP_ATTENTION: bool = "enable_dp_attention";
    /// Whole experts per device.
    ENABLE_EXPERT_PARALLEL: bool = "enable_expert_parallel";
    /// What drafts.
    SPECULATIVE_METHOD: String = "speculative_method";
    /// Drafts of a sequence and step.
    NUM_SPECULATIVE_TOKENS: u32 = "num_speculative_tokens";
    /// The model that drafts.
    SPECULATIVE_MODEL: String = "speculative_model";
    /// Its weight format.
    SPECULATIVE_QUANTIZATION: String = "speculative_quantization";
    /// How many drafts are right.
    SPECULATIVE_ACCEPTANCE: String = "speculative_acceptance";
    /// Share of steps with drafts.
    SPECULATIVE_DRAFTED: f64 = "speculative_drafted";
    /// Branches of a draft tree.
    SPECULATIVE_EAGLE_TOPK: u32 = "speculative_eagle_topk";
    /// Rows of a verification.
    SPECULATIVE_NUM_DRAFT_TOKENS: u32 = "speculative_num_draft_tokens";
}

#[cfg(test)]
mod tests {
    use super::super::SettingValues;
    use super::*;
    use crate::fields::{Section, Value};

    #[test]
    fn keys_have_the_kind_of_their_field() {
        let all: Vec<&str> = EngineSection::fields().map(|f| f.name).collect();
        let mut once = all.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), all.len(), "a name is there twice");
        let s = SettingValues::default()
            .with(MAX_NUM_SEQS, 4)
            .with(ENFORCE_EAGER, true)
            .with(GPU_MEMORY_UTILIZATION, 0.9)
            .with(DTYPE, "auto".to_string());
        for (field, value) in s.iter() {
            assert_eq!(
                field.parse(&value.to_string()).as_ref(),
                Ok(value),
                "{field:?}"
            );
        }
        assert_eq!(s.get(MAX_NUM_SEQS), Some(4));
        assert_eq!(s.get(MAX_MODEL_LEN), None);
    }

    #[test]
    fn settings_are_a_json_object_with_vllms_names() {
        let text = r#"{"max_num_seqs":16,"gpu_memory_utilization":0.9,"enforce_eager":true}"#;
        let s: SettingValues = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&s).unwrap(), text);
        let s: SettingValues = serde_json::from_str(r#"{"max-num-seqs": null}"#).unwrap();
        assert!(s.is_empty());
        for (text, part) in [
            (r#"{"max_num_seq": 1}"#, "did you mean `max_num_seqs`"),
            (r#"{"max_num_seqs": "many"}"#, "max_num_seqs: `many`"),
            (
                r#"{"enforce_eager": 7}"#,
                "enforce_eager: 7 is not true or false",
            ),
            (r#"{"block_size": 1, "block-size": 2}"#, "twice"),
            ("[]", "an object of engine settings"),
        ] {
            let e = serde_json::from_str::<SettingValues>(text).unwrap_err();
            assert!(e.to_string().contains(part), "{e}");
        }
    }

    #[test]
    fn a_change_that_is_offered_or_tried_is_one_that_the_field_takes() {
        for s in &TABLE {
            let f = &s.field;
            match s.tries {
                Tries::Counts(all) => all.iter().for_each(|n| {
                    assert_eq!(f.parse(&n.to_string()), Ok(Value::Count((*n).into())))
                }),
                Tries::Fractions(_) => assert_eq!(f.kind, Kind::Number),
                Tries::Both => assert_eq!(f.kind, Kind::Switch),
                Tries::Needed => assert_eq!(f.name, MAX_MODEL_LEN.name()),
                Tries::Asked => {}
            }
            if s.offers == Offers::On {
                assert_eq!(f.kind, Kind::Switch);
            }
        }
    }
}
