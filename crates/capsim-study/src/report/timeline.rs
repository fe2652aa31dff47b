//! The engine's state over time: one row per step, or per interval of equal length.
use super::requests::Rows;
use super::stream::{Stream, secs};
use capsim::engine::observe::{Observer, StepRecord};
use capsim::units::{SimTime, Span};
use std::io::Write;

/// Columns of the file, in order.
const COLUMNS: &[&str] = &[
    "time",
    "steps",
    "busy",
    "running",
    "waiting",
    "kv_usage",
    "batch",
    "prefill_tokens",
    "decode_tokens",
    "preemptions",
];

/// What happened between two moments.
#[derive(Clone, Copy, Default)]
struct Bin {
    steps: u64,
    busy: u128,
    /// State · nanoseconds.
    running: u128,
    waiting: u128,
    used: u128,
    batch: u128,
    prefill: u64,
    decode: u64,
}

/// Writes the time series, warm-up included. In every row, `time` and `busy` are seconds, `running`, `waiting` and `kv_usage`
/// (0 to 1) means over the row's time, in which an idle engine counts as empty; `batch` is the mean number of sequences per step,
/// weighted by time; tokens are those of the steps that ended in it; `preemptions` counts from the beginning.
pub struct Timeline<W: Write> {
    out: Stream<W>,
    rows: Rows,
    usable_blocks: u64,
    interval: Option<Span>,
    preemptions: u64,
    begin: SimTime,
    end: SimTime,
    bin: Bin,
}

impl<W: Write> Timeline<W> {
    /// For an engine with `usable_blocks` KV blocks to give out; one row per step without `interval`, which must not be zero.
    pub fn new(out: W, rows: Rows, usable_blocks: u64, interval: Option<Span>) -> Self {
        let mut out = Stream::new(out);
        if rows == Rows::Csv {
            out.write(format_args!("{}\n", COLUMNS.join(",")));
        }
        Self {
            out,
            rows,
            usable_blocks: usable_blocks.max(1),
            interval: interval.filter(|i| *i > Span::ZERO),
            preemptions: 0,
            begin: SimTime::ZERO,
            end: SimTime::ZERO,
            bin: Bin::default(),
        }
    }

    /// The writer back, everything written.
    ///
    /// # Errors
    /// The first one that writing met.
    pub fn finish(mut self) -> std::io::Result<W> {
        if self.interval.is_some() && self.end > self.begin {
            let length = self.end.since(self.begin);
            self.row(self.begin, length, self.bin);
        }
        self.out.finish()
    }

    /// Adds the part of a step that lies between two moments.
    fn add(bin: &mut Bin, step: &StepRecord, usable: u64, time: Span) {
        let ns = u128::from(time.0);
        bin.busy += ns;
        bin.running += ns * u128::from(step.running);
        bin.waiting += ns * u128::from(step.waiting);
        bin.used += ns * u128::from(usable.saturating_sub(step.free_blocks));
        bin.batch += ns * u128::from(step.shape.seqs());
    }

    fn ends(bin: &mut Bin, step: &StepRecord) {
        bin.steps += 1;
        bin.prefill += u64::from(step.shape.prefill_tokens);
        bin.decode += u64::from(step.shape.decode_seqs);
    }

    fn row(&mut self, time: SimTime, length: Span, b: Bin) {
        let over = |sum: u128, ns: u128| {
            let mean = if ns == 0 { 0.0 } else { sum as f64 / ns as f64 };
            mean.to_string()
        };
        let ns = u128::from(length.0);
        let values = [
            secs(time.0).to_string(),
            b.steps.to_string(),
            // No longer than `length`.
            secs(b.busy as u64).to_string(),
            over(b.running, ns),
            over(b.waiting, ns),
            over(b.used, ns * u128::from(self.usable_blocks)),
            over(b.batch, b.busy),
            b.prefill.to_string(),
            b.decode.to_string(),
            self.preemptions.to_string(),
        ];
        self.out.row(COLUMNS, &values, self.rows == Rows::Csv);
    }
}

impl<W: Write> Observer for Timeline<W> {
    fn on_step(&mut self, step: &StepRecord) {
        let usable = self.usable_blocks;
        let Some(interval) = self.interval else {
            self.preemptions += u64::from(step.preempted);
            // A step of no length still has a state.
            let length = step.duration.max(Span(1));
            let mut bin = Bin::default();
            Self::add(&mut bin, step, usable, length);
            Self::ends(&mut bin, step);
            if step.duration == Span::ZERO {
                bin.busy = 0;
            }
            return self.row(step.start, length, bin);
        };
        let end = step.start + step.duration;
        let mut from = step.start;
        // A step that ends where an interval does belongs to that interval.
        while end > self.begin + interval {
            let edge = self.begin + interval;
            if from < edge {
                Self::add(&mut self.bin, step, usable, edge.since(from));
                from = edge;
            }
            self.row(self.begin, interval, self.bin);
            self.bin = Bin::default();
            self.begin = edge;
        }
        self.preemptions += u64::from(step.preempted);
        Self::add(&mut self.bin, step, usable, end.since(from));
        Self::ends(&mut self.bin, step);
        self.end = end;
    }
}
