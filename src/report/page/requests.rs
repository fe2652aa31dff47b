//! Distributions over requests: several files over each other, as measured and predicted.
use super::super::chart::{Chart, Dot, Mark, Scale, Series, short};
use super::{Section, charts, table};

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

fn sorted(rows: &[Latencies], of: fn(&Latencies) -> Option<f64>) -> Vec<f64> {
    let mut v: Vec<f64> = rows
        .iter()
        .filter_map(of)
        .filter(|v| v.is_finite())
        .collect();
    v.sort_by(f64::total_cmp);
    v
}

/// A curve per file and latency.
pub fn requests(files: &[(String, Vec<Latencies>)]) -> Section {
    type Of = fn(&Latencies) -> Option<f64>;
    let metrics: [(&str, Of); 3] = [
        ("TTFT", |l| l.ttft_ms),
        ("TPOT", |l| l.tpot_ms),
        ("E2E latency", |l| l.e2el_ms),
    ];
    let mut all = vec![];
    let mut rows = vec![];
    for (title, of) in metrics {
        let mut series = vec![];
        for (name, requests) in files {
            let v = sorted(requests, of);
            if v.is_empty() {
                continue;
            }
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
            let n = v.len().min(POINTS);
            series.push(Series {
                name: name.clone(),
                dots: (1..=n)
                    .map(|i| {
                        let k = i * v.len() / n;
                        Dot {
                            x: v[k - 1],
                            y: 100.0 * k as f64 / v.len() as f64,
                            range: None,
                            label: String::new(),
                        }
                    })
                    .collect(),
                mark: Mark::Step,
            });
        }
        all.push(Chart {
            title: format!("{title}: share of requests at most so long"),
            x: "ms".into(),
            y: "% of requests".into(),
            x_scale: Scale::Linear,
            y_scale: Scale::Linear,
            series,
            levels: vec![],
        });
    }
    let head = [
        "what, in ms",
        "requests",
        "mean",
        "median",
        "P90",
        "P99",
        "most",
    ]
    .map(String::from);
    Section {
        title: "Requests".into(),
        body: charts(&all) + &table("Latencies", &head, &rows),
    }
}
