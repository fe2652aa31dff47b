//! The answer in words: one to three sentences, each clause computed from the prediction or from further simulations.
mod best;
mod plans;

pub use plans::{capacity, compared, memory, tune, weights};

use super::Row;
use super::table::{three, wrap};
use best::Table;
use capsim::cost::Part;
use capsim::fields::Section;
use capsim::metrics::{Latency, Metric, Percentiles, Statistic};
use capsim::plan::{Gain, Kind, gains};
use capsim::predict::spec::DEFAULT_DEVICE;
use capsim::predict::{Binding, Prediction, Scenario};
use capsim::workload::WorkloadSpec;
use capsim::workload::load::LoadSection;

/// A difference smaller than this is called none: a tenth of what most intervals span.
const SAME: f64 = 1.05;

/// The answer's lines at the head of a text, with an empty one below.
pub fn lines(answer: &str) -> String {
    match answer {
        "" => String::new(),
        text => wrap(text, 80, "") + "\n\n",
    }
}

/// What a prediction, or a table of them, says. Other weight formats, kernels of the experts and engines are simulated under the
/// load of the row that it is about, unless the table already compares them.
pub fn predicted(rows: &[Row]) -> String {
    let Some(table) = Table::new(rows) else {
        return String::new();
    };
    let row = table.about();
    let varied = |f: &str| row.varied.iter().any(|(v, _)| *v == f);
    let kinds = [
        (Kind::Tiles, ["moe_tiles", "moe_tiles"]),
        (Kind::Weights, ["weights", "quantization"]),
        (Kind::Engine, ["engine", "server"]),
    ];
    let untold = kinds.iter().filter(|(_, f)| !f.iter().any(|f| varied(f)));
    let kinds: Vec<Kind> = untold.map(|(k, _)| *k).collect();
    let first = match rows {
        [one] => sentence(one),
        _ => table.sentence(),
    };
    let parts = [
        refused(row),
        first,
        outlook(&gains(&row.scenario, &kinds), &table.at_that()),
        default_device(&row.scenario),
    ];
    let told: Vec<String> = parts.into_iter().filter(|p| !p.is_empty()).collect();
    capital(&told.join(" "))
}

/// That the figures are of some of the requests only.
fn refused(row: &Row) -> String {
    match row.prediction.run.summary.refused {
        0 => String::new(),
        n => format!(
            "{n} of {} requests are refused; what follows is about the others.",
            row.prediction.run.summary.asked()
        ),
    }
}

/// A text that begins with a capital.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

/// That the device was not named, where the first command took the one that is usual here.
fn default_device(scenario: &Scenario) -> String {
    match scenario.notes.device_assumed {
        true => format!(
            "No --device was given: this is {DEFAULT_DEVICE} (capsim models lists the others)."
        ),
        false => String::new(),
    }
}

/// An answer with the device that it was given for, where none was named.
pub fn for_device(answer: &str, scenario: &Scenario) -> String {
    let taken = default_device(scenario);
    format!("{answer} {taken}").trim().to_string()
}

/// Many or one.
fn people(n: u32) -> String {
    match n {
        1 => "One person at a time reads".into(),
        n => format!("{n} people at once each read"),
    }
}

/// Under which load, up to the verb.
fn subject(w: &WorkloadSpec) -> String {
    if w.trace.is_some() {
        return "Replayed as recorded, each answer is read at".into();
    }
    if let Some(u) = &w.users {
        return match u.count {
            1 => "One user reads".into(),
            n => format!("{n} users each read"),
        };
    }
    match (w.request_rate, w.max_concurrency, &w.arrival) {
        (Some(r), ..) => format!("At {r} requests/s each answer is read at"),
        (None, _, Some(_)) => "Under this arrival process each answer is read at".into(),
        (None, Some(n), None) if n >= w.num_prompts && n > 1 => {
            format!("{} requests sent at once are each read at", w.num_prompts)
        }
        (None, Some(n), None) => people(n),
        (None, None, None) => format!("{} requests sent at once are each read at", w.num_prompts),
    }
}

/// Tokens per second of one answer, 1 / mean TPOT, with its interval; `None` for answers of one token.
fn speed(p: &Prediction) -> Option<String> {
    let tpot = p.run.summary.tpot.mean();
    if tpot.is_nan() || tpot <= 0.0 {
        return None;
    }
    let mean = Metric::Latency(Latency::Tpot, Statistic::Mean);
    let range = p.interval_of(mean).map_or(String::new(), |i| {
        format!(" (90 %: {}–{})", three(1e3 / i.high), three(1e3 / i.low))
    });
    Some(format!("about {} tokens/s{range}", three(1.0 / tpot)))
}

/// Seconds in their usual unit.
fn time(secs: f64) -> String {
    match secs {
        s if s < 0.1 => format!("{} ms", three(1e3 * s)),
        s => format!("{} s", three(s)),
    }
}

/// When the first token comes, and how much of that is queueing; the slow tail where it is twice the mean.
fn first_token(p: &Prediction) -> String {
    let s = &p.run.summary;
    let mean = s.ttft.mean();
    let p90 = s.metric(Metric::percentile(Latency::Ttft, 90.0), Percentiles::Linear) / 1e3;
    let mut text = format!("the first token comes after {}", time(mean));
    let queue = s.queue.mean();
    if queue > 0.3 * mean && queue > 0.05 {
        text += &format!(", {} of it in the queue", time(queue));
    }
    if p90 > 2.0 * mean {
        text += &format!(" ({} for one in ten)", time(p90));
    }
    text
}

/// What binds, with its figure.
fn binds(p: &Prediction) -> String {
    let run = &p.run;
    match p.binding {
        Binding::MaxNumSeqs => match run.settings.config.max_num_seqs {
            1 => "requests wait for the only place (max-num-seqs 1)".into(),
            n => format!("requests wait for one of {n} places (max-num-seqs)"),
        },
        Binding::KvCache => match run.summary.preemptions {
            0 => "requests wait for a full KV cache".into(),
            n => format!("the KV cache is full: {n} preemptions"),
        },
        Binding::Load => format!(
            "the device idles {:.0} % of the time",
            100.0 * (1.0 - run.occupancy.busy / run.summary.duration).max(0.0)
        ),
        Binding::Step(part) => format!(
            "{:.0} % of the step time goes to {}{}",
            100.0 * run.breakdown.of(part) / run.breakdown.total(),
            if part == Part::Host { "the " } else { "" },
            part.words(),
        ),
        Binding::Bubbles => "stages of the pipeline idle, as too few batches are in flight".into(),
    }
}

/// That far fewer requests are answered than come in, because the device is busy: the queue grows, or the run is too short to tell.
fn falls_behind(w: &WorkloadSpec, p: &Prediction) -> Option<String> {
    let s = &p.run.summary;
    let rate = w
        .request_rate
        .filter(|_| w.trace.is_none() && w.users.is_none())?;
    let served = s.request_throughput();
    (served < 0.9 * rate && p.run.occupancy.busy > 0.9 * s.duration)
        .then(|| format!("only {} requests/s are answered in this run", three(served)))
}

/// One row in a sentence.
pub fn sentence(row: &Row) -> String {
    let (w, p) = (&row.scenario.workload, &row.prediction);
    let s = &p.run.summary;
    let together = format!("{} tokens/s together", three(s.output_throughput()));
    let many = p.run.occupancy.batch > 1.5;
    let first = match speed(p) {
        Some(speed) if many => format!("{} {speed}, {together}", subject(w)),
        Some(speed) => format!("{} {speed}", subject(w)),
        None => format!(
            "Answers of one token: {} requests/s",
            three(s.request_throughput())
        ),
    };
    let behind = falls_behind(w, p).map_or(String::new(), |b| b + "; ");
    format!("{first}; {}; {behind}{}.", first_token(p), binds(p))
}

/// What a gain would bring, `SAME` apart.
fn gain(g: &Gain) -> String {
    let each = g
        .each
        .map_or(String::new(), |e| format!(" ({} tokens/s each)", three(e)));
    let effect = match g.faster {
        f if f >= SAME => format!("would be {} times as fast", three(f)),
        f if f > 1.0 / SAME => "would change little".into(),
        f => format!("would be {} times as slow", three(1.0 / f)),
    };
    format!("{} {effect}{each}", g.what)
}

/// The best change that keeps the answers and the best weight format, in a sentence.
fn outlook(all: &[Gain], at: &str) -> String {
    // They come with the largest gain first. Another engine is news where it beats what this one could do.
    let of = |kind: Kind| all.iter().find(move |g| g.kind == kind);
    let tiles = of(Kind::Tiles).map_or(1.0, |g| g.faster.max(1.0));
    let engine = of(Kind::Engine).filter(|g| g.faster > SAME * tiles);
    let told = [of(Kind::Tiles), engine, of(Kind::Weights)];
    let told: Vec<String> = told.into_iter().flatten().map(gain).collect();
    match told.is_empty() {
        true => String::new(),
        false => format!("Simulated{at}: {}.", told.join("; ")),
    }
}

/// Whether a field is about the load.
fn of_load(field: &str) -> bool {
    LoadSection::place(field).is_ok()
}
