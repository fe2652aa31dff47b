//! A prediction as text: the block that people paste from `vllm bench serve`, and a table of many.
use super::Row;
use super::table::{three, unbroken, with_header, wrap};
use capsim::cost::Part;
use capsim::device::{Origin, Provenance, Watts};
use capsim::fields::Value;
use capsim::metrics::{Latency, Metric, Percentiles, Statistic, TtftParts};
use capsim::predict::{
    Caveat, Energy, Prediction, Records, Refused, Scenario, Sensitivity, nearest,
};
use std::fmt::Write as _;

/// One prediction, without what stands above ([`refused`]) and below ([`footer`]).
pub fn block(scenario: &Scenario, p: &Prediction) -> String {
    let s = &p.run.summary;
    let mut o = String::new();
    let mut line = |label: &str, value: f64, decimals: usize, metric: Option<Metric>| {
        let interval = metric
            .and_then(|m| p.interval_of(m))
            .map_or(String::new(), |i| {
                format!("   [{:.decimals$} … {:.decimals$}]", i.low, i.high)
            });
        let _ = writeln!(o, "{label:<40} {value:<10.decimals$}{interval}");
    };
    line("Successful requests:", s.completed as f64, 0, None);
    line(
        "Benchmark duration (s):",
        s.duration,
        2,
        Some(Metric::Duration),
    );
    line("Total input tokens:", s.input_tokens as f64, 0, None);
    line("Total generated tokens:", s.output_tokens as f64, 0, None);
    line(
        "Request throughput (req/s):",
        s.request_throughput(),
        3,
        Some(Metric::RequestThroughput),
    );
    line(
        "Output token throughput (tok/s):",
        s.output_throughput(),
        2,
        Some(Metric::OutputThroughput),
    );
    line(
        "Total token throughput (tok/s):",
        s.total_throughput(),
        2,
        Some(Metric::TotalThroughput),
    );
    for latency in Latency::REPORTED {
        let _ = writeln!(o, "{:-^50}", latency.words());
        for (label, statistic) in [
            ("Mean", Statistic::Mean),
            ("Median", Statistic::MEDIAN),
            ("P90", Statistic::Percentile(90.0)),
            ("P99", Statistic::Percentile(99.0)),
        ] {
            let metric = Metric::Latency(latency, statistic);
            let label = format!("{label} {} (ms):", latency.heading());
            let v = s.metric(metric, Percentiles::Linear);
            if v.is_nan() {
                // Answers of one token have no time between tokens.
                let _ = writeln!(o, "{label:<40} –");
                continue;
            }
            let interval = p.interval_of(metric).map_or(String::new(), |i| {
                format!("   [{:.2} … {:.2}]", i.low, i.high)
            });
            let _ = writeln!(o, "{label:<40} {v:<10.2}{interval}");
        }
    }
    let heading = format!("{:=<50}", "");
    format!(
        "{}\n{:=^50}\n{o}{heading}\n{}",
        question(scenario, p),
        " Predicted Serving Benchmark Result ",
        details(scenario, p)
    )
}

/// The device's name, and that it was not measured where its data sheet is all that is known.
fn device(scenario: &Scenario) -> String {
    let d = &scenario.device;
    match d.provenance.origin {
        Origin::Datasheet => format!("{}; {}", d.name, d.provenance.note),
        _ => d.name.clone(),
    }
}

/// What was asked: model, device, settings in force, load, and what of it was assumed.
fn question(scenario: &Scenario, p: &Prediction) -> String {
    let w = &scenario.workload;
    let mut o = labelled("Model", &scenario.model_name);
    o += &labelled("Device", &device(scenario));
    o += &labelled("Engine", &engine(p));
    let load = format!("{} requests of {}, {}", w.num_prompts, w.sizes(), w.pace());
    o += &labelled("Load", &load);
    o + &assumed(std::iter::once(scenario))
}

/// What was assumed in some of the scenarios, each once; empty if nothing was.
pub fn assumed<'a>(all: impl Iterator<Item = &'a Scenario>) -> String {
    let told = distinct(
        all.flat_map(|s| s.notes.assumed.iter().cloned()),
        String::clone,
    );
    if told.is_empty() {
        return String::new();
    }
    let told = merged(told);
    labelled("Assumed", &told.join("; "))
}

/// The flags that are not simulated, for the first lines of an answer; empty if there are none.
pub fn left_out<'a>(all: impl Iterator<Item = &'a Scenario>) -> String {
    let told = distinct(all.filter_map(|s| s.notes.left_out()), Caveat::clone);
    told.iter()
        .map(|c| labelled("Left out", &c.to_string()) + "\n")
        .collect()
}

/// Numbers of requests, which follow the load from row to row, as one range.
fn merged(mut told: Vec<String>) -> Vec<String> {
    let count = |t: &String| t.strip_suffix(" requests")?.parse::<u64>().ok();
    let counts: Vec<u64> = told.iter().filter_map(count).collect();
    if let (Some(low), Some(high)) = (counts.iter().min(), counts.iter().max())
        && counts.len() > 1
    {
        told.retain(|t| count(t).is_none());
        told.push(format!("{low} to {high} requests"));
    }
    told
}

/// What one or several predictions refused, for the first lines of an answer; empty if nothing.
pub fn refused<'a>(all: impl Iterator<Item = &'a Prediction>) -> String {
    let (mut rows, mut refusing) = (0, 0);
    let mut worst: Option<Refused> = None;
    for r in all.map(|p| Refused::by(&p.run)) {
        rows += 1;
        refusing += usize::from(r.is_some());
        worst = match (worst, r) {
            (Some(w), Some(r)) if w.share() >= r.share() => Some(w),
            (w, r) => r.or(w),
        };
    }
    let Some(worst) = worst else {
        return String::new();
    };
    let which = match rows {
        1 => String::new(),
        _ => format!("in {refusing} of {rows} rows, up to "),
    };
    labelled("Refused", &format!("{which}{worst}")) + "\n"
}

/// The engine's rules and settings in force.
fn engine(p: &Prediction) -> String {
    let run = &p.run;
    let c = &run.settings.config;
    let on_off = |on: bool| if on { "on" } else { "off" };
    let rules = run.settings.rules();
    let pipeline = match run.settings.pipeline() {
        none if none.is_empty() => none,
        stages => format!(", {stages}"),
    };
    format!(
        "{rules}: max-num-seqs {}, max-num-batched-tokens {}, max-model-len {}, block-size {}, prefix caching {}, \
         {}, {}{}{pipeline}",
        c.max_num_seqs,
        c.max_num_batched_tokens,
        c.max_model_len,
        c.block_size,
        on_off(c.enable_prefix_caching),
        if c.async_scheduling {
            "async scheduling"
        } else {
            "synchronous scheduling"
        },
        if run.settings.enforce_eager {
            "eager"
        } else {
            "graphs"
        },
        c.speculation.as_ref().map_or(String::new(), |s| format!(
            ", {} drafts by {}",
            s.computed,
            s.method.name()
        )),
    )
}

/// What became of drafts, in the figures that vLLM logs; empty without speculative decoding.
fn drafts(p: &Prediction) -> String {
    let Some(s) = &p.run.settings.config.speculation else {
        return String::new();
    };
    let c = &p.run.engine.speculation;
    let (Some(length), Some(rate)) = (c.mean_length(), c.rate()) else {
        return labelled("Drafts", "none was verified");
    };
    let positions: Vec<String> = c
        .per_position(s.tokens.min(8))
        .iter()
        .map(|share| format!("{share:.3}"))
        .collect();
    let text = format!(
        "mean acceptance length {length:.2}; {:.1} % of {} drafted tokens accepted, by position {}",
        100.0 * rate,
        c.draft_tokens,
        positions.join(", ")
    );
    labelled("Drafts", &text)
}

/// What the mean time to first token is made of, where there is a front end.
fn first_tokens(t: &TtftParts) -> String {
    if t.front_end + t.way_back == 0.0 {
        return String::new();
    }
    let ms = |s: f64| format!("{} ms", three(1e3 * s));
    let text = format!(
        "on average {} to the engine, {} waiting, {} of prefill, {} back: {} in the engine, {} at the client",
        ms(t.front_end),
        ms(t.waiting),
        ms(t.prefill),
        ms(t.way_back),
        ms(t.engine()),
        ms(t.front_end + t.engine() + t.way_back),
    );
    labelled("1st token", &text)
}

/// Watts and joules per token, with what they rest on.
fn power(e: &Energy) -> String {
    let figure = |w: &Watts, unit: &str| match w.value {
        Some(v) => format!(
            "{} {unit} ({} to {})",
            three(v),
            three(w.low),
            three(w.high)
        ),
        None => format!("at most {} {unit}", three(w.high)),
    };
    let devices = match e.devices {
        1 => String::new(),
        n => format!(", {n} devices together"),
    };
    let sources: Vec<String> = distinct(e.sources.iter(), |p| p.source.clone())
        .iter()
        .map(|p| format!("{}: {}", p.origin.word(), p.source))
        .collect();
    format!(
        "{}, {} per output token{devices}, busy {:.0} % of the time, without the host ({})",
        figure(&e.watts, "W"),
        figure(&e.joules_per_token, "J"),
        100.0 * e.busy,
        sources.join("; ")
    )
}

/// What the block does not show: occupancy, breakdown, limits, caveats, provenance.
fn details(scenario: &Scenario, p: &Prediction) -> String {
    let (run, mut o) = (&p.run, String::new());
    let occ = &run.occupancy;
    let mem = &run.settings.memory;
    let memory = format!(
        "{} of {}: weights {}, activations ~{}, runtime ~{}, KV {} = {} blocks",
        mem.requested,
        mem.total,
        mem.weights,
        mem.activations,
        mem.non_torch,
        mem.kv_cache,
        run.settings.config.num_gpu_blocks,
    );
    let which = match run.settings.stages.len() {
        0 => "",
        _ => "on each device of the stage with the fewest blocks, ",
    };
    o.push_str(&super::fleet::lines(scenario, p));
    o.push_str(&labelled("Memory", &format!("{which}{memory}")));
    let (weights, kv) = (mem.host_weights.as_f64(), mem.host_kv.as_f64());
    o.push_str(&super::memory::on_host(scenario, weights, kv));
    let kv = format!(
        "{:.1} % used on average, {:.1} % at most; prefix hit rate {:.1} %; {} preemptions",
        100.0 * occ.kv_mean,
        100.0 * occ.kv_max,
        100.0 * run.summary.prefix_hit_rate(),
        run.summary.preemptions,
    );
    o.push_str(&labelled("KV cache", &kv));
    o.push_str(&first_tokens(&run.summary.ttft_parts));
    let experts = run.distinct_experts.map_or(String::new(), |d| {
        format!(", {d:.1} distinct experts per layer")
    });
    let batch = format!(
        "{:.1} sequences on average{experts}; {:.1} waiting; {} steps of {:.1} ms",
        occ.batch,
        occ.waiting,
        occ.steps,
        1e3 * occ.busy / occ.steps.max(1) as f64,
    );
    o.push_str(&labelled("Batch", &batch));
    o.push_str(&drafts(p));
    let mut parts: Vec<(Part, f64)> = Part::ALL
        .iter()
        .map(|q| (*q, run.breakdown.of(*q)))
        .collect();
    parts.sort_by(|a, b| b.1.total_cmp(&a.1));
    let total = run.breakdown.total();
    let shares: Vec<String> = parts
        .iter()
        .filter(|(_, s)| *s > 0.005 * total)
        .map(|(q, s)| format!("{} {:.0} %", q.words(), 100.0 * s / total))
        .collect();
    o.push_str(&labelled("Step time", &shares.join(", ")));
    o.push_str(&labelled("Binds", &p.binding.to_string()));
    if let Some(e) = p.energy(scenario) {
        o.push_str(&labelled("Power", &power(&e)));
    }
    o
}

/// The first of all that agree in `of`, in order of appearance.
pub(super) fn distinct<T, K: PartialEq>(
    all: impl Iterator<Item = T>,
    of: impl Fn(&T) -> K,
) -> Vec<T> {
    let mut seen: Vec<(K, T)> = vec![];
    for one in all {
        let key = of(&one);
        if seen.iter().all(|(k, _)| *k != key) {
            seen.push((key, one));
        }
    }
    seen.into_iter().map(|(_, one)| one).collect()
}

/// What rows have, each value once.
pub(super) fn each(rows: &[Row], of: fn(&Row) -> String) -> Vec<String> {
    distinct(rows.iter().map(of), String::clone)
}

/// What a table is about, of all its rows: models, devices, and the load. The table itself says which row has which.
pub fn heading(rows: &[Row]) -> String {
    let models = each(rows, |r| r.scenario.model_name.clone());
    let devices = each(rows, |r| r.scenario.device.name.clone());
    let one = |of: fn(&Row) -> String, several: &str| match &each(rows, of)[..] {
        [one] => one.clone(),
        _ => several.to_string(),
    };
    let counts = rows.iter().map(|r| r.scenario.workload.num_prompts);
    let requests = match (counts.clone().min(), counts.max()) {
        (Some(a), Some(b)) if a < b => format!("{a} to {b}"),
        (a, _) => a.unwrap_or(0).to_string(),
    };
    let load = format!(
        "{requests} requests of {}, {}",
        one(|r| r.scenario.workload.sizes(), "several lengths"),
        one(|r| r.scenario.workload.pace(), "several loads")
    );
    let device = format!("on {}", devices.join("; "));
    let lines = [models.join("; "), device, load].map(|line| wrap(&line, 80, "  ") + "\n");
    lines.concat() + &assumed(rows.iter().map(|r| &r.scenario))
}

/// What one or several rows share: caveats and, where `details` are wanted, what they rest on: profiles, coefficients, recorded runs.
pub fn footer(rows: &[(&Scenario, &Prediction)], details: bool) -> String {
    let mut o = caveats(rows.iter().map(|(_, p)| *p));
    if !details {
        o.push_str(&labelled(
            "Details",
            "--details shows what the figures rest on. Intervals are 90 %.",
        ));
        return o;
    }
    let scenarios = || rows.iter().map(|(s, _)| *s);
    for s in distinct(scenarios(), |s| s.device.id.clone()) {
        o.push_str(&source("Device", &s.device.name, &s.device.provenance));
    }
    for s in distinct(scenarios(), |s| s.engine.id.clone()) {
        o.push_str(&source("Profile", &s.engine.name, &s.engine.provenance));
    }
    o.push_str(&rests_on(rows));
    o.push_str(&nearest_runs(rows));
    o.push_str("Intervals are 90 %; see docs/methodology.md for what they contain.\n");
    o
}

fn source(label: &str, name: &str, provenance: &Provenance) -> String {
    let text = format!(
        "{name} ({}: {})",
        provenance.origin.word(),
        provenance.source
    );
    labelled(label, &text)
}

/// Every caveat once.
fn caveats<'a>(all: impl Iterator<Item = &'a Prediction>) -> String {
    let mut seen: Vec<String> = vec![];
    let mut assumed: Vec<String> = vec![];
    let mut fullest: f64 = 0.0;
    for c in all.flat_map(|p| &p.caveats) {
        match c {
            // One line for all assumed values, however they combine.
            Caveat::Assumed(names) => {
                for n in names {
                    if !assumed.contains(n) {
                        assumed.push(n.clone());
                    }
                }
            }
            // These stand in the first lines.
            Caveat::Refused(_) | Caveat::Unmodelled(_) => {}
            // And one for the fullest cache.
            Caveat::KvNearlyFull(share) => fullest = fullest.max(*share),
            other => {
                let text = other.to_string();
                if !seen.contains(&text) {
                    seen.push(text);
                }
            }
        }
    }
    if fullest > 0.0 {
        seen.push(Caveat::KvNearlyFull(fullest).to_string());
    }
    if !assumed.is_empty() {
        seen.push(Caveat::Assumed(assumed).to_string());
    }
    seen.iter().map(|c| labelled("Caveat", c)).collect()
}

/// A coefficient in several rows: how much it matters in that where it matters most, and its least and largest slope.
struct Rest<'a> {
    of: &'a Sensitivity,
    matters: f64,
    low: f64,
    high: f64,
}

/// The coefficients that rows rest on, those that matter most first: of each model, device and engine profile by itself.
fn rests_on(rows: &[(&Scenario, &Prediction)]) -> String {
    let key = |s: &Scenario| {
        let (model, device) = (s.model_name.clone(), s.device.id.clone());
        (model, device, s.engine.id.clone(), *s.model.precision())
    };
    let groups = distinct(rows.iter().map(|(s, _)| *s), |s| key(s));
    let most = if groups.len() > 1 { 3 } else { 6 };
    let mut o = String::new();
    for scenario in &groups {
        let mut rests: Vec<Rest<'_>> = vec![];
        let of_group = rows.iter().filter(|(s, _)| key(s) == key(scenario));
        for s in of_group.flat_map(|(_, p)| &p.sensitivities) {
            let matters = (s.slope * s.rel_sd).abs();
            match rests.iter_mut().find(|r| r.of.name == s.name) {
                Some(r) => {
                    r.matters = r.matters.max(matters);
                    (r.low, r.high) = (r.low.min(s.slope), r.high.max(s.slope));
                }
                None => rests.push(Rest {
                    of: s,
                    matters,
                    low: s.slope,
                    high: s.slope,
                }),
            }
        }
        rests.sort_by(|a, b| b.matters.total_cmp(&a.matters));
        let which = match groups.len() {
            1 => String::new(),
            _ => group_name(scenario, &groups) + ": ",
        };
        let rests = rests.iter().filter(|r| r.matters > 0.004);
        for r in rests.take(most) {
            let text = which.clone() + &rest_words(scenario, r);
            o.push_str(&labelled("Rests on", &text));
        }
    }
    o
}

/// The recorded run nearest to each model, device and engine profile, and how far off the prediction was there.
fn nearest_runs(rows: &[(&Scenario, &Prediction)]) -> String {
    let records = Records::builtin();
    let of = |(s, p): &(&Scenario, &Prediction)| nearest(&records, s, p).map(|n| n.to_string());
    let told = distinct(rows.iter().filter_map(of), String::clone);
    // Of a sweep, those of the first few rows: they differ in batch alone.
    let lines = told.iter().take(3);
    lines.map(|text| labelled("Nearest", text)).collect()
}

/// What tells a model, device and engine profile from the others of a table.
fn group_name(s: &Scenario, all: &[&Scenario]) -> String {
    let differ = |of: &dyn Fn(&Scenario) -> String| all.iter().any(|o| of(o) != of(s));
    let parts: [&dyn Fn(&Scenario) -> String; 4] = [
        &|s| s.model_name.clone(),
        &|s| s.device.id.clone(),
        &|s| s.engine.id.clone(),
        &|s| s.model.precision().experts.to_string(),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|of| differ(of))
        .map(|of| of(s))
        .collect();
    parts.join(", ")
}

/// A coefficient with its value, its source, and what it does.
fn rest_words(scenario: &Scenario, r: &Rest<'_>) -> String {
    let s = r.of;
    let names = scenario.engine.coefficients();
    let known = names.iter().find(|(n, _)| *n == s.name);
    let value = known.map_or(String::new(), |(_, q)| {
        format!(" = {} ± {:.0} %", short(q.value), 100.0 * s.rel_sd)
    });
    let source = match s.origin {
        Origin::Assumed => String::new(),
        _ => known.map_or(String::new(), |(_, q)| format!(", {}", q.provenance.source)),
    };
    let (low, high) = (format!("{:+.2}", r.low), format!("{:+.2}", r.high));
    let slope = if low == high {
        low
    } else {
        format!("{low} … {high}")
    };
    format!(
        "{}{value}: {}{source} (1 % more changes output throughput by {slope} %)",
        s.name,
        s.origin.word()
    )
}

/// A line of at most 80 columns that begins with a label.
pub(super) fn labelled(label: &str, text: &str) -> String {
    format!("{label:<10}{}\n", wrap(text, 70, "          "))
}

fn short(v: f64) -> String {
    if v < 0.01 {
        format!("{:.3} ms", 1e3 * v)
    } else {
        format!("{v:.3}")
    }
}

/// A column that is there where it says something.
struct Extra {
    name: &'static str,
    shown: fn(&[Row]) -> bool,
    value: fn(&Prediction) -> String,
}

/// Requests may be refused; the token budget trades TTFT for the gaps between tokens; a prefix cache and preemption are news where they happen.
const EXTRAS: [Extra; 4] = [
    Extra {
        name: "refused",
        shown: |rows| rows.iter().any(|r| r.prediction.run.summary.refused > 0),
        value: |p| p.run.summary.refused.to_string(),
    },
    Extra {
        name: "P99 ITL",
        shown: |rows| {
            let varied = |r: &Row| r.varied.iter().any(|(f, _)| *f == "max_num_batched_tokens");
            rows.iter().any(varied)
        },
        value: |p| {
            let p99 = Metric::percentile(Latency::Itl, 99.0);
            three(p.run.summary.metric(p99, Percentiles::Linear))
        },
    },
    Extra {
        name: "hit %",
        shown: |rows| {
            rows.iter()
                .any(|r| r.prediction.run.summary.prefix_hit_rate() > 0.005)
        },
        value: |p| three(100.0 * p.run.summary.prefix_hit_rate()),
    },
    Extra {
        name: "preempted",
        shown: |rows| {
            rows.iter()
                .any(|r| r.prediction.run.summary.preemptions > 0)
        },
        value: |p| p.run.summary.preemptions.to_string(),
    },
];

/// A column that is shown where there is room: its name and its value.
type Usual = (&'static str, fn(&Prediction) -> String);

/// The first is left out first.
const USUAL: [Usual; 2] = [
    ("batch", |p| three(p.run.occupancy.batch)),
    ("experts", |p| {
        p.run.distinct_experts.map_or("–".into(), three)
    }),
];

/// A field as a flag, without the dashes in front.
fn dashed(field: &str) -> String {
    field.replace('_', "-")
}

/// One row per prediction; `varied` names the columns that differ.
pub fn rows(points: &[Row]) -> String {
    let mut titles = vec!["device", "engine", "weights", "prompts", "moe_tiles"];
    let varied = points.first().map_or(&[][..], |r| &r.varied);
    let mut columns = varied
        .iter()
        .map(|(f, _)| *f)
        .filter(|f| !titles.contains(f))
        .collect::<Vec<_>>()
        .into_iter();
    loop {
        let (text, fits) = under_titles(points, &titles);
        // Columns that do not fit become titles, the slowest first; one stays.
        if fits || columns.len() <= 1 {
            return legend(points, &titles) + &text;
        }
        titles.extend(columns.next());
    }
}

/// Which flags the short names of columns stand for.
fn legend(points: &[Row], titles: &[&str]) -> String {
    let legend: Vec<String> = points
        .first()
        .into_iter()
        .flat_map(|r| &r.varied)
        .filter(|(f, _)| abbreviated(f) != *f && !titles.contains(f))
        .map(|(f, _)| format!("{} is --{}", abbreviated(f), dashed(f)))
        .collect();
    if legend.is_empty() {
        return String::new();
    }
    let text = format!(
        "{}; binds: what requests wait for, what steps spend time on",
        legend.join(", ")
    );
    wrap(&text, 80, "") + "\n\n"
}

/// Tables of rows that agree in the flags `groups`, and whether they fit.
fn under_titles(points: &[Row], groups: &[&str]) -> (String, bool) {
    let mut o = String::new();
    let mut all_fit = true;
    let mut at = 0;
    while at < points.len() {
        let group: Vec<_> = points[at]
            .varied
            .iter()
            .filter(|(f, _)| groups.contains(f))
            .cloned()
            .collect();
        let same = |v: &[(&'static str, Value)]| {
            v.iter()
                .filter(|(f, _)| groups.contains(f))
                .eq(group.iter())
        };
        let end = at + points[at..].iter().take_while(|r| same(&r.varied)).count();
        if !group.is_empty() {
            let title: Vec<String> = group
                .iter()
                .map(|(f, v)| format!("{} {v}", dashed(f)))
                .collect();
            let _ = writeln!(o, "{}", wrap(&title.join(", "), 80, ""));
        }
        let columns: Vec<&str> = points[at]
            .varied
            .iter()
            .filter(|(f, _)| !groups.contains(f))
            .map(|(f, _)| *f)
            .collect();
        let mut header: Vec<&str> = columns.iter().map(|c| abbreviated(c)).collect();
        header.extend(["tok/s", "[90 %]", "TTFT s", "TPOT ms", "E2EL s"]);
        let extra: Vec<&Extra> = EXTRAS
            .iter()
            .filter(|e| (e.shown)(&points[at..end]))
            .collect();
        // Each of them takes the place of a usual column: a terminal is 80 wide.
        let usual: Vec<&Usual> = USUAL.iter().skip(extra.len()).collect();
        header.extend(usual.iter().map(|u| u.0));
        header.extend(extra.iter().map(|e| e.name));
        header.push("binds");
        let mut t = with_header(&header);
        for Row {
            varied,
            prediction: p,
            ..
        } in &points[at..end]
        {
            let s = &p.run.summary;
            let mut row: Vec<String> = varied
                .iter()
                .filter(|(f, _)| !groups.contains(f))
                .map(|(_, v)| v.to_string())
                .collect();
            let interval = p
                .interval_of(Metric::OutputThroughput)
                .map_or(String::new(), |i| {
                    format!("{}–{}", three(i.low), three(i.high))
                });
            row.extend([
                three(s.output_throughput()),
                interval,
                three(s.ttft.mean()),
                three(1e3 * s.tpot.mean()),
                three(s.e2el.mean()),
            ]);
            row.extend(usual.iter().map(|u| (u.1)(p)));
            row.extend(extra.iter().map(|e| (e.value)(p)));
            row.push(short_binding(p));
            t.add_row(row);
        }
        let (text, fits) = unbroken(t);
        o.push_str(&text);
        all_fit &= fits;
        o.push('\n');
        at = end;
    }
    (o, all_fit)
}

/// A flag's name short enough for a column; [`rows`] says which flag it is.
fn abbreviated(flag: &str) -> &str {
    match flag {
        "max_num_seqs" => "seqs",
        "max_num_batched_tokens" => "budget",
        "max_concurrency" => "users",
        "request_rate" => "req/s",
        "gpu_memory_utilization" => "util",
        "max_model_len" => "len",
        "num_gpu_blocks_override" => "blocks",
        "tensor_parallel_size" => "tp",
        "data_parallel_size" => "dp",
        "num_speculative_tokens" => "drafts",
        "random_input_len" => "input",
        "random_output_len" => "output",
        other => other,
    }
}

/// What limits the run and, where requests only queue, what makes a step long.
fn short_binding(p: &Prediction) -> String {
    use capsim::predict::Binding;
    let part = |p: Part| match p {
        Part::Dense => "weights",
        Part::Experts => "experts",
        Part::Host => "host",
        Part::AttentionDecode => "KV reads",
        Part::AttentionPrefill => "prefill",
        p => p.words(),
    };
    let step = part(p.run.breakdown.largest());
    match p.binding {
        Binding::MaxNumSeqs => format!("queue, {step}"),
        Binding::KvCache => format!("KV, {step}"),
        Binding::Load => "load".into(),
        Binding::Step(p) => part(p).into(),
        Binding::Bubbles => format!("bubbles, {step}"),
    }
}
