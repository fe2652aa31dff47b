//! A prediction as the result file of `vllm bench serve --save-result` (vllm 0.12.0, `vllm/benchmarks/serve.py`), so that
//! what reads measured results reads predicted ones.
use super::Row;
use super::json;
use capsim::engine::Step;
use capsim::engine::observe::{FinishReason, Observer, RequestRecord, StepRecord};
use capsim::metrics::{Latency, Metric, Peaks, Percentiles, Statistic};
use capsim::units::{SimTime, Span};
use capsim::workload::RequestId;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What stands for a date: a prediction has none, and the same scenario gives the same bytes.
const NO_DATE: &str = "19700101-000000";

/// Watches for what the summary does not know.
pub struct VllmResult {
    peaks: Peaks,
    detail: Option<Detail>,
}

/// Every token of every request: memory grows with all of them.
#[derive(Default)]
struct Detail {
    warmup: u64,
    /// Token times of requests that have not ended.
    live: BTreeMap<RequestId, Vec<SimTime>>,
    /// Record, and gaps between tokens.
    ended: Vec<(RequestRecord, Vec<Span>)>,
}

impl VllmResult {
    /// For a run whose first `warmup` requests (by id) do not count; with `detailed`, the lists of `--save-detailed` too.
    pub fn new(warmup: u64, detailed: bool) -> Self {
        Self {
            peaks: Peaks::new(warmup),
            detail: detailed.then(|| Detail {
                warmup,
                ..Detail::default()
            }),
        }
    }

    /// The file's content. Under `capsim` stands what the format has no place for: settings, intervals, caveats.
    pub fn json(mut self, row: &Row) -> Value {
        let (scenario, p) = (&row.scenario, &row.prediction);
        let (s, w) = (&p.run.summary, &scenario.workload);
        let number = |v: f64| serde_json::Number::from_f64(v).map_or(Value::Null, Value::Number);
        let mut o = Map::new();
        let mut put = |key: &str, value: Value| o.insert(key.into(), value);
        put("date", json!(NO_DATE));
        put("endpoint_type", json!("capsim"));
        put("backend", json!("capsim"));
        put("label", Value::Null);
        put("model_id", json!(scenario.model_name));
        put("tokenizer_id", json!(scenario.model_name));
        put("num_prompts", json!(w.num_prompts));
        put("request_rate", w.request_rate.map_or(json!("inf"), number));
        put("burstiness", number(w.burstiness));
        put("max_concurrency", json!(w.max_concurrency));
        put("duration", number(s.duration));
        put("completed", json!(s.completed));
        put("failed", json!(s.refused));
        put("total_input_tokens", json!(s.input_tokens));
        put("total_output_tokens", json!(s.output_tokens));
        put("request_throughput", number(s.request_throughput()));
        put("request_goodput", Value::Null);
        put("output_throughput", number(s.output_throughput()));
        put("total_token_throughput", number(s.total_throughput()));
        let (tokens, open) = (
            self.peaks.tokens_per_second(),
            self.peaks.concurrent_requests(),
        );
        put("max_output_tokens_per_s", number(tokens as f64));
        put("max_concurrent_requests", json!(open));
        if let Some(detail) = &mut self.detail {
            let all = &mut detail.ended;
            // As the client sent them.
            all.sort_by_key(|(r, _)| r.id);
            let each = |f: &dyn Fn(&RequestRecord, &[Span]) -> Value| -> Value {
                all.iter().map(|(r, gaps)| f(r, gaps)).collect()
            };
            put("input_lens", each(&|r, _| json!(r.prompt_tokens)));
            put("output_lens", each(&|r, _| json!(r.output_tokens)));
            let ttft = |r: &RequestRecord| r.first_token.since(r.arrival).secs();
            put("ttfts", each(&|r, _| number(ttft(r))));
            put(
                "itls",
                each(&|_, gaps| gaps.iter().map(|g| number(g.secs())).collect()),
            );
            put("generated_texts", each(&|_, _| json!("")));
            put("errors", each(&|_, _| json!("")));
        }
        for latency in Latency::REPORTED {
            for statistic in [
                Statistic::Mean,
                Statistic::MEDIAN,
                Statistic::Std,
                Statistic::Percentile(90.0),
                Statistic::Percentile(95.0),
                Statistic::Percentile(99.0),
            ] {
                let metric = Metric::Latency(latency, statistic);
                put(
                    &metric.to_string(),
                    number(s.metric(metric, Percentiles::Linear)),
                );
            }
        }
        put(
            "capsim",
            json::value(&json::prediction(&row.varied, scenario, p)),
        );
        Value::Object(o)
    }
}

impl Observer for VllmResult {
    fn on_arrival(&mut self, id: RequestId, at: SimTime) {
        self.peaks.on_arrival(id, at)
    }

    fn on_schedule(&mut self, at: SimTime, step: &Step<'_>) {
        self.peaks.on_schedule(at, step);
        if let Some(d) = &mut self.detail {
            for id in step.admitted.iter().filter(|id| id.0 >= d.warmup) {
                d.live.insert(*id, vec![]);
            }
        }
    }

    fn on_step(&mut self, step: &StepRecord) {
        self.peaks.on_step(step);
    }

    fn wants_output(&self) -> bool {
        self.detail.is_some()
    }

    fn on_output(&mut self, at: SimTime, tokens: &[RequestId]) {
        let Some(d) = &mut self.detail else { return };
        for id in tokens {
            if let Some(times) = d.live.get_mut(id) {
                times.push(at);
            }
        }
    }

    fn on_request(&mut self, r: &RequestRecord) {
        self.peaks.on_request(r);
        let Some(d) = &mut self.detail else { return };
        if let Some(times) = d.live.remove(&r.id)
            && r.reason != FinishReason::Abort
        {
            let gaps = times.windows(2).map(|w| w[1].since(w[0])).collect();
            d.ended.push((*r, gaps));
        }
    }
}
