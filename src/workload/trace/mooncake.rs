//! Mooncake (R. Qin et al., FAST 2025; kvcache-ai/Mooncake: FAST25-release/traces): one JSON object per line, `timestamp` in
//! milliseconds (some writers: microseconds or nanoseconds since 1970, also as text), `input_length`, `output_length`, `hash_ids`: one per 512 tokens of the prompt, equal ids being equal
//! beginnings of prompts; the last block may be partly filled.
use super::{Problem, Raw, Reader, timestamp::Clock};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    timestamp: Value,
    /// Dynamo's sessions (dynamo-data-gen 1.4.0, `mooncake.rs`): a later turn comes so long after the answer before it.
    #[serde(default)]
    delay: Option<f64>,
    input_length: u64,
    output_length: u64,
    #[serde(default)]
    hash_ids: Vec<i64>,
}

/// Lines of JSON whose timestamps are those of the clock.
pub(super) fn read(text: &str, clock: &mut Clock, out: &mut Reader) -> Result<(), Problem> {
    for (i, line) in text.lines().enumerate() {
        let n = out.lines_before + i as u64 + 1;
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
        if let (Value::Null, Some(delay)) = (&row.timestamp, row.delay) {
            let problem = format!(
                "this turn has no `timestamp`: it comes {delay} ms (`delay`) after the answer before it, and only requests with a time of \
                 their own are replayed; conversations are `--users` with `--turns` and `--think-time`"
            );
            return Err((n, problem));
        }
        let at = match &row.timestamp {
            Value::Null => return Err((n, "missing field `timestamp`".into())),
            Value::String(text) => clock.read(text),
            Value::Number(number) => clock.read(&number.to_string()),
            _ => None,
        };
        let Some(at) = at else {
            return Err((n, format!("timestamp {} is not a time", row.timestamp)));
        };
        let ids: Vec<u64> = row
            .hash_ids
            .iter()
            .map(|id| u64::from_ne_bytes(id.to_ne_bytes()))
            .collect();
        out.push(
            n,
            Raw {
                at,
                input: row.input_length,
                output: row.output_length,
                hash_ids: &ids,
                names: ["timestamp", "input_length", "output_length"],
            },
        )?;
    }
    Ok(())
}

/// Block sizes that writers of such traces use.
const BLOCKS: [u32; 7] = [1024, 512, 256, 128, 64, 32, 16];

/// The largest block size in use of which no prompt of a trace has more ids than blocks and some prompt has as many, where the ids of no
/// prompt fit blocks of `usual` tokens; `None`: one of them does, so that the others are damaged, or there is no such size.
pub(super) fn block_size(text: &str, usual: u32) -> Option<u32> {
    let usual = u64::from(usual);
    // A size, and whether a prompt has as many ids as blocks.
    let mut fits: Vec<(u32, bool)> = BLOCKS.iter().map(|b| (*b, false)).collect();
    for line in text.lines().filter(|l| !l.trim().is_empty()) {
        let row: Line = serde_json::from_str(line).ok()?;
        let (n, input) = (row.hash_ids.len() as u64, row.input_length);
        if n > 0 && (input / usual..=input.div_ceil(usual)).contains(&n) {
            return None;
        }
        let blocks = |b: u32| input.div_ceil(u64::from(b));
        fits.retain(|(b, _)| n <= blocks(*b));
        for (b, met) in &mut fits {
            *met |= n > 0 && n == blocks(*b);
        }
    }
    fits.iter().find(|(_, met)| *met).map(|(b, _)| *b)
}
