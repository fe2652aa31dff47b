//! Flags without which the answer would be that of another server: they are refused by name, as nothing that is simulated comes near.
//!
//! Every other flag that is not simulated is named in the first lines of the answer, and widens its intervals
//! (`predict/unmodelled.rs`).

const CONTEXT: &str = "context parallelism divides the KV cache of a sequence among devices, which changes how much memory and \
                       time each needs: leave it out for the answer without it";
const PHASES: &str = "this server computes only prompts or only answers, and hands the KV cache to another one: describe both with \
                      --prefill and --decode, which take such lines in quotes, or leave it out for the answer of a server that does both";
const NO_ANSWERS: &str = "such a server embeds or scores texts and generates no tokens, which is all that capsim predicts";
const SEVERAL_DEVICES: &str = "the model is divided among several devices, and llama-server is simulated with one: leave it out, \
                               or name one device, for the answer with one";
const ELSEWHERE: &str = "a part of the model is computed by another machine over a network, which is not simulated: leave it out \
                         for the answer without it";
const PIPELINE: &str = "pipelines are simulated for vLLM only: leave it out for the answer with tensor parallelism alone";

/// Why a flag of this value cannot be left out; `None`: it can, and the answer says so.
pub(super) fn reason(name: &str, value: &str) -> Option<&'static str> {
    let several = || value.trim() != "1";
    match name {
        "--pipeline-parallel-size" | "--pipeline_parallel_size" if several() => Some(PIPELINE),
        "--prefill-context-parallel-size"
        | "--attention-context-parallel-size"
        | "--context_parallel_size"
        | "--dcp-size"
            if several() =>
        {
            Some(CONTEXT)
        }
        // `kv_both` keeps and fetches caches, and serves whole requests.
        "--kv-transfer-config"
            if value.contains("kv_producer") || value.contains("kv_consumer") =>
        {
            Some(PHASES)
        }
        "--server_role" | "--disagg_cluster_uri" => Some(PHASES),
        "--disaggregation-mode" if value != "null" => Some(PHASES),
        "--runner" if value == "pooling" => Some(NO_ANSWERS),
        "--convert" if matches!(value, "embed" | "classify" | "reward") => Some(NO_ANSWERS),
        "--task"
            if matches!(
                value,
                "embed" | "embedding" | "classify" | "score" | "reward"
            ) =>
        {
            Some(NO_ANSWERS)
        }
        "--is-embedding" | "--encoder-only" | "--embedding" | "--rerank" => Some(NO_ANSWERS),
        "--rpc" => Some(ELSEWHERE),
        "--tensor-split" if shares(value) > 1 => Some(SEVERAL_DEVICES),
        "--device" if value.split(',').count() > 1 => Some(SEVERAL_DEVICES),
        _ => None,
    }
}

/// Devices that get a share: `3,1` is two, `1,0` is one.
fn shares(list: &str) -> usize {
    let share = |s: &&str| s.trim().parse::<f64>().is_ok_and(|s| s > 0.0);
    list.split([',', '/']).filter(share).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_server_is_refused_and_what_is_the_same_one_is_not() {
        for (name, value) in [
            ("--prefill-context-parallel-size", "4"),
            ("--kv-transfer-config", r#"{"kv_role":"kv_producer"}"#),
            ("--disaggregation-mode", "prefill"),
            ("--runner", "pooling"),
            ("--is-embedding", ""),
            ("--tensor-split", "3,1"),
            ("--device", "CUDA0,CUDA1"),
            ("--rpc", "10.0.0.2:50052"),
        ] {
            assert!(reason(name, value).is_some(), "{name} {value}");
        }
        for (name, value) in [
            ("--kv-transfer-config", r#"{"kv_role":"kv_both"}"#),
            ("--runner", "generate"),
            ("--tensor-split", "1,0"),
            ("--device", "Vulkan0"),
            ("--attention-backend", "FLASHINFER"),
        ] {
            assert_eq!(reason(name, value), None, "{name} {value}");
        }
    }
}
