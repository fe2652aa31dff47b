//! How many devices a line lets its server see.

/// Variables that name the devices a server may see.
const VISIBLE: &[&str] = &[
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "GGML_VK_VISIBLE_DEVICES",
    "ZE_AFFINITY_MASK",
];

/// Whether a variable names devices.
pub(super) fn is_list(variable: &str) -> bool {
    VISIBLE.contains(&variable)
}

/// The number of devices that environment variables leave visible; `None`: they do not say.
pub(super) fn visible(environment: &[(String, String)]) -> Option<u32> {
    let counts = environment
        .iter()
        .filter(|(name, _)| is_list(name))
        .filter_map(|(_, value)| listed(value));
    counts.min()
}

/// `0,1,2`: three; `all`, `void` or nothing: not said.
fn listed(value: &str) -> Option<u32> {
    let value = value.trim();
    if value.is_empty() || value.starts_with('$') || ["all", "void", "none", "-1"].contains(&value)
    {
        return None;
    }
    u32::try_from(value.split(',').filter(|d| !d.trim().is_empty()).count()).ok()
}

/// The value of docker's `--gpus`: `all`, a number, `device=0,1`, `count=2`, with quotation marks around it or not.
pub(super) fn of_gpus(value: &str) -> Option<u32> {
    let value = value.trim_matches(['"', '\'']);
    if let Ok(n) = value.parse() {
        return Some(n);
    }
    if let Some((_, ids)) = value.split_once("device=") {
        return listed(ids.trim_matches(['"', '\'']));
    }
    value
        .split(',')
        .find_map(|part| part.strip_prefix("count=")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_list_counts() {
        let env = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs
                .iter()
                .map(|(n, v)| (n.to_string(), v.to_string()))
                .collect()
        };
        assert_eq!(
            visible(&env(&[
                ("CUDA_VISIBLE_DEVICES", "0,1"),
                ("NVIDIA_VISIBLE_DEVICES", "all")
            ])),
            Some(2)
        );
        assert_eq!(visible(&env(&[("HIP_VISIBLE_DEVICES", "3")])), Some(1));
        assert_eq!(
            visible(&env(&[("CUDA_VISIBLE_DEVICES", ""), ("A", "0,1")])),
            None
        );
        assert_eq!(of_gpus("all"), None);
        assert_eq!(of_gpus("count=4,capabilities=utility"), Some(4));
        assert_eq!(of_gpus("\"device=GPU-1a,GPU-2b\""), Some(2));
    }
}
