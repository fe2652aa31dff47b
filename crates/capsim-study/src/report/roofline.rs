//! The roofline picture: attainable rate over arithmetic intensity, with every measured point on it.
use super::calibration::si;
use super::chart::{Chart, Dot, Mark, Scale, Series, short};
use capsim_calibrate::fit::{Fit, Kind, kind_of};
use capsim_calibrate::samples::SamplesFile;

/// Families that are told apart.
const GROUPS: [&str; 4] = ["matrix products", "attention", "experts", "other"];

fn group(family: &str) -> usize {
    if family.starts_with("gemm") || family.contains("lm_head") {
        0
    } else if family.starts_with("attention") {
        1
    } else if family.starts_with("moe") {
        2
    } else {
        3
    }
}

/// A roof: a rate of the memory up to the ridge, then that of the arithmetic. From where it enters the picture, at `low` operations/s.
fn roof(name: &str, memory: f64, peak: f64, (x0, x1): (f64, f64), low: f64) -> Series {
    let from = (low / memory).max(x0);
    let dots = [from, peak / memory, x1.max(peak / memory)].map(|x| Dot {
        x,
        y: peak.min(memory * x),
        ..Dot::default()
    });
    Series {
        name: format!("{name} {}B/s", si(memory)),
        dots: dots.into(),
        mark: Mark::Line,
    }
}

/// An SVG: the memory roof and the compute roof as measured, the cache's roof, and points of every family that computes; `None` if
/// nothing was measured.
pub fn svg(file: &SamplesFile, fit: &Fit) -> Option<String> {
    let p = &fit.profile;
    let (memory, cache, peak) = (p.dram_read(), p.stream_read.peak(), p.gemm_f16.peak());
    let points = points(file);
    let all = || points.iter().map(|(_, d)| d);
    let ridge = peak / memory;
    let ends = (
        all()
            .map(|d| d.x)
            .fold((ridge / 30.0).clamp(1e-2, 0.5), f64::min),
        all().map(|d| d.x).fold(ridge * 30.0, f64::max),
    );
    let low = all()
        .map(|d| d.y)
        .fold(ends.0 * memory, f64::min)
        .max(peak / 1e6);
    let mut series = vec![roof("memory", memory, peak, ends, low)];
    // Whether the cache is so much faster that it has a roof of its own.
    if cache > 1.15 * memory {
        series.push(roof("cache", cache, peak, ends, low));
    }
    for (i, name) in GROUPS.iter().enumerate() {
        let of = points.iter().filter(|(g, _)| *g == i);
        let dots: Vec<Dot> = of.map(|(_, d)| d.clone()).collect();
        if !dots.is_empty() {
            series.push(Series {
                name: name.to_string(),
                dots,
                mark: Mark::Dots,
            });
        }
    }
    let device = match file.device.software {
        true => " (a software device: no GPU's speed)",
        false => "",
    };
    Chart {
        title: format!("Roofline of {}{device}", p.name),
        x: "operations per byte".into(),
        y: "operations per second".into(),
        x_scale: Scale::Log,
        y_scale: Scale::Log,
        series,
        levels: vec![(peak, format!("{}op/s", si(peak)))],
        ..Chart::default()
    }
    .file()
}

/// The points that compute and move bytes, elementwise kernels apart, with their groups.
fn points(file: &SamplesFile) -> Vec<(usize, Dot)> {
    file.points
        .iter()
        .filter_map(|r| {
            let s = r.seconds()?;
            let computes = r.work.flops > 0.0 && r.work.bytes > 0.0;
            let (x, y) = (r.work.flops / r.work.bytes, r.work.flops / s);
            let dot = || Dot {
                x,
                y,
                label: format!("{}: {}op/s at {} op/B", r.key(), si(y), short(x)),
                ..Dot::default()
            };
            (computes && kind_of(r) != Kind::Elementwise).then(|| (group(&r.family), dot()))
        })
        .collect()
}
