//! Times that contradict each other: more of the same work cannot take less time, unless a kernel changed or a reading is off.
use super::super::samples::{Flag, Outcome, PointRecord, SamplesFile};
use std::collections::BTreeMap;

/// Axes along which work only grows.
const GROWS: [&str; 3] = ["bytes", "m", "tokens"];

/// How far apart two times must be to contradict each other, in standard deviations and relative to the smaller.
const SIGMAS: f64 = 3.0;
const LEAST: f64 = 0.05;

/// Flags every measured point that is slower than one with more of the same work, beyond both spreads.
pub fn mark(file: &mut SamplesFile) {
    let mut flagged = vec![];
    for axis in GROWS {
        // Points that differ in this axis alone: by family, the id without its numbers, and all other axes.
        let mut series: BTreeMap<String, Vec<(f64, usize)>> = BTreeMap::new();
        for (i, p) in file.points.iter().enumerate() {
            let Some(x) = p.axis(axis) else { continue };
            if p.outcome != Outcome::Measured || p.stats.is_none() || p.launches == 0 {
                continue;
            }
            let words: String = p.id.chars().filter(|c| !c.is_ascii_digit()).collect();
            let words = words.replace("KiB", "B").replace("MiB", "B");
            let rest: Vec<String> = p
                .axes
                .iter()
                .filter(|(k, _)| *k != axis)
                .map(|(k, v)| format!("{k}={v}"))
                .collect();
            series
                .entry(format!("{} {words} {}", p.family, rest.join(" ")))
                .or_default()
                .push((x, i));
        }
        for points in series.values() {
            for &(x, i) in points {
                let contradicted = points
                    .iter()
                    .any(|&(y, j)| y > x && contradicts(&file.points[i], &file.points[j]));
                if contradicted {
                    flagged.push(i);
                }
            }
        }
    }
    for p in &mut file.points {
        p.flags.retain(|f| *f != Flag::OutOfOrder);
    }
    for i in flagged {
        let flags = &mut file.points[i].flags;
        flags.push(Flag::OutOfOrder);
        flags.sort_unstable();
        flags.dedup();
    }
}

/// Whether `less` took longer than `more`, per launch and beyond doubt.
fn contradicts(less: &PointRecord, more: &PointRecord) -> bool {
    let (Some(a), Some(b)) = (less.stats, more.stats) else {
        return false;
    };
    let per = |p: &PointRecord, s: f64| s / f64::from(p.launches.max(1));
    // A series whose working set fits a cache at one end only tells of the cache, not of the order.
    let (set_a, set_b) = (less.work.working_set, more.work.working_set);
    if set_a > 1.5 * set_b {
        return false;
    }
    let apart = libm::log(per(less, a.median) / per(more, b.median));
    apart > LEAST && apart > SIGMAS * libm::hypot(a.rel_sd(), b.rel_sd())
}
