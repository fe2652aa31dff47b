//! Requests as LLMServingSim's bench records them (casys-kaist/LLMServingSim: bench/core/recorder.py): one JSON object per
//! line, `input_toks`, `output_toks`, and when the request entered the engine's queue, `queued_ts` (seconds of the engine's
//! clock): their latencies count from there. Where that is missing, `arrival_time` (wall clock, at the client) takes its place.
use super::{Problem, Raw, Reader};
use serde::Deserialize;

#[derive(Deserialize)]
struct Line {
    arrival_time: Option<f64>,
    queued_ts: Option<f64>,
    input_toks: u64,
    output_toks: u64,
}

pub(super) fn read(text: &str, out: &mut Reader) -> Result<(), Problem> {
    let mut rows: Vec<(i128, u64, u64, u64)> = vec![];
    for (i, line) in text.lines().enumerate() {
        let n = i as u64 + 1;
        if line.trim().is_empty() {
            continue;
        }
        let row: Line = serde_json::from_str(line).map_err(|e| {
            let text = e.to_string();
            let text = text.split(" at line ").next().unwrap_or_default();
            (n, text.to_string())
        })?;
        let Some(time) = row.queued_ts.or(row.arrival_time) else {
            return Err((n, "has neither queued_ts nor arrival_time".into()));
        };
        let at = time * 1e9;
        if !(at.is_finite() && (0.0..1e36).contains(&at)) {
            return Err((n, format!("{time} is not a time")));
        }
        rows.push((libm::round(at) as i128, n, row.input_toks, row.output_toks));
    }
    // Lines are written as answers end or as requests are numbered: the order of arrival is that of the times.
    rows.sort_by_key(|r| (r.0, r.1));
    for (at, n, input, output) in rows {
        out.push(
            n,
            Raw {
                at,
                input,
                output,
                hash_ids: &[],
                names: ["queued_ts", "input_toks", "output_toks"],
            },
        )?;
    }
    Ok(())
}
