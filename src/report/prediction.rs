//! A prediction as text: the block that people paste from `vllm bench serve`, and a table of many.
use super::Row;
use super::table::{three, unbroken, with_header, wrap};
use crate::cost::Part;
use crate::device::Origin;
use crate::metrics::Percentiles;
use crate::predict::{Caveat, Prediction, Refused, Scenario};
use std::fmt::Write as _;

/// Everything about one prediction.
pub fn block(scenario: &Scenario, p: &Prediction) -> String {
    let s = &p.run.summary;
    let mut o = String::new();
    let m = |name: &str| s.metric(name, Percentiles::Linear).unwrap_or(f64::NAN);
    let mut line = |label: &str, value: f64, decimals: usize, metric: &str| {
        let interval = p.interval_of(metric).map_or(String::new(), |i| {
            format!("   [{:.decimals$} … {:.decimals$}]", i.low, i.high)
        });
        let _ = writeln!(o, "{label:<40} {value:<10.decimals$}{interval}");
    };
    line("Successful requests:", s.completed as f64, 0, "");
    line("Benchmark duration (s):", s.duration, 2, "duration_s");
    line("Total input tokens:", s.input_tokens as f64, 0, "");
    line("Total generated tokens:", s.output_tokens as f64, 0, "");
    line(
        "Request throughput (req/s):",
        s.request_throughput(),
        3,
        "request_throughput",
    );
    line(
        "Output token throughput (tok/s):",
        s.output_throughput(),
        2,
        "output_throughput",
    );
    line(
        "Total Token throughput (tok/s):",
        s.total_throughput(),
        2,
        "total_token_throughput",
    );
    for (title, metric, name) in [
        ("Time to First Token", "ttft", "TTFT"),
        ("Time per Output Token (excl. 1st token)", "tpot", "TPOT"),
        ("Inter-token Latency", "itl", "ITL"),
        ("End-to-end Latency", "e2el", "E2EL"),
    ] {
        let _ = writeln!(o, "{title:-^50}");
        for (label, stat) in [
            ("Mean", "mean"),
            ("Median", "median"),
            ("P90", "p90"),
            ("P99", "p99"),
        ] {
            let metric = format!("{stat}_{metric}_ms");
            let label = format!("{label} {name} (ms):");
            let v = m(&metric);
            if v.is_nan() {
                // Answers of one token have no time between tokens.
                let _ = writeln!(o, "{label:<40} –");
                continue;
            }
            let interval = p.interval_of(&metric).map_or(String::new(), |i| {
                format!("   [{:.2} … {:.2}]", i.low, i.high)
            });
            let _ = writeln!(o, "{label:<40} {v:<10.2}{interval}");
        }
    }
    let heading = format!("{:=<50}", "");
    format!(
        "{}{:=^50}\n{o}{heading}\n{}",
        refused(std::iter::once(p)),
        " Predicted Serving Benchmark Result ",
        details(scenario, p)
    )
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

/// What the block does not show: settings in force, occupancy, breakdown, limits, caveats, provenance.
fn details(scenario: &Scenario, p: &Prediction) -> String {
    let (run, mut o) = (&p.run, String::new());
    let c = &run.settings.config;
    let occ = &run.occupancy;
    let on_off = |on: bool| if on { "on" } else { "off" };
    let rules = run.settings.rules();
    let engine = format!(
        "{rules}: max-num-seqs {}, max-num-batched-tokens {}, max-model-len {}, block-size {}, prefix caching {}, \
         {}, {}",
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
    );
    o.push_str(&labelled("Engine", &engine));
    let mem = &run.settings.memory;
    let memory = format!(
        "{} of {}: weights {}, activations ~{}, runtime ~{}, KV {} = {} blocks",
        mem.requested,
        mem.total,
        mem.weights,
        mem.activations,
        mem.non_torch,
        mem.kv_cache,
        c.num_gpu_blocks,
    );
    o.push_str(&labelled("Memory", &memory));
    let kv = format!(
        "{:.1} % used on average, {:.1} % at most; prefix hit rate {:.1} %; {} preemptions",
        100.0 * occ.kv_mean,
        100.0 * occ.kv_max,
        100.0 * run.summary.prefix_hit_rate(),
        run.summary.preemptions,
    );
    o.push_str(&labelled("KV cache", &kv));
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
    o.push_str(&footer(scenario, std::iter::once(p)));
    o
}

/// Caveats and provenance of one or several predictions.
pub fn footer<'a>(scenario: &Scenario, all: impl Iterator<Item = &'a Prediction>) -> String {
    let mut o = String::new();
    let mut seen: Vec<String> = vec![];
    let mut assumed: Vec<String> = vec![];
    let mut first = None;
    let mut fullest: f64 = 0.0;
    for p in all {
        for c in &p.caveats {
            // One line for all assumed values, however they combine.
            if let Caveat::Assumed(names) = c {
                assumed.extend(
                    names
                        .iter()
                        .filter(|n| !assumed.contains(n))
                        .cloned()
                        .collect::<Vec<_>>(),
                );
                continue;
            }
            // This stands in the first lines.
            if let Caveat::Refused(_) = c {
                continue;
            }
            // And one for the fullest cache.
            if let Caveat::KvNearlyFull(share) = c {
                fullest = fullest.max(*share);
                continue;
            }
            let text = c.to_string();
            if !seen.contains(&text) {
                seen.push(text);
            }
        }
        first.get_or_insert(p);
    }
    if fullest > 0.0 {
        seen.push(Caveat::KvNearlyFull(fullest).to_string());
    }
    if !assumed.is_empty() {
        seen.push(Caveat::Assumed(assumed).to_string());
    }
    for c in &seen {
        o.push_str(&labelled("Caveat", c));
    }
    let Some(p) = first else { return o };
    for (label, name, provenance) in [
        ("Device", &scenario.device.name, &scenario.device.provenance),
        (
            "Profile",
            &scenario.engine.name,
            &scenario.engine.provenance,
        ),
    ] {
        let text = format!(
            "{name} ({}: {})",
            provenance.origin.word(),
            provenance.source
        );
        o.push_str(&labelled(label, &text));
    }
    let names = scenario.engine.coefficients();
    for s in p
        .sensitivities
        .iter()
        .filter(|s| (s.slope * s.rel_sd).abs() > 0.004)
        .take(6)
    {
        let value = names
            .iter()
            .find(|(n, _)| *n == s.name)
            .map_or(String::new(), |(_, q)| {
                format!(" = {} ± {:.0} %", short(q.value), 100.0 * s.rel_sd)
            });
        let source = match s.origin {
            Origin::Assumed => String::new(),
            _ => names
                .iter()
                .find(|(n, _)| *n == s.name)
                .map_or(String::new(), |(_, q)| format!(", {}", q.provenance.source)),
        };
        let text = format!(
            "{}{value}: {}{source} (1 % more changes output throughput by {:+.2} %)",
            s.name,
            s.origin.word(),
            s.slope
        );
        o.push_str(&labelled("Rests on", &text));
    }
    o.push_str("Intervals are 90 %; see docs/methodology.md for what they contain.\n");
    o
}

/// A line of at most 80 columns that begins with a label.
fn labelled(label: &str, text: &str) -> String {
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
            let varied = |r: &Row| r.varied.iter().any(|(f, _)| *f == "max-num-batched-tokens");
            rows.iter().any(varied)
        },
        value: |p| {
            let itl = p.run.summary.metric("p99_itl_ms", Percentiles::Linear);
            itl.map_or("–".into(), three)
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

/// One row per prediction; `varied` names the columns that differ.
pub fn rows(points: &[Row]) -> String {
    let mut titles = vec!["device", "engine", "weights", "prompts", "moe-tiles"];
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
        .map(|(f, _)| format!("{} is --{f}", abbreviated(f)))
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
        let same = |v: &[(&'static str, String)]| {
            v.iter()
                .filter(|(f, _)| groups.contains(f))
                .eq(group.iter())
        };
        let end = at + points[at..].iter().take_while(|r| same(&r.varied)).count();
        if !group.is_empty() {
            let title: Vec<String> = group.iter().map(|(f, v)| format!("{f} {v}")).collect();
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
                .map(|(_, v)| v.clone())
                .collect();
            let interval = p
                .interval_of("output_throughput")
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
        "max-num-seqs" => "seqs",
        "max-num-batched-tokens" => "budget",
        "max-concurrency" => "users",
        "request-rate" => "req/s",
        "gpu-memory-utilization" => "util",
        "max-model-len" => "len",
        "num-gpu-blocks-override" => "blocks",
        "tensor-parallel-size" => "tp",
        "data-parallel-size" => "dp",
        other => other,
    }
}

/// What limits the run and, where requests only queue, what makes a step long.
fn short_binding(p: &Prediction) -> String {
    use crate::predict::Binding;
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
    }
}
