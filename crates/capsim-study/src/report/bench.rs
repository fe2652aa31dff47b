//! A measured run as text: the block that `vllm bench serve` prints, and a Markdown report.
use super::table::{three, wrap};
use capsim::metrics::{Latency, Percentiles};
use capsim::workload::{PromptKind, WorkloadSpec};
use capsim_live::bench::drive::open_loop;
use capsim_live::bench::result::percentile_name;
use capsim_live::bench::{Measured, MetricsAs};
use std::fmt::Write as _;

/// One point of a report.
pub struct Point<'a> {
    /// Which of the tool's modes: `throughput`, `latency`, `serve`.
    pub mode: &'static str,
    /// The load.
    pub spec: &'a WorkloadSpec,
    /// What came of it.
    pub measured: &'a Measured,
}

fn line(o: &mut String, label: &str, value: String) {
    let _ = writeln!(o, "{label:<40} {value:<10}");
}

/// What `vllm bench latency` and `throughput` print (vLLM 0.33.0, `vllm/benchmarks/latency.py` and `throughput.py`); nothing in other modes.
/// Each request is an iteration of `latency`, with a batch of one.
pub fn head(mode: &str, m: &Measured) -> String {
    let s = &m.summary;
    match mode {
        "latency" => {
            let mut o = format!("Avg latency: {} seconds\n", s.e2el.mean());
            for p in [10.0, 25.0, 50.0, 75.0, 90.0, 99.0] {
                let v = s.e2el.percentile(p, Percentiles::Linear);
                let _ = writeln!(o, "{p}% percentile latency: {v} seconds");
            }
            o
        }
        "throughput" => format!(
            "Throughput: {:.2} requests/s, {:.2} total tokens/s, {:.2} output tokens/s\nTotal num prompt tokens:  {}\nTotal num output tokens:  {}\n",
            s.request_throughput(),
            s.total_throughput(),
            s.output_throughput(),
            s.input_tokens,
            s.output_tokens
        ),
        _ => String::new(),
    }
}

/// As `vllm bench serve` prints it (vLLM 0.33.0, `vllm/benchmarks/serve.py`: labels of 40 columns, values of 10, in this order), with
/// what it does not print below. Until 0.12 the last throughput was spelt `Total Token`.
pub fn block(
    m: &Measured,
    spec: &WorkloadSpec,
    metrics: &[Latency],
    percentiles: &[f64],
) -> String {
    let s = &m.summary;
    let mut o = format!("{:=^50}\n", " Serving Benchmark Result ");
    line(&mut o, "Successful requests:", m.completed().to_string());
    line(&mut o, "Failed requests:", m.failed().to_string());
    if let Some(c) = spec.max_concurrency {
        line(&mut o, "Maximum request concurrency:", c.to_string());
    }
    if let Some(r) = spec.request_rate {
        line(&mut o, "Request rate configured (RPS):", format!("{r:.2}"));
    }
    line(
        &mut o,
        "Benchmark duration (s):",
        format!("{:.2}", s.duration),
    );
    line(&mut o, "Total input tokens:", s.input_tokens.to_string());
    line(
        &mut o,
        "Total generated tokens:",
        s.output_tokens.to_string(),
    );
    line(
        &mut o,
        "Request throughput (req/s):",
        format!("{:.2}", s.request_throughput()),
    );
    if let Some(g) = m.goodput {
        line(&mut o, "Request goodput (req/s):", format!("{g:.2}"));
    }
    line(
        &mut o,
        "Output token throughput (tok/s):",
        format!("{:.2}", s.output_throughput()),
    );
    let (tokens, open) = m.peaks();
    line(
        &mut o,
        "Peak output token throughput (tok/s):",
        format!("{tokens:.2}"),
    );
    line(&mut o, "Peak concurrent requests:", format!("{open:.2}"));
    let total = match m.rule {
        MetricsAs::Vllm012 => "Total Token throughput (tok/s):",
        _ => "Total token throughput (tok/s):",
    };
    line(&mut o, total, format!("{:.2}", s.total_throughput()));
    for latency in Latency::REPORTED {
        if !metrics.contains(&latency) {
            continue;
        }
        let Some(stat) = m.latencies.get(latency).filter(|s| s.count() > 0) else {
            continue;
        };
        let (title, label) = (latency.words(), latency.heading());
        let _ = writeln!(o, "{title:-^50}");
        let mut put = |name: &str, v: f64| {
            line(
                &mut o,
                &format!("{name} {label} (ms):"),
                format!("{:.2}", 1e3 * v),
            );
        };
        put("Mean", stat.mean());
        put("Median", stat.percentile(50.0));
        for p in percentiles {
            put(&format!("P{}", percentile_name(*p)), stat.percentile(*p));
        }
    }
    let _ = writeln!(o, "{:=<50}", "");
    if spec.arrival.is_some() || spec.users.is_some() || spec.trace.is_some() {
        let _ = writeln!(o, "{:<10}{}", "Pace", wrap(&spec.pace(), 70, "          "));
    }
    o + &below(m)
}

fn ms(v: f64) -> String {
    three(1e3 * v)
}

/// The client's own delays, the server's account, definitions and remarks.
fn below(m: &Measured) -> String {
    let mut o = String::new();
    let p = |d: &capsim::metrics::Dist, p| d.percentile(p, Percentiles::Linear);
    let mut item = |label: &str, text: String| {
        let _ = writeln!(o, "{label:<10}{}", wrap(&text, 70, "          "));
    };
    item(
        "Client",
        format!(
            "wait for a free place {} ms on average, {} at P99 (in no latency above); late by {} ms on average, {} at P99",
            ms(m.held.mean()),
            ms(p(&m.held, 99.0)),
            ms(m.lateness.mean()),
            ms(p(&m.lateness, 99.0))
        ),
    );
    if let Some(text) = server(m) {
        item("Server", text);
    }
    if let Some(text) = counters(m) {
        item("/metrics", text);
    }
    item(
        "Terms",
        format!("as {}. {}", m.rule.name(), m.rule.words().join(". ")),
    );
    for r in m.remarks() {
        item("Note", r);
    }
    o
}

fn server(m: &Measured) -> Option<String> {
    let s = &m.server;
    let mut parts = vec![];
    if let Some(v) = &s.version {
        parts.push(format!("version {v}"));
    }
    if !s.models.is_empty() {
        parts.push(format!("model {}", s.models.join(", ")));
    }
    if let Some(n) = s.max_model_len {
        parts.push(format!("max-model-len {n}"));
    }
    if let (Some(n), Some(b)) = (s.num_gpu_blocks, s.block_size) {
        parts.push(format!("{n} KV blocks of {b} tokens"));
    }
    if let Some(on) = s.enable_prefix_caching {
        parts.push(format!("prefix caching {}", if on { "on" } else { "off" }));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn counters(m: &Measured) -> Option<String> {
    let d = &m.watched.deltas;
    if d.is_empty() {
        return None;
    }
    let get = |k: &str| d.get(k).copied().unwrap_or(0.0);
    let mean = |k: &str| get(&format!("{k}_sum")) / get(&format!("{k}_count"));
    let most = |f: &dyn Fn(&capsim_live::bench::scrape::Sample) -> f64| {
        m.watched.series.iter().map(f).fold(0.0, f64::max)
    };
    Some(format!(
        "{} steps; queue {} ms, prefill {} ms, decode {} ms on average; prefix cache {:.0} of {:.0} tokens hit; {:.0} preemptions; \
         at most {:.0} running, {:.0} waiting, KV {:.1} % ({} looks)",
        get("vllm:iteration_tokens_total_count"),
        ms(mean("vllm:request_queue_time_seconds")),
        ms(mean("vllm:request_prefill_time_seconds")),
        ms(mean("vllm:request_decode_time_seconds")),
        get("vllm:prefix_cache_hits_total"),
        get("vllm:prefix_cache_queries_total"),
        get("vllm:num_preemptions_total"),
        most(&|s| s.running),
        most(&|s| s.waiting),
        100.0 * most(&|s| s.kv),
        m.watched.series.len(),
    ))
}

fn prompts(spec: &WorkloadSpec) -> String {
    match spec.prompts {
        PromptKind::Distinct => "distinct".into(),
        PromptKind::Identical => "identical".into(),
        PromptKind::SharedPrefix => format!("first {} tokens shared", spec.shared_prefix_len),
    }
}

fn load(spec: &WorkloadSpec) -> Vec<(&'static str, String)> {
    let spread = |n: u32| match spec.range_ratio {
        0.0 => format!("{n} tokens"),
        r => format!("{n} tokens ± {:.0} %", 100.0 * r),
    };
    let mut all = vec![
        ("Warmup", format!("{} requests", spec.warmup)),
        ("Number of prompts", spec.num_prompts.to_string()),
    ];
    if spec.trace.is_some() || spec.input_dist.is_some() || spec.output_dist.is_some() {
        all.push(("Lengths", spec.sizes()));
    } else {
        all.push(("Input length", spread(spec.input_len)));
        all.push(("Output length", spread(spec.output_len)));
    }
    match spec.request_rate {
        Some(rate) if spec.arrival.is_none() => all.push((
            "Request rate",
            format!("{rate} per second, burstiness {}", spec.burstiness),
        )),
        _ if open_loop(spec) || spec.users.is_some() => all.push(("Pace", spec.pace())),
        _ => {}
    }
    if let Some(c) = spec.max_concurrency {
        all.push(("Max concurrency", format!("{c} concurrent requests")));
    }
    all.push(("Prompts", prompts(spec)));
    all
}

fn percent(part: u64, all: u64) -> String {
    format!("{part} ({:.0}%)", 100.0 * part as f64 / all.max(1) as f64)
}

/// The report: configuration, a table per point, and a summary table if there are several.
pub fn markdown(title: &str, facts: &[(&str, String)], points: &[Point<'_>]) -> String {
    let mut o = format!("# {title}\n\n");
    for (k, v) in facts {
        let _ = writeln!(o, "**{k}:** {v}  ");
    }
    if points.iter().any(|p| p.measured.interrupted) {
        let _ = writeln!(o, "\n**PARTIAL: the run was interrupted.**");
    }
    o.push('\n');
    if points.len() > 1 {
        o.push_str(&overview(points));
    }
    for p in points {
        let (m, s) = (p.measured, &p.measured.summary);
        let title = match p.mode {
            "latency" => "Latency".into(),
            "throughput" => "Throughput".into(),
            _ => match p.spec.request_rate {
                Some(r) => format!("Serving, {r} requests per second"),
                None => "Serving".to_string(),
            },
        };
        let sizes = format!(
            "{}{}",
            p.spec.sizes(),
            p.spec
                .max_concurrency
                .map_or(String::new(), |c| format!(", concurrency {c}"))
        );
        let _ = writeln!(o, "## {title} ({sizes})\n\n### Configuration\n");
        for (k, v) in load(p.spec) {
            let _ = writeln!(o, "- **{k}:** {v}");
        }
        let total = m.completed() + m.failed();
        let _ = writeln!(
            o,
            "\n### Performance\n\n| Metric | Value |\n|--------|-------|"
        );
        let mut row = |k: &str, v: String| {
            let _ = writeln!(o, "| {k} | {v} |");
        };
        row("Total requests", total.to_string());
        row("Successful requests", percent(m.completed(), total));
        row("Failed requests", m.failed().to_string());
        row("Total time", format!("{:.2} seconds", s.duration));
        row(
            "**Requests per second**",
            format!("**{} req/s**", three(s.request_throughput())),
        );
        row(
            "**Tokens per second**",
            format!("**{} tok/s**", three(s.total_throughput())),
        );
        row(
            "**Output tokens per second**",
            format!("**{} tok/s**", three(s.output_throughput())),
        );
        row("Total prompt tokens", s.input_tokens.to_string());
        row("Total completion tokens", s.output_tokens.to_string());
        row(
            "Total tokens",
            (s.input_tokens + s.output_tokens).to_string(),
        );
        if let Some(g) = m.goodput {
            row("Goodput", format!("{} req/s", three(g)));
        }
        let _ = writeln!(
            o,
            "\n| Latency (ms) | Mean | P50 | P90 | P99 | Min | Max |\n|---|---|---|---|---|---|---|"
        );
        for latency in Latency::REPORTED {
            let label = latency.heading();
            let Some(d) = m.latencies.get(latency).filter(|d| d.count() > 0) else {
                continue;
            };
            let v = [
                d.mean(),
                d.percentile(50.0),
                d.percentile(90.0),
                d.percentile(99.0),
                d.min(),
                d.max(),
            ];
            let cells: Vec<String> = v.iter().map(|x| format!("{:.2}", 1e3 * x)).collect();
            let _ = writeln!(o, "| {label} | {} |", cells.join(" | "));
        }
        let _ = writeln!(o, "\n```text\n{}```\n", below(m));
    }
    o
}

fn overview(points: &[Point<'_>]) -> String {
    let mut o = String::from(
        "## Results Summary\n\n| Input | Output | Concurrency | Success | Time (s) | req/s | tok/s | Output tok/s | TTFT mean (ms) | TPOT mean (ms) \
         | E2EL mean (ms) | E2EL P99 (ms) |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for p in points {
        let (m, s) = (p.measured, &p.measured.summary);
        let l = &m.latencies;
        let _ = writeln!(
            o,
            "| {} | {} | {} | {} | {:.2} | {} | {} | {} | {} | {} | {} | {} |",
            p.spec.input_len,
            p.spec.output_len,
            p.spec.max_concurrency.map_or("–".into(), |c| c.to_string()),
            percent(m.completed(), m.completed() + m.failed()),
            s.duration,
            three(s.request_throughput()),
            three(s.total_throughput()),
            three(s.output_throughput()),
            ms(l.ttft.mean()),
            ms(l.tpot.mean()),
            ms(l.e2el.mean()),
            ms(l.e2el.percentile(99.0)),
        );
    }
    o.push('\n');
    o
}
