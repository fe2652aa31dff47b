//! Whether the sum of a layer's parts is the whole: the only test of the additive cost model that needs no server.
use super::super::samples::SamplesFile;
use std::collections::BTreeMap;

/// One sentence per batch of which the chain and all its parts were measured. A pass is several layers, so only the ratio is told.
pub(super) fn notes(file: &SamplesFile) -> Vec<String> {
    // Batch → whole, sum of the parts, whether nothing is missing.
    let mut sums: BTreeMap<u64, (f64, f64, bool)> = BTreeMap::new();
    for p in file.points.iter().filter(|p| p.family == "layer") {
        let sum = sums.entry(p.axis("batch").unwrap_or(0.0) as u64);
        let sum = sum.or_insert((0.0, 0.0, true));
        match (p.seconds(), p.axis("part")) {
            (Some(s), Some(0.0)) => sum.0 += s,
            (Some(s), Some(_)) => sum.1 += s,
            _ => sum.2 = false,
        }
    }
    sums.into_iter()
        .filter(|(_, (whole, parts, complete))| *complete && *whole > 0.0 && *parts > 0.0)
        .map(|(batch, (whole, parts, _))| {
            format!(
                "a whole decoder layer at batch {batch} takes {:+.1} % against the sum of its parts",
                (whole / parts - 1.0) * 100.0
            )
        })
        .collect()
}
