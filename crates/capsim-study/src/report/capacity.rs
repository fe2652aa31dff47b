//! An answer of `capsim capacity` for people.
use super::prediction::left_out;
use super::table::{three, with_header, wrap};
use capsim::device::EngineId;
use capsim::engine::kind;
use capsim::plan::capacity::{Capacity, Point, Rising};
use capsim::plan::{Axis, Limit, Slo, Term};
use capsim::predict::{Scenario, public_name};
use std::fmt::Write as _;

/// A line of at most 80 columns that begins with a label.
pub(super) fn labelled(label: &str, text: &str) -> String {
    format!("{label:<10}{}\n", wrap(text, 70, "          "))
}

/// A command that breaks where a shell lets it.
pub fn command(words: &[String]) -> String {
    let mut o = String::new();
    let mut width = 0;
    for w in words {
        let n = w.chars().count();
        if width > 0 && width + 1 + n > 74 {
            o.push_str(" \\\n      ");
            width = 4;
        } else {
            o.push_str(if width == 0 { "  " } else { " " });
            width += if width == 0 { 2 } else { 1 };
        }
        o.push_str(w);
        width += n;
    }
    o.push('\n');
    o
}

/// A load with its unit, for people.
pub fn load(axis: Axis, v: f64) -> String {
    match axis {
        Axis::Users if v == 1.0 => "1 user".into(),
        Axis::Users => format!("{v} users"),
        Axis::Concurrency if v == 1.0 => "1 request at a time".into(),
        Axis::Concurrency => format!("{v} requests at once"),
        Axis::Rate => format!("{} requests/s", v),
        Axis::Speedup => format!("{v} times as fast as recorded"),
    }
}

/// A value of a condition in its usual unit.
pub(super) fn value(term: &Term, v: f64) -> String {
    match term {
        Term::Latency { .. } if v == f64::INFINITY => "∞ (of a refused request)".into(),
        Term::Latency { .. } if v < 1.0 => format!("{} ms", three(1e3 * v)),
        Term::Latency { .. } => format!("{} s", three(v)),
        Term::Goodput(_) => format!("{} %", three(100.0 * v)),
        Term::Throughput { .. } => three(v),
    }
}

fn values(slo: &Slo, p: &Point) -> String {
    let all: Vec<String> = slo
        .terms
        .iter()
        .zip(&p.values)
        .map(|(t, v)| format!("{} {}", t.name(), value(t, *v)))
        .collect();
    all.join(", ")
}

/// What is said of an answer, under a label; an empty one continues the line above.
pub type Facts = Vec<(&'static str, String)>;

fn fact(label: &'static str, text: &str) -> (&'static str, String) {
    (label, text.into())
}

fn lines(facts: &Facts) -> String {
    facts.iter().map(|(l, text)| labelled(l, text)).collect()
}

/// The highest load, what ends it, and what would bring more: what stands above the table.
pub fn facts(slo: &Slo, c: &Capacity) -> Facts {
    let mut o = match (&c.rising, &c.highest) {
        (Some(r), _) => rising(slo, c, r),
        (None, Some(p)) => reached(slo, c, p),
        (None, None) => impossible(slo, c),
    };
    if let Some(p) = &c.broken {
        o.extend(past(slo, c.axis, p));
    }
    if let Some(e) = &c.elasticities {
        let text = format!(
            "{} of {} (1 % faster makes it shorter by, in %: {})",
            e.largest(),
            c.decisive,
            e.words()
        );
        o.push(fact("Binds", &text));
    }
    o.extend(headroom(slo, c));
    o.extend(c.wanted.iter().flat_map(|w| replicas(c, *w)));
    o.extend(next(c));
    o
}

/// The whole answer.
pub fn text(scenario: &Scenario, slo: &Slo, c: &Capacity) -> String {
    let mut o = left_out(std::iter::once(scenario))
        + &refused(scenario, c)
        + &super::answer::lines(&c.answer)
        + &asked(scenario, c);
    o.push_str(&lines(&facts(slo, c)));
    o.push('\n');
    o.push_str(&table(slo, c));
    if let Some(knee) = c.knee {
        let text = format!(
            "{} (largest ratio of throughput to mean E2EL)",
            load(c.axis, knee)
        );
        o += &("\n".to_string() + &labelled("Knee", &text));
    }
    o.push_str(&lines(&floor(slo, c)));
    if c.not_monotone {
        o.push_str(&labelled(
            "Caveat",
            "the SLO is not met at every lower load, or met again at a higher one: see the curve",
        ));
    }
    if let Some(p) = &c.highest {
        o.push_str(&on_the_server(scenario, slo, c, p));
    }
    // What is left out stands in the first lines.
    let said = scenario.notes.left_out().map(|c| c.to_string());
    for note in c.notes.iter().filter(|n| Some(*n) != said.as_ref()) {
        o.push_str(&labelled("Caveat", note));
    }
    o
}

/// What was asked: the model, the device, the load and the SLO.
fn asked(scenario: &Scenario, c: &Capacity) -> String {
    let w = &scenario.workload;
    let thought = w.users.as_ref().map_or(String::new(), |u| {
        let turns = if u.turns > 1 {
            format!(", {} turns each", u.turns)
        } else {
            String::new()
        };
        format!(", {} s of thought{turns}", u.think.mean())
    });
    format!(
        "{}\non {}\n{}{thought}; SLO {}\n{}\n",
        scenario.model_name,
        scenario.device.name,
        w.sizes(),
        c.slo,
        supposed(scenario)
    )
}

/// What was assumed where nothing was said; a search sets the number of requests and what it raises itself.
pub(super) fn supposed(scenario: &Scenario) -> String {
    let all = scenario.notes.assumed.iter();
    let told: Vec<&str> = all
        .filter(|a| !a.ends_with(" requests") && !a.starts_with("a closed loop"))
        .map(String::as_str)
        .collect();
    match told.is_empty() {
        true => String::new(),
        false => labelled("Assumed", &told.join("; ")),
    }
}

/// What breaks at the lowest load found that does not meet the SLO.
fn past(slo: &Slo, axis: Axis, p: &Point) -> Facts {
    let broken: Vec<String> = slo
        .terms
        .iter()
        .zip(&p.values)
        .filter(|(t, v)| t.margin_of(**v) > 1.0 && !t.wants_load())
        .map(|(t, v)| format!("{} {} > {}", t.name(), value(t, *v), t.limit()))
        .collect();
    let what = match (broken.is_empty() || p.runs_met > 0, p.overloaded) {
        (false, _) => broken.join(", "),
        (true, true) => "requests come faster than they are served".into(),
        (true, false) => format!(
            "the SLO holds in only {} of {} runs ({} on average)",
            p.runs_met,
            p.runs,
            values(slo, p)
        ),
    };
    let wait = waits(p);
    let text = format!("{}: {what}; {wait}", load(axis, p.load));
    vec![fact("Past it", &text)]
}

/// How many engines a load takes.
fn replicas(c: &Capacity, wanted: f64) -> Facts {
    let wanted = load(c.axis, wanted);
    let text = match (c.replicas, c.replicas_unlucky) {
        (None, _) => format!(
            "none: one alone meets the SLO at no load, so that no number of them does for {wanted}"
        ),
        (Some(n), Some(unlucky)) => format!(
            "{n} for {wanted}, load spread evenly; {unlucky} if the cost model is as far off as its interval allows"
        ),
        (Some(n), None) => format!(
            "{n} for {wanted}, load spread evenly; if the cost model is as far off as its interval allows, one alone \
             meets the SLO at no load, and no number of them does"
        ),
    };
    vec![fact("Replicas", &text)]
}

/// The least that is possible.
pub fn floor(slo: &Slo, c: &Capacity) -> Facts {
    let terms: Vec<String> = slo
        .terms
        .iter()
        .zip(&c.floor)
        .map(|(t, f)| {
            let at = if t.wants_load() { "" } else { " alone" };
            format!(
                "{} {}{at}, {} if the engine wasted nothing",
                f.name,
                value(t, f.alone),
                value(t, f.ideal)
            )
        })
        .collect();
    vec![fact("Floor", &terms.join("; "))]
}

/// The command that measures the load that is the answer.
fn on_the_server(scenario: &Scenario, slo: &Slo, c: &Capacity, highest: &Point) -> String {
    let least = c.rising.as_ref().and_then(|r| r.least);
    let answer = c
        .curve
        .iter()
        .find(|p| Some(p.load) == least)
        .unwrap_or(highest);
    match check(
        scenario,
        slo,
        c.axis,
        answer.load,
        answer.num_prompts,
        answer.request_throughput,
    ) {
        Some(words) => "Check it on the real server:\n".to_string() + &command(&words),
        None => String::new(),
    }
}

/// Which requests are refused at the load where most are, for the first line; empty if none.
fn refused(scenario: &Scenario, c: &Capacity) -> String {
    let share = |p: &Point| p.refused as f64 / f64::from(p.num_prompts.max(1));
    let all = c.curve.iter().chain(&c.highest).chain(&c.broken);
    let worst = all.max_by(|a, b| share(a).total_cmp(&share(b)));
    let Some(p) = worst.filter(|p| p.refused > 0) else {
        return String::new();
    };
    let settings = scenario.settings();
    let len = settings.map_or(0, |s| s.config.max_model_len);
    let text = format!(
        "{} of {} requests refused ({:.1} %) at {}: prompt and output together exceed max-model-len {len} or the KV cache; \
         each misses the SLO, and the other figures are of the others",
        p.refused,
        p.num_prompts,
        100.0 * share(p),
        load(c.axis, p.load)
    );
    labelled("Refused", &text) + "\n"
}

fn waits(p: &Point) -> String {
    match p.waits_for {
        Limit::Nothing => "the device is idle at times".into(),
        Limit::StepTime => format!("no queue, steps are long ({})", p.step_part),
        l => format!("requests wait for {l}, steps for {}", p.step_part),
    }
}

fn reached(slo: &Slo, c: &Capacity, p: &Point) -> Facts {
    let mut o = Facts::new();
    let Some(high) = c.high else {
        let text = format!(
            "the SLO limits no load: at {} every place is taken ({:.0} sequences) and it still holds; throughput is at its end. \
             A limit on ttft or e2el would answer how many may wait",
            load(c.axis, p.load),
            p.batch
        );
        o.push(fact("Capacity", &text));
        o.push(fact("At it", &values(slo, p)));
        o.extend(short(slo, c, p));
        return o;
    };
    let interval = format!("{}   [{} … {}]", load(c.axis, p.load), c.low, high);
    o.push(fact("Capacity", &interval));
    let runs = if c.deterministic {
        format!(
            "in a run of {} requests; this load holds no chance",
            p.num_prompts
        )
    } else {
        format!(
            "met in {} of {} runs of {} requests: with {:.0} % confidence at least {:.0} % of such runs meet it",
            p.runs_met,
            p.runs,
            p.num_prompts,
            100.0 * c.confidence,
            100.0 * c.runs_share
        )
    };
    let rests: Vec<String> = c
        .rests_on
        .iter()
        .take(3)
        .map(|(n, s)| format!("{n} {:.0} %", 100.0 * s))
        .collect();
    let text = format!(
        "{runs}. The interval is 90 %, from the cost model's uncertainty ({})",
        rests.join(", ")
    );
    o.push(fact("", &text));
    let at = format!(
        "{}; {} output tok/s, {} requests/s, {} sequences per step, KV at most {:.1} % full; {}",
        values(slo, p),
        three(p.output_throughput),
        three(p.request_throughput),
        three(p.batch),
        100.0 * p.kv_max,
        waits(p)
    );
    o.push(fact("At it", &at));
    o.extend(short(slo, c, p));
    o
}

/// Which throughput is not reached, and what is the most.
fn short(slo: &Slo, c: &Capacity, p: &Point) -> Facts {
    if c.short_of.is_empty() {
        return vec![];
    }
    let most: Vec<String> = slo
        .terms
        .iter()
        .zip(&p.values)
        .filter(|(t, _)| c.short_of.contains(&t.name()))
        .map(|(t, v)| t.with_limit(0.99 * v).to_string())
        .collect();
    let text = format!(
        "{} is not reached at any load that keeps the rest of the SLO. Nearest possible: {}",
        c.short_of.join(", "),
        most.join(", ")
    );
    vec![fact("But", &text)]
}

fn impossible(slo: &Slo, c: &Capacity) -> Facts {
    let mut o = vec![fact("Capacity", "none: no load meets the SLO")];
    for (t, f) in slo.terms.iter().zip(&c.floor) {
        if t.margin_of(f.alone) <= 1.0 {
            continue;
        }
        let physical = if t.margin_of(f.ideal) > 1.0 {
            format!(
                "no engine can: the device itself needs {} when every kernel runs at its measured rate",
                value(t, f.ideal)
            )
        } else {
            format!("the device itself would allow {}", value(t, f.ideal))
        };
        // Rounded so that it is surely met.
        let nearest = t.with_limit(match t {
            Term::Latency { .. } => f.alone * 1.01,
            _ => f.alone * 0.99,
        });
        let text = format!(
            "{} is {} with one request alone, the limit is {}; {physical}. Nearest possible: {nearest}",
            f.name,
            value(t, f.alone),
            t.limit(),
        );
        o.push(fact("", &text));
    }
    o
}

/// What nothing bounds from above: from which load on it holds, or how near it comes.
fn rising(slo: &Slo, c: &Capacity, r: &Rising) -> Facts {
    let at = |l: f64| load(c.axis, l);
    if let Some(least) = r.least {
        let end = r.unlucky.map_or("none".into(), |l| l.to_string());
        let interval = format!(
            "from {} on   [{} … {end}]; nothing in the SLO bounds it from above",
            at(least),
            r.lucky.unwrap_or(least),
        );
        let mut o = vec![fact("Capacity", &interval)];
        let note = "The interval is 90 %, from the cost model's uncertainty. More load helps throughput and lengthens the queue: a \
                    limit on ttft, tpot or e2el would bound it";
        o.push(fact("", note));
        if let Some(p) = c.curve.iter().find(|p| p.load == least) {
            o.push(fact("At it", &format!("{}; {}", values(slo, p), waits(p))));
        }
        return o;
    }
    let mut o = vec![fact("Capacity", "none: no load meets the SLO")];
    let Some(n) = &r.nearest else { return o };
    let each = slo.terms.iter().zip(&c.floor).zip(&n.point.values);
    for (i, ((t, f), v)) in each.enumerate() {
        if t.margin_of(*v) <= 1.0 {
            continue;
        }
        let physical = if t.margin_of(f.ideal) > 1.0 {
            format!(
                "no engine can with these settings: this device gives {} when every kernel runs at its measured rate",
                value(t, f.ideal)
            )
        } else {
            format!("the device itself would allow {}", value(t, f.ideal))
        };
        let text = format!(
            "{} is {} at most   [{} … {}], with {}; the limit is {}; {physical}. Nearest possible: {}",
            t.name(),
            value(t, *v),
            value(t, n.unlucky[i].min(*v)),
            value(t, n.lucky[i].max(*v)),
            at(n.point.load),
            t.limit(),
            // Rounded so that it is surely met.
            t.with_limit(0.99 * v)
        );
        o.push(fact("", &text));
    }
    o.push(fact("At it", &waits(&n.point)));
    o.push(fact(
        "Next",
        "`capsim tune` with the same flags searches the settings with the highest throughput; replicas add theirs",
    ));
    o
}

fn headroom(slo: &Slo, c: &Capacity) -> Facts {
    let best = match (&c.highest, &c.rising, &c.present) {
        (Some(best), None, _) | (Some(best), Some(_), Some(_)) => best,
        _ => return vec![],
    };
    let text = if let Some(p) = &c.present {
        let verdict = if p.met {
            "meets the SLO"
        } else {
            "does not meet the SLO"
        };
        format!(
            "today's {} {verdict} ({}){}",
            load(c.axis, p.load),
            values(slo, p),
            match c.high {
                Some(_) => format!(
                    "; {:+.0} % to the highest load",
                    100.0 * (best.load / p.load - 1.0)
                ),
                None => String::new(),
            }
        )
    } else {
        let left: Vec<String> = slo
            .terms
            .iter()
            .zip(&best.values)
            .filter(|(t, _)| !t.wants_load())
            .map(|(t, v)| {
                format!(
                    "{} uses {:.0} % of its limit",
                    t.name(),
                    100.0 * t.margin_of(*v)
                )
            })
            .collect();
        left.join(", ")
    };
    if text.is_empty() {
        return vec![];
    }
    vec![fact("Headroom", &text)]
}

fn next(c: &Capacity) -> Facts {
    let now = c.highest.as_ref().map_or(0.0, |p| p.load);
    let better = |same: bool| -> Vec<String> {
        c.outlooks
            .iter()
            .filter(|o| o.same_answers == same && o.load.is_none_or(|l| l > now * 1.02))
            .take(3)
            .map(|o| match o.load {
                Some(l) => format!("{}: {}", o.what, load(c.axis, l)),
                None => format!("{}: no limit", o.what),
            })
            .collect()
    };
    let mut o = Facts::new();
    let (same, other) = (better(true), better(false));
    if !c.outlooks.is_empty() && same.is_empty() {
        o.push(fact(
            "Next",
            "no other setting of the engine brings more; more devices, or a faster one, do",
        ));
    } else if !same.is_empty() {
        o.push(fact("Next", &same.join("; ")));
    }
    if !other.is_empty() {
        let text = format!(
            "{} (answers change; kernels assumed as efficient)",
            other.join("; ")
        );
        o.push(fact("", &text));
    }
    o
}

fn table(slo: &Slo, c: &Capacity) -> String {
    let head = match c.axis {
        Axis::Users => "users",
        Axis::Rate => "req/s",
        Axis::Concurrency => "at once",
        Axis::Speedup => "speed",
    };
    let mut header = vec![head.to_string()];
    // Throughput has a column of its own.
    let shown: Vec<usize> = (0..slo.terms.len())
        .filter(|&i| !slo.terms[i].wants_load())
        .take(3)
        .collect();
    let narrow = shown.len() > 2;
    for &i in &shown {
        let t = &slo.terms[i];
        let unit = match t {
            Term::Latency { limit, .. } if *limit < 1.0 => " ms",
            Term::Latency { .. } => " s",
            Term::Goodput(_) => " %",
            Term::Throughput { .. } => "",
        };
        header.push(format!("{}{unit}", t.name()));
    }
    if !narrow {
        header.extend(["E2EL s".into(), "batch".into()]);
    }
    header.extend(["tok/s", "KV %", "waits for", "SLO"].map(String::from));
    let names: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut t = with_header(&names);
    for p in &c.curve {
        let mut row = vec![format!("{}", p.load)];
        for &i in &shown {
            let v = p.values[i];
            row.push(three(match &slo.terms[i] {
                Term::Latency { limit, .. } if *limit < 1.0 => 1e3 * v,
                Term::Goodput(_) => 100.0 * v,
                _ => v,
            }));
        }
        let wait = match p.waits_for {
            Limit::KvCapacity => "KV",
            Limit::MaxNumSeqs => "seqs",
            Limit::TokenBudget => "budget",
            Limit::StepTime => "step",
            Limit::Nothing => "–",
        };
        if !narrow {
            row.extend([three(p.e2el), three(p.batch)]);
        }
        row.extend([
            three(p.output_throughput),
            three(100.0 * p.kv_max),
            wait.into(),
            match (p.met, p.runs) {
                (true, _) => "met".into(),
                (false, 1) => "no".into(),
                (false, n) => format!("{}/{n}", p.runs_met),
            },
        ]);
        t.add_row(row);
    }
    let mut o = String::new();
    for l in t.to_string().lines() {
        let _ = writeln!(o, "{}", l.trim_end());
    }
    o
}

/// The command that measures the load on a running server.
pub(super) fn check(
    scenario: &Scenario,
    slo: &Slo,
    axis: Axis,
    load: f64,
    prompts: u32,
    rate: f64,
) -> Option<Vec<String>> {
    let w = &scenario.workload;
    let talks = w.users.as_ref().is_some_and(|u| u.turns > 1);
    if w.trace.is_some() || talks || w.input_dist.is_some() || w.output_dist.is_some() {
        return None;
    }
    let mut words: Vec<String> = ["vllm", "bench", "serve", "--model"]
        .map(String::from)
        .to_vec();
    words.push(public_name(&scenario.model_name).into());
    let mut flag = |name: &str, v: String| words.push(format!("{name} {v}"));
    let port = kind(scenario.engine.scheduler).port();
    if port != kind(EngineId::Vllm).port() {
        flag("--port", port.to_string());
    }
    match &w.images {
        None => flag("--dataset-name", "random".into()),
        // `vllm/benchmarks/datasets/datasets.py` of vLLM 0.32.0: sizes are (height, width, frames).
        Some(i) => {
            flag("--backend", "openai-chat".into());
            flag("--endpoint", "/v1/chat/completions".into());
            flag("--dataset-name", "random-mm".into());
            flag("--random-mm-base-items-per-request", i.count.to_string());
            let limit = format!("'{{\"image\": {}, \"video\": 0}}'", i.count);
            flag("--random-mm-limit-mm-per-prompt", limit);
            let bucket = format!("'{{({}, {}, 1): 1.0}}'", i.height, i.width);
            flag("--random-mm-bucket-config", bucket);
        }
    }
    flag("--random-input-len", w.input_len.to_string());
    flag("--random-output-len", w.output_len.to_string());
    if w.range_ratio > 0.0 {
        flag("--random-range-ratio", w.range_ratio.to_string());
    }
    match axis {
        Axis::Rate => {
            flag("--request-rate", load.to_string());
            if w.burstiness != 1.0 {
                flag("--burstiness", w.burstiness.to_string());
            }
        }
        // vllm bench serve knows no users who think: as many requests per second as these send.
        Axis::Users => {
            flag("--request-rate", three(rate));
            flag("--max-concurrency", load.to_string());
        }
        _ => flag("--max-concurrency", load.to_string()),
    }
    flag("--num-prompts", prompts.to_string());
    flag("--percentile-metrics", "ttft,tpot,itl,e2el".into());
    flag("--metric-percentiles", format!("{}", slo.tail()));
    Some(words)
}

/// The curve as comma-separated values.
pub fn csv(slo: &Slo, c: &Capacity) -> String {
    let names: Vec<String> = slo.terms.iter().map(Term::name).collect();
    let mut o = format!(
        "load,{},mean_ttft_s,mean_tpot_s,mean_e2el_s,request_throughput,output_throughput,batch,waiting,kv_max,\
         preemptions_per_request,waits_for,runs,runs_met,met,refused\n",
        names.join(",")
    );
    for p in &c.curve {
        let values: Vec<String> = p.values.iter().map(f64::to_string).collect();
        let _ = writeln!(
            o,
            "{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}",
            p.load,
            values.join(","),
            p.ttft,
            p.tpot,
            p.e2el,
            p.request_throughput,
            p.output_throughput,
            p.batch,
            p.waiting,
            p.kv_max,
            p.preemptions,
            super::escape::quoted(&p.waits_for.to_string()),
            p.runs,
            p.runs_met,
            p.met,
            p.refused
        );
    }
    o
}
