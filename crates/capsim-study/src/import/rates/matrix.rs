//! Tools that print matrices of devices: nvbandwidth (NVIDIA/nvbandwidth) and rocm_bandwidth_test (ROCm/rocm_bandwidth_test).
use super::{Rates, most};
use serde_json::Value;

/// Rows of numbers below a heading, `N/A` being none; the first column counts the rows.
fn rows<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<Vec<Option<f64>>> {
    let mut all = vec![];
    for line in lines.map(str::trim).filter(|l| !l.is_empty()) {
        let cells: Vec<&str> = line.split_whitespace().collect();
        if cells[0] == "D/D"
            || all.is_empty() && cells.iter().enumerate().all(|(i, c)| c.parse() == Ok(i))
        {
            continue;
        }
        let own = cells[0].parse::<u32>().is_ok();
        let number = |c: &&str| *c == "N/A" || c.parse::<f64>().is_ok();
        if !own || cells.len() < 2 || !cells[1..].iter().all(number) {
            break;
        }
        all.push(cells[1..].iter().map(|c| c.parse().ok()).collect());
    }
    all
}

fn largest(m: &[Vec<Option<f64>>]) -> Option<f64> {
    m.iter().flatten().flatten().copied().reduce(f64::max)
}

fn nvbandwidth(name: &str, m: &[Vec<Option<f64>>], found: &mut Rates) {
    let Some(v) = largest(m) else { return };
    match name {
        "device_local_copy" => most(&mut found.stream_gbs, 2.0 * v),
        "host_to_device_memcpy_ce" | "host_to_device_memcpy_sm" => most(&mut found.bus_gbs, v),
        n if n.starts_with("device_to_device_memcpy_") => most(&mut found.link_gbs, v),
        _ => {}
    }
}

fn json(v: &Value) -> Option<Rates> {
    let cases = v.get("nvbandwidth")?.get("testcases")?.as_array()?;
    let mut found = Rates {
        tool: "nvbandwidth".into(),
        ..Rates::default()
    };
    for case in cases {
        let name = case["name"].as_str().unwrap_or_default();
        let row = |r: &Value| {
            let cell = |c: &Value| c.as_f64().or_else(|| c.as_str()?.parse().ok());
            r.as_array()
                .map_or(vec![], |r| r.iter().map(cell).collect())
        };
        let matrix = case["bandwidth_matrix"].as_array();
        let matrix: Vec<Vec<Option<f64>>> = matrix.map_or(vec![], |m| m.iter().map(row).collect());
        nvbandwidth(name, &matrix, &mut found);
    }
    Some(found)
}

fn nvidia(text: &str) -> Option<Rates> {
    if let Some(found) = serde_json::from_str(text).ok().as_ref().and_then(json) {
        return Some(found);
    }
    if !text.contains("memcpy") || !text.contains("bandwidth (GB/s)") {
        return None;
    }
    let mut found = Rates {
        tool: "nvbandwidth".into(),
        ..Rates::default()
    };
    let lines: Vec<&str> = text.lines().collect();
    for (i, line) in lines.iter().enumerate() {
        let Some(name) = line.trim().strip_prefix("Running ") else {
            if let Some((_, name)) = line
                .trim()
                .strip_prefix("Device ")
                .and_then(|l| l.split_once(": "))
            {
                found
                    .device
                    .get_or_insert(name.split(" (").next().unwrap_or(name).trim().into());
            }
            continue;
        };
        let matrix = rows(lines.iter().skip(i + 2).copied());
        nvbandwidth(name.trim_end_matches('.'), &matrix, &mut found);
    }
    Some(found)
}

fn amd(text: &str) -> Option<Rates> {
    if !text.contains("RocmBandwidthTest") && !text.contains("D/D") {
        return None;
    }
    let mut found = Rates {
        tool: "rocm_bandwidth_test".into(),
        ..Rates::default()
    };
    // A GPU's name is followed by its id.
    let mut gpus = vec![];
    let mut before_matrix = text.lines();
    for line in before_matrix.by_ref() {
        if line
            .trim()
            .starts_with("Unidirectional copy peak bandwidth")
        {
            break;
        }
        let Some((index, rest)) = line
            .trim()
            .strip_prefix("Device: ")
            .and_then(|l| l.split_once(','))
        else {
            continue;
        };
        let mut parts = rest.split(',').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let has_id = parts.next().is_some();
        if let (true, Ok(i)) = (has_id, index.trim().parse::<usize>()) {
            gpus.push(i);
            found.device.get_or_insert(name.into());
        }
    }
    let matrix = rows(before_matrix);
    for (from, row) in matrix.iter().enumerate() {
        for (to, v) in row.iter().enumerate() {
            let Some(v) = *v else { continue };
            match (gpus.contains(&from), gpus.contains(&to)) {
                (true, true) if from == to => most(&mut found.stream_gbs, v),
                (true, true) => most(&mut found.link_gbs, v),
                (false, true) => most(&mut found.bus_gbs, v),
                _ => {}
            }
        }
    }
    Some(found)
}

pub(super) fn read(text: &str) -> Option<Vec<Rates>> {
    nvidia(text).or_else(|| amd(text)).map(|r| vec![r])
}
