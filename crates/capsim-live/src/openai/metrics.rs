//! vLLM's metric families: names and bucket edges (vLLM 0.12.0 and 0.32.0, `v1/metrics/loggers.py`). Labels: `engine`, `model_name`.

/// Gauge of prometheus_client's `ProcessCollector`: seconds since 1970.
pub const PROCESS_START: &str = "process_start_time_seconds";

/// Gauge: requests in the running list.
pub const RUNNING: &str = "vllm:num_requests_running";
/// Gauge: requests in the waiting queue.
pub const WAITING: &str = "vllm:num_requests_waiting";
/// Gauge: part of the KV blocks in use, 0 to 1 in spite of the name.
pub const KV_USAGE: &str = "vllm:kv_cache_usage_perc";
/// Gauge, by `sleep_state`.
pub const SLEEP_STATE: &str = "vllm:engine_sleep_state";
/// Gauge, always 1; its labels are the cache configuration.
pub const CACHE_CONFIG: &str = "vllm:cache_config_info";

/// Gauge of vLLM 0.32, by `reason`: `capacity`, `deferred`.
pub const WAITING_BY_REASON: &str = "vllm:num_requests_waiting_by_reason";
/// Counter of vLLM 0.32, by `source`: `local_compute`, `local_cache_hit`, `external_kv_transfer`.
pub const PROMPT_TOKENS_BY_SOURCE: &str = "vllm:prompt_tokens_by_source";
/// Counter of vLLM 0.32.
pub const PROMPT_TOKENS_CACHED: &str = "vllm:prompt_tokens_cached";
/// Counter of vLLM 0.32, by `source`, the cache's tier.
pub const PROMPT_TOKENS_CACHED_BY_SOURCE: &str = "vllm:prompt_tokens_cached_by_source";
/// Counter of vLLM 0.32: what other instances looked up; none here.
pub const EXTERNAL_PREFIX_QUERIES: &str = "vllm:external_prefix_cache_queries";
/// Counter of vLLM 0.32.
pub const EXTERNAL_PREFIX_HITS: &str = "vllm:external_prefix_cache_hits";
/// Counter of vLLM 0.32: images looked up in the cache of processed ones; none here.
pub const MM_QUERIES: &str = "vllm:mm_cache_queries";
/// Counter of vLLM 0.32.
pub const MM_HITS: &str = "vllm:mm_cache_hits";
/// Counter of vLLM 0.32, by `reason`, without `engine`.
pub const ADMISSION_REJECTIONS: &str = "vllm:admission_rejections";
/// Histogram of vLLM 0.32.
pub const REQUEST_PREEMPTIONS: &str = "vllm:request_num_preemptions";
/// Histogram of vLLM 0.32, tokens.
pub const REQUEST_PREFILL_COMPUTED: &str = "vllm:request_prefill_kv_computed_tokens";

/// Counter, in tokens (`_total` is appended to counters in the text).
pub const PREFIX_QUERIES: &str = "vllm:prefix_cache_queries";
/// Counter, in tokens.
pub const PREFIX_HITS: &str = "vllm:prefix_cache_hits";
/// Counter.
pub const PREEMPTIONS: &str = "vllm:num_preemptions";
/// Counter, counted at a request's first output token.
pub const PROMPT_TOKENS: &str = "vllm:prompt_tokens";
/// Counter.
pub const GENERATION_TOKENS: &str = "vllm:generation_tokens";
/// Counter, by `finished_reason`.
pub const SUCCESS: &str = "vllm:request_success";

/// Histogram of tokens per step with output; its `_count` is the number of such steps. (The name ends in `_total` itself.)
pub const ITERATION_TOKENS: &str = "vllm:iteration_tokens_total";
/// Histogram of tokens.
pub const REQUEST_PROMPT_TOKENS: &str = "vllm:request_prompt_tokens";
/// Histogram of tokens.
pub const REQUEST_GENERATION_TOKENS: &str = "vllm:request_generation_tokens";
/// Histogram of tokens.
pub const REQUEST_MAX_GENERATION_TOKENS: &str = "vllm:request_max_num_generation_tokens";
/// Histogram of the `n` parameter.
pub const REQUEST_PARAMS_N: &str = "vllm:request_params_n";
/// Histogram of the `max_tokens` parameter.
pub const REQUEST_PARAMS_MAX_TOKENS: &str = "vllm:request_params_max_tokens";
/// Histogram, seconds.
pub const TTFT: &str = "vllm:time_to_first_token_seconds";
/// Histogram, seconds.
pub const ITL: &str = "vllm:inter_token_latency_seconds";
/// Histogram, seconds.
pub const TPOT: &str = "vllm:request_time_per_output_token_seconds";
/// Histogram, seconds.
pub const E2EL: &str = "vllm:e2e_request_latency_seconds";
/// Histogram, seconds.
pub const QUEUE_TIME: &str = "vllm:request_queue_time_seconds";
/// Histogram, seconds.
pub const INFERENCE_TIME: &str = "vllm:request_inference_time_seconds";
/// Histogram, seconds.
pub const PREFILL_TIME: &str = "vllm:request_prefill_time_seconds";
/// Histogram, seconds.
pub const DECODE_TIME: &str = "vllm:request_decode_time_seconds";

/// Edges of [`ITERATION_TOKENS`].
pub const ITERATION_EDGES: &[f64] = &[
    1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0,
];
/// Edges of [`REQUEST_PARAMS_N`].
pub const N_EDGES: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0];
/// Edges of [`REQUEST_PREEMPTIONS`] (vLLM 0.32.0, `v1/metrics/buckets.py`).
pub const PREEMPTION_EDGES: &[f64] = &[1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0];
/// Edges of [`TTFT`].
pub const TTFT_EDGES: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
];
/// Edges of [`ITL`] and [`TPOT`].
pub const ITL_EDGES: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0,
];
/// Edges of [`E2EL`] and the parts of a request's time.
pub const LATENCY_EDGES: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0, 1920.0, 7680.0,
];

/// 1, 2, 5, 10, 20, … up to `max_value`: edges of the histograms of tokens per request.
pub fn one_two_five(max_value: u32) -> Vec<f64> {
    let mut edges = vec![];
    let mut power = 1u64;
    loop {
        for m in [1, 2, 5] {
            if m * power > u64::from(max_value) {
                return edges;
            }
            edges.push((m * power) as f64);
        }
        power *= 10;
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn edges_of_token_counts_are_vllms() {
        assert_eq!(
            super::one_two_five(100),
            [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]
        );
        assert!(super::one_two_five(0).is_empty());
    }
}
