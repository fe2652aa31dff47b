//! The profiles that ship with capsim (files under `calibration/`).
use super::sheet::{self, DataSheet};
use super::{DeviceProfile, EngineFile, EngineProfile, ProfileError};

/// Built-in device profiles: file name and text.
const DEVICES: &[(&str, &str)] = &[
    (
        "calibration/gfx1151/published-2026-11-24/device.json",
        include_str!("../../calibration/gfx1151/published-2026-11-24/device.json"),
    ),
    (
        "calibration/rtx-4090/llmservingsim-5daddb21/device.json",
        include_str!("../../calibration/rtx-4090/llmservingsim-5daddb21/device.json"),
    ),
    (
        "calibration/rtx-pro-6000/llmservingsim-5daddb21/device.json",
        include_str!("../../calibration/rtx-pro-6000/llmservingsim-5daddb21/device.json"),
    ),
    (
        "calibration/h100-sxm/aiconfigurator-0.12.0/device.json",
        include_str!("../../calibration/h100-sxm/aiconfigurator-0.12.0/device.json"),
    ),
    (
        "calibration/h200-sxm/aiconfigurator-0.12.0/device.json",
        include_str!("../../calibration/h200-sxm/aiconfigurator-0.12.0/device.json"),
    ),
    (
        "calibration/a100-sxm/aiconfigurator-0.12.0/device.json",
        include_str!("../../calibration/a100-sxm/aiconfigurator-0.12.0/device.json"),
    ),
    (
        "calibration/l40s/aiconfigurator-0.12.0/device.json",
        include_str!("../../calibration/l40s/aiconfigurator-0.12.0/device.json"),
    ),
];

/// Built-in files of engine profiles: name and text.
const ENGINES: &[(&str, &str)] = &[
    (
        "calibration/engines/vllm-rocm.json",
        include_str!("../../calibration/engines/vllm-rocm.json"),
    ),
    (
        "calibration/engines/vllm-cuda.json",
        include_str!("../../calibration/engines/vllm-cuda.json"),
    ),
    (
        "calibration/engines/vllm-cpu.json",
        include_str!("../../calibration/engines/vllm-cpu.json"),
    ),
    (
        "calibration/engines/sglang-rocm.json",
        include_str!("../../calibration/engines/sglang-rocm.json"),
    ),
    (
        "calibration/engines/sglang-cuda.json",
        include_str!("../../calibration/engines/sglang-cuda.json"),
    ),
    (
        "calibration/engines/trtllm-cuda.json",
        include_str!("../../calibration/engines/trtllm-cuda.json"),
    ),
    (
        "calibration/engines/sglang-instinct.json",
        include_str!("../../calibration/engines/sglang-instinct.json"),
    ),
    (
        "calibration/engines/llamacpp-vulkan.json",
        include_str!("../../calibration/engines/llamacpp-vulkan.json"),
    ),
    (
        "calibration/engines/llamacpp-amdvlk.json",
        include_str!("../../calibration/engines/llamacpp-amdvlk.json"),
    ),
    (
        "calibration/engines/llamacpp-hip.json",
        include_str!("../../calibration/engines/llamacpp-hip.json"),
    ),
    (
        "calibration/engines/ollama.json",
        include_str!("../../calibration/engines/ollama.json"),
    ),
];

/// All built-in device profiles.
pub fn devices() -> Vec<DeviceProfile> {
    DEVICES
        .iter()
        .map(|(name, text)| DeviceProfile::parse(text, name).expect("shipped profiles are valid"))
        .collect()
}

/// All built-in engine profiles.
pub fn engines() -> Vec<EngineProfile> {
    let file = |(name, text): &(&str, &str)| {
        EngineFile::parse(text, name).expect("shipped profiles are valid")
    };
    ENGINES.iter().flat_map(|f| file(f).profiles()).collect()
}

fn unknown(kind: &'static str, name: &str, known: Vec<String>) -> ProfileError {
    let nearest = known
        .iter()
        .max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)))
        .cloned()
        .unwrap_or_default();
    ProfileError::Unknown {
        kind,
        name: name.into(),
        nearest,
        known: known.join(", "),
    }
}

/// The built-in device of that id or alias, whatever its case and however its driver writes it: measured, else from its data sheet;
/// or the data sheet that the name itself is ([`sheet::inline`]).
///
/// # Errors
/// An unknown name: with the ways to a profile. A data sheet that no device has.
pub fn device(name: &str) -> Result<DeviceProfile, ProfileError> {
    if sheet::is_inline(name) {
        return sheet::inline(name)?.profile();
    }
    let mut all = devices();
    let exact = |d: &DeviceProfile| {
        d.id.eq_ignore_ascii_case(name) || d.aliases.iter().any(|a| a.eq_ignore_ascii_case(name))
    };
    if let Some(i) = all.iter().position(exact) {
        return Ok(all.swap_remove(i));
    }
    let sheets = sheet::all();
    let names = |s: &DataSheet| -> Vec<String> {
        let measured = all.iter().find(|d| d.id == s.id);
        let aliases = measured.map_or(&[][..], |d| &d.aliases);
        let own = [&s.id, &s.name].into_iter().chain(&s.aliases);
        own.chain(aliases).cloned().collect()
    };
    let found = sheets
        .iter()
        .find(|s| names(s).iter().any(|n| sheet::same(name, n)));
    match found {
        Some(s) => match all.iter().position(|d| d.id == s.id) {
            Some(i) => Ok(all.swap_remove(i)),
            None => s.profile(),
        },
        None => Err(ProfileError::UnknownDevice {
            name: name.into(),
            quoted: one_word(name),
            like: alike(name, sheets.iter().map(|s| s.id.as_str())),
        }),
    }
}

/// The three ids most like a name, where some are.
fn alike<'a>(name: &str, ids: impl Iterator<Item = &'a str>) -> String {
    // Long input is noise.
    let name: String = name.chars().take(100).collect::<String>().to_lowercase();
    let likeness = |id: &&str| strsim::jaro_winkler(id, &name);
    let mut all: Vec<&str> = ids.filter(|id| likeness(id) > 0.75).collect();
    all.sort_by(|a, b| likeness(b).total_cmp(&likeness(a)));
    all.truncate(3);
    match all.is_empty() {
        true => String::new(),
        false => format!("; most like it: {}", all.join(", ")),
    }
}

/// A name as one word of a command line.
fn one_word(name: &str) -> String {
    let lower = name.to_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_alphanumeric());
    let word = words
        .filter(|w| !w.is_empty())
        .collect::<Vec<_>>()
        .join("-");
    if word.is_empty() {
        "my-card".into()
    } else {
        word
    }
}

/// The built-in engine profile of that id, whatever its case.
///
/// # Errors
/// An unknown name: with the nearest known one.
pub fn engine(name: &str) -> Result<EngineProfile, ProfileError> {
    let all = engines();
    match all.iter().position(|e| e.id.eq_ignore_ascii_case(name)) {
        Some(i) => Ok(all[i].clone()),
        None => Err(unknown(
            "engine",
            name,
            all.iter().map(|e| e.id.clone()).collect(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_profiles_are_found_by_id_and_alias() {
        assert_eq!(device("GFX1151").unwrap().id, "gfx1151");
        assert_eq!(device("strix-halo").unwrap().id, "gfx1151");
        assert_eq!(engine("vllm-0.12-rocm").unwrap().version, "0.12.0");
        for (name, id) in [
            ("NVIDIA H100 80GB HBM3", "h100-sxm"),
            ("NVIDIA H100 PCIe", "h100-pcie"),
            ("NVIDIA H200", "h200-sxm"),
            ("NVIDIA A100-SXM4-80GB", "a100-sxm"),
            ("NVIDIA A100 80GB PCIe", "a100-pcie"),
            ("NVIDIA GeForce RTX 5090", "rtx-5090"),
            ("5090", "rtx-5090"),
            ("Radeon 8060S", "gfx1151"),
            ("AMD Radeon 8060S Graphics (RADV GFX1151)", "gfx1151"),
            ("Strix Halo", "gfx1151"),
            ("gfx942", "mi300x"),
            ("b200", "b200-sxm"),
            ("x:8GiB,100GB/s,10TFLOPS", "x"),
        ] {
            assert_eq!(device(name).unwrap().id, id, "{name}");
        }
        for name in ["gfx1150", "RTX 5070", "TPU v7", "\u{1f680}", ""] {
            let e = device(name).unwrap_err().to_string();
            for way in ["capsim calibrate", "capsim device new", "capsim import"] {
                assert!(e.contains(way), "{e}");
            }
            assert!(!e.contains("did you mean"), "{e}");
        }
    }
}
