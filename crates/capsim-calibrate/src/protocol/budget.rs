//! What a session may take: time, memory, and the least size of a working set that no cache holds.
use crate::backend::DeviceInfo;
use crate::family::Effort;
use std::time::Duration;

/// Time that an effort may take, measuring only; `None`: as long as it takes.
pub fn time_budget(effort: Effort) -> Option<Duration> {
    match effort {
        // 20 s and 2 min, less what starting, compiling the last kernel and fitting take.
        Effort::Quick => Some(Duration::from_secs(17)),
        Effort::Standard => Some(Duration::from_secs(112)),
        Effort::Full => None,
    }
}

/// Bytes that a cold working set has at least: max(4 × last-level cache, 256 MiB). A quick look at a software device, which
/// is about plumbing and no speed, makes do with a quarter.
pub fn ring_bytes(device: &DeviceInfo, effort: Effort) -> u64 {
    let ring = (4 * device.cache_bytes).max(256 << 20);
    if device.software && effort == Effort::Quick {
        (ring / 4).min(64 << 20)
    } else {
        ring
    }
}

/// The memory guard: min(2 GiB, 40 % of the free memory); the device's total stands in where nothing is known to be free.
pub fn memory_budget(device: &DeviceInfo, free: Option<u64>) -> u64 {
    let known = match (free, device.memory_bytes) {
        (Some(f), 0) => f,
        (Some(f), total) => f.min(total),
        (None, 0) => 4 << 30,
        (None, total) => total,
    };
    (known / 5 * 2).min(2 << 30)
}
