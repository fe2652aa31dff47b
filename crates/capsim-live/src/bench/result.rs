//! Result files: `vllm bench serve`'s JSON with more keys, and one JSON line per request.
use super::client::{Api, ClientOptions};
use super::measured::Measured;
use super::outcome::Outcome;
use capsim::metrics::Latency;
use capsim::workload::{Arrival, WorkloadSpec};
use serde_json::{Map, Value, json};

/// Schema tag of the `capsim` part of a result file.
pub const SCHEMA: &str = "capsim.bench/1";

/// What a file says besides the measurement.
pub struct Context<'a> {
    /// The load.
    pub spec: &'a WorkloadSpec,
    /// What every request said.
    pub options: &'a ClientOptions,
    /// How prompts were made.
    pub prompts: String,
    /// Tokenizer file, if any.
    pub tokenizer: Option<String>,
    /// Metrics to state (`--percentile-metrics`).
    pub metrics: &'a [Latency],
    /// Percentiles to state (`--metric-percentiles`).
    pub percentiles: &'a [f64],
    /// `--metadata`, copied.
    pub metadata: &'a [(String, String)],
    /// `--label`.
    pub label: Option<&'a str>,
    /// Date and time, `YYYYMMDD-HHMMSS` (UTC).
    pub date: String,
}

/// Seconds since 1970 as `YYYYMMDD-HHMMSS` (H. Hinnant, chrono-compatible low-level date algorithms, 2013).
pub fn stamp(unix: u64) -> String {
    let (days, secs) = (unix / 86_400, unix % 86_400);
    let z = days as i64 + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}{month:02}{day:02}-{:02}{:02}{:02}",
        secs / 3600,
        secs / 60 % 60,
        secs % 60
    )
}

fn number(v: f64) -> Value {
    serde_json::Number::from_f64(v).map_or(Value::Null, Value::Number)
}

/// `99` for 99.0, `99.9` for 99.9.
pub fn percentile_name(p: f64) -> String {
    format!("{p}")
}

/// One request, times in seconds since the start of the run; with `gaps` every gap between chunks.
pub fn row(o: &Outcome, gaps: bool) -> Value {
    let mut v = json!({
        "id": o.id,
        "measured": o.measured,
        "input_len": o.input_tokens(),
        "nominal_input_len": o.nominal_input,
        "output_len": if o.ok() { o.output_tokens() } else { 0 },
        "max_tokens": o.max_tokens,
        "prompt": o.prompt.as_ref().map(|p| {
            p.segments().iter().map(|s| json!([s.stream.0, s.start, s.len])).collect::<Vec<_>>()
        }),
        "answer": o.answer.0,
        "intended": o.intended.secs(),
        "released": o.released.secs(),
        "sent": o.sent.secs(),
        "first_byte": o.first_byte.map(|t| t.secs()),
        "first_chunk": o.first_chunk.map(|t| t.secs()),
        "first_token": o.chunks.first().map(|t| t.secs()),
        "last_token": o.chunks.last().map(|t| t.secs()),
        "end": o.end.secs(),
        "chunks": o.chunks.len(),
        "streamed": o.streamed,
        "usage": o.usage,
        "finish_reason": o.finish_reason,
        "failure": o.failure,
        "retries": o.retries,
    });
    if gaps {
        v["itls"] = o.gaps().map(|g| g.secs()).collect();
    }
    v
}

/// One JSON object per line and request, warm-up included.
pub fn jsonl(m: &Measured) -> String {
    m.outcomes
        .iter()
        .map(|o| format!("{}\n", row(o, true)))
        .collect()
}

/// The result of `vllm bench serve` (0.33's superset), with a `capsim` object beside its keys.
pub fn json(m: &Measured, c: &Context<'_>, detailed: bool) -> Value {
    let mut o = Map::new();
    let mut put = |k: &str, v: Value| {
        o.insert(k.into(), v);
    };
    let backend = match c.options.api {
        Api::Completions => "openai",
        Api::Chat => "openai-chat",
    };
    let s = &m.summary;
    put("date", json!(c.date));
    put("endpoint_type", json!(backend));
    put("backend", json!(backend));
    put("label", json!(c.label));
    put("model_id", json!(c.options.model));
    put(
        "tokenizer_id",
        json!(c.tokenizer.as_deref().unwrap_or(&c.options.model)),
    );
    put("num_prompts", json!(c.spec.num_prompts));
    for (k, v) in c.metadata {
        put(k, json!(v));
    }
    put(
        "request_rate",
        c.spec.request_rate.map_or(json!("inf"), |r| json!(r)),
    );
    if let Some(Arrival::RampUp {
        strategy,
        start_rps,
        end_rps,
    }) = &c.spec.arrival
    {
        put("ramp_up_strategy", json!(strategy));
        put("ramp_up_start_rps", json!(start_rps));
        put("ramp_up_end_rps", json!(end_rps));
    }
    put("burstiness", json!(c.spec.burstiness));
    put("max_concurrency", json!(c.spec.max_concurrency));
    put("duration", number(s.duration));
    put("completed", json!(m.completed()));
    put("failed", json!(m.failed()));
    put("total_input_tokens", json!(s.input_tokens));
    put("total_output_tokens", json!(s.output_tokens));
    put("request_throughput", number(s.request_throughput()));
    put("request_goodput", m.goodput.map_or(Value::Null, number));
    put("output_throughput", number(s.output_throughput()));
    put("total_token_throughput", number(s.total_throughput()));
    let (tokens, open) = m.peaks();
    put("max_output_tokens_per_s", number(tokens));
    put("max_concurrent_requests", json!(open as u64));
    latencies(&mut o, m, c);
    if detailed {
        each_request(&mut o, m);
    }
    o.insert("capsim".into(), ours(m, c));
    Value::Object(o)
}

/// Mean, median, deviation and percentiles of the metrics asked for, in milliseconds.
fn latencies(o: &mut Map<String, Value>, m: &Measured, c: &Context<'_>) {
    let mut put = |k: &str, v: Value| {
        o.insert(k.into(), v);
    };
    for metric in c.metrics {
        let Some(stat) = m.latencies.get(*metric) else {
            continue;
        };
        put(&format!("mean_{metric}_ms"), number(1e3 * stat.mean()));
        put(
            &format!("median_{metric}_ms"),
            number(1e3 * stat.percentile(50.0)),
        );
        put(&format!("std_{metric}_ms"), number(1e3 * stat.std()));
        for p in c.percentiles {
            put(
                &format!("p{}_{metric}_ms", percentile_name(*p)),
                number(1e3 * stat.percentile(*p)),
            );
        }
    }
}

/// Lists with one entry per measured request.
fn each_request(o: &mut Map<String, Value>, m: &Measured) {
    let mut put = |k: &str, v: Value| {
        o.insert(k.into(), v);
    };
    let each = |f: &dyn Fn(&Outcome) -> Value| -> Value { m.measured().map(f).collect() };
    put("input_lens", each(&|o| json!(o.input_tokens())));
    put(
        "output_lens",
        each(&|o| json!(if o.ok() { o.output_tokens() } else { 0 })),
    );
    put(
        "ttfts",
        each(&|o| number(o.timing().map_or(0.0, |t| t.ttft().secs()))),
    );
    put("itls", each(&|o| o.gaps().map(|g| g.secs()).collect()));
    put("generated_texts", each(&|o| json!(o.text)));
    put(
        "errors",
        each(&|o| {
            json!(o.failure.as_ref().map_or(String::new(), |f| format!(
                "{}: {}",
                f.kind.words(),
                f.detail
            )))
        }),
    );
    put("start_times", each(&|o| number(o.sent.secs())));
    put(
        "latencies",
        each(&|o| number(o.timing().map_or(0.0, |t| t.e2el().secs()))),
    );
    put("queue_times", each(&|o| number(o.held().secs())));
}

fn ours(m: &Measured, c: &Context<'_>) -> Value {
    let o = c.options;
    json!({
        "schema": SCHEMA,
        "version": env!("CARGO_PKG_VERSION"),
        "partial": m.interrupted,
        "planned": m.planned,
        "never_sent": m.never_sent(),
        "workload": c.spec,
        "url": o.base_url,
        "stream": o.stream,
        "temperature": o.temperature,
        "ignore_eos": o.ignore_eos,
        "request_timeout_s": o.timeout.as_secs_f64(),
        "retries": o.retries,
        "prompts": c.prompts,
        "metrics_as": m.rule.name(),
        "definitions": m.rule.words(),
        "remarks": m.remarks(),
        "failures": m.failures().iter().map(|(k, n)| (k.words(), json!(n))).collect::<Map<_, _>>(),
        "client": {
            "mean_queue_ms": number(1e3 * m.held.mean()),
            "p99_queue_ms": number(1e3 * m.held.percentile(99.0, Default::default())),
            "mean_lateness_ms": number(1e3 * m.lateness.mean()),
            "p99_lateness_ms": number(1e3 * m.lateness.percentile(99.0, Default::default())),
        },
        "server": m.server,
        "metrics_delta": m.watched.deltas,
        "series": m.watched.series,
        "requests": m.outcomes.iter().map(|o| row(o, false)).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_date_is_a_date() {
        assert_eq!(super::stamp(0), "19700101-000000");
        assert_eq!(super::stamp(1_771_027_199), "20260213-235959");
        assert_eq!(super::stamp(951_827_696), "20000229-123456");
    }
}
