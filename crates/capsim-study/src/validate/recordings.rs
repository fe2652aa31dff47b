//! The recordings of a file of any form: results of load clients, and the timings of `llama-bench`.
use crate::import::llama_bench;
use crate::import::llamacpp::Measure;
use capsim::device::EngineId;
use capsim::metrics::{Latency, Metric, MetricName};
use capsim_live::bench::read::{self, ReadError, Recorded, Recording, Tool};

/// Reads the results of a text; `file` is its name.
///
/// # Errors
/// As [`read::parse`].
pub fn recordings(text: &str, file: &str) -> Result<Vec<Recording>, ReadError> {
    if !llama_bench::is(text) {
        return read::parse(text, file);
    }
    let fail = |problem: String| ReadError {
        file: file.into(),
        field: "(the whole file)".into(),
        problem,
    };
    let output = llama_bench::read(text, file).map_err(|e| fail(e.to_string()))?;
    let mut all: Vec<Recording> = output
        .rows
        .iter()
        .filter_map(|row| recording(row, output.combined))
        .collect();
    if all.is_empty() {
        return Err(fail(
            "holds prompts after a context alone, which a server cannot be asked for".into(),
        ));
    }
    read::name_each(&mut all, file);
    Ok(all)
}

/// Output tokens of a generation: llama-bench's default (tools/llama-bench: `-n 128`).
const GENERATED: u32 = 128;

/// A prompt as a request with one output token, a generation as requests after a prompt as long as its context.
fn recording(row: &llama_bench::Row, combined: usize) -> Option<Recording> {
    let (clients, input, output, metric, seconds) = match row.measure {
        Measure::Prompt {
            tokens,
            depth: 0.0,
            seconds,
        } => (1, tokens as u32, 1, Metric::mean(Latency::Ttft), seconds),
        Measure::Prompt { .. } => return None,
        Measure::Step {
            batch,
            depth,
            seconds,
        } => {
            let before = (depth as u32).saturating_sub(GENERATED / 2).max(1);
            (
                batch as u32,
                before,
                GENERATED + 1,
                Metric::mean(Latency::Tpot),
                seconds,
            )
        }
    };
    if !(1..=65_536).contains(&clients) {
        return None;
    }
    let mut r = Recording::of_tool(Tool::LlamaBench);
    r.engine = Some(EngineId::LlamaServer);
    r.model = row.model.as_ref().map(|m| m.name.clone());
    r.max_concurrency = Some(clients);
    r.reported
        .insert(MetricName::recorded(metric), 1e3 * seconds);
    let request = Recorded {
        measured: true,
        ok: true,
        input,
        output,
        ..Recorded::default()
    };
    r.requests = vec![request; clients as usize];
    r.notes.push(match metric.latency() {
        Some(Latency::Ttft) => {
            format!("a prompt of {input} tokens: its time as that to the first token")
        }
        _ => format!(
            "{GENERATED} tokens after {input}, {clients} at a time: the time of a step as TPOT"
        ),
    });
    r.notes.push(
        "llama-bench runs the model without a server: there is no way to a client in its times"
            .into(),
    );
    if combined > 0 {
        r.notes.push(format!(
            "{combined} tests of prompt and generation together were left out"
        ));
    }
    Some(r)
}
