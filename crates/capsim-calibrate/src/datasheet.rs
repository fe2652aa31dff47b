//! Peak rates that makers state, to hold measurements against: a rate above them was not what it seemed to be.
use super::samples::Limits;

/// A part of the device's name in lower case, bytes per second, dense 16-bit matrix operations per second, and the source.
/// The first match counts, so that longer names come first.
const KNOWN: &[(&str, f64, f64, &str)] = &[
    (
        "gfx1151",
        256e9,
        59.4e12,
        "AMD: 256-bit LPDDR5X-8000; 40 CU × 512 op × 2.9 GHz",
    ),
    (
        "8060s",
        256e9,
        59.4e12,
        "AMD: 256-bit LPDDR5X-8000; 40 CU × 512 op × 2.9 GHz",
    ),
    (
        "8050s",
        256e9,
        47.5e12,
        "AMD: 256-bit LPDDR5X-8000; 32 CU × 512 op × 2.9 GHz",
    ),
    (
        "gfx1100",
        960e9,
        122.8e12,
        "AMD Radeon RX 7900 XTX data sheet",
    ),
    (
        "7900 xtx",
        960e9,
        122.8e12,
        "AMD Radeon RX 7900 XTX data sheet",
    ),
    ("h200", 4.8e12, 989.5e12, "NVIDIA H200 data sheet (dense)"),
    (
        "h100 pcie",
        2.0e12,
        756e12,
        "NVIDIA H100 PCIe data sheet (dense)",
    ),
    (
        "h100",
        3.35e12,
        989.5e12,
        "NVIDIA H100 SXM data sheet (dense)",
    ),
    (
        "a100",
        2.039e12,
        312e12,
        "NVIDIA A100 80 GB SXM data sheet (dense)",
    ),
    ("l40s", 864e9, 362e12, "NVIDIA L40S data sheet (dense)"),
    (
        "rtx 4090",
        1008e9,
        330.3e12,
        "NVIDIA Ada whitepaper, RTX 4090 (dense, 16-bit accumulate)",
    ),
    (
        "rtx 3090",
        936e9,
        142e12,
        "NVIDIA GA102 whitepaper, RTX 3090 (dense, 16-bit accumulate)",
    ),
];

/// What is known of a device of that name.
pub fn limits(device: &str) -> Limits {
    let name = device.to_lowercase();
    KNOWN
        .iter()
        .find(|(part, ..)| name.contains(part))
        .map_or_else(Limits::default, |(_, bandwidth, flops, source)| Limits {
            bandwidth: Some(*bandwidth),
            flops: Some(*flops),
            source: (*source).into(),
        })
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_found_as_drivers_spell_them() {
        let l = super::limits("AMD Radeon 8060S Graphics (RADV GFX1151)");
        assert_eq!(l.bandwidth, Some(256e9));
        assert_eq!(super::limits("NVIDIA H100 PCIe").flops, Some(756e12));
        assert_eq!(
            super::limits("NVIDIA H100 80GB HBM3").bandwidth,
            Some(3.35e12)
        );
        assert_eq!(super::limits("llvmpipe").bandwidth, None);
    }
}
