//! A recorded benchmark against a simulation of the very same requests: same arrivals or the same closed loop, same order,
//! lengths and prompt identity, the server's own settings.
mod replay;

pub use replay::{ReplayError, Suppose, replay};

use super::compare::MetricComparison;
use super::fit::{Fit, FitError, FitRun, fit};
use super::hypothesis::{AS_RECORDED, Basis, Hypothesis};
use super::runs::{RecordedRun, RecordedWorkload};
use capsim::cost::{Part, Routing};
use capsim::engine::EngineVersion;
use capsim::engine::observe::{FinishReason, Observer, RequestRecord, StepRecord};
use capsim::engine::settings::*;
use capsim::metrics::{Latency, Metric, MetricName, Percentiles, Statistic, Summary};
use capsim::predict::{Interval, PredictError, Prediction, Scenario, predict_replay};
use capsim::units::Span;
use capsim::workload::{Replay, WorkloadSpec};
use capsim_live::bench::drive::open_loop;
use capsim_live::bench::read::{Recorded, Recording};
use capsim_live::bench::scrape::{Sample, ServerInfo};
use replay::used;

/// Settings with what the file and the server tell of themselves, where `args` leave them open.
pub fn settings(args: &SettingValues, r: &Recording) -> SettingValues {
    let (mut s, server) = (r.served.clone(), &r.server);
    s.overlay(args);
    s.set(MAX_MODEL_LEN, s.get(MAX_MODEL_LEN).or(server.max_model_len));
    s.set(BLOCK_SIZE, s.get(BLOCK_SIZE).or(server.block_size));
    if s.get(KV_CACHE_MEMORY_BYTES).is_none() && s.get(GPU_MEMORY_UTILIZATION).is_none() {
        s.set(
            NUM_GPU_BLOCKS_OVERRIDE,
            s.get(NUM_GPU_BLOCKS_OVERRIDE).or(server.num_gpu_blocks),
        );
    }
    s.set(
        ENABLE_PREFIX_CACHING,
        s.get(ENABLE_PREFIX_CACHING)
            .or(server.enable_prefix_caching),
    );
    s
}

/// The release that a server says it is. A build from sources without tags (`0.1.dev…`) does not say.
pub fn release_of(server: &ServerInfo) -> Option<EngineVersion> {
    let told = server.version.as_ref();
    told.filter(|v| !v.starts_with("0.1.dev"))?.parse().ok()
}

/// The release that was named, else the one that ran.
fn released(basis: &Basis, server: &ServerInfo) -> Option<EngineVersion> {
    basis.release.or_else(|| release_of(server))
}
/// A mean per request, measured by the server or the client, beside the simulation's; seconds or counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Component {
    /// What.
    pub name: &'static str,
    /// In which unit.
    pub unit: &'static str,
    /// As measured.
    pub measured: f64,
    /// As simulated.
    pub predicted: f64,
}

/// One request, measured and simulated; seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// Measured TTFT.
    pub ttft: Option<f64>,
    /// Simulated TTFT.
    pub ttft_predicted: f64,
    /// Measured E2EL.
    pub e2el: f64,
    /// Simulated E2EL.
    pub e2el_predicted: f64,
    /// Output tokens.
    pub output: u32,
}

/// A recording compared with its simulation.
#[derive(Clone, Debug)]
pub struct Paired {
    /// The recording.
    pub name: String,
    /// Model, device profile and engine profile, in words.
    pub with: String,
    /// Whether the engine profile was fitted to it.
    pub fitted: bool,
    /// Every metric that both have.
    pub metrics: Vec<MetricComparison>,
    /// Requests, where they were recorded.
    pub pairs: Vec<Pair>,
    /// Where the time goes.
    pub components: Vec<Component>,
    /// What differs most, in words.
    pub blame: String,
    /// The engine over time, measured; seconds from the first measured request.
    pub series: Vec<Sample>,
    /// The engine over time, simulated; the same clock.
    pub predicted_series: Vec<Sample>,
    /// The prediction.
    pub prediction: Prediction,
    /// What a reader must know.
    pub notes: Vec<String>,
}

/// Metrics compared, besides those that the recording states and the requests do not give.
const METRICS: &[Metric] = &[
    Metric::Duration,
    Metric::RequestThroughput,
    Metric::OutputThroughput,
    Metric::TotalThroughput,
    Metric::mean(Latency::Ttft),
    Metric::median(Latency::Ttft),
    Metric::percentile(Latency::Ttft, 90.0),
    Metric::percentile(Latency::Ttft, 99.0),
    Metric::mean(Latency::Tpot),
    Metric::median(Latency::Tpot),
    Metric::percentile(Latency::Tpot, 90.0),
    Metric::percentile(Latency::Tpot, 99.0),
    Metric::mean(Latency::Itl),
    Metric::median(Latency::Itl),
    Metric::percentile(Latency::Itl, 99.0),
    Metric::mean(Latency::E2el),
    Metric::median(Latency::E2el),
    Metric::percentile(Latency::E2el, 90.0),
    Metric::percentile(Latency::E2el, 99.0),
    Metric::Latency(Latency::E2el, Statistic::Max),
];

/// The metrics of a recording: as its tool states them, else computed from its requests. What else the tool states follows.
pub fn measured(r: &Recording) -> Vec<(MetricName, f64)> {
    let summary = r.summary();
    let known = METRICS.iter().filter_map(|m| {
        let name = MetricName::recorded(*m);
        let stated = r.reported.get(&name).copied();
        let v = stated.or_else(|| Some(summary.as_ref()?.metric(*m, Percentiles::Linear)))?;
        (v.is_finite() && v > 0.0).then_some((name, v))
    });
    let more = r
        .reported
        .iter()
        .filter(|(name, _)| !METRICS.contains(&name.metric()));
    known
        .chain(more.map(|(name, v)| (name.clone(), *v)))
        .collect()
}

/// The scenario of a recording: its own load is replayed, so that the scenario's is only for words.
pub fn scenario(basis: &Basis, args: &SettingValues, r: &Recording) -> Scenario {
    let lengths = |f: &dyn Fn(&Recorded) -> u32| {
        let n = r.answered().count().max(1) as u64;
        ((r.answered().map(|q| u64::from(f(q))).sum::<u64>() / n) as u32).max(1)
    };
    let load = match &r.spec {
        Some(spec) => WorkloadSpec {
            warmup: r.warmup(),
            ..spec.clone()
        },
        None => WorkloadSpec {
            max_concurrency: r.max_concurrency,
            request_rate: r.request_rate,
            warmup: r.warmup(),
            ..WorkloadSpec::closed_loop(
                r.answered().count().max(1) as u32,
                r.max_concurrency.unwrap_or(1),
                lengths(&|q| q.input),
                lengths(&|q| q.output),
            )
        },
    };
    Scenario {
        notes: Default::default(),
        speculation: Default::default(),
        deployment: None,
        model_name: basis.model_name.clone(),
        model: basis.model.clone(),
        device: basis.device.clone(),
        engine: basis.engine.clone(),
        engines: None,
        release: released(basis, &r.server),
        serve: settings(args, r),
        moe_path: basis.moe_path.clone(),
        routing: Routing::default(),
        workload: load,
    }
}

/// Simulates the recorded requests and compares.
///
/// # Errors
/// Settings that contradict each other, or nothing served.
pub fn compare(
    basis: &Basis,
    args: &SettingValues,
    r: &Recording,
    replay: &Replay,
    tolerance: Option<f64>,
    fitted: bool,
) -> Result<Paired, PredictError> {
    let mut p = compare_with(&scenario(basis, args, r), r, replay, tolerance, fitted)?;
    p.with = basis.words();
    Ok(p)
}

/// The same with a whole scenario, whose settings are those of the server already.
///
/// # Errors
/// As [`compare`].
pub fn compare_with(
    scenario: &Scenario,
    r: &Recording,
    replay: &Replay,
    tolerance: Option<f64>,
    fitted: bool,
) -> Result<Paired, PredictError> {
    let mut kept = Kept::of(replay.warmup());
    let prediction = predict_replay(scenario, replay, &mut kept)?;
    let p = &prediction.run.summary;
    let metrics = measured(r)
        .into_iter()
        .map(|(name, measured)| {
            let metric = name.metric();
            let predicted = p.metric(metric, Percentiles::Linear);
            let judged = metric.is_mean() || metric.is_throughput();
            let interval = interval(&prediction, metric);
            let tolerance = tolerance.filter(|_| judged);
            MetricComparison::new(name, measured, predicted, interval, tolerance)
        })
        .filter(|m| m.predicted.is_finite())
        .collect();
    let components = components(r, &prediction, &kept);
    let blame = blame(r, &prediction, &components);
    let mut notes = r.notes.clone();
    let served = r
        .served
        .iter()
        .map(|(field, value)| format!("{} {value}", field.name.replace('_', "-")));
    let served: Vec<String> = served.collect();
    if !served.is_empty() {
        notes.push(format!(
            "server settings that the file tells: {}",
            served.join(", ")
        ));
    }
    notes.extend(prediction.caveats.iter().map(ToString::to_string));
    if r.failed() > 0 {
        notes.push(format!(
            "{} failed requests are not simulated; the server may have worked for them",
            r.failed()
        ));
    }
    Ok(Paired {
        name: r.name.clone(),
        with: String::new(),
        fitted,
        pairs: pairs(r, &kept),
        metrics,
        components,
        blame,
        series: shifted(r),
        predicted_series: simulated(&prediction, &kept),
        prediction,
        notes,
    })
}

/// What is wanted of the simulation beyond its summary: every measured request, and the steps.
struct Kept {
    warmup: u64,
    records: Vec<RequestRecord>,
    steps: Vec<StepRecord>,
}

impl Kept {
    fn of(warmup: u32) -> Self {
        Self {
            warmup: warmup.into(),
            records: vec![],
            steps: vec![],
        }
    }
}

impl Observer for Kept {
    fn on_step(&mut self, step: &StepRecord) {
        self.steps.push(*step);
    }
    fn on_request(&mut self, request: &RequestRecord) {
        if request.id.0 >= self.warmup && request.reason != FinishReason::Abort {
            self.records.push(*request);
        }
    }
}

fn interval(p: &Prediction, metric: Metric) -> Option<Interval> {
    p.interval_of(metric)
        .filter(|i| i.low.is_finite() && i.high.is_finite())
}

fn pairs(r: &Recording, kept: &Kept) -> Vec<Pair> {
    // A replay numbers its requests in this very order.
    let mut records: Vec<_> = kept.records.iter().collect();
    records.sort_by_key(|x| x.id);
    let answered: Vec<&Recorded> = used(r)
        .into_iter()
        .map(|(_, q)| q)
        .filter(|q| q.measured)
        .collect();
    if records.len() != answered.len() {
        return vec![];
    }
    answered
        .iter()
        .zip(records)
        .filter_map(|(q, s)| {
            Some(Pair {
                ttft: q.ttft.filter(|_| r.streamed),
                ttft_predicted: s.first_token.since(s.arrival).secs(),
                e2el: q.latency?,
                e2el_predicted: s.finish.since(s.arrival).secs(),
                output: q.output,
            })
        })
        .collect()
}

/// The measured series from the first measured request on.
fn shifted(r: &Recording) -> Vec<Sample> {
    let begin = r
        .requests
        .iter()
        .filter(|q| q.measured)
        .filter_map(|q| q.sent)
        .fold(f64::INFINITY, f64::min);
    r.series
        .iter()
        .filter(|s| s.t >= begin)
        .map(|s| Sample {
            t: s.t - begin,
            ..*s
        })
        .collect()
}

fn simulated(p: &Prediction, kept: &Kept) -> Vec<Sample> {
    let begin = kept.records.iter().map(|r| r.arrival).min();
    let usable = p.usable_blocks().0.max(1) as f64;
    let mut preemptions = 0.0;
    kept.steps
        .iter()
        .filter(|s| begin.is_some_and(|b| s.start >= b))
        .map(|s| {
            preemptions += f64::from(s.preempted);
            Sample {
                t: begin.map_or(0.0, |b| s.start.since(b).secs()),
                running: f64::from(s.running),
                waiting: f64::from(s.waiting),
                kv: 1.0 - s.free_blocks as f64 / usable,
                preemptions,
                ..Sample::default()
            }
        })
        .collect()
}

fn components(r: &Recording, p: &Prediction, kept: &Kept) -> Vec<Component> {
    let s: &Summary = &p.run.summary;
    let n = kept.records.len().max(1) as f64;
    let mean = |f: &dyn Fn(&RequestRecord) -> Span| {
        kept.records.iter().map(|x| f(x).secs()).sum::<f64>() / n
    };
    let (queue, prefill, decode) = (
        s.queue.mean(),
        mean(&|x| x.first_token.since(x.scheduled)),
        mean(&|x| x.finish.since(x.first_token)),
    );
    let mut all = vec![];
    let mut add = |name, unit, measured: f64, predicted: f64| {
        if measured.is_finite() && predicted.is_finite() {
            all.push(Component {
                name,
                unit,
                measured,
                predicted,
            });
        }
    };
    let get = |k: &str| r.deltas.get(k).copied();
    let of = |k: &str| Some(get(&format!("{k}_sum")).unwrap_or(0.0) / get(&format!("{k}_count"))?);
    let client = r.summary();
    match (
        of("vllm:request_queue_time_seconds"),
        of("vllm:request_prefill_time_seconds"),
        of("vllm:request_decode_time_seconds"),
    ) {
        (Some(q), Some(f), Some(d)) => {
            add("queue", "s", q, queue);
            add("prefill", "s", f, prefill);
            add("decode", "s", d, decode);
            if let Some(c) = &client {
                // What the client saw and the engine did not: HTTP, tokenisation, event loops. Not simulated.
                add("client and front end", "s", c.e2el.mean() - q - f - d, 0.0);
            }
        }
        _ => {
            if let Some(c) = &client
                && c.ttft.count() > 0
            {
                add(
                    "first token (queue and prefill)",
                    "s",
                    c.ttft.mean(),
                    queue + prefill,
                );
                add("decode", "s", c.e2el.mean() - c.ttft.mean(), decode);
            }
        }
    }
    if !r.deltas.is_empty() {
        let zero = |k: &str| get(k).unwrap_or(0.0);
        if let Some(steps) = get("vllm:iteration_tokens_total_count") {
            add("engine steps", "", steps, p.run.occupancy.steps as f64);
        }
        add(
            "prefix-cache hits",
            "tokens",
            zero("vllm:prefix_cache_hits_total"),
            s.cached_tokens as f64,
        );
        add(
            "preemptions",
            "",
            zero("vllm:num_preemptions_total"),
            s.preemptions as f64,
        );
    }
    all
}

/// Part of the measured latency that a difference must reach to be blamed.
const WORTH: f64 = 0.03;

fn blame(r: &Recording, p: &Prediction, components: &[Component]) -> String {
    let get = |name: &str| components.iter().find(|c| c.name == name);
    let total: f64 = components
        .iter()
        .filter(|c| c.unit == "s")
        .map(|c| c.measured)
        .sum();
    let worst = components.iter().filter(|c| c.unit == "s").max_by(|a, b| {
        (a.predicted - a.measured)
            .abs()
            .total_cmp(&(b.predicted - b.measured).abs())
    });
    let Some(worst) = worst.filter(|_| total > 0.0) else {
        return "only totals were recorded: they do not tell which part differs".into();
    };
    let off = worst.predicted - worst.measured;
    if off.abs() < WORTH * total {
        return format!(
            "no part differs by more than {:.0} % of the mean latency",
            100.0 * WORTH
        );
    }
    let mut text = format!(
        "{}: {:.1} ms per request {} than predicted, {:.0} % of the mean latency",
        worst.name,
        1e3 * off.abs(),
        if off < 0.0 { "longer" } else { "shorter" },
        100.0 * off.abs() / total
    );
    let shares = || {
        let b = &p.run.breakdown;
        let mut parts: Vec<(Part, f64)> = Part::ALL.iter().map(|q| (*q, b.of(*q))).collect();
        parts.sort_by(|a, b| b.1.total_cmp(&a.1));
        let named: Vec<String> = parts
            .iter()
            .take(3)
            .map(|(q, v)| format!("{} {:.0} %", q.words(), 100.0 * v / b.total()))
            .collect();
        named.join(", ")
    };
    let cause = match worst.name {
        "first token (queue and prefill)" => {
            "; without the server's /metrics queueing, prefill and the way to the client cannot be told apart".into()
        }
        "queue" => {
            let kv = get("preemptions").is_some_and(|c| (c.measured > 0.0) != (c.predicted > 0.0));
            let steps = get("decode")
                .is_some_and(|d| d.measured > 0.0 && (d.predicted / d.measured - 1.0).abs() > 0.1);
            if kv {
                "; preemptions differ, so that the size of the KV cache is wrong on one side"
            } else if steps {
                "; requests queue behind steps whose time differs too: see decode"
            } else {
                "; steps take the time predicted, so that admission differs: max-num-seqs, max-num-batched-tokens, or \
                 other load on the server"
            }
            .to_string()
        }
        "prefill" => {
            let hits = get("prefix-cache hits").is_some_and(|c| {
                (c.measured - c.predicted).abs() > 0.05 * c.measured.max(c.predicted)
            });
            if hits {
                "; prefix-cache hits differ: prompts share more or less than supposed, or the cache was warm".into()
            } else {
                format!("; predicted time of all steps: {}", shares())
            }
        }
        "decode" => format!("; predicted time of all steps: {}", shares()),
        _ => {
            let late =
                r.answered().map(|q| q.held).sum::<f64>() / r.answered().count().max(1) as f64;
            format!(
                "; this time is not the engine's: HTTP, tokenisation, the client ({:.1} ms waiting there, not counted)",
                1e3 * late
            )
        }
    };
    text.push_str(&cause);
    text
}

/// A recording as an entry of a `capsim.runs/1` file: its mean lengths, and a closed loop.
pub fn recorded_run(r: &Recording, args: &SettingValues, w: &Suppose) -> RecordedRun {
    let lengths = |f: &dyn Fn(&Recorded) -> u32| {
        let n = r.answered().count().max(1) as u64;
        ((r.answered().map(|q| u64::from(f(q))).sum::<u64>() / n) as u32).max(1)
    };
    let answered = r.answered().count().max(1) as u32;
    let clients = w.max_concurrency.or(r.max_concurrency);
    // A load with a pace of its own as one of that rate: a file of runs knows no other.
    let paced = r
        .spec
        .as_ref()
        .is_some_and(|s| open_loop(s) || s.users.is_some());
    let request_rate = r.request_rate.or_else(|| {
        let sent = || r.answered().filter_map(|q| q.sent);
        let (first, last) = (sent().reduce(f64::min)?, sent().reduce(f64::max)?);
        (paced && last > first).then(|| f64::from(answered - 1) / (last - first))
    });
    let note = format!("from {}", r.tool.words());
    RecordedRun {
        id: r.name.clone(),
        mode: None,
        experiment: None,
        source: None,
        diagnosis: None,
        doubt: None,
        disturbed: None,
        unknown: vec![],
        engine_args: Some(settings(args, r)),
        workload: RecordedWorkload {
            cycle: None,
            trace: None,
            num_prompts: answered,
            max_concurrency: match (clients, request_rate) {
                (None, Some(_)) => None,
                (clients, _) => Some(clients.unwrap_or(answered).min(answered)),
            },
            request_rate,
            // The arrivals of the recording itself cannot be said here, only their law.
            seed: None,
            length_sigma: None,
            range_ratio: None,
            shared_prefix_len: r
                .spec
                .as_ref()
                .map(|s| s.shared_prefix_len)
                .filter(|n| *n > 0),
            send_skew_ms: None,
            input_len: lengths(&|q| q.input),
            output_len: lengths(&|q| q.output),
            prompts: Some(r.spec.as_ref().map_or(w.prompts, |s| s.prompts)),
            temperature: r.temperature,
            warmup: Some(r.warmup()),
        },
        measured: measured(r).into_iter().collect(),
        counters: Default::default(),
        note,
    }
}

/// Fits the engine profile to recordings, each replayed with its own requests.
///
/// # Errors
/// If one cannot be simulated or has nothing to fit to.
pub fn fitted(
    basis: &Basis,
    args: &SettingValues,
    all: &[(&Recording, &Replay)],
    w: &Suppose,
) -> Result<Fit, FitError> {
    let runs: Vec<RecordedRun> = all.iter().map(|(r, _)| recorded_run(r, args, w)).collect();
    let bases: Vec<Basis> = all
        .iter()
        .map(|(r, _)| Basis {
            release: released(basis, &r.server),
            ..basis.clone()
        })
        .collect();
    let runs: Vec<FitRun<'_>> = runs
        .iter()
        .zip(all)
        .zip(&bases)
        .map(|((run, (r, replay)), own)| FitRun {
            name: r.name.clone(),
            run,
            basis: Some(own),
            hypothesis: Hypothesis {
                words: AS_RECORDED.into(),
                serve: settings(args, r),
                together: true,
                serial: false,
            },
            replay: Some(replay),
        })
        .collect();
    fit(basis, &runs, Percentiles::Linear)
}
