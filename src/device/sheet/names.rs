//! Names of devices as drivers, shops and people write them.

/// Words that tell nothing: makers, brands, what every card is.
const NOISE: &[&str] = &[
    "nvidia",
    "geforce",
    "quadro",
    "tesla",
    "amd",
    "radeon",
    "instinct",
    "intel",
    "arc",
    "graphics",
    "gpu",
    "tm",
    "r",
    "rx",
    "rtx",
    "generation",
    "edition",
];

/// The words of a name that tell, in order, without case, spaces and dashes.
fn key(name: &str) -> String {
    let lower = name.to_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_alphanumeric());
    words
        .filter(|w| !NOISE.contains(w))
        .map(|w| w.strip_prefix("rtx").filter(|r| !r.is_empty()).unwrap_or(w))
        .collect()
}

/// Whether two names are of one device.
pub fn same(a: &str, b: &str) -> bool {
    let (x, y) = (key(a), key(b));
    if !x.is_empty() && x == y {
        return true;
    }
    // An architecture's target name says which device it is, whatever stands around it: `AMD Radeon Graphics (RADV GFX1151)`.
    let target = |n: &str| n.strip_prefix("gfx").is_some_and(|d| d.len() >= 3);
    let words = |n: &str| -> Vec<String> {
        let lower = n.to_lowercase();
        let all = lower.split(|c: char| !c.is_ascii_alphanumeric());
        all.filter(|w| target(w)).map(String::from).collect()
    };
    let (x, y) = (words(a), words(b));
    !x.is_empty() && x.iter().any(|w| y.contains(w))
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn names_of_one_device_are_the_same() {
        for (a, b) in [
            ("NVIDIA GeForce RTX 5090", "5090"),
            ("rtx-5090", "RTX5090"),
            ("NVIDIA H100 80GB HBM3", "h100 80gb hbm3"),
            ("AMD Radeon 8060S Graphics", "8060S"),
            ("AMD Radeon Graphics (RADV GFX1151)", "gfx1151"),
            ("Strix Halo", "strix-halo"),
            ("NVIDIA L40S", "l40s"),
        ] {
            assert!(same(a, b) && same(b, a), "{a} / {b}");
        }
        for (a, b) in [
            ("rtx-5090", "rtx-5080"),
            ("NVIDIA H100 PCIe", "h100-sxm"),
            ("l40", "l40s"),
            ("rtx", "nvidia"),
            ("gfx1151", "gfx1150"),
            ("", ""),
        ] {
            assert!(!same(a, b), "{a} / {b}");
        }
    }
}
