//! GuideLLM's `benchmarks.json`: fields of 0.8 (`schemas/base/request_stats.py`, `info.py`) and of releases before 0.4.
use super::{Bad, Recorded, Recording, Tool, number, tokens};
use serde_json::Value;

/// The first of `paths` (JSON pointers) that is a number.
fn first(v: &Value, paths: &[&str]) -> Option<f64> {
    paths
        .iter()
        .find_map(|p| v.pointer(p).and_then(Value::as_f64))
        .filter(|n| n.is_finite())
}

pub(super) fn read(v: &Value) -> Result<Recording, Bad> {
    let all = v["benchmarks"].as_array().map_or(&[][..], Vec::as_slice);
    let b = match all {
        [one] => one,
        [] => return Err(("benchmarks".into(), "there is none".into())),
        many => {
            return Err((
                "benchmarks".into(),
                format!(
                    "there are {}: a comparison is of one; store them apart, or run GuideLLM with one strategy",
                    many.len()
                ),
            ));
        }
    };
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
    for (kind, ok) in [("successful", true), ("errored", false)] {
        let Some(rows) = b["requests"][kind].as_array() else {
            if ok {
                return Err((
                    "benchmarks[0].requests.successful".into(),
                    "must be a list of requests".into(),
                ));
            }
            continue;
        };
        for (i, row) in rows.iter().enumerate() {
            let place = format!("benchmarks[0].requests.{kind}[{i}]");
            r.requests.push(request(row, &place, ok)?);
        }
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
        Some("constant" | "poisson") => {
            r.request_rate = strategy["rate"].as_f64();
            r.max_concurrency = whole("max_concurrency");
            r.notes.push(
                "GuideLLM's arrivals are replayed as recorded (its Poisson repeats every gap once per worker process)".into(),
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
        Some(d) => Some(number(d, "benchmarks[0].duration")?).filter(|d| *d > 0.0),
        None => None,
    };
    // GuideLLM's duration contains its own start and end: the requests' own span is comparable.
    let end = r
        .answered()
        .filter_map(|q| Some(q.sent? + q.latency?))
        .fold(0.0, f64::max);
    Ok(if end > 0.0 { Some(end) } else { told })
}
