//! AIPerf 0.5 to 0.13: `profile_export.jsonl`, one record per request (`common/models/record_models.py: MetricRecordInfo`), and
//! `profile_export_aiperf.json`, totals; GenAI-Perf's `profile_export_genai_perf.json` has the same keys. Every value names its unit.
use super::totals::{MEAN_LENGTHS, milliseconds};
use super::{Bad, Recorded, Recording, Tool, number, tokens};
use capsim::metrics::Latency;
use capsim::text::Item;
use serde_json::Value;

/// A metric's value in milliseconds, whatever its unit.
fn millis(v: &Value, at: &str) -> Result<f64, Bad> {
    let value = number(&v["value"], at)?;
    Ok(scale(v, at)? * value)
}

/// Milliseconds per unit of a metric's values.
fn scale(v: &Value, at: &str) -> Result<f64, Bad> {
    let unit = v["unit"].as_str().unwrap_or("ms");
    milliseconds(unit).ok_or_else(|| (at.into(), format!("unit `{unit}` is none that is known")))
}

pub(super) fn is_record(v: &Value) -> bool {
    v.get("metadata").is_some_and(Value::is_object)
        && v.get("metrics").is_some_and(Value::is_object)
}

pub(super) fn is_totals(v: &Value) -> bool {
    v.get("request_latency")
        .is_some_and(|m| m.get("avg").is_some())
}

pub(super) fn records(rows: &[Item]) -> Result<Recording, Bad> {
    let mut r = Recording::empty(Tool::Aiperf);
    let mut begin = f64::INFINITY;
    for row in rows {
        let at = |f: &str| row.at(f);
        let v = &row.value;
        let (meta, metrics) = (&v["metadata"], &v["metrics"]);
        let start = number(&meta["request_start_ns"], &at("metadata.request_start_ns"))? / 1e9;
        begin = begin.min(start);
        let error = !v["error"].is_null();
        let get = |key: &str| metrics.get(key).filter(|m| !m.is_null());
        let ms = |key: &str| get(key).map(|m| millis(m, &at(key))).transpose();
        let count = |key: &str| -> Result<u32, Bad> {
            match get(key) {
                Some(m) => tokens(&m["value"], &at(key)),
                None if error => Ok(1),
                None => Err((at(key), "is missing".into())),
            }
        };
        let latency = ms("request_latency")?.map(|v| v / 1e3);
        let gaps = match get("inter_chunk_latency") {
            None => vec![],
            Some(m) => {
                let all = m["value"].as_array().map_or(&[][..], Vec::as_slice);
                let one = |v: &Value| {
                    let gap = serde_json::json!({"value": v, "unit": m["unit"]});
                    millis(&gap, &at("inter_chunk_latency")).map(|ms| ms / 1e3)
                };
                all.iter().map(one).collect::<Result<_, _>>()?
            }
        };
        r.requests.push(Recorded {
            measured: meta["benchmark_phase"] != "warmup",
            ok: !error && latency.is_some(),
            sent: Some(start),
            input: count("input_sequence_length")?,
            output: count("output_sequence_length")?,
            ttft: ms("time_to_first_token")?.map(|v| v / 1e3),
            latency,
            itls: gaps,
            held: meta["credit_issued_ns"]
                .as_f64()
                .map_or(0.0, |c| (start - c / 1e9).max(0.0)),
            ..Recorded::default()
        });
    }
    for q in &mut r.requests {
        q.sent = q.sent.map(|s| s - begin);
    }
    r.requests
        .sort_by(|a, b| a.sent.unwrap_or(0.0).total_cmp(&b.sent.unwrap_or(0.0)));
    r.streamed = r.requests.iter().any(|q| q.ok && q.ttft.is_some());
    let from = r
        .answered()
        .filter_map(|q| q.sent)
        .fold(f64::INFINITY, f64::min);
    let to = r
        .answered()
        .filter_map(|q| Some(q.sent? + q.latency?))
        .fold(0.0, f64::max);
    r.duration = (to > from).then_some(to - from);
    r.notes.push(
        "AIPerf's per-request export does not say how requests were paced: they are replayed at their recorded times, \
         or with --clients as a closed loop"
            .into(),
    );
    r.notes.push(
        "AIPerf counts output tokens with its own tokenizer unless --use-server-token-count was given".into(),
    );
    Ok(r)
}

pub(super) fn totals(v: &Value) -> Result<Recording, Bad> {
    let mut r = Recording::empty(Tool::Aiperf);
    let avg = |key: &str| -> Result<Option<f64>, Bad> {
        match v.get(key).filter(|m| !m.is_null()) {
            None => Ok(None),
            Some(m) => number(&m["avg"], &format!("{key}.avg")).map(Some),
        }
    };
    for (theirs, ours) in [
        ("time_to_first_token", Latency::Ttft),
        ("inter_token_latency", Latency::Tpot),
        ("inter_chunk_latency", Latency::Itl),
        ("request_latency", Latency::E2el),
    ] {
        if let Some(m) = v.get(theirs).filter(|m| m.is_object()) {
            r.statistics(ours, m, scale(m, theirs)?);
        }
    }
    r.throughputs(
        avg("request_throughput")?,
        avg("output_token_throughput")?,
        avg("total_token_throughput")?,
    );
    let duration = v.get("benchmark_duration").filter(|m| m.is_object());
    let told = duration.map(|m| {
        let seconds =
            serde_json::json!({"value": m["avg"], "unit": m["unit"].as_str().unwrap_or("sec")});
        millis(&seconds, "benchmark_duration.avg").map(|ms| ms / 1e3)
    });
    r.duration = told.transpose()?.filter(|d| *d > 0.0);
    let rate = avg("request_throughput")?;
    // GenAI-Perf states no duration; and no count in its first releases.
    let count = match (avg("request_count")?, rate, r.duration) {
        (Some(n), ..) => n,
        (None, Some(rate), Some(d)) => (rate * d).round(),
        _ => v
            .pointer("/request_latency/count")
            .and_then(Value::as_f64)
            .unwrap_or(100.0),
    };
    r.duration = r
        .duration
        .or_else(|| rate.filter(|r| *r > 0.0).map(|rate| count / rate));
    let mean = |key: &str| {
        avg(key)?.ok_or_else(|| {
            (
                format!("{key}.avg"),
                "is missing: the lengths are needed".to_string(),
            )
        })
    };
    let (input, output) = (
        mean("input_sequence_length")?,
        mean("output_sequence_length")?,
    );
    r.of_means(count, input, output)?;
    load(v, &mut r);
    r.streamed = v.get("time_to_first_token").is_some_and(Value::is_object);
    let errors = v["error_summary"].as_array().map_or(&[][..], Vec::as_slice);
    let failed: u64 = errors.iter().filter_map(|e| e["count"].as_u64()).sum();
    if failed > 0 {
        r.notes
            .push(format!("{failed} requests failed; they are in no figure"));
    }
    r.notes.push(MEAN_LENGTHS.into());
    r.clients_by_littles_law();
    Ok(r)
}

/// Concurrency, rate and model: since 0.13 in the phases of `input_config`, before under `loadgen`, in GenAI-Perf at its top or under
/// `perf_analyzer.stimulus`.
fn load(v: &Value, r: &mut Recording) {
    let input = &v["input_config"];
    let phases = input["phases"].as_array();
    let measured = phases.and_then(|all| all.iter().find(|p| p["kind"] == "profiling"));
    let none = Value::Null;
    let places = [
        measured.unwrap_or(&none),
        &input["loadgen"],
        input,
        &input["perf_analyzer"]["stimulus"],
    ];
    let get = |keys: &[&str]| {
        let found = |at: &Value| {
            keys.iter()
                .find_map(|k| at[*k].as_f64())
                .filter(|n| *n > 0.0)
        };
        places.iter().find_map(|at| found(at))
    };
    r.max_concurrency = get(&["concurrency"]).map(|c| c as u32);
    r.request_rate = get(&["rate", "request_rate"]);
    r.model = [
        "/input_config/models/items/0/name",
        "/input_config/endpoint/model_names/0",
        "/input_config/model_names/0",
        "/input_config/model/0",
        "/input_config/model",
    ]
    .iter()
    .find_map(|p| v.pointer(p).and_then(Value::as_str))
    .map(Into::into);
}
