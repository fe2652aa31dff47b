//! Recorded benchmarks beside simulations of the very same requests.
use super::escape::cell;
use super::table::{WIDTH, three, with_header, wrap};
use super::validation::fit_lines;
use crate::validate::compare::MetricComparison;
use crate::validate::fit::Fit;
use crate::validate::paired::{Component, Paired};
use capsim::metrics::{Latency, Metric};
use std::fmt::Write as _;

const COLUMNS: [&str; 5] = ["metric", "measured", "predicted", "error", "90 % interval"];
const PARTS: [&str; 4] = ["where the time goes", "measured", "predicted", "difference"];

fn row(m: &MetricComparison) -> [String; 5] {
    [
        m.metric.to_string(),
        three(m.measured),
        three(m.predicted),
        format!("{:+.1} %", 100.0 * m.error),
        m.interval.map_or("–".into(), |i| {
            format!(
                "{} … {} {}",
                three(i.low),
                three(i.high),
                if m.inside() == Some(true) {
                    "inside"
                } else {
                    "OUTSIDE"
                }
            )
        }),
    ]
}

fn part(c: &Component) -> [String; 4] {
    let (scale, unit) = match c.unit {
        "s" => (1e3, "ms per request"),
        u => (1.0, u),
    };
    [
        format!("{} ({unit})", c.name).replace(" ()", ""),
        three(scale * c.measured),
        three(scale * c.predicted),
        format!("{:+.3}", scale * (c.predicted - c.measured))
            .trim_end_matches('0')
            .trim_end_matches('.')
            .into(),
    ]
}

fn settings(p: &Paired) -> String {
    let s = &p.prediction.run.settings;
    let c = &s.config;
    format!(
        "{}, max-num-seqs {}, max-num-batched-tokens {}, max-model-len {}, {} KV blocks of {}, prefix caching {}, {}",
        s.rules(),
        c.max_num_seqs,
        c.max_num_batched_tokens,
        c.max_model_len,
        c.num_gpu_blocks,
        c.block_size,
        if c.enable_prefix_caching { "on" } else { "off" },
        if c.async_scheduling {
            "async scheduling"
        } else {
            "synchronous scheduling"
        }
    )
}

/// The figures of the table over several recordings.
const OVERVIEW: [(&str, Metric); 4] = [
    ("output tok/s", Metric::OutputThroughput),
    ("TTFT ms", Metric::mean(Latency::Ttft)),
    ("TPOT ms", Metric::mean(Latency::Tpot)),
    ("E2EL ms", Metric::mean(Latency::E2el)),
];

/// One row per recording: what was measured and how far off the prediction is. Empty for a single one.
fn overview(all: &[Paired]) -> Vec<Vec<String>> {
    if all.len() < 2 {
        return vec![];
    }
    let cell = |p: &Paired, metric: Metric| {
        let found = p.metrics.iter().find(|m| m.metric.metric() == metric);
        found.map_or("–".into(), |m| {
            format!("{} ({:+.0} %)", three(m.measured), 100.0 * m.error)
        })
    };
    let row = |p: &Paired| {
        let cells = OVERVIEW.iter().map(|(_, metric)| cell(p, *metric));
        std::iter::once(title(p)).chain(cells).collect()
    };
    all.iter().map(row).collect()
}

fn overview_header() -> Vec<&'static str> {
    std::iter::once("measured (error)")
        .chain(OVERVIEW.iter().map(|(name, _)| *name))
        .collect()
}

/// What the predictions were made with: each model and profile once.
fn with(all: &[Paired]) -> Vec<&str> {
    let mut seen: Vec<&str> = vec![];
    for p in all {
        if !seen.contains(&p.with.as_str()) {
            seen.push(&p.with);
        }
    }
    seen
}

/// Mean |error| of the means and throughputs that were predicted, and how many of all values lie in their interval.
fn closing(all: &[Paired]) -> String {
    let metrics = || all.iter().filter(|p| !p.fitted).flat_map(|p| &p.metrics);
    let judged: Vec<f64> = metrics()
        .filter(|m| m.metric.metric().is_mean() || m.metric.metric().is_throughput())
        .map(|m| m.error.abs())
        .collect();
    if judged.is_empty() {
        return "Nothing was predicted: every recording was fitted.\n".into();
    }
    let intervals = metrics().filter_map(MetricComparison::inside);
    let (inside, of) = intervals.fold((0, 0), |(a, b), i| (a + usize::from(i), b + 1));
    format!(
        "Mean |error| of {} means and throughputs {:.1} %; {inside} of {of} measured values lie in their 90 % interval.\n",
        judged.len(),
        100.0 * judged.iter().sum::<f64>() / judged.len() as f64
    )
}

fn title(p: &Paired) -> String {
    format!(
        "{}{}",
        p.name,
        if p.fitted {
            "   (fitted, not a prediction)"
        } else {
            ""
        }
    )
}

/// For the terminal.
pub fn text(fit: Option<&Fit>, all: &[Paired]) -> String {
    let mut o = String::new();
    if let Some(f) = fit {
        o.push_str(&fit_lines(f));
        o.push('\n');
    }
    for p in all {
        let _ = writeln!(o, "{}\n  {}", title(p), wrap(&settings(p), 78, "  "));
        let mut t = with_header(&COLUMNS);
        for m in &p.metrics {
            t.add_row(row(m));
        }
        let mut u = with_header(&PARTS);
        for c in &p.components {
            u.add_row(part(c));
        }
        let tables = if p.components.is_empty() {
            vec![t]
        } else {
            vec![t, u]
        };
        for mut table in tables {
            table.set_width(WIDTH - 2);
            o.push('\n');
            for l in table.to_string().lines() {
                let _ = writeln!(o, "  {}", l.trim_end());
            }
        }
        let _ = writeln!(o, "\n  Largest difference: {}", wrap(&p.blame, 58, "  "));
        for n in &p.notes {
            let _ = writeln!(o, "  Note: {}", wrap(n, 72, "  "));
        }
        o.push('\n');
    }
    let rows = overview(all);
    if !rows.is_empty() {
        let mut t = with_header(&overview_header());
        for row in rows {
            t.add_row(row);
        }
        t.set_width(WIDTH);
        let _ = writeln!(o, "{t}\n");
    }
    let closing = closing(all);
    for text in std::iter::once(closing.as_str()).chain(with(all)) {
        let _ = writeln!(o, "{}", wrap(text, 80, ""));
    }
    o
}

/// As a document. `pictures` are file names per recording, relative to the document.
pub fn markdown(fit: Option<&Fit>, all: &[Paired], pictures: &[Vec<String>]) -> String {
    let mut o = format!(
        "# Measured against predicted, request by request\n\n{} {}\n",
        cell(&with(all).join(" ")),
        closing(all)
    );
    let rows = overview(all);
    if !rows.is_empty() {
        markdown_table(&mut o, &overview_header(), &rows);
    }
    if let Some(f) = fit {
        let _ = writeln!(o, "```text\n{}```\n", fit_lines(f));
    }
    for (i, p) in all.iter().enumerate() {
        let _ = writeln!(o, "## {}\n\n{}.\n", cell(&title(p)), settings(p));
        let mut table =
            |header: &[&str], rows: Vec<Vec<String>>| markdown_table(&mut o, header, &rows);
        table(
            &COLUMNS,
            p.metrics.iter().map(|m| row(m).to_vec()).collect(),
        );
        if !p.components.is_empty() {
            table(
                &PARTS,
                p.components.iter().map(|c| part(c).to_vec()).collect(),
            );
        }
        let _ = writeln!(o, "**Largest difference**: {}.\n", p.blame);
        for n in &p.notes {
            let _ = writeln!(o, "- {}", cell(n));
        }
        for picture in pictures.get(i).into_iter().flatten() {
            let _ = writeln!(o, "\n![{}]({picture})", cell(&p.name));
        }
        o.push('\n');
    }
    o
}

fn markdown_table(o: &mut String, header: &[&str], rows: &[Vec<String>]) {
    let _ = writeln!(
        o,
        "| {} |\n|{}",
        header.join(" | "),
        " --- |".repeat(header.len())
    );
    for r in rows {
        let cells: Vec<String> = r.iter().map(|c| cell(c)).collect();
        let _ = writeln!(o, "| {} |", cells.join(" | "));
    }
    o.push('\n');
}
