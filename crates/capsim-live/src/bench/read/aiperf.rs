//! AIPerf 0.13: `profile_export.jsonl`, one record per request (`common/models/record_models.py: MetricRecordInfo`), and
//! `profile_export_aiperf.json`, totals.
use super::{Bad, Recorded, Recording, Tool, number, tokens};
use capsim::metrics::{Latency, Metric, MetricName, Statistic};
use serde_json::Value;

/// A metric's value in milliseconds, whatever its unit.
fn millis(v: &Value, at: &str) -> Result<f64, Bad> {
    let value = number(&v["value"], at)?;
    match v["unit"].as_str() {
        Some("ms") | None => Ok(value),
        Some("ns") => Ok(value / 1e6),
        Some("us") => Ok(value / 1e3),
        Some("sec" | "s") => Ok(value * 1e3),
        Some(other) => Err((at.into(), format!("unit `{other}` is none that is known"))),
    }
}

pub(super) fn lines(text: &str) -> Result<Recording, Bad> {
    let mut r = Recording::empty(Tool::Aiperf);
    let mut begin = f64::INFINITY;
    for (i, line) in text
        .lines()
        .enumerate()
        .filter(|(_, l)| !l.trim().is_empty())
    {
        let at = |f: &str| format!("line {}: {f}", i + 1);
        let v: Value = serde_json::from_str(line)
            .map_err(|e| (format!("line {}", i + 1), format!("is no JSON: {e}")))?;
        let (meta, metrics) = (&v["metadata"], &v["metrics"]);
        if !meta.is_object() || !metrics.is_object() {
            return Err((
                format!("line {}", i + 1),
                "is no record of AIPerf: metadata or metrics are missing".into(),
            ));
        }
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
         or with --max-concurrency as a closed loop"
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
        ("request_latency", Latency::E2el),
    ] {
        let Some(m) = v.get(theirs).filter(|m| m.is_object()) else {
            continue;
        };
        for (stat, statistic) in [
            ("avg", Statistic::Mean),
            ("p50", Statistic::MEDIAN),
            ("min", Statistic::Min),
            ("max", Statistic::Max),
            ("p90", Statistic::Percentile(90.0)),
            ("p99", Statistic::Percentile(99.0)),
        ] {
            if let Some(n) = m[stat].as_f64().filter(|n| n.is_finite() && *n > 0.0) {
                r.reported
                    .insert(Metric::Latency(ours, statistic).into(), n);
            }
        }
    }
    for (theirs, ours) in [
        ("request_throughput", Metric::RequestThroughput),
        ("output_token_throughput", Metric::OutputThroughput),
    ] {
        if let Some(n) = avg(theirs)?.filter(|n| *n > 0.0) {
            r.reported.insert(MetricName::recorded(ours), n);
        }
    }
    r.duration = avg("benchmark_duration")?.filter(|d| *d > 0.0);
    let count = avg("request_count")?.unwrap_or(0.0);
    let (input, output) = (
        avg("input_sequence_length")?,
        avg("output_sequence_length")?,
    );
    let (Some(input), Some(output), true) = (input, output, (1.0..1e6).contains(&count)) else {
        return Err((
            "request_count".into(),
            "request_count, input_sequence_length and output_sequence_length are needed".into(),
        ));
    };
    let phases = v.pointer("/input_config/phases").and_then(Value::as_array);
    let measured = phases.and_then(|all| all.iter().find(|p| p["kind"] == "profiling"));
    if let Some(phase) = measured {
        r.max_concurrency = phase["concurrency"].as_f64().map(|c| c as u32);
        r.request_rate = phase["rate"].as_f64();
    }
    r.model = v
        .pointer("/input_config/models/items/0/name")
        .and_then(Value::as_str)
        .map(Into::into);
    let errors = v["error_summary"].as_array().map_or(&[][..], Vec::as_slice);
    let failed: u64 = errors.iter().filter_map(|e| e["count"].as_u64()).sum();
    if failed > 0 {
        r.notes
            .push(format!("{failed} requests failed; they are in no figure"));
    }
    r.requests = vec![
        Recorded {
            measured: true,
            ok: true,
            input: input as u32,
            output: output as u32,
            ..Recorded::default()
        };
        count as usize
    ];
    r.notes
        .push("only totals were stored: every request is taken to have the mean lengths".into());
    Ok(r)
}
