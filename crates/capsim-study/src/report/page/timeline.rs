//! The engine over time.
use super::super::chart::{Chart, Dot, Mark, Series};
use super::{Picture, Section, charts};

/// A row of `--save-timeline`: seconds, running, waiting, share of KV blocks in use, sequences in the batch, preemptions so far.
#[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize)]
pub struct Instant {
    /// Seconds since the start.
    pub time: f64,
    /// Requests that have been admitted.
    pub running: f64,
    /// Requests that wait.
    pub waiting: f64,
    /// Share of KV blocks in use.
    pub kv_usage: f64,
    /// Sequences in the step.
    pub batch: f64,
    /// Prompt tokens in the step.
    pub prefill_tokens: f64,
    /// Output tokens in the step.
    pub decode_tokens: f64,
    /// Preemptions in the row.
    pub preemptions: f64,
}

/// Running, waiting and KV over time.
pub fn timeline(name: &str, rows: &[Instant]) -> Section {
    let series = |title: &str, of: &dyn Fn(&Instant) -> f64| Series {
        name: title.into(),
        dots: rows
            .iter()
            .map(|r| Dot {
                x: r.time,
                y: of(r),
                range: None,
                label: String::new(),
            })
            .collect(),
        mark: Mark::Step,
    };
    let chart = |title: &str, y: &str, series: Vec<Series>| Chart {
        title: title.into(),
        x: "seconds".into(),
        y: y.into(),
        series,
        ..Chart::default()
    };
    let mut preempted = 0.0;
    let sums: Vec<f64> = rows
        .iter()
        .map(|r| {
            preempted += r.preemptions;
            preempted
        })
        .collect();
    let mut all = vec![
        chart(
            "Requests in the engine",
            "requests",
            vec![
                series("running", &|r| r.running),
                series("waiting", &|r| r.waiting),
            ],
        ),
        chart(
            "KV cache",
            "% of blocks",
            vec![series("in use", &|r| 100.0 * r.kv_usage)],
        ),
        chart(
            "Batch occupancy",
            "sequences per step",
            vec![series("in the step", &|r| r.batch)],
        ),
        chart(
            "Tokens per row",
            "tokens",
            vec![
                series("prefill", &|r| r.prefill_tokens),
                series("decode", &|r| r.decode_tokens),
            ],
        ),
    ];
    if preempted > 0.0 {
        let mut s = series("preemptions", &|_| 0.0);
        for (d, sum) in s.dots.iter_mut().zip(&sums) {
            d.y = *sum;
        }
        all.push(chart("Preemptions so far", "requests", vec![s]));
    }
    let all: Vec<Picture> = all.into_iter().map(Picture::from).collect();
    Section {
        title: format!("Over time: {name}"),
        body: charts(&all),
        pictures: all,
        ..Section::default()
    }
}
