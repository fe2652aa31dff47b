//! Whole-process speed of the engine simulator with the real cost model in the loop.
//!
//! The peers' workload: 512 tokens in, 256 out, Poisson arrivals, max-num-seqs 256, max-num-batched-tokens 8192,
//! block size 16, Qwen3-30B-A3B, profiles read from the files under `calibration/`.
//!
//! ```text
//! engine_speed [--requests N] [--load saturating|near|half] [--prefix-caching on|off] [--shared-prefix TOKENS]
//!              [--capacity REQUESTS_PER_SECOND]
//! ```
//!
//! `half` is 50 % of capacity, `near` 90 %, `saturating` 110 %. Capacity is measured by a short closed loop first,
//! unless it is given: then the process does nothing but the one simulation.
use capsim::cost::{CostOptions, Routing, StepPrice};
use capsim::device::builtin;
use capsim::engine::observe::{Observer, RequestRecord};
use capsim::engine::{EngineConfig, SimSummary, simulate};
use capsim::model::{self, Model, Precision};
use capsim::stats::Histogram;
use capsim::units::Span;
use capsim::workload::{PromptKind, WorkloadSpec};
use cpu_time::ProcessTime;

/// Folds everything into histograms: memory does not grow with requests.
#[derive(Default)]
struct Fold {
    ttft: Histogram,
    e2el: Histogram,
    itl: Histogram,
    /// FNV-1a over every record, so that two runs can be told apart by one number.
    checksum: u64,
}

impl Fold {
    fn mix(&mut self, v: u64) {
        self.checksum = (self.checksum ^ v).wrapping_mul(0x0100_0000_01b3);
    }
}

impl Observer for Fold {
    fn on_tokens(&mut self, gap: Span, count: u32) {
        self.itl.record_n(gap.0, count.into());
    }
    fn on_request(&mut self, r: &RequestRecord) {
        let since = |t: capsim::units::SimTime| t.since(r.arrival).0;
        self.ttft.record_n(since(r.first_token), 1);
        self.e2el.record_n(since(r.finish), 1);
        for v in [r.id.0, r.scheduled.0, r.first_token.0, r.finish.0] {
            self.mix(v);
        }
        self.mix(u64::from(r.cached_tokens) << 32 | u64::from(r.preemptions));
    }
}

/// Peak resident memory in MiB; NaN where the system does not tell.
fn peak_mib() -> f64 {
    let read = || -> Option<f64> {
        let text = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = text.lines().find(|l| l.starts_with("VmHWM:"))?;
        Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
    };
    read().unwrap_or(f64::NAN)
}

struct Args {
    requests: u32,
    load: f64,
    caching: bool,
    shared: u32,
    capacity: Option<f64>,
}

const USAGE: &str = "usage: engine_speed [--requests N] [--load saturating|near|half] [--prefix-caching on|off] \
                     [--shared-prefix TOKENS] [--capacity REQUESTS_PER_SECOND]";

fn parse(mut words: impl Iterator<Item = String>) -> Option<Args> {
    let mut args = Args {
        requests: 100_000,
        load: 0.9,
        caching: true,
        shared: 0,
        capacity: None,
    };
    while let Some(flag) = words.next() {
        let value = words.next()?;
        match (flag.as_str(), value.as_str()) {
            ("--requests", v) => args.requests = v.parse().ok()?,
            ("--load", "half") => args.load = 0.5,
            ("--load", "near") => args.load = 0.9,
            ("--load", "saturating") => args.load = 1.1,
            ("--prefix-caching", "on") => args.caching = true,
            ("--prefix-caching", "off") => args.caching = false,
            ("--shared-prefix", v) => args.shared = v.parse().ok()?,
            ("--capacity", v) => args.capacity = Some(v.parse().ok()?),
            _ => return None,
        }
    }
    Some(args)
}

fn cost() -> StepPrice {
    let description = model::builtin::find("qwen3-30b-a3b-instruct-2507")
        .expect("built in")
        .config();
    StepPrice::new(
        &Model::new(&description, Precision::of(&description)),
        &builtin::device("gfx1151").expect("shipped"),
        &builtin::engine("vllm-0.12-rocm").expect("shipped"),
        CostOptions {
            draft: None,
            enforce_eager: false,
            async_scheduling: false,
            max_num_seqs: 256,
            max_num_batched_tokens: 8192,
            micro_batch: None,
            placement: Default::default(),
            op_offload: true,
            images: None,
            moe_path: None,
            routing: Routing::Uniform,
        },
    )
    .expect("profiles fit the model")
}

fn main() {
    let Some(args) = parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        std::process::exit(2);
    };
    let config = EngineConfig {
        max_num_seqs: 256,
        max_num_batched_tokens: 8192,
        num_gpu_blocks: 19_162,
        enable_prefix_caching: args.caching,
        ..EngineConfig::default()
    };
    let cost = cost();
    let mut spec = WorkloadSpec::open_loop(args.requests, 1.0, 512, 256);
    if args.shared > 0 {
        spec.prompts = PromptKind::SharedPrefix;
        spec.shared_prefix_len = args.shared;
    }
    let run = |spec: &WorkloadSpec| -> (SimSummary, Fold) {
        let mut observer = Fold::default();
        let mut source = spec.source().expect("a valid load");
        let summary = simulate(&config, &cost, &mut source, &mut observer).expect("it can go on");
        (summary, observer)
    };
    let capacity = args.capacity.unwrap_or_else(|| {
        // A closed loop that keeps every place taken.
        let (s, _) = run(&WorkloadSpec {
            num_prompts: 4096,
            request_rate: None,
            max_concurrency: Some(512),
            ..spec.clone()
        });
        s.completed as f64 / s.end.secs()
    });
    spec.request_rate = Some(capacity * args.load);

    let before = ProcessTime::now();
    let (s, f) = run(&spec);
    let simulation = before.elapsed().as_secs_f64();
    let process = ProcessTime::now().as_duration().as_secs_f64();
    let quantile = |h: &Histogram, q: f64| h.quantile(q) / 1e9;
    println!(
        "{} requests at {:.4}/s ({:.0} % of the capacity {capacity:.6}/s), prefix caching {}, shared prefix {}",
        args.requests,
        capacity * args.load,
        100.0 * args.load,
        if args.caching { "on" } else { "off" },
        args.shared
    );
    println!(
        "{process:.4} CPU-s whole process, {simulation:.4} CPU-s simulation, peak {:.1} MiB, {} steps, {:.3} M steps per \
         CPU-s, {:.1} k requests per CPU-s (both of the simulation)",
        peak_mib(),
        s.steps,
        s.steps as f64 / simulation / 1e6,
        s.completed as f64 / simulation / 1e3
    );
    println!(
        "end {} ns, {} output tokens, {} preemptions, TTFT p50 {:.3} s p99 {:.3} s, ITL p50 {:.4} s, E2EL p99 {:.2} s, \
         checksum {:016x}",
        s.end.0,
        s.output_tokens,
        s.preemptions,
        quantile(&f.ttft, 0.5),
        quantile(&f.ttft, 0.99),
        quantile(&f.itl, 0.5),
        quantile(&f.e2el, 0.99),
        f.checksum
    );
}
