//! A simulation as a Chrome trace (Trace Event Format, JSON object form), for ui.perfetto.dev and chrome://tracing.
//!
//! Process 1 is the engine: its steps on one track, and counters. Process 2 are the requests: as many tracks as were needed
//! for no two requests on one to overlap, each request a row of phases. Times are whole microseconds, rounded down at both
//! edges, so that neighbours meet in every reader: some compute ends in floating point, and drop what overlaps by a rounding.
use super::stream::Stream;
use capsim::engine::Step;
use capsim::engine::observe::{Observer, RequestRecord, StepRecord};
use capsim::units::SimTime;
use capsim::workload::RequestId;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

/// Writes the trace while the simulation runs; keeps what live preempted requests need, and one number per track.
pub struct Trace<W: Write> {
    out: Stream<W>,
    warmup: u64,
    usable_blocks: u64,
    preemptions: u64,
    /// End of the step written last.
    busy_until: SimTime,
    /// (free from, track).
    tracks: BTreeSet<(SimTime, u64)>,
    /// Preempted at, resumed at; of requests that have not ended.
    pauses: BTreeMap<RequestId, Vec<(SimTime, Option<SimTime>)>>,
}

fn us(t: SimTime) -> u64 {
    t.0 / 1000
}

impl<W: Write> Trace<W> {
    /// For an engine with `usable_blocks` KV blocks to give out; the first `warmup` requests are marked as such.
    pub fn new(out: W, usable_blocks: u64, warmup: u64) -> Self {
        let mut out = Stream::new(out);
        out.write(format_args!(
            "{{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n"
        ));
        for (pid, name) in [(1, "engine"), (2, "requests")] {
            out.write(format_args!(
                "{{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":{pid},\"args\":{{\"name\":\"{name}\"}}}},\n\
                 {{\"ph\":\"M\",\"name\":\"process_sort_index\",\"pid\":{pid},\"args\":{{\"sort_index\":{pid}}}}},\n"
            ));
        }
        // The last event of the list, as it were: every later one begins with a comma.
        out.write(format_args!(
            "{{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":1,\"tid\":1,\"args\":{{\"name\":\"steps\"}}}}"
        ));
        Self {
            out,
            warmup,
            usable_blocks: usable_blocks.max(1),
            preemptions: 0,
            busy_until: SimTime::ZERO,
            tracks: BTreeSet::new(),
            pauses: BTreeMap::new(),
        }
    }

    /// The writer back, everything written.
    ///
    /// # Errors
    /// The first one that writing met.
    pub fn finish(mut self) -> std::io::Result<W> {
        self.idle();
        self.out.write(format_args!("\n]}}\n"));
        self.out.finish()
    }

    fn counter(&mut self, at: SimTime, name: &str, args: std::fmt::Arguments<'_>) {
        self.out.write(format_args!(
            ",\n{{\"ph\":\"C\",\"name\":\"{name}\",\"pid\":1,\"ts\":{},\"args\":{{{args}}}}}",
            us(at)
        ));
    }

    fn counters(&mut self, at: SimTime, running: u32, waiting: u32, kv: f64, tokens: (u32, u32)) {
        self.counter(at, "running", format_args!("\"requests\":{running}"));
        self.counter(at, "waiting", format_args!("\"requests\":{waiting}"));
        self.counter(at, "KV usage", format_args!("\"percent\":{kv}"));
        let (prefill, decode) = tokens;
        self.counter(
            at,
            "tokens per step",
            format_args!("\"prefill\":{prefill},\"decode\":{decode}"),
        );
    }

    /// After the last step nothing runs.
    fn idle(&mut self) {
        if self.busy_until > SimTime::ZERO {
            self.counters(self.busy_until, 0, 0, 0.0, (0, 0));
        }
    }

    /// A track that is free from `from` on, taken until `to`.
    fn track(&mut self, from: SimTime, to: SimTime) -> u64 {
        // The one that became free last: requests come in order of their ends, for which this needs the fewest tracks.
        let best = self.tracks.range(..=(from, u64::MAX)).next_back().copied();
        let track = match best {
            Some(entry) => {
                self.tracks.remove(&entry);
                entry.1
            }
            None => {
                let track = self.tracks.len() as u64 + 1;
                self.out.write(format_args!(
                    ",\n{{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":2,\"tid\":{track},\"args\":{{\"name\":\"slot {track}\"}}}},\n\
                     {{\"ph\":\"M\",\"name\":\"thread_sort_index\",\"pid\":2,\"tid\":{track},\"args\":{{\"sort_index\":{track}}}}}"
                ));
                track
            }
        };
        self.tracks.insert((to, track));
        track
    }
}

impl<W: Write> Observer for Trace<W> {
    fn on_schedule(&mut self, at: SimTime, step: &Step<'_>) {
        for id in step.preempted {
            self.pauses.entry(*id).or_default().push((at, None));
        }
        for id in step.resumed {
            if let Some((_, until)) = self.pauses.get_mut(id).and_then(|p| p.last_mut()) {
                *until = Some(at);
            }
        }
    }

    fn on_step(&mut self, s: &StepRecord) {
        if us(s.start) > us(self.busy_until) {
            self.idle();
        }
        self.preemptions += u64::from(s.preempted);
        let end = s.start + s.duration;
        self.out.write(format_args!(
            ",\n{{\"ph\":\"X\",\"name\":\"{}\",\"cat\":\"step\",\"pid\":1,\"tid\":1,\"ts\":{},\"dur\":{},\"args\":{{\"sequences\":{},\
             \"prefill_tokens\":{},\"decode_tokens\":{},\"preempted\":{},\"preemptions\":{}}}}}",
            if s.shape.prefill_seqs > 0 {
                "prefill step"
            } else {
                "decode step"
            },
            us(s.start),
            us(end) - us(s.start),
            s.shape.seqs(),
            s.shape.prefill_tokens,
            s.shape.decode_seqs,
            s.preempted,
            self.preemptions,
        ));
        let used = self.usable_blocks.saturating_sub(s.free_blocks);
        let kv = 100.0 * used as f64 / self.usable_blocks as f64;
        let tokens = (s.shape.prefill_tokens, s.shape.decode_seqs);
        self.counters(s.start, s.running, s.waiting, kv, tokens);
        self.busy_until = end;
    }

    fn on_request(&mut self, r: &RequestRecord) {
        let pauses = self.pauses.remove(&r.id).unwrap_or_default();
        let tid = self.track(r.arrival, r.finish);
        let cat = if r.id.0 < self.warmup {
            "warm-up"
        } else {
            "request"
        };
        // A new phase may begin at any of these moments.
        let mut edges = vec![r.arrival, r.scheduled, r.first_token, r.finish];
        for (from, until) in &pauses {
            edges.extend([*from, until.unwrap_or(r.finish)]);
        }
        edges.retain(|t| (r.arrival..=r.finish).contains(t));
        // Latest first, so that of those in one microsecond the last is kept: what it begins is seen.
        edges.sort_unstable_by(|a, b| b.cmp(a));
        edges.dedup_by_key(|t| us(*t));
        edges.reverse();
        for w in edges.windows(2) {
            let (from, to) = (w[0], w[1]);
            let paused = pauses
                .iter()
                .any(|(p, until)| *p <= from && until.is_none_or(|u| from < u));
            let name = match () {
                () if paused => "preempted",
                () if from < r.scheduled => "queued",
                () if from < r.first_token => "prefill",
                () => "decode",
            };
            self.out.write(format_args!(
                ",\n{{\"ph\":\"X\",\"name\":\"{name}\",\"cat\":\"{cat}\",\"pid\":2,\"tid\":{tid},\"ts\":{},\"dur\":{},\
                 \"args\":{{\"request\":{},\"input_tokens\":{},\"output_tokens\":{},\"cached_tokens\":{},\"preemptions\":{}}}}}",
                us(from),
                us(to) - us(from),
                r.id.0,
                r.prompt_tokens,
                r.output_tokens,
                r.cached_tokens,
                r.preemptions,
            ));
        }
    }
}
