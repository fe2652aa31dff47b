//! vkpeak (nihui/vkpeak), memtest_vulkan (GpuZelenograd/memtest_vulkan) and mixbench (ekondis/mixbench): one device each.
use super::{Rates, most};

/// vkpeak: `copy-d2d     = 190.70 GBPS`.
pub(super) fn vkpeak(text: &str) -> Option<Vec<Rates>> {
    let rows: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|l| l.split_once('='))
        .map(|(k, v)| (k.trim(), v.trim()))
        .collect();
    let known = |k: &str| rows.iter().any(|r| r.0 == k);
    if !known("device") || !known("fp32-scalar") {
        return None;
    }
    let mut found = Rates {
        tool: "vkpeak".into(),
        ..Rates::default()
    };
    let mut short = None;
    for (key, value) in rows {
        if key == "device" {
            found.device = Some(value.into());
            continue;
        }
        let Some(v) = value
            .split_whitespace()
            .next()
            .and_then(|v| v.parse::<f64>().ok())
        else {
            continue;
        };
        match key {
            "copy-d2d" => most(&mut found.stream_gbs, 2.0 * v),
            "copy-h2d" => most(&mut found.bus_gbs, v),
            "bf16-matrix" => most(&mut found.matrix_16, v / 1000.0),
            "fp8-matrix" => most(&mut found.matrix_8, v / 1000.0),
            "fp16-matrix" => short = Some(v / 1000.0).filter(|v| *v > 0.0),
            _ => {}
        }
    }
    // GeForce cards sum in 32 bits at half the rate of 16 (clpeak@a68fbf05, results/Nvidia/GeForce_RTX_5060.xml).
    let name = found.device.as_deref().unwrap_or_default();
    match short {
        Some(v) if found.matrix_16.is_none() && name.contains("GeForce") => {
            found.notes.push(format!(
                "fp16-matrix {v:.0} TFLOPS sums in 16 bits: a GeForce is slower with the 32 bits that models need; --device states its rate"
            ));
        }
        Some(v) if found.matrix_16.is_none() => found.matrix_16 = Some(v),
        _ => {}
    }
    Some(vec![found])
}

/// The number before `unit` in a line, `unit` following it at once: `419.5GB/sec`.
fn before(line: &str, unit: &str) -> Option<f64> {
    let head = line.split_once(unit)?.0;
    let number = head.rsplit([' ', '\t', ':']).next()?;
    number.parse().ok()
}

/// memtest_vulkan: lines of iterations, of which the median counts.
pub(super) fn memtest_vulkan(text: &str) -> Option<Vec<Rates>> {
    if !text.contains("memtest_vulkan") || !text.contains("iteration.") {
        return None;
    }
    let mut found = Rates {
        tool: "memtest_vulkan".into(),
        ..Rates::default()
    };
    let mut all = vec![];
    for line in text.lines() {
        let of = line.split_once("Testing ").or(line.split_once("test of "));
        if let Some((_, rest)) = of
            && let Some((_, ids)) = rest.split_once("DevId=")
        {
            let mut words = ids.split_whitespace().skip(1);
            found.memory_gib = words
                .next()
                .and_then(|w| w.strip_suffix("GB")?.parse().ok());
            found.device = Some(words.collect::<Vec<_>>().join(" ")).filter(|n| !n.is_empty());
        }
        let Some((_, rest)) = line.split_once("iteration.") else {
            continue;
        };
        // Since 0.4 writes and reads are told apart.
        let reads = rest.split_once("checked:").map_or(rest, |(_, r)| r);
        all.extend(before(reads, "GB/sec"));
    }
    all.sort_by(f64::total_cmp);
    if let Some(&v) = all.get(all.len() / 2) {
        most(&mut found.stream_gbs, v);
    }
    Some(vec![found])
}

/// mixbench: the fourth column of its rows is the memory's rate beside single-precision operations.
pub(super) fn mixbench(text: &str) -> Option<Vec<Rates>> {
    if !text.contains("mixbench") || !text.contains("Compute iters") {
        return None;
    }
    let mut found = Rates {
        tool: "mixbench".into(),
        ..Rates::default()
    };
    for line in text.lines() {
        match line.split_once(':') {
            Some(("Device", v)) => found.device = Some(v.trim().into()),
            Some(("Total global mem", v)) => {
                let mb = v.trim().strip_suffix("MB").map(str::trim);
                found.memory_gib = mb.and_then(|v| v.parse::<f64>().ok()).map(|v| v / 1024.0);
            }
            _ => {}
        }
        let cells: Vec<f64> = line
            .split(',')
            .filter_map(|c| c.trim().parse().ok())
            .collect();
        if cells.len() >= 5 && cells.len() == line.split(',').count() {
            most(&mut found.stream_gbs, cells[4]);
        }
    }
    Some(vec![found])
}
