//! A scenario's engine settings as a `vllm serve` line.
use crate::predict::Scenario;

/// The words of the line; a flag and its value are one word.
pub fn words(s: &Scenario) -> Vec<String> {
    let a = &s.serve;
    let mut o = vec!["vllm serve".to_string(), s.model_name.clone()];
    let mut flag = |name: &str, value: Option<String>| {
        if let Some(v) = value {
            o.push(format!("--{name} {v}"));
        }
    };
    flag("dtype", a.dtype.clone());
    flag("quantization", a.quantization.clone());
    flag("kv-cache-dtype", a.kv_cache_dtype.clone());
    flag("max-model-len", a.max_model_len.map(|v| v.to_string()));
    flag("max-num-seqs", a.max_num_seqs.map(|v| v.to_string()));
    flag(
        "max-num-batched-tokens",
        a.max_num_batched_tokens.map(|v| v.to_string()),
    );
    flag(
        "gpu-memory-utilization",
        a.gpu_memory_utilization.map(|v| v.to_string()),
    );
    flag("block-size", a.block_size.map(|v| v.to_string()));
    flag("scheduling-policy", a.scheduling_policy.clone());
    flag(
        "long-prefill-token-threshold",
        a.long_prefill_token_threshold.map(|v| v.to_string()),
    );
    flag(
        "num-gpu-blocks-override",
        a.num_gpu_blocks_override.map(|v| v.to_string()),
    );
    flag(
        "kv-cache-memory-bytes",
        a.kv_cache_memory_bytes.map(|v| v.to_string()),
    );
    flag(
        "tensor-parallel-size",
        a.tensor_parallel_size.map(|v| v.to_string()),
    );
    flag(
        "data-parallel-size",
        a.data_parallel_size.map(|v| v.to_string()),
    );
    for (name, value) in [
        ("enable-chunked-prefill", a.enable_chunked_prefill),
        ("enable-prefix-caching", a.enable_prefix_caching),
        ("async-scheduling", a.async_scheduling),
    ] {
        match value {
            Some(true) => o.push(format!("--{name}")),
            Some(false) => o.push(format!("--no-{name}")),
            None => {}
        }
    }
    for (name, value) in [
        ("enforce-eager", a.enforce_eager),
        ("enable-expert-parallel", a.enable_expert_parallel),
        ("data-parallel-external-lb", a.data_parallel_external_lb),
    ] {
        if value == Some(true) {
            o.push(format!("--{name}"));
        }
    }
    o
}
