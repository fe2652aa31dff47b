//! Distributions over requests: several files over each other, as measured and predicted.
use super::super::chart::{Chart, Dot, Mark, Series, short};
use super::{Picture, Section, charts, table};

/// Latencies of one request, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize)]
pub struct Latencies {
    /// Time to first token.
    pub ttft_ms: Option<f64>,
    /// Time per output token after the first.
    pub tpot_ms: Option<f64>,
    /// End-to-end latency.
    pub e2el_ms: Option<f64>,
}

/// Points of a distribution's curve: enough for the eye.
const POINTS: usize = 200;

pub(super) fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut v: Vec<f64> = values.filter(|v| v.is_finite()).collect();
    v.sort_by(f64::total_cmp);
    v
}

/// The distribution of one latency in several samples, each sorted, in milliseconds.
pub fn distribution(title: &str, samples: &[(String, Vec<f64>)]) -> Chart {
    let series = samples
        .iter()
        .filter(|(_, v)| !v.is_empty())
        .map(|(name, v)| {
            let n = v.len().min(POINTS);
            Series {
                name: name.clone(),
                dots: (1..=n)
                    .map(|i| {
                        let k = i * v.len() / n;
                        Dot {
                            x: v[k - 1],
                            y: 100.0 * k as f64 / v.len() as f64,
                            ..Dot::default()
                        }
                    })
                    .collect(),
                mark: Mark::Step,
            }
        })
        .collect();
    Chart {
        title: format!("{title}: share of requests at most so long"),
        x: "ms".into(),
        y: "% of requests".into(),
        series,
        ..Chart::default()
    }
}

/// Pictures and table of several samples of one latency.
pub(super) fn compared(
    title: &str,
    samples: &[(String, Vec<f64>)],
    rows: &mut Vec<Vec<String>>,
) -> Picture {
    for (name, v) in samples.iter().filter(|(_, v)| !v.is_empty()) {
        let at = |p: f64| v[((v.len() - 1) as f64 * p) as usize];
        rows.push(vec![
            format!("{title}, {name}"),
            v.len().to_string(),
            short(v.iter().sum::<f64>() / v.len() as f64),
            short(at(0.5)),
            short(at(0.9)),
            short(at(0.99)),
            short(v[v.len() - 1]),
        ]);
    }
    distribution(title, samples).into()
}

/// Head of the table that [`compared`] fills.
pub(super) fn head() -> [String; 7] {
    [
        "what, in ms",
        "requests",
        "mean",
        "median",
        "P90",
        "P99",
        "most",
    ]
    .map(String::from)
}

/// A curve per file and latency.
pub fn requests(files: &[(String, Vec<Latencies>)]) -> Section {
    type Of = fn(&Latencies) -> Option<f64>;
    let metrics: [(&str, Of); 3] = [
        ("TTFT", |l| l.ttft_ms),
        ("TPOT", |l| l.tpot_ms),
        ("E2E latency", |l| l.e2el_ms),
    ];
    let mut rows = vec![];
    let all: Vec<Picture> = metrics
        .into_iter()
        .map(|(title, of)| {
            let samples: Vec<_> = files
                .iter()
                .map(|(name, requests)| (name.clone(), sorted(requests.iter().filter_map(of))))
                .collect();
            compared(title, &samples, &mut rows)
        })
        .collect();
    Section {
        title: "Requests".into(),
        body: charts(&all) + &table("Latencies", &head(), &rows),
        pictures: all,
        ..Section::default()
    }
}
