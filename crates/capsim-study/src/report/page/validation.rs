//! Measured against predicted.
use super::super::chart::{Chart, Dot, Mark, Scale, Series, escape, short};
use super::super::json::validation::{self as answer, Validation};
use super::{Picture, Section, charts, list, table};
use capsim::metrics::{Latency, MetricName};

/// One measured value beside its prediction.
struct Compared<'a> {
    id: &'a str,
    metric: &'a MetricName,
    /// Whether its run was fitted, and so not predicted.
    fitted: bool,
    measured: f64,
    predicted: f64,
    /// Predicted over measured, less one, in per cent; allows for the digits of the record.
    error: f64,
    /// The 90 % interval, and whether the measured value lies in it.
    range: Option<(f64, f64)>,
    inside: Option<bool>,
}

impl<'a> Compared<'a> {
    /// `None`: one of the two values is missing.
    fn of(id: &'a str, fitted: bool, m: &'a answer::Metric) -> Option<Self> {
        let c = &m.compared;
        Some(Self {
            id,
            metric: &c.metric,
            fitted,
            measured: c.measured,
            predicted: c.predicted?,
            error: 100.0 * c.error?,
            range: c.low.zip(c.high),
            inside: m.inside,
        })
    }

    fn row(&self) -> Vec<String> {
        let fitted = if self.fitted { " (fitted)" } else { "" };
        vec![
            format!("{}{fitted}, {}", self.id, self.metric),
            short(self.measured),
            short(self.predicted),
            format!("{:+.1} %", self.error),
            self.range
                .map_or("–".into(), |(a, b)| format!("{}–{}", short(a), short(b))),
            match self.inside {
                Some(true) => "inside".into(),
                Some(false) => "outside".into(),
                None => "–".into(),
            },
        ]
    }

    /// The line of the chart that it belongs to.
    fn kind(&self) -> &'static str {
        let metric = self.metric.metric();
        match metric.latency() {
            _ if metric.is_throughput() => "throughput",
            Some(Latency::Ttft) => "TTFT",
            Some(Latency::Tpot | Latency::Itl) => "TPOT, ITL",
            _ => "latency, duration",
        }
    }

    fn dot(&self) -> Dot {
        Dot {
            x: self.measured,
            y: 1.0 + self.error / 100.0,
            range: (self.range).map(|(a, b)| (a / self.measured, b / self.measured)),
            label: format!("{}, {}: {:+.1} %", self.id, self.metric, self.error),
        }
    }
}

/// All values of all runs, of each run under the hypothesis that the data prefer, which stands first.
fn compared(runs: &[answer::Run]) -> Vec<Compared<'_>> {
    let mut all = vec![];
    for run in runs {
        let best = run.candidates.first();
        let metrics = best.into_iter().flat_map(|b| &b.metrics);
        all.extend(metrics.filter_map(|m| Compared::of(&run.id, run.fitted, m)));
    }
    all
}

/// Predicted over measured, a line for each kind of metric in the order of their first values.
fn chart(predicted: &[&Compared<'_>]) -> Picture {
    let mut series: Vec<Series> = vec![];
    for c in predicted {
        match series.iter_mut().find(|s| s.name == c.kind()) {
            Some(s) => s.dots.push(c.dot()),
            None => series.push(Series {
                name: c.kind().into(),
                dots: vec![c.dot()],
                mark: Mark::Dots,
            }),
        }
    }
    Picture::from(Chart {
        title: "Predicted over measured".into(),
        x: "measured value (s, ms, tok/s), logarithmic".into(),
        y: "predicted / measured".into(),
        x_scale: Scale::Log,
        y_scale: Scale::Free,
        series,
        levels: vec![(1.0, "exact".into())],
        ..Chart::default()
    })
}

/// What was fitted, and how many values of predicted runs lie in their interval.
fn summary(answer: &Validation, predicted: &[&Compared<'_>]) -> String {
    let bounded: Vec<bool> = predicted.iter().filter_map(|c| c.inside).collect();
    let inside = bounded.iter().filter(|i| **i).count();
    let bounded = bounded.len();
    let fitted = answer.fitted_on.as_deref().unwrap_or_default();
    format!(
        "<p class=\"note\">{}. {}; {inside} of {bounded} measured values of predicted runs lie in their 90 % interval.</p>\n",
        escape(&answer.name),
        if fitted.is_empty() {
            "Nothing was fitted".into()
        } else {
            format!(
                "Fitted on {}, which is not counted as predicted",
                escape(&fitted.join(", "))
            )
        }
    )
}

pub fn section(answer: &Validation) -> Section {
    let compared = compared(&answer.runs);
    let predicted: Vec<&Compared<'_>> = compared.iter().filter(|c| !c.fitted).collect();
    let pictures = vec![chart(&predicted)];
    let head = [
        "run, metric",
        "measured",
        "predicted",
        "error",
        "90 % interval",
        "measured lies",
    ]
    .map(String::from);
    let rows: Vec<Vec<String>> = compared.iter().map(Compared::row).collect();
    let supposed: Vec<String> = answer
        .runs
        .iter()
        .filter_map(|r| {
            let best = r.candidates.first()?;
            Some(format!("{}: supposing {}", r.id, best.hypothesis))
        })
        .collect();
    Section {
        title: "Validation".into(),
        body: summary(answer, &predicted)
            + &charts(&pictures)
            + &table("All metrics", &head, &rows)
            + &list(&supposed),
        pictures,
        ..Section::default()
    }
}
