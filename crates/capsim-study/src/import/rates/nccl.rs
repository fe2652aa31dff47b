//! nccl-tests and rccl-tests (NVIDIA/nccl-tests): `all_reduce_perf`. Columns: size, count, type, redop, (root,) time, algbw, busbw, … The
//! bus bandwidth of an all-reduce is 2 · (n − 1)/n times size by time (doc/PERFORMANCE.md), which tells n where no ranks are listed.
use super::Rates;

pub(super) fn read(text: &str) -> Option<Vec<Rates>> {
    if !text.contains("busbw") || !text.contains("algbw") {
        return None;
    }
    let mut found = Rates {
        tool: "nccl-tests".into(),
        ..Rates::default()
    };
    let mut listed = 0u32;
    for line in text.lines() {
        let line = line.trim().trim_start_matches('#').trim();
        if let Some((_, name)) = line.strip_prefix("Rank ").and_then(|l| l.split_once("] ")) {
            listed += 1;
            found.device.get_or_insert(name.trim().into());
            continue;
        }
        let cells: Vec<&str> = line.split_whitespace().collect();
        let number = |i: usize| cells.get(i)?.parse::<f64>().ok();
        // Only all-reduces name an operation and have no root.
        let Some((bytes, at)) = number(0).zip(match (cells.get(3), cells.get(4)) {
            (Some(&"sum" | &"avg" | &"max" | &"min" | &"prod"), Some(&"-1")) => Some(5),
            (Some(&"sum" | &"avg" | &"max" | &"min" | &"prod"), Some(r)) if r.contains('.') => {
                Some(4)
            }
            _ => None,
        }) else {
            continue;
        };
        let (Some(time), Some(bus), Some(algorithm)) = (number(at), number(at + 2), number(at + 1))
        else {
            continue;
        };
        if bytes <= 0.0 || time <= 0.0 {
            continue;
        }
        // 2 · (n − 1)/n = 2 − 2/n.
        let told = (algorithm > 1.0).then(|| 2.0 / (2.0 - bus / algorithm));
        let ranks = match (listed, told) {
            (0, Some(n)) if n.is_finite() && n > 1.5 => n.round() as u32,
            (0, _) => 0,
            (n, _) => n,
        };
        if ranks > 1 {
            found.all_reduces.add(ranks, bytes, time * 1e-6);
        }
    }
    Some(vec![found])
}
