//! Pictures: where time and memory go, distributions, latency against load.
use super::Side;
use capsim::metrics::{Dist, Percentiles};
use capsim::plan::Slo;
use capsim_study::report::bars::Bars;
use capsim_study::report::chart::{Chart, Scale, Upright, short};
use capsim_study::report::json::Point;
use capsim_study::report::page::prediction::{Named, breakdown as parts, frontier};
use capsim_study::report::page::{
    self, PageError, Picture, charts, distribution, figure, folded, over, table,
};

/// Quantiles from which a distribution is drawn.
const QUANTILES: usize = 200;

/// Where step time goes.
pub fn breakdown(sides: &[Side]) -> String {
    let point = |s: &Side| {
        let mut p = s.seen.point.clone();
        if !s.name.is_empty() {
            p.varied = [("state".to_string(), s.name.into())].into();
        }
        p
    };
    let points: Vec<Point> = sides.iter().map(point).collect();
    let (picture, below) = parts(&points);
    figure(&picture, &below)
}

/// Where the device memory goes.
pub fn memory(sides: &[Side]) -> String {
    let parts = [
        "weights",
        "activations",
        "runtime",
        "KV cache",
        "left alone",
    ];
    let mut bars = Bars {
        title: "Where the memory of a device goes".into(),
        parts: parts.map(String::from).to_vec(),
        rows: vec![],
    };
    let mut rows: Vec<Vec<String>> = parts
        .iter()
        .take(4)
        .chain(&["KV blocks"])
        .map(|p| vec![p.to_string()])
        .collect();
    for side in sides {
        let m = &side.seen.row.prediction.run.settings.memory;
        let used = [m.weights, m.activations, m.non_torch, m.kv_cache];
        let sum: f64 = used.iter().map(|b| b.as_f64()).sum();
        let mut values: Vec<f64> = used.iter().map(|b| b.as_f64()).collect();
        values.push((m.total.as_f64() - sum).max(0.0));
        bars.rows.push((
            side.titled(&format!("{} of device memory", m.total)),
            values,
        ));
        let cells = used
            .iter()
            .map(ToString::to_string)
            .chain([m.num_gpu_blocks.to_string()]);
        for (row, cell) in rows.iter_mut().zip(cells) {
            row.push(cell);
        }
    }
    let mut head = vec!["part".to_string()];
    head.extend(sides.iter().map(|s| s.titled("size")));
    figure(
        &Picture::from(bars),
        &folded("Sizes as a table", &table("Memory", &head, &rows)),
    )
}

fn quantiles(d: &Dist) -> Vec<f64> {
    if d.count() == 0 {
        return vec![];
    }
    let n = d.count().min(QUANTILES);
    (1..=n)
        .map(|i| 1e3 * d.percentile(100.0 * i as f64 / n as f64, Percentiles::Linear))
        .collect()
}

/// The axis of a distribution: by factors where the slowest takes many times as long as the fastest, else from the fastest on, so that
/// small differences show.
fn scale(samples: &[(String, Vec<f64>)]) -> Scale {
    let all = || samples.iter().flat_map(|(_, v)| v).copied();
    let (low, high) = (
        all().fold(f64::INFINITY, f64::min),
        all().fold(0.0, f64::max),
    );
    match high / low {
        r if r > 20.0 && low > 0.0 => Scale::Log,
        r if r < 1.5 => Scale::Free,
        _ => Scale::Linear,
    }
}

/// That all requests take the same time, where they do: a curve would be an upright line.
fn same(samples: &[(String, Vec<f64>)]) -> Option<String> {
    let of = |(name, v): &(String, Vec<f64>)| {
        let (first, last) = (*v.first()?, *v.last()?);
        let name = match name.is_empty() {
            true => String::new(),
            false => format!("{name}: "),
        };
        (last <= first * 1.001)
            .then(|| format!("{name}all requests within 0.1 % of {} ms", short(last)))
    };
    let all: Vec<String> = samples.iter().map_while(of).collect();
    (all.len() == samples.len()).then(|| all.join("; "))
}

/// Distributions over requests.
pub fn distributions(sides: &[Side]) -> String {
    type Of = fn(&capsim::metrics::Summary) -> &Dist;
    let all: [(&str, Of); 4] = [
        ("TTFT", |s| &s.ttft),
        ("Time in the queue", |s| &s.queue),
        ("TPOT", |s| &s.tpot),
        ("E2E latency", |s| &s.e2el),
    ];
    let (mut pictures, mut alike) = (vec![], vec![]);
    for (name, of) in all {
        let sample = |s: &Side| {
            let v = quantiles(of(&s.seen.row.prediction.run.summary));
            (s.name.to_string(), v)
        };
        let samples: Vec<_> = sides.iter().map(sample).collect();
        if samples.iter().all(|(_, v)| v.is_empty()) {
            continue;
        }
        match same(&samples) {
            Some(text) => alike.push(vec![name.to_string(), text]),
            None => pictures.push(Picture::from(Chart {
                x_scale: scale(&samples),
                ..distribution(name, &samples)
            })),
        }
    }
    let said = match alike.is_empty() {
        true => String::new(),
        false => table(
            "Latencies without a spread",
            &["latency", "value"].map(String::from),
            &alike,
        ),
    };
    charts(&pictures) + &said
}

/// Latency against load, and throughput against interactivity along it, of each line.
pub fn curve(
    flag: &str,
    now: f64,
    lines: &[(&str, &[Point])],
    slo: Option<&Slo>,
) -> Result<String, PageError> {
    let named: Vec<Named<'_>> = lines
        .iter()
        .flat_map(|(line, points)| points.iter().map(|p| (*line, p)))
        .map(|(line, p)| {
            let x = p.varied.get(flag).map_or("null".into(), page::worded);
            (line.to_string(), format!("{flag} {x}"), p)
        })
        .collect();
    let mut all = over(flag, &named, slo)?;
    let refused = page::refused("loads", lines.iter().flat_map(|(_, p)| p.iter()));
    for chart in &mut all {
        chart.x_scale = Scale::Doubling;
        chart.x = flag.replace('_', "-");
        chart.uprights.push(Upright {
            x: now,
            name: format!("now {}", short(now)),
            series: None,
        });
    }
    all.push(frontier(&named));
    let all: Vec<Picture> = all.into_iter().map(Picture::from).collect();
    Ok(refused + &charts(&all))
}

/// What stands in the curve's place where nothing says how much load there is.
pub fn no_curve() -> String {
    "<p class=\"note\">This load has no number to turn: its arrivals follow a process of their own, or all requests come at once.</p>\n"
        .into()
}
