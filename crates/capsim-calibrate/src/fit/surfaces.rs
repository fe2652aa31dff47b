//! Families as they were measured, and the falls in them.
use super::super::samples::PointRecord;
use super::source::Source;
use super::{Kind, Launches, Sample, curve, kind_of, sample};
use capsim::device::{Surface, SurfacePoint, Switch};
use std::collections::BTreeMap;

/// Every other family as it was measured, and where a rate falls although the work per byte grows.
pub(super) fn surfaces(source: &Source, t0: Launches) -> (BTreeMap<String, Surface>, Vec<Switch>) {
    let mut by_family: BTreeMap<&str, Vec<&PointRecord>> = BTreeMap::new();
    for p in source.file.points.iter().filter(|p| p.seconds().is_some()) {
        // Plain reads, chains and elementwise kernels are whole in the curves.
        if !matches!(kind_of(p), Kind::Read | Kind::Elementwise) {
            by_family.entry(&p.family).or_default().push(p);
        }
    }
    let mut all = BTreeMap::new();
    let mut switches = vec![];
    for (family, points) in by_family {
        let rows: Vec<SurfacePoint> = points
            .iter()
            .map(|p| {
                let s = p.stats.expect("measured");
                SurfacePoint {
                    id: p.id.clone(),
                    axes: p.axes.clone(),
                    kernel: p.variant.clone().unwrap_or_default(),
                    // A copy between host and device is a pass without launches.
                    seconds: s.median / f64::from(p.launches.max(1)),
                    bytes: p.work.bytes / f64::from(p.launches.max(1)),
                    flops: p.work.flops / f64::from(p.launches.max(1)),
                    rel_sd: libm::hypot(s.rel_sd(), s.rel_error()).clamp(0.0, 3.0),
                }
            })
            .collect();
        switches.extend(cliffs(family, &points, t0));
        all.insert(
            family.to_string(),
            Surface {
                points: rows,
                provenance: source.measured("seconds, bytes and operations per launch"),
            },
        );
    }
    (all, switches)
}

/// Falls of the rate over rows or tokens, all else equal. Rates over these axes can only rise by physics: rows may be padded.
fn cliffs(family: &str, points: &[&PointRecord], t0: Launches) -> Vec<Switch> {
    let mut out = vec![];
    for axis in ["m", "tokens"] {
        // Points that differ in this axis alone, told apart by all their other axes and the id without its digits.
        let mut series: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
        for p in points {
            let (Some(x), Some(s)) = (
                p.axis(axis),
                p.axis(axis).and_then(|x| sample(p, x, p.work.flops, t0)),
            ) else {
                continue;
            };
            if x <= 0.0 {
                continue;
            }
            let rest: Vec<String> = p
                .axes
                .iter()
                .filter(|(k, _)| *k != axis && *k != "distinct")
                .map(|(k, v)| format!("{k}={v}"))
                .collect();
            let word: String = p.id.split('-').skip(1).collect::<Vec<_>>().join("-");
            series
                .entry(format!("{word} {}", rest.join(" ")))
                .or_default()
                .push(s);
        }
        for (_, mut s) in series {
            s.sort_by(|a, b| a.x.total_cmp(&b.x));
            s.dedup_by(|a, b| a.x == b.x);
            for f in curve::rising(&mut s) {
                out.push(Switch {
                    curve: family.into(),
                    axis: axis.into(),
                    before: f.before,
                    after: f.after,
                    factor: f.factor,
                });
            }
        }
    }
    out
}
