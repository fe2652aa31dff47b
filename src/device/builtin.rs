//! The profiles that ship with capsim (files under `calibration/`).
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

/// The built-in device of that id or alias, whatever its case.
///
/// # Errors
/// An unknown name: with the nearest known one.
pub fn device(name: &str) -> Result<DeviceProfile, ProfileError> {
    let all = devices();
    let is = |d: &DeviceProfile| {
        d.id.eq_ignore_ascii_case(name) || d.aliases.iter().any(|a| a.eq_ignore_ascii_case(name))
    };
    match all.iter().position(is) {
        Some(i) => Ok(all[i].clone()),
        None => Err(unknown(
            "device",
            name,
            all.iter().map(|d| d.id.clone()).collect(),
        )),
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
        let e = device("gfx1150").unwrap_err().to_string();
        assert!(e.contains("gfx1151"), "{e}");
    }
}
