//! What can be known of the host's processor. Everything is optional: what cannot be read is 0 or a plain word.
use crate::backend::DeviceInfo;
use std::fs;

pub(super) fn describe(threads: usize, arch: &str) -> DeviceInfo {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|l| l.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_string())
    };
    let memory = memory_bytes();
    DeviceInfo {
        name: field("model name")
            .unwrap_or_else(|| format!("{} processor", std::env::consts::ARCH)),
        vendor: field("vendor_id").unwrap_or_else(|| "unknown".into()),
        driver: format!("capsim {}", env!("CARGO_PKG_VERSION")),
        api_version: format!("native, {threads} threads, {arch}"),
        software: true,
        unified_memory: true,
        memory_bytes: memory,
        max_buffer_bytes: memory.max(1 << 30),
        max_binding_bytes: memory.max(1 << 30),
        local_memory_bytes: 0,
        max_group: 1,
        compute_units: threads as u32,
        clock_mhz: field("cpu MHz")
            .and_then(|f| f.parse::<f64>().ok())
            .map_or(0, |f| f as u32),
        cache_bytes: last_level_cache(),
        timestamp_ns: None,
        features: vec![],
    }
}

fn memory_bytes() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    text.lines()
        .find_map(|l| l.strip_prefix("MemTotal:"))
        .and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib << 10)
}

/// The largest cache that the first core sees.
fn last_level_cache() -> u64 {
    (0..8)
        .filter_map(|i| {
            let path = format!("/sys/devices/system/cpu/cpu0/cache/index{i}/size");
            cache_size(&fs::read_to_string(path).ok()?)
        })
        .max()
        .unwrap_or(0)
}

fn cache_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let shift = match text.chars().last()? {
        'K' => 10,
        'M' => 20,
        'G' => 30,
        _ => 0,
    };
    let digits = text.trim_end_matches(['K', 'M', 'G']);
    Some(digits.parse::<u64>().ok()? << shift)
}

#[cfg(test)]
mod tests {
    #[test]
    fn cache_sizes_have_units() {
        assert_eq!(super::cache_size("32768K\n"), Some(32 << 20));
        assert_eq!(super::cache_size("2M"), Some(2 << 20));
        assert_eq!(super::cache_size("x"), None);
    }
}
