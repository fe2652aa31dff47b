//! What `/metrics` tells, counted where vLLM 0.12 counts it (`v1/metrics/stats.py`, `loggers.py`), with the families that 0.32 has beside
//! them, whatever the release: a dashboard of either draws.
use super::http_counts::HttpCounts;
use crate::openai::metrics as names;
use crate::openai::prometheus::{Histogram, Labels, Writer};
use capsim::engine::observe::{FinishReason, RequestRecord};
use capsim::engine::{EngineConfig, PrefixCounters};
use capsim::units::{SimTime, Span};

/// How late tokens were handed to their connections, after the moment at which the simulated engine had them.
pub const ADDED_DELAY: &str = "capsim:added_delay_seconds";
const DELAY_EDGES: &[f64] = &[
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 1.0,
];

/// Counters, gauges and histograms.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub running: u64,
    pub waiting: u64,
    pub kv_usage: f64,
    pub prefix: PrefixCounters,
    pub preemptions: u64,
    pub prompt_tokens: u64,
    pub generation_tokens: u64,
    /// Refused because too many waited.
    pub rejected: u64,
    stopped: u64,
    by_length: u64,
    iteration_tokens: Histogram,
    request_prompt_tokens: Histogram,
    request_generation_tokens: Histogram,
    max_generation_tokens: Histogram,
    params_n: Histogram,
    params_max_tokens: Histogram,
    ttft: Histogram,
    itl: Histogram,
    tpot: Histogram,
    e2el: Histogram,
    queue: Histogram,
    inference: Histogram,
    prefill: Histogram,
    decode: Histogram,
    request_preemptions: Histogram,
    prefill_computed: Histogram,
}

/// See [`Metrics::totals`].
#[derive(Clone, Copy, Debug)]
pub struct Totals {
    /// Steps with output.
    pub steps: u64,
    /// Of all requests that ended.
    pub prefill_seconds: f64,
    /// Of all requests that ended.
    pub decode_seconds: f64,
}

/// What does not change while the server runs.
#[derive(Clone, Debug)]
pub struct Constants {
    pub model_name: String,
    pub config: EngineConfig,
    pub cache_dtype: String,
    pub gpu_memory_utilization: f64,
}

impl Constants {
    /// What the KV cache was set up with: one sample, whose labels tell it.
    fn write(&self, w: &mut Writer) {
        let python = |b: bool| if b { "True" } else { "False" };
        let text = |n: u32| n.to_string();
        w.gauge(
            names::CACHE_CONFIG,
            "Information of the LLMEngine CacheConfig",
            &[(
                &[
                    ("block_size", &text(self.config.block_size)),
                    ("cache_dtype", &self.cache_dtype),
                    (
                        "enable_prefix_caching",
                        python(self.config.enable_prefix_caching),
                    ),
                    ("engine", "0"),
                    (
                        "gpu_memory_utilization",
                        &format!("{:?}", self.gpu_memory_utilization),
                    ),
                    ("num_gpu_blocks", &text(self.config.num_gpu_blocks)),
                    ("sliding_window", "None"),
                ],
                1.0,
            )],
        );
    }
}

impl Metrics {
    pub fn new(max_model_len: u32) -> Self {
        let tokens = || Histogram::new(names::one_two_five(max_model_len));
        let latency = || Histogram::new(names::LATENCY_EDGES);
        Self {
            running: 0,
            waiting: 0,
            kv_usage: 0.0,
            prefix: PrefixCounters::default(),
            preemptions: 0,
            prompt_tokens: 0,
            generation_tokens: 0,
            rejected: 0,
            stopped: 0,
            by_length: 0,
            iteration_tokens: Histogram::new(names::ITERATION_EDGES),
            request_prompt_tokens: tokens(),
            request_generation_tokens: tokens(),
            max_generation_tokens: tokens(),
            params_n: Histogram::new(names::N_EDGES),
            params_max_tokens: tokens(),
            ttft: Histogram::new(names::TTFT_EDGES),
            itl: Histogram::new(names::ITL_EDGES),
            tpot: Histogram::new(names::ITL_EDGES),
            e2el: latency(),
            queue: latency(),
            inference: latency(),
            prefill: latency(),
            decode: latency(),
            request_preemptions: Histogram::new(names::PREEMPTION_EDGES),
            prefill_computed: tokens(),
        }
    }

    /// A step had output: so many tokens, the first of prompts of so many tokens in all.
    pub fn step(&mut self, generated: u64, prompt: u64) {
        if generated > 0 {
            self.prompt_tokens += prompt;
            self.generation_tokens += generated;
            self.iteration_tokens.observe((generated + prompt) as f64);
        }
    }

    /// `count` requests got a token `gap` after their previous one.
    pub fn gap(&mut self, gap: Span, count: u32) {
        self.itl.observe_n(gap.secs(), count.into());
    }

    /// A request got its first token.
    pub fn first_token(&mut self, arrival: SimTime, now: SimTime) {
        self.ttft.observe(now.since(arrival).secs());
    }

    /// A request ended by itself.
    pub fn finished(&mut self, r: &RequestRecord, max_tokens: u32) {
        match r.reason {
            FinishReason::Stop => self.stopped += 1,
            FinishReason::Length => self.by_length += 1,
            // vLLM keeps no statistics of those.
            FinishReason::Abort => return,
        }
        let decode = r.finish.since(r.first_token).secs();
        self.e2el.observe(r.finish.since(r.arrival).secs());
        self.queue.observe(r.scheduled.since(r.arrival).secs());
        self.prefill
            .observe(r.first_token.since(r.scheduled).secs());
        self.inference.observe(r.finish.since(r.scheduled).secs());
        self.decode.observe(decode);
        self.request_prompt_tokens.observe(r.prompt_tokens.into());
        self.request_generation_tokens
            .observe(r.output_tokens.into());
        self.tpot.observe(match r.output_tokens {
            0 | 1 => 0.0,
            n => decode / f64::from(n - 1),
        });
        self.params_max_tokens.observe(max_tokens.into());
        self.request_preemptions.observe(r.preemptions.into());
        let computed = r.prompt_tokens.saturating_sub(r.cached_tokens);
        self.prefill_computed.observe(computed.into());
    }

    /// Sums over the life of the server.
    pub fn totals(&self) -> Totals {
        Totals {
            steps: self.iteration_tokens.count(),
            prefill_seconds: self.prefill.sum(),
            decode_seconds: self.decode.sum(),
        }
    }

    /// TTFT, ITL and E2EL.
    pub fn latencies(&self) -> [&Histogram; 3] {
        [&self.ttft, &self.itl, &self.e2el]
    }

    /// All choices of a prompt ended: how many there were, and the longest.
    pub fn group(&mut self, n: u32, longest: u32) {
        self.params_n.observe(n.into());
        self.max_generation_tokens.observe(longest.into());
    }

    /// The text.
    pub fn render(&self, c: &Constants, added_delay: &Delay, http: &HttpCounts) -> String {
        let mut w = Writer::new();
        let l: &Labels = &[("engine", "0"), ("model_name", &c.model_name)];
        let with = |key: &'static str, value: &'static str| {
            let mut all = l.to_vec();
            all.push((key, value));
            all
        };
        w.gauge(
            names::RUNNING,
            "Number of requests in model execution batches.",
            &[(l, self.running as f64)],
        );
        w.gauge(
            names::WAITING,
            "Number of requests waiting to be processed.",
            &[(l, self.waiting as f64)],
        );
        let states = ["awake", "weights_offloaded", "discard_all"].map(|s| with("sleep_state", s));
        w.gauge(
            names::SLEEP_STATE,
            "Engine sleep state; awake = 0 means asleep.",
            &[(&states[0], 1.0), (&states[1], 0.0), (&states[2], 0.0)],
        );
        w.gauge(
            names::KV_USAGE,
            "KV-cache usage. 1 means 100 percent usage.",
            &[(l, self.kv_usage)],
        );
        for (name, help, value) in self.counters() {
            w.counter(name, help, &[(l, value)]);
        }
        self.write_later_families(&mut w, l);
        let reasons =
            ["stop", "length", "abort", "error", "repetition"].map(|r| with("finished_reason", r));
        w.counter(
            names::SUCCESS,
            "Count of successfully processed requests.",
            &[
                (&reasons[0], self.stopped),
                (&reasons[1], self.by_length),
                (&reasons[2], 0),
                (&reasons[3], 0),
                (&reasons[4], 0),
            ],
        );
        for (name, help, h) in self.histograms() {
            w.histogram(name, help, l, h);
        }
        c.write(&mut w);
        w.histogram(
            ADDED_DELAY,
            "From the simulated engine's output to its hand-over to the connection.",
            l,
            &added_delay.histogram(),
        );
        http.write(&mut w);
        super::process::write(&mut w);
        w.finish()
    }

    /// What vLLM 0.32 has and 0.12 has not. A prompt's cached tokens are counted when it is admitted, as the prefix cache's hits are.
    fn write_later_families(&self, w: &mut Writer, l: &Labels) {
        let with = |key: &'static str, value: &'static str| {
            let mut all = l.to_vec();
            all.push((key, value));
            all
        };
        let waiting = ["capacity", "deferred"].map(|r| with("reason", r));
        w.gauge(
            names::WAITING_BY_REASON,
            "Number of waiting requests by reason. Reason labels: 'capacity' = waiting for scheduling capacity; 'deferred' = deferred by transient constraints (LoRA budget, KV transfer, blocked status). Sum of all reasons equals vllm:num_requests_waiting.",
            &[(&waiting[0], self.waiting as f64), (&waiting[1], 0.0)],
        );
        let cached = self.prefix.hits.min(self.prompt_tokens);
        let sources =
            ["local_compute", "local_cache_hit", "external_kv_transfer"].map(|s| with("source", s));
        w.counter(
            names::PROMPT_TOKENS_BY_SOURCE,
            "Number of prompt tokens by source.",
            &[
                (&sources[0], self.prompt_tokens - cached),
                (&sources[1], cached),
                (&sources[2], 0),
            ],
        );
        let tiers =
            ["device", "host", "disk", "p2p", "external_unspecified"].map(|s| with("source", s));
        let by_tier: Vec<(&Labels, u64)> = tiers
            .iter()
            .enumerate()
            .map(|(i, l)| (&l[..], if i == 0 { self.prefix.hits } else { 0 }))
            .collect();
        w.counter(
            names::PROMPT_TOKENS_CACHED_BY_SOURCE,
            "Prefix-cache hit tokens by the cache tier that supplied them.",
            &by_tier,
        );
        for (name, help, v) in [
            (
                names::PROMPT_TOKENS_CACHED,
                "Number of cached prompt tokens (local + external).",
                cached,
            ),
            (
                names::EXTERNAL_PREFIX_QUERIES,
                "External prefix cache queries from KV connector cross-instance cache sharing, in terms of number of queried tokens.",
                0,
            ),
            (
                names::EXTERNAL_PREFIX_HITS,
                "External prefix cache hits from KV connector cross-instance cache sharing, in terms of number of cached tokens.",
                0,
            ),
            (
                names::MM_QUERIES,
                "Multi-modal cache queries, in terms of number of queried items.",
                0,
            ),
            (
                names::MM_HITS,
                "Multi-modal cache hits, in terms of number of cached items.",
                0,
            ),
        ] {
            w.counter(name, help, &[(l, v)]);
        }
        let model = l
            .iter()
            .find(|(k, _)| *k == "model_name")
            .map_or("", |m| m.1);
        let limits = ["max_num_queued_reqs", "max_num_queued_tokens"]
            .map(|r| [("model_name", model), ("reason", r)]);
        w.counter(
            names::ADMISSION_REJECTIONS,
            "Number of admission attempts rejected by a queue limit, by reason.",
            &[(&limits[0], self.rejected), (&limits[1], 0)],
        );
    }

    /// Name, help and value of each counter.
    fn counters(&self) -> [(&'static str, &'static str, u64); 5] {
        [
            (
                names::PREFIX_QUERIES,
                "Prefix cache queries, in terms of number of queried tokens.",
                self.prefix.queries,
            ),
            (
                names::PREFIX_HITS,
                "Prefix cache hits, in terms of number of cached tokens.",
                self.prefix.hits,
            ),
            (
                names::PREEMPTIONS,
                "Cumulative number of preemption from the engine.",
                self.preemptions,
            ),
            (
                names::PROMPT_TOKENS,
                "Number of prefill tokens processed.",
                self.prompt_tokens,
            ),
            (
                names::GENERATION_TOKENS,
                "Number of generation tokens processed.",
                self.generation_tokens,
            ),
        ]
    }

    /// Name, help and contents of each histogram of the engine.
    fn histograms(&self) -> [(&'static str, &'static str, &Histogram); 16] {
        [
            (
                names::REQUEST_PROMPT_TOKENS,
                "Number of prefill tokens processed.",
                &self.request_prompt_tokens,
            ),
            (
                names::REQUEST_GENERATION_TOKENS,
                "Number of generation tokens processed.",
                &self.request_generation_tokens,
            ),
            (
                names::ITERATION_TOKENS,
                "Histogram of number of tokens per engine_step.",
                &self.iteration_tokens,
            ),
            (
                names::REQUEST_MAX_GENERATION_TOKENS,
                "Histogram of maximum number of requested generation tokens.",
                &self.max_generation_tokens,
            ),
            (
                names::REQUEST_PARAMS_N,
                "Histogram of the n request parameter.",
                &self.params_n,
            ),
            (
                names::REQUEST_PARAMS_MAX_TOKENS,
                "Histogram of the max_tokens request parameter.",
                &self.params_max_tokens,
            ),
            (
                names::TTFT,
                "Histogram of time to first token in seconds.",
                &self.ttft,
            ),
            (
                names::ITL,
                "Histogram of inter-token latency in seconds.",
                &self.itl,
            ),
            (
                names::TPOT,
                "Histogram of time_per_output_token_seconds per request.",
                &self.tpot,
            ),
            (
                names::E2EL,
                "Histogram of e2e request latency in seconds.",
                &self.e2el,
            ),
            (
                names::QUEUE_TIME,
                "Histogram of time spent in WAITING phase for request.",
                &self.queue,
            ),
            (
                names::INFERENCE_TIME,
                "Histogram of time spent in RUNNING phase for request.",
                &self.inference,
            ),
            (
                names::PREFILL_TIME,
                "Histogram of time spent in PREFILL phase for request.",
                &self.prefill,
            ),
            (
                names::DECODE_TIME,
                "Histogram of time spent in DECODE phase for request.",
                &self.decode,
            ),
            (
                names::REQUEST_PREEMPTIONS,
                "Histogram of the number of times a request was preempted.",
                &self.request_preemptions,
            ),
            (
                names::REQUEST_PREFILL_COMPUTED,
                "Histogram of new KV tokens computed during prefill (excluding cached tokens).",
                &self.prefill_computed,
            ),
        ]
    }
}

/// Counts delays without a lock: every connection reports each of its tokens.
#[derive(Debug)]
pub struct Delay {
    counts: Vec<std::sync::atomic::AtomicU64>,
    sum_ns: std::sync::atomic::AtomicU64,
}

impl Delay {
    pub fn new() -> Self {
        Self {
            counts: (0..=DELAY_EDGES.len()).map(|_| 0.into()).collect(),
            sum_ns: 0.into(),
        }
    }

    /// A token was this late.
    pub fn observe(&self, delay_ns: u64) {
        use std::sync::atomic::Ordering::Relaxed;
        let secs = delay_ns as f64 / 1e9;
        self.counts[DELAY_EDGES.partition_point(|e| *e < secs)].fetch_add(1, Relaxed);
        self.sum_ns.fetch_add(delay_ns, Relaxed);
    }

    fn histogram(&self) -> Histogram {
        use std::sync::atomic::Ordering::Relaxed;
        let counts = self.counts.iter().map(|c| c.load(Relaxed)).collect();
        Histogram::from_parts(DELAY_EDGES, counts, self.sum_ns.load(Relaxed) as f64 / 1e9)
    }
}
