//! Physics: what no measurement can beat. Caches, constant data and a compiler that removes the work all look like speed.
use super::super::backend::Work;
use super::super::samples::Limits;

/// How far above a stated limit a rate may lie: clocks and data sheets are that exact.
const MARGIN: f64 = 1.05;

/// Why a time cannot be true, if it cannot. `ring`: bytes beyond which a working set comes from memory.
pub fn objection(work: &Work, seconds: f64, ring: u64, limits: &Limits) -> Option<String> {
    if let Some(peak) = limits.bandwidth
        && work.working_set >= ring as f64
        && work.bytes / seconds > MARGIN * peak
    {
        return Some(format!(
            "{:.1} GB/s is above what the memory can deliver ({:.1} GB/s, {})",
            work.bytes / seconds / 1e9,
            peak / 1e9,
            limits.source
        ));
    }
    if let Some(peak) = limits.flops
        && work.flops / seconds > MARGIN * peak
    {
        return Some(format!(
            "{:.2} TFLOP/s is above what the device can do ({:.2} TFLOP/s, {})",
            work.flops / seconds / 1e12,
            peak / 1e12,
            limits.source
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cold_reads_are_held_against_the_memory() {
        let limits = Limits {
            bandwidth: Some(100e9),
            flops: Some(1e12),
            source: "test".into(),
        };
        let work = |bytes, flops, working_set| Work {
            bytes,
            flops,
            working_set,
        };
        assert!(objection(&work(120e9, 0.0, 512.0), 1.0, 512, &limits).is_some());
        assert!(objection(&work(104e9, 0.0, 512.0), 1.0, 512, &limits).is_none());
        assert!(objection(&work(900e9, 0.0, 511.0), 1.0, 512, &limits).is_none());
        assert!(objection(&work(0.0, 1.2e12, 0.0), 1.0, 512, &limits).is_some());
        assert!(objection(&work(9e20, 9e20, 9e9), 1.0, 512, &Limits::default()).is_none());
    }
}
