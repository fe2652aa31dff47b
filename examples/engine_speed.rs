//! Whole-process speed of the engine simulator with the real cost model in the loop.
//!
//! The peers' workload: 512 tokens in, 256 out, Poisson arrivals, max-num-seqs 256, max-num-batched-tokens 8192,
//! block size 16, Qwen3-30B-A3B.
//!
//! `engine_speed REQUESTS LOAD [caching] [shared=TOKENS]`, LOAD being `half`, `near` (90 % of capacity) or
//! `saturating` (110 %). Prints CPU time, peak memory and work per CPU-second of the one simulation.
use capsim::cost::{CalibratedCost, CostOptions, Routing};
use capsim::device::builtin;
use capsim::engine::observe::{Observer, RequestRecord};
use capsim::engine::{EngineConfig, SimSummary, simulate};
use capsim::model::{self, Model, Precision};
use capsim::stats::Histogram;
use capsim::units::Span;
use capsim::workload::{PromptKind, WorkloadSpec};

/// Folds everything into histograms: memory does not grow with requests.
struct Fold {
    ttft: Histogram,
    e2el: Histogram,
    itl: Histogram,
}

impl Observer for Fold {
    fn on_tokens(&mut self, gap: Span, count: u32) {
        self.itl.record_n(gap.0, count.into());
    }
    fn on_request(&mut self, r: &RequestRecord) {
        let since = |t: capsim::units::SimTime| t.since(r.arrival).0;
        self.ttft.record_n(since(r.first_token), 1);
        self.e2el.record_n(since(r.finish), 1);
    }
}

fn fold() -> Fold {
    let new = Histogram::new;
    Fold {
        ttft: new(),
        e2el: new(),
        itl: new(),
    }
}

/// A number from a file of the proc file system; 0 where there is none.
fn proc_number(file: &str, pick: impl Fn(&str) -> Option<f64>) -> f64 {
    std::fs::read_to_string(file)
        .ok()
        .and_then(|t| pick(&t))
        .unwrap_or(0.0)
}

/// CPU seconds of this process so far (user and system; clock ticks are 1/100 s on Linux).
fn cpu_seconds() -> f64 {
    proc_number("/proc/self/stat", |t| {
        let rest: Vec<&str> = t.rsplit(')').next()?.split_whitespace().collect();
        Some((rest.get(11)?.parse::<f64>().ok()? + rest.get(12)?.parse::<f64>().ok()?) / 100.0)
    })
}

/// Peak resident memory in MiB.
fn peak_mib() -> f64 {
    proc_number("/proc/self/status", |t| {
        let line = t.lines().find(|l| l.starts_with("VmHWM:"))?;
        Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
    })
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let usage = "usage: engine_speed REQUESTS half|near|saturating [caching] [shared=TOKENS]";
    let requests: u32 = args.first().and_then(|a| a.parse().ok()).expect(usage);
    let load = match args.get(1).map(String::as_str) {
        Some("half") => 0.5,
        Some("near") => 0.9,
        Some("saturating") => 1.1,
        _ => panic!("{usage}"),
    };
    let caching = args.iter().any(|a| a == "caching");
    let shared: u32 = args
        .iter()
        .find_map(|a| a.strip_prefix("shared=")?.parse().ok())
        .unwrap_or(0);

    let config = EngineConfig {
        max_num_seqs: 256,
        max_num_batched_tokens: 8192,
        num_gpu_blocks: 19_162,
        enable_prefix_caching: caching,
        ..EngineConfig::default()
    };
    let description = model::builtin::find("qwen3-30b-a3b-instruct-2507")
        .expect("built in")
        .config();
    let model = Model::new(&description, Precision::of(&description));
    let cost = CalibratedCost::new(
        &model,
        &builtin::device("gfx1151").expect("built in"),
        &builtin::engine("vllm-0.12-rocm").expect("built in"),
        CostOptions {
            enforce_eager: false,
            async_scheduling: false,
            max_num_seqs: 256,
            max_num_batched_tokens: 8192,
            moe_path: None,
            routing: Routing::Uniform,
        },
    )
    .expect("built in");
    let mut spec = WorkloadSpec::open_loop(requests, 1.0, 512, 256);
    if shared > 0 {
        spec.prompts = PromptKind::SharedPrefix;
        spec.shared_prefix_len = shared;
    }
    let run = |spec: &WorkloadSpec| -> (SimSummary, Fold) {
        let mut observer = fold();
        let mut source = spec.source().expect("a valid load");
        let summary = simulate(&config, &cost, &mut source, &mut observer).expect("it can go on");
        (summary, observer)
    };
    // Capacity: a closed loop that keeps every place taken.
    let full = WorkloadSpec {
        num_prompts: 4096,
        request_rate: None,
        max_concurrency: Some(512),
        ..spec.clone()
    };
    let (s, _) = run(&full);
    let capacity = s.completed as f64 / s.end.secs();
    spec.request_rate = Some(capacity * load);

    let before = cpu_seconds();
    let (s, f) = run(&spec);
    let cpu = (cpu_seconds() - before).max(0.01);
    let quantile = |h: &Histogram, q: f64| h.quantile(q) / 1e9;
    println!(
        "{requests} requests at {:.4}/s ({:.0} % of capacity), caching {}, shared prefix {shared}",
        capacity * load,
        100.0 * load,
        if caching { "on" } else { "off" }
    );
    println!(
        "{cpu:.2} CPU-s, peak {:.0} MiB, {} steps, {:.2} M steps per CPU-s, {:.0} k requests per CPU-s",
        peak_mib(),
        s.steps,
        s.steps as f64 / cpu / 1e6,
        s.completed as f64 / cpu / 1e3
    );
    println!(
        "end {} ns, {} output tokens, {} preemptions, TTFT p50 {:.3} s p99 {:.3} s, ITL p50 {:.4} s, E2EL p99 {:.2} s",
        s.end.0,
        s.output_tokens,
        s.preemptions,
        quantile(&f.ttft, 0.5),
        quantile(&f.ttft, 0.99),
        quantile(&f.itl, 0.5),
        quantile(&f.e2el, 0.99),
    );
}
