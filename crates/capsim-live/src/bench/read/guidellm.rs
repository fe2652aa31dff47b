//! GuideLLM's `benchmarks.json` (and YAML): fields of 0.8 (`schemas/base/request_stats.py`, `info.py`) and of releases before 0.4.
use super::{Bad, Recorded, Recording, Tool, number, tokens};
use capsim::metrics::Latency;
use serde_json::Value;

/// The first of `paths` (JSON pointers) that is a number.
fn first(v: &Value, paths: &[&str]) -> Option<f64> {
    paths
        .iter()
        .find_map(|p| v.pointer(p).and_then(Value::as_f64))
        .filter(|n| n.is_finite())
}

pub(super) fn is(v: &Value) -> bool {
    let of = |b: &Value| {
        b.get("requests").is_some()
            || b.get("request_totals").is_some()
            || b.get("scheduler_metrics").is_some()
    };
    v["benchmarks"]
        .as_array()
        .is_some_and(|all| all.first().is_none_or(of))
}

pub(super) fn read(v: &Value) -> Result<Vec<Recording>, Bad> {
    let all = v["benchmarks"].as_array().map_or(&[][..], Vec::as_slice);
    if all.is_empty() {
        return Err(("benchmarks".into(), "there is none".into()));
    }
    all.iter()
        .enumerate()
        .map(|(i, b)| benchmark(b, &format!("benchmarks[{i}]")))
        .collect()
}

/// One benchmark. Where only a sample of its requests was stored, or none, its own totals are the measurement.
fn benchmark(b: &Value, at: &str) -> Result<Recording, Bad> {
    let mut r = Recording::empty(Tool::Guidellm);
    strategy(b, &mut r);
    r.model = [
        "/config/backend/model",
        "/config/model",
        "/worker/backend_model",
    ]
    .iter()
    .find_map(|p| b.pointer(p).and_then(Value::as_str))
    .map(Into::into);
    let rows = |kind: &str| {
        b["requests"][kind]
            .as_array()
            .map_or(&[][..], Vec::as_slice)
    };
    let stored = rows("successful").len();
    let answered = first(
        b,
        &[
            "/request_totals/successful",
            "/metrics/request_totals/successful",
            "/scheduler_metrics/requests_made/successful",
        ],
    );
    let latencies = b["metrics"].as_object().is_some_and(|m| !m.is_empty());
    if latencies && answered.is_some_and(|n| n > stored as f64) {
        totals(b, answered.unwrap_or(0.0), stored, at, &mut r)?;
        return Ok(r);
    }
    if !b["requests"]["successful"].is_array() {
        return Err((
            format!("{at}.requests.successful"),
            "must be a list of requests".into(),
        ));
    }
    for (kind, ok) in [("successful", true), ("errored", false)] {
        for (i, row) in rows(kind).iter().enumerate() {
            let place = format!("{at}.requests.{kind}[{i}]");
            r.requests.push(request(row, &place, ok)?);
        }
    }
    if let Some(n) = answered.filter(|n| *n > stored as f64) {
        r.notes.push(format!(
            "{stored} of {n} answered requests were stored, and no totals: the figures are theirs"
        ));
    }
    // Epoch seconds → from the first request on.
    let sent = r.requests.iter().filter_map(|q| q.sent);
    let begin = sent.fold(f64::INFINITY, f64::min);
    for q in &mut r.requests {
        q.sent = q.sent.map(|s| s - begin);
    }
    r.requests
        .sort_by(|a, b| a.sent.unwrap_or(0.0).total_cmp(&b.sent.unwrap_or(0.0)));
    r.streamed = r.requests.iter().any(|q| q.ok && q.ttft.is_some());
    r.duration = duration(b, &r)?;
    Ok(r)
}

/// The figures that GuideLLM states, with requests of mean lengths.
fn totals(b: &Value, answered: f64, stored: usize, at: &str, r: &mut Recording) -> Result<(), Bad> {
    let of = |name: &str| {
        let m = &b["metrics"][name];
        m.get("successful").filter(|s| s.is_object()).unwrap_or(m)
    };
    // What it calls inter-token latency is vLLM's TPOT, weighed by tokens; its own TPOT contains the first token.
    for (name, latency, scale) in [
        ("time_to_first_token_ms", Latency::Ttft, 1.0),
        ("inter_token_latency_ms", Latency::Tpot, 1.0),
        ("request_latency", Latency::E2el, 1e3),
    ] {
        r.statistics(latency, of(name), scale);
    }
    let mean = |name: &str| of(name)["mean"].as_f64();
    r.throughputs(
        mean("requests_per_second"),
        mean("output_tokens_per_second"),
        mean("tokens_per_second"),
    );
    // Where the lengths are not among the metrics, those of the stored requests.
    let length = |metric: &str, key: &str| -> Result<f64, Bad> {
        let rows = b["requests"]["successful"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        let sum: f64 = rows.iter().filter_map(|q| q[key].as_f64()).sum();
        let stored = (!rows.is_empty() && sum > 0.0).then(|| sum / rows.len() as f64);
        mean(metric).or(stored).ok_or_else(|| {
            (
                format!("{at}.metrics.{metric}"),
                "is missing: the lengths are needed".into(),
            )
        })
    };
    r.of_means(
        answered,
        length("prompt_token_count", "prompt_tokens")?,
        length("output_token_count", "output_tokens")?,
    )?;
    r.duration = match mean("requests_per_second") {
        Some(rate) if rate > 0.0 => Some(answered / rate),
        _ => b["duration"].as_f64().filter(|d| *d > 0.0),
    };
    r.streamed = of("time_to_first_token_ms").is_object();
    r.notes.push(format!(
        "{stored} of {answered} answered requests were stored: the figures are GuideLLM's own totals (its inter-token latency as TPOT,          percentiles by nearest rank), and every request is taken to have the mean lengths"
    ));
    r.left_out
        .push("GuideLLM's time per output token (the first token is in it)".into());
    r.clients_by_littles_law();
    Ok(())
}

/// A shape of gaps so large that they are all but equal.
const EVEN: f64 = 1e4;

/// How the load was made, as far as it can be told.
fn strategy(b: &Value, r: &mut Recording) {
    let strategy = ["/config/strategy", "/args/strategy", "/scheduler/strategy"]
        .iter()
        .find_map(|p| b.pointer(p))
        .unwrap_or(&Value::Null);
    let whole = |key: &str| strategy[key].as_u64().and_then(|n| u32::try_from(n).ok());
    match strategy["type_"].as_str() {
        Some("synchronous") => r.max_concurrency = Some(1),
        Some("concurrent") => r.max_concurrency = whole("streams"),
        Some("throughput") => r.max_concurrency = whole("max_concurrency"),
        Some(kind @ ("constant" | "poisson" | "async")) => {
            r.request_rate = strategy["rate"].as_f64().filter(|rate| *rate > 0.0);
            r.max_concurrency = whole("max_concurrency");
            if kind == "constant" {
                r.burstiness = EVEN;
            }
            r.notes.push(
                "GuideLLM's arrivals are replayed as recorded where they were stored (its Poisson repeats every gap once per worker process)"
                    .into(),
            );
        }
        _ => r.notes.push(
            "the strategy was not recognised: requests are replayed at their recorded times".into(),
        ),
    }
}

/// One request; `place` is where it stands in the file.
fn request(row: &Value, place: &str, ok: bool) -> Result<Recorded, Bad> {
    let at = |f: &str| format!("{place}.{f}");
    let start = first(
        row,
        &[
            "/info/timings/request_start",
            "/request_start_time",
            "/start_time",
        ],
    );
    let end = first(
        row,
        &[
            "/info/timings/last_token_iteration",
            "/last_token_time",
            "/info/timings/request_end",
            "/request_end_time",
            "/end_time",
        ],
    );
    let token = first(
        row,
        &["/info/timings/first_token_iteration", "/first_token_time"],
    );
    let wanted = first(row, &["/info/timings/targeted_start"]);
    let (Some(start), true) = (start, !ok || end.is_some()) else {
        return Err((at("info.timings"), "has no request_start or no end".into()));
    };
    let count = |key: &str, nested: &str| -> Result<u32, Bad> {
        match row.get(key).filter(|v| !v.is_null()) {
            Some(v) => tokens(v, &at(key)),
            None => match first(row, &[nested]) {
                Some(n) => Ok(n as u32),
                None if ok => Err((at(key), "is missing".into())),
                None => Ok(1),
            },
        }
    };
    Ok(Recorded {
        measured: true,
        ok,
        sent: Some(start),
        input: count("prompt_tokens", "/input_metrics/text_tokens")?,
        output: count("output_tokens", "/output_metrics/text_tokens")?,
        ttft: token
            .map(|t| t - start)
            .or_else(|| first(row, &["/time_to_first_token_ms"]).map(|ms| ms / 1e3)),
        latency: end.filter(|_| ok).map(|e| e - start),
        held: wanted.map_or(0.0, |w| (start - w).max(0.0)),
        ..Recorded::default()
    })
}

/// Seconds from the first request to the last answer.
fn duration(b: &Value, r: &Recording) -> Result<Option<f64>, Bad> {
    let told = match b.get("duration").filter(|d| !d.is_null()) {
        Some(d) => Some(number(d, "benchmarks[].duration")?).filter(|d| *d > 0.0),
        None => None,
    };
    // GuideLLM's duration contains its own start and end: the requests' own span is comparable.
    let end = r
        .answered()
        .filter_map(|q| Some(q.sent? + q.latency?))
        .fold(0.0, f64::max);
    Ok(if end > 0.0 { Some(end) } else { told })
}
