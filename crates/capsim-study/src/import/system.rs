//! What AIConfigurator says of a device that capsim has no figures of: `systems/<system>.yaml` of the package `aiconfigurator-core`.
use super::ImportError;
use super::gpus::Gpu;
use serde_json::Value;

/// Its own scaling of stated rates: `mem_bw_empirical_scaling_factor` of its data-centre systems.
const REACHED: f64 = 0.8;

/// Reads a system file.
///
/// # Errors
/// No YAML, or without memory, bandwidth and link.
pub fn gpu(system: &str, text: &str, file: &str) -> Result<Gpu, ImportError> {
    let bad = |problem: String| ImportError::File {
        file: file.into(),
        problem,
    };
    let v = capsim::line::yaml_value(text).map_err(|e| bad(e.to_string()))?;
    let number = |group: &str, key: &str| -> Result<f64, ImportError> {
        let found: &Value = &v[group][key];
        found
            .as_f64()
            .filter(|n| n.is_finite() && *n > 0.0)
            .ok_or_else(|| bad(format!("`{group}.{key}` is missing or no number above 0")))
    };
    let release = number("gpu", "sm_version").unwrap_or(0.0);
    // Lives as long as the process, which ends with the command that reads it.
    let kept = |s: String| -> &'static str { s.leak() };
    Ok(Gpu {
        id: kept(system.replace('_', "-")),
        name: kept(maker(system) + &system.replace('_', " ").to_uppercase()),
        aliases: &[],
        memory: number("gpu", "mem_capacity")?,
        memory_source: kept(format!("mem_capacity of {system}.yaml")),
        latency: number("node", "p2p_latency")?,
        rate: REACHED * number("node", "intra_node_bw")?,
        link_source: kept(format!(
            "intra_node_bw of {system}.yaml, of which copies reach about 80 %"
        )),
        link_sd: 0.3,
        bandwidth: number("gpu", "mem_bw")?,
        attention_backend: match release as u32 {
            90..100 => "flash-attn-3",
            100.. => "flashinfer",
            _ => "flash-attn-2",
        },
    })
}

/// The maker, for the name: all of its systems are NVIDIA's but for Intel's B60.
fn maker(system: &str) -> String {
    match system {
        "b60" => "Intel Arc Pro ".into(),
        _ => "NVIDIA ".into(),
    }
}
