//! Every request of a simulation, written as it ends: JSON lines or CSV.
use super::stream::{Stream, ms, secs};
use capsim::engine::observe::{FinishReason, Observer, RequestRecord};
use std::io::Write;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// One JSON object per line.
    JsonLines,
    /// Comma-separated values with a header.
    Csv,
}

/// Columns of the file, in order. Times in seconds since the simulation began, latencies in milliseconds.
const COLUMNS: &[&str] = &[
    "id",
    "arrival",
    "scheduled",
    "first_token",
    "finish",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "preemptions",
    "reason",
    "ttft_ms",
    "tpot_ms",
    "e2el_ms",
    "queue_ms",
];

/// Writes the measured requests (warm-up left out) in order of completion.
pub struct Requests<W: Write> {
    out: Stream<W>,
    rows: Rows,
    warmup: u64,
}

impl<W: Write> Requests<W> {
    /// The first `warmup` requests (by id) are not written.
    pub fn new(out: W, rows: Rows, warmup: u64) -> Self {
        let mut out = Stream::new(out);
        if rows == Rows::Csv {
            out.write(format_args!("{}\n", COLUMNS.join(",")));
        }
        Self { out, rows, warmup }
    }

    /// The writer back, everything written.
    ///
    /// # Errors
    /// The first one that writing met.
    pub fn finish(self) -> std::io::Result<W> {
        self.out.finish()
    }
}

impl<W: Write> Observer for Requests<W> {
    fn on_request(&mut self, r: &RequestRecord) {
        if r.id.0 < self.warmup || r.reason == FinishReason::Abort {
            return;
        }
        let reason = match r.reason {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
            FinishReason::Abort => "abort",
        };
        let tpot = (r.output_tokens > 1)
            .then(|| 1e3 * r.finish.since(r.first_token).secs() / f64::from(r.output_tokens - 1));
        let csv = self.rows == Rows::Csv;
        let (quote, none) = if csv { ("", "") } else { ("\"", "null") };
        let values = [
            r.id.0.to_string(),
            secs(r.arrival.0).to_string(),
            secs(r.scheduled.0).to_string(),
            secs(r.first_token.0).to_string(),
            secs(r.finish.0).to_string(),
            r.prompt_tokens.to_string(),
            r.output_tokens.to_string(),
            r.cached_tokens.to_string(),
            r.preemptions.to_string(),
            format!("{quote}{reason}{quote}"),
            ms(r.first_token.since(r.arrival).0).to_string(),
            tpot.map_or(none.into(), |t| t.to_string()),
            ms(r.finish.since(r.arrival).0).to_string(),
            ms(r.scheduled.since(r.arrival).0).to_string(),
        ];
        self.out.row(COLUMNS, &values, csv);
    }
}
