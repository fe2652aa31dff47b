//! What monitoring asks of `/metrics`.
use super::client::{Client, words};
use capsim_live::openai::prometheus::Scrape;
use serde_json::json;
use std::collections::BTreeSet;

/// The series that vLLM's own Grafana dashboard asks for, each query's name once, as they stand in
/// `examples/observability/prometheus_grafana/grafana.json` of vllm-project/vllm at commit 4b5c627c (before 0.32 the file lay under
/// `examples/online_serving/`).
const GRAFANA: &[&str] = &[
    "vllm:e2e_request_latency_seconds_bucket",
    "vllm:e2e_request_latency_seconds_sum",
    "vllm:e2e_request_latency_seconds_count",
    "vllm:prompt_tokens_total",
    "vllm:generation_tokens_total",
    "vllm:inter_token_latency_seconds_bucket",
    "vllm:inter_token_latency_seconds_sum",
    "vllm:inter_token_latency_seconds_count",
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:time_to_first_token_seconds_bucket",
    "vllm:time_to_first_token_seconds_sum",
    "vllm:time_to_first_token_seconds_count",
    "vllm:kv_cache_usage_perc",
    "vllm:request_prompt_tokens_bucket",
    "vllm:request_generation_tokens_bucket",
    "vllm:request_success_total",
    "vllm:request_queue_time_seconds_sum",
    "vllm:request_prefill_time_seconds_sum",
    "vllm:request_decode_time_seconds_sum",
    "vllm:request_max_num_generation_tokens_sum",
];

/// Families of a vLLM 0.32.0 server that serves text on one device, from `v1/metrics/loggers.py`, `prometheus_client`'s process collector
/// and `prometheus_fastapi_instrumentator`.
const VLLM_0_32: &[&str] = &[
    "vllm:num_requests_waiting_by_reason",
    "vllm:engine_sleep_state",
    "vllm:prefix_cache_queries_total",
    "vllm:prefix_cache_hits_total",
    "vllm:external_prefix_cache_queries_total",
    "vllm:external_prefix_cache_hits_total",
    "vllm:mm_cache_queries_total",
    "vllm:mm_cache_hits_total",
    "vllm:num_preemptions_total",
    "vllm:prompt_tokens_by_source_total",
    "vllm:prompt_tokens_cached_total",
    "vllm:prompt_tokens_cached_by_source_total",
    "vllm:admission_rejections_total",
    "vllm:iteration_tokens_total_bucket",
    "vllm:request_params_n_bucket",
    "vllm:request_params_max_tokens_bucket",
    "vllm:request_time_per_output_token_seconds_bucket",
    "vllm:request_inference_time_seconds_bucket",
    "vllm:request_num_preemptions_bucket",
    "vllm:request_prefill_kv_computed_tokens_bucket",
    "vllm:cache_config_info",
    "http_requests_total",
    "http_request_size_bytes_count",
    "http_response_size_bytes_sum",
    "http_request_duration_highr_seconds_bucket",
    "http_request_duration_seconds_bucket",
];

async fn scraped(c: &Client) -> Scrape {
    let scrape = Scrape::parse(&c.get("/metrics").await.1);
    assert_eq!(scrape.errors, []);
    scrape
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_query_of_vllms_dashboard_names_a_series_that_is_there() {
    let c = Client::new().await;
    let body = json!({"prompt": words(64, 0), "max_tokens": 4, "ignore_eos": true});
    for _ in 0..2 {
        assert_eq!(c.post("/v1/completions", body.clone()).await.0, 200);
    }
    let s = scraped(&c).await;
    let names: BTreeSet<&str> = s.samples.iter().map(|x| x.name.as_str()).collect();
    let process = [
        "process_start_time_seconds",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
    ];
    let process = process.iter().filter(|_| cfg!(target_os = "linux"));
    for wanted in GRAFANA.iter().chain(VLLM_0_32).chain(process) {
        assert!(names.contains(wanted), "{wanted}");
    }
    // The dashboard selects by the model's name.
    for x in s
        .samples
        .iter()
        .filter(|x| GRAFANA.contains(&x.name.as_str()))
    {
        assert_eq!(x.labels["model_name"], "model", "{}", x.name);
    }
    let sum = |name: &str, key: &str, value: &str| -> f64 {
        s.named(name)
            .filter(|x| x.labels.get(key).is_some_and(|v| v == value))
            .map(|x| x.value)
            .sum()
    };
    // The same prompt again: all blocks but the last are cached.
    assert_eq!(
        sum(
            "vllm:prompt_tokens_by_source_total",
            "source",
            "local_cache_hit"
        ),
        48.0
    );
    assert_eq!(
        sum(
            "vllm:prompt_tokens_by_source_total",
            "source",
            "local_compute"
        ),
        80.0
    );
    assert_eq!(
        sum(
            "vllm:prompt_tokens_cached_by_source_total",
            "source",
            "device"
        ),
        48.0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_counted_by_handler_when_their_last_byte_is_out() {
    let c = Client::new().await;
    let body = json!({"prompt": "a", "max_tokens": 4, "ignore_eos": true, "stream": true});
    c.stream("/v1/completions", body).await;
    assert_eq!(
        c.post("/v1/completions", json!({"prompt": 1.5})).await.0,
        400
    );
    c.get("/no/such/thing").await;
    c.get("/health").await;
    let s = scraped(&c).await;
    let count = |handler: &str, status: &str| {
        s.named("http_requests_total")
            .filter(|x| x.labels["handler"] == handler && x.labels["status"] == status)
            .map(|x| x.value)
            .sum::<f64>()
    };
    assert_eq!(count("/v1/completions", "2xx"), 1.0);
    assert_eq!(count("/v1/completions", "4xx"), 1.0);
    assert_eq!(count("none", "4xx"), 1.0);
    // Neither /health nor /metrics itself.
    let all: f64 = s.named("http_requests_total").map(|x| x.value).sum();
    assert_eq!(all, 3.0);
    // Four steps of 2 ms lie in the streamed answer.
    let sum: f64 = s
        .named("http_request_duration_highr_seconds_sum")
        .map(|x| x.value)
        .sum();
    assert!(sum >= 0.008, "{sum}");
    let sent: f64 = s
        .named("http_request_size_bytes_sum")
        .map(|x| x.value)
        .sum();
    assert!(sent > 0.0);
}
