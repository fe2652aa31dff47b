//! Mooncake (R. Qin et al., FAST 2025; kvcache-ai/Mooncake: FAST25-release/traces): one JSON object per line, `timestamp` in
//! milliseconds, `input_length`, `output_length`, `hash_ids`: one per 512 tokens of the prompt, equal ids being equal
//! beginnings of prompts; the last block may be partly filled.
use super::{Problem, Raw, Reader};
use serde::Deserialize;

#[derive(Deserialize)]
struct Line {
    timestamp: f64,
    input_length: u64,
    output_length: u64,
    #[serde(default)]
    hash_ids: Vec<i64>,
}

pub(super) fn read(text: &str, out: &mut Reader) -> Result<(), Problem> {
    lines(text, 1e6, out)
}

/// Lines of JSON whose timestamps are in units of `unit` nanoseconds.
pub(super) fn lines(text: &str, unit: f64, out: &mut Reader) -> Result<(), Problem> {
    for (i, line) in text.lines().enumerate() {
        let n = i as u64 + 1;
        if line.trim().is_empty() {
            continue;
        }
        let row: Line = serde_json::from_str(line).map_err(|e| {
            // serde_json counts lines within the one it was given.
            let text = e.to_string();
            let text = text.split(" at line ").next().unwrap_or_default();
            let hint = if e.is_eof() {
                " (is the line cut off?)"
            } else {
                ""
            };
            (n, format!("{text}{hint}"))
        })?;
        let at = row.timestamp * unit;
        if !(at.is_finite() && at.abs() < 1e36) {
            return Err((n, format!("timestamp {} is not a time", row.timestamp)));
        }
        let ids: Vec<u64> = row
            .hash_ids
            .iter()
            .map(|id| u64::from_ne_bytes(id.to_ne_bytes()))
            .collect();
        out.push(
            n,
            Raw {
                at: libm::round(at) as i128,
                input: row.input_length,
                output: row.output_length,
                hash_ids: &ids,
                names: ["timestamp", "input_length", "output_length"],
            },
        )?;
    }
    Ok(())
}
