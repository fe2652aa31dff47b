//! docs/accuracy.md and its picture: every recorded run against its prediction.
use super::accuracy_recorded as recorded;
use super::table::three;
use crate::validate::accuracy::{Accuracy, Kind, Role, ScoredRun, medians};
use crate::validate::manifest::{Manifest, Unusable};
use capsim::device::EngineId;
use capsim::engine::kind;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Runs of one file, as the report names them.
#[derive(Clone, Debug)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// Device.
    pub device: String,
    /// Engine profile.
    pub profile: String,
    /// Engine.
    pub engine: &'static str,
}

impl Set {
    /// The engine of a profile, in words.
    pub fn engine(profile: &str, scheduler: EngineId) -> &'static str {
        kind(scheduler).name_in(profile)
    }
}

/// The runs that were predicted.
pub fn predicted(a: &Accuracy) -> Vec<&ScoredRun> {
    a.runs
        .iter()
        .filter(|r| r.role == Role::Predicted)
        .collect()
}

/// Errors of some runs, summed up.
struct Tally {
    runs: usize,
    experiments: usize,
    decode: Vec<f64>,
    ttft: Vec<f64>,
    inside: usize,
    metrics: usize,
}

impl Tally {
    fn of<'a>(runs: impl IntoIterator<Item = &'a ScoredRun>) -> Self {
        let mut t = Self {
            runs: 0,
            experiments: 0,
            decode: vec![],
            ttft: vec![],
            inside: 0,
            metrics: 0,
        };
        let mut experiments = BTreeSet::new();
        for r in runs {
            t.runs += 1;
            experiments.insert(&r.experiment);
            t.decode.extend(r.decode().map(|d| d.1));
            t.ttft.extend(r.ttft());
            t.metrics += r.metrics.len();
            t.inside += r.metrics.iter().filter(|m| m.inside).count();
        }
        t.experiments = experiments.len();
        t
    }

    fn cells(&self) -> String {
        let cell = |v: &[f64]| {
            let (abs, bias) = medians(v);
            if v.is_empty() {
                "–|–".to_string()
            } else {
                format!("{:.1} % ({})|{:+.1} %", 100.0 * abs, v.len(), 100.0 * bias)
            }
        };
        let covered = if self.metrics == 0 {
            "–".into()
        } else {
            format!(
                "{:.0} % ({})",
                100.0 * self.inside as f64 / self.metrics as f64,
                self.metrics
            )
        };
        format!(
            "{}|{}|{}|{}|{covered}",
            self.experiments,
            self.runs,
            cell(&self.decode),
            cell(&self.ttft)
        )
    }
}

/// Devices, in order of first appearance.
fn devices(sets: &[Set]) -> Vec<&str> {
    let mut all: Vec<&str> = vec![];
    for s in sets {
        if !all.contains(&s.device.as_str()) {
            all.push(&s.device);
        }
    }
    all
}

/// The few lines that matter most.
pub fn headline(sets: &[Set], a: &Accuracy) -> String {
    let mut o = String::new();
    for device in devices(sets) {
        let runs: Vec<&ScoredRun> = predicted(a)
            .into_iter()
            .filter(|r| sets[r.file].device == device)
            .collect();
        let t = Tally::of(runs.iter().copied());
        let (d, db) = medians(&t.decode);
        let (p, pb) = medians(&t.ttft);
        let doubtful = runs.iter().filter(|r| r.doubt.is_some()).count();
        let _ = writeln!(
            o,
            "{device}: {} runs of {} experiments predicted; median |error| of decode throughput {:.1} % (bias {:+.1} %, {} runs), of \
             TTFT {:.1} % (bias {:+.1} %, {} runs); {} of {} metrics ({:.0} %) in their 90 % interval{}",
            t.runs,
            t.experiments,
            100.0 * d,
            100.0 * db,
            t.decode.len(),
            100.0 * p,
            100.0 * pb,
            t.ttft.len(),
            t.inside,
            t.metrics,
            100.0 * t.inside as f64 / t.metrics.max(1) as f64,
            match doubtful {
                0 => String::new(),
                n => format!("; {n} of the runs not strictly blind (†)"),
            },
        );
    }
    o
}

/// Batch sizes that a reader tells apart.
fn load(r: &ScoredRun) -> &'static str {
    match r.batch {
        b if b < 1.5 => "one at a time",
        b if b <= 8.5 => "batches of 2 to 8",
        _ => "batches beyond 8",
    }
}

const HEADER: &str = "class|experiments|runs|decode: median abs. error (runs)|bias|TTFT: median abs. error (runs)|bias|in the \
                      90 % interval (metrics)\n---|---|---|---|---|---|---|---\n";

fn by(o: &mut String, title: &str, runs: &[&ScoredRun], class: impl Fn(&ScoredRun) -> String) {
    let mut classes: BTreeMap<String, Vec<&ScoredRun>> = BTreeMap::new();
    for r in runs {
        classes.entry(class(r)).or_default().push(r);
    }
    let _ = write!(o, "\n### {title}\n\n{HEADER}");
    for (name, runs) in classes {
        let _ = writeln!(o, "{name}|{}", Tally::of(runs).cells());
    }
}

/// The whole report.
pub fn markdown(
    manifest: &Manifest,
    sets: &[Set],
    a: &Accuracy,
    unusable: &[Unusable],
    sections: &[recorded::Section],
) -> String {
    let all = predicted(a);
    let mut o = String::from(
        "# Accuracy\n\nWritten by `capsim validate --all`; do not edit. Public measurements in, public runs predicted, every error \
         listed.\n\n",
    );
    for line in headline(sets, a).lines() {
        let _ = writeln!(o, "- {line}");
    }
    o.push_str(
        "\nAn error is predicted / measured − 1. Decoding is counted as a rate (output tokens per second, or the inverse of TPOT or \
         of the inter-token latency), once per run; TTFT as a time. A run is *fitted*, *beside* (another part of a fitted \
         experiment; counted nowhere) or *predicted*; no run is two of these. An experiment is one published measurement; \
         llama-bench tables and depth curves give several runs each; repetitions of a load are one.\n\n† Not strictly blind: \
         something about this very run was chosen with its data in hand; the sections below say what. The priors of the gfx1151 \
         profiles, and the choice of the experiments that they are fitted to, were made with that collection known.\n\n## By class, \
         predicted runs only\n",
    );
    let mut o2 = String::new();
    by(&mut o2, "Engine", &all, |r| sets[r.file].engine.into());
    by(&mut o2, "Model", &all, |r| {
        if r.moe { "mixture of experts" } else { "dense" }.into()
    });
    by(&mut o2, "Device", &all, |r| sets[r.file].device.clone());
    by(&mut o2, "Load", &all, |r| load(r).into());
    by(&mut o2, "Profile", &all, |r| sets[r.file].profile.clone());
    by(&mut o2, "Settings", &all, |r| {
        if r.inferred.is_some() {
            "partly unknown; the hypothesis that the run's own data prefer"
        } else {
            "as recorded"
        }
        .into()
    });
    by(&mut o2, "Blindness", &all, |r| {
        if r.doubt.is_some() {
            "not strictly blind (†)"
        } else {
            "nothing chosen with the run's data"
        }
        .into()
    });
    by(&mut o2, "Source", &all, |r| r.group.clone());
    o.push_str(&o2);

    o.push_str("\n## What was fitted on what\n\nAt most one experiment per kernel path; no coefficient is moved by two; every path has other experiments that are \
                predicted (checked by the command). Coefficients, before and after:\n");
    for (p, plan) in a.profiles.iter().zip(&manifest.profiles) {
        let _ = writeln!(o, "\n### {}\n", p.id);
        if plan.paths.is_empty() {
            o.push_str("Nothing: predicted from its prior.\n");
        }
        for path in &plan.paths {
            let _ = writeln!(
                o,
                "- path *{}*: `{}`{}, moving {}",
                path.path,
                path.experiment,
                path.runs
                    .as_ref()
                    .map_or(String::new(), |r| format!(" ({})", r.join(", "))),
                path.moves
                    .iter()
                    .map(|m| format!("`{m}`"))
                    .collect::<Vec<_>>()
                    .join(", ")
            );
        }
        if let Some(f) = &p.fit {
            let _ = writeln!(
                o,
                "- largest remaining error on a fitted figure {:.1} %\n\ncoefficient|prior|fitted\n---|---|---",
                100.0 * f.worst_residual
            );
            for c in &f.changes {
                let show = |v: f64| {
                    if c.name.ends_with(".fill") {
                        format!("{v:.0}")
                    } else if c.name.starts_with("host.") {
                        format!("{:.3} ms", 1e3 * v)
                    } else {
                        format!("{v:.3}")
                    }
                };
                let _ = writeln!(
                    o,
                    "`{}`|{} ± {:.0} %|{} ± {:.0} %",
                    c.name,
                    show(c.before),
                    100.0 * c.rel_sd_before,
                    show(c.after),
                    100.0 * c.rel_sd_after
                );
            }
        }
    }

    o.push_str("\n## Intervals\n\nSpreads of coefficients, after the fit, and between repeats are propagated linearly in logarithms. What the model gets \
                wrong, and what differs between boxes, builds and weeks, is added as a deviation estimated from the runs of *other* \
                sources (leave-one-source-out: the smallest with which nine tenths of their errors lie inside; every source weighs the \
                same). From all sources it is ");
    let words: Vec<String> = a
        .model_sd
        .iter()
        .map(|(k, sd)| format!("{:.0} % for {}", 100.0 * sd, k.words()))
        .collect();
    let _ = writeln!(
        o,
        "{}; that is what the shipped profiles of gfx1151 carry. Settings that a record does not state widen the interval of that run: every \
         alternative is simulated, or, where the run's own figures choose among hypotheses, keeps their likelihood as weight. Comparisons that \
         are kept as figures have the interval of their own profile, and take no part in this.",
        words.join(" and ")
    );

    for device in devices(sets) {
        worst(&mut o, device, sets, &all);
    }

    o.push_str("\n## Not simulated\n\nexperiment|why|source\n---|---|---\n");
    for u in unusable {
        let _ = writeln!(o, "{}|{}|{}", u.experiment, u.reason, link(&u.source));
    }
    for (id, why) in &a.failed {
        let _ = writeln!(o, "{id}|{}|–", why.replace('\n', " "));
    }
    recorded::sections(&mut o, a, sections);
    everything(&mut o, sets, a);
    o
}

fn link(source: &str) -> String {
    if source.starts_with("https://") {
        format!("<{source}>")
    } else {
        source.to_string()
    }
}

fn worst(o: &mut String, device: &str, sets: &[Set], all: &[&ScoredRun]) {
    let mut list: Vec<(&ScoredRun, usize)> = all
        .iter()
        .filter(|r| sets[r.file].device == device)
        .filter_map(|r| {
            let at = (0..r.metrics.len()).max_by(|x, y| {
                r.metrics[*x]
                    .log_error
                    .abs()
                    .total_cmp(&r.metrics[*y].log_error.abs())
            })?;
            Some((*r, at))
        })
        .collect();
    if list.is_empty() {
        return;
    }
    let _ = write!(
        o,
        "\n## The ten worst experiments on {device}\n\nBy their largest error, whatever the sign; each experiment once.\n\n\
         run|profile|metric|measured|predicted|error|diagnosis\n---|---|---|---|---|---|---\n"
    );
    list.sort_by(|x, y| {
        let size = |(r, m): &(&ScoredRun, usize)| r.metrics[*m].log_error.abs();
        size(y)
            .total_cmp(&size(x))
            .then_with(|| x.0.id.cmp(&y.0.id))
    });
    let mut seen = BTreeSet::new();
    for (r, m) in list
        .into_iter()
        .filter(|(r, _)| seen.insert(r.experiment.clone()))
        .take(10)
    {
        let m = &r.metrics[m];
        let _ = writeln!(
            o,
            "{}{}|{}|{}|{}|{}|{:+.0} %|{}",
            r.id,
            dagger(r),
            sets[r.file].profile,
            m.metric,
            three(m.measured),
            three(m.predicted),
            100.0 * m.error(),
            r.diagnosis.as_deref().unwrap_or("none yet")
        );
    }
}

fn dagger(r: &ScoredRun) -> &'static str {
    if r.doubt.is_some() && r.role == Role::Predicted {
        " †"
    } else {
        ""
    }
}

fn everything(o: &mut String, sets: &[Set], a: &Accuracy) {
    o.push_str("\n## Every run\n\nIntervals are 90 %; • marks a measured value outside.\n");
    for (i, file) in sets.iter().enumerate() {
        let runs: Vec<&ScoredRun> = a.runs.iter().filter(|r| r.file == i).collect();
        if runs.is_empty() {
            continue;
        }
        let _ = write!(
            o,
            "\n### {}\n\nrun|role|metric|measured|predicted|error|interval\n---|---|---|---|---|---|---\n",
            file.name
        );
        for r in runs {
            let role = match r.role {
                Role::Fitted => "fitted",
                Role::Beside => "beside",
                Role::Predicted => "predicted",
            };
            for (j, m) in r.metrics.iter().enumerate() {
                let id = match (&r.inferred, j) {
                    (_, 1..) => String::new(),
                    (Some(words), _) => format!("{} (supposing {words})", r.id),
                    (None, _) => r.id.clone(),
                };
                let _ = writeln!(
                    o,
                    "{id}|{}{}|{}|{}|{}|{:+.1} %|{} … {}{}",
                    if j == 0 { role } else { "" },
                    if j == 0 { dagger(r) } else { "" },
                    m.metric,
                    three(m.measured),
                    three(m.predicted),
                    100.0 * m.error(),
                    three(m.interval.low),
                    three(m.interval.high),
                    if m.inside || r.role != Role::Predicted {
                        ""
                    } else {
                        " •"
                    }
                );
            }
        }
    }
}

const COLOURS: [(&str, &str); 4] = [
    ("vLLM", "#134a78"),
    ("llama.cpp", "#b5532a"),
    ("SGLang", "#3d7a3a"),
    ("Ollama", "#7a4a8a"),
];

/// Measured against predicted, both logarithmic: decoding left, TTFT right. Dots are predicted runs.
pub fn svg(sets: &[Set], a: &Accuracy) -> String {
    let (width, height) = (860.0, 452.0);
    let mut o = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" font-family=\"system-ui, \
         sans-serif\" font-size=\"13\">\n<title>Predicted against measured, runs that were not fitted</title>\n<rect \
         width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    for (i, (name, colour)) in COLOURS.iter().enumerate() {
        let x = 40.0 + 110.0 * i as f64;
        let _ = writeln!(
            o,
            "<circle cx=\"{x}\" cy=\"436\" r=\"4\" fill=\"{colour}\"/><text x=\"{}\" y=\"440.5\" fill=\"#1a1a1a\">{name}</text>",
            x + 10.0
        );
    }
    o.push_str("<text x=\"830\" y=\"440.5\" text-anchor=\"end\" fill=\"#555555\">bands: ±10 % and ±20 %</text>\n");
    // Decade exponents of the axes.
    panel(
        &mut o,
        sets,
        a,
        Kind::Decode,
        56.0,
        (0, 4),
        "Decoding, tokens per second",
    );
    panel(
        &mut o,
        sets,
        a,
        Kind::Prefill,
        486.0,
        (1, 6),
        "Time to first token, ms",
    );
    o.push_str("</svg>\n");
    o
}

fn panel(
    o: &mut String,
    sets: &[Set],
    a: &Accuracy,
    kind: Kind,
    left: f64,
    decades: (i32, i32),
    title: &str,
) {
    let (side, top) = (344.0, 40.0);
    let span = f64::from(decades.1 - decades.0);
    let t = |v: f64| ((libm::log10(v) - f64::from(decades.0)) / span).clamp(0.0, 1.0);
    let (x, y) = (
        |v: f64| left + side * t(v),
        |v: f64| top + side * (1.0 - t(v)),
    );
    let (low, high) = (
        libm::pow(10.0, decades.0.into()),
        libm::pow(10.0, decades.1.into()),
    );
    let _ = writeln!(
        o,
        "<text x=\"{left}\" y=\"24\" font-size=\"15\" font-weight=\"600\" fill=\"#1a1a1a\">{title}</text>"
    );
    for (band, colour) in [(1.2, "#eef4fa"), (1.1, "#dcebf7")] {
        let _ = writeln!(
            o,
            "<polygon points=\"{:.1},{:.1} {:.1},{:.1} {:.1},{:.1} {:.1},{:.1} {:.1},{:.1} {:.1},{:.1}\" fill=\"{colour}\"/>",
            x(low),
            y(low),
            x(low),
            y(low * band),
            x(high / band),
            y(high),
            x(high),
            y(high),
            x(high),
            y(high / band),
            x(low * band),
            y(low)
        );
    }
    for d in decades.0..=decades.1 {
        let v = libm::pow(10.0, d.into());
        let _ = writeln!(
            o,
            "<line x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{top}\" y2=\"{1:.1}\" stroke=\"#d0d0d0\"/><line x1=\"{left}\" x2=\"{2:.1}\" \
             y1=\"{3:.1}\" y2=\"{3:.1}\" stroke=\"#d0d0d0\"/><text x=\"{0:.1}\" y=\"{4:.1}\" text-anchor=\"middle\" \
             fill=\"#555555\">{v}</text><text x=\"{5:.1}\" y=\"{6:.1}\" text-anchor=\"end\" fill=\"#555555\">{v}</text>",
            x(v),
            top + side,
            left + side,
            y(v),
            top + side + 17.0,
            left - 5.0,
            y(v) + 4.5
        );
    }
    let _ = writeln!(
        o,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"#1a1a1a\"/><text x=\"{:.1}\" y=\"{:.1}\" \
         text-anchor=\"end\" fill=\"#555555\">measured</text><text x=\"{left}\" y=\"{:.1}\" fill=\"#555555\">predicted</text>",
        x(low),
        y(low),
        x(high),
        y(high),
        left + side,
        top + side + 34.0,
        top - 4.0
    );
    for r in predicted(a) {
        let (measured, predicted) = match kind {
            Kind::Prefill => {
                let Some(m) = r
                    .metrics
                    .iter()
                    .find(|m| m.metric == "mean_ttft_ms" || m.metric == "median_ttft_ms")
                else {
                    continue;
                };
                (m.measured, m.predicted)
            }
            Kind::Decode => {
                let Some(m) = r
                    .decode()
                    .and_then(|(name, _)| r.metrics.iter().find(|m| m.metric == name))
                else {
                    continue;
                };
                if m.metric.ends_with("throughput") {
                    (m.measured, m.predicted)
                } else if m.metric.contains("e2el") {
                    continue;
                } else {
                    (1e3 / m.measured, 1e3 / m.predicted)
                }
            }
        };
        let name = sets[r.file].engine;
        let colour = COLOURS
            .iter()
            .find(|(n, _)| *n == name)
            .map_or("#555555", |c| c.1);
        let _ = writeln!(
            o,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\" fill-opacity=\"0.55\"/>",
            x(measured),
            y(predicted)
        );
    }
}
