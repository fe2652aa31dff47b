//! Flags of `trtllm-serve`, and the keys of the file that its `--config` (`--extra_llm_api_options`) names, which stand above the flags
//! (`commands/serve.py: update_llm_args_with_extra_dict`@00209af). A key in a section reads as a flag with a dot:
//! `--kv_cache_config.dtype`.
use super::LineError;
use super::flags::FlagList;
use super::read::{self, Line};
use super::yaml::Node;
use crate::device::Scheduler;
use crate::engine::settings::{
    BLOCK_SIZE, ENABLE_EXPERT_PARALLEL, ENFORCE_EAGER, NUM_GPU_BLOCKS_OVERRIDE,
    TENSOR_PARALLEL_SIZE,
};
use crate::engine::trtllm::TOKENS_PER_BLOCK;

/// Values that are the engine's defaults, or what is simulated.
const DEFAULTS: &[(&str, &[&str])] = &[
    ("--backend", &["pytorch"]),
    ("--max_beam_width", &["1"]),
    ("--pipeline_parallel_size", &["1"]),
    ("--context_parallel_size", &["1"]),
    ("--moe_cluster_parallel_size", &["1"]),
    ("--num_postprocess_workers", &["0"]),
    (
        "--scheduler_config.context_chunking_policy",
        &["FIRST_COME_FIRST_SERVED"],
    ),
    ("--attention_dp_config.batching_wait_iters", &["0"]),
    ("--kv_cache_config.event_buffer_max_size", &["0"]),
    ("--kv_cache_config.host_cache_size", &["0"]),
];

/// Names of the file's flag.
pub(super) const FILE: [&str; 2] = ["--config", "--extra_llm_api_options"];

/// Reads the words after `trtllm-serve`.
pub(super) fn read(line: &mut Line, args: &[String]) -> Result<(), LineError> {
    let list = FlagList::of(Scheduler::Trtllm);
    let arguments = read::given(args, &list, Scheduler::Trtllm)?;
    let mut experts = None;
    for given in &arguments.given {
        match given.name() {
            "--ep_size" => experts = Some(given),
            // Batches are padded to a captured size here.
            "--cuda_graph_config.enable_padding" if !given.off => {
                line.harmless.push(given.typed.clone());
            }
            "--cuda_graph_config" => {
                let none = matches!(given.value()?, "null" | "~" | "None");
                line.settings.set(ENFORCE_EAGER, none);
            }
            _ if line.set(Scheduler::Trtllm, given)? => {}
            _ => line.other(given, DEFAULTS)?,
        }
    }
    // Whole experts are given to all devices, or to none.
    if let Some(given) = experts.filter(|g| !matches!(g.value(), Ok("1" | "null"))) {
        let devices = line.settings.get(TENSOR_PARALLEL_SIZE).unwrap_or(1);
        match given.value()?.parse() == Ok(devices) {
            true => line.settings.set(ENABLE_EXPERT_PARALLEL, true),
            false => line.change(given.words()),
        }
    }
    // Tokens are counted, and none of them is the null block, which no request gets.
    if let Some(tokens) = line.settings.get(NUM_GPU_BLOCKS_OVERRIDE) {
        let block = line.settings.get(BLOCK_SIZE).unwrap_or(TOKENS_PER_BLOCK);
        let blocks = (tokens / block.max(1)).saturating_add(1);
        line.settings.set(NUM_GPU_BLOCKS_OVERRIDE, blocks);
    }
    for (i, word) in arguments.loose.iter().enumerate() {
        match i {
            0 if line.model.is_none() => line.model = Some(word.clone()),
            _ => line.stray(word),
        }
    }
    Ok(())
}

/// The flags that a file's keys mean.
pub(super) fn flags(document: &Node) -> Vec<String> {
    let mut words = vec![];
    section("--", document, &mut words);
    words
}

fn section(path: &str, node: &Node, words: &mut Vec<String>) {
    for (key, value) in node.entries() {
        let name = format!("{path}{key}");
        match value {
            Node::Map(_) => section(&format!("{name}."), value, words),
            Node::List(_) => words.push(format!("{name}={}", value.json())),
            Node::Text(..) => {
                let text = value.boolean().map(|on| on.to_string());
                let text = text.or_else(|| value.text().map(String::from));
                words.push(format!("{name}={}", text.unwrap_or("null".into())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::settings::*;
    use crate::line::{Source, read};

    /// The line of InferenceX's benchmarks/single_node/fixed_seq_len/dsr1_fp8_h200_trt_mtp.sh@8eec0d4, with values put in.
    const YAML: &str = "cuda_graph_config:\n    enable_padding: true\n    max_batch_size: 128\nenable_attention_dp: false\n\
        print_iter_log: true\nkv_cache_config:\n    dtype: fp8\n    free_gpu_memory_fraction: 0.75\n    enable_block_reuse: false \n\
        stream_interval: 10\nmoe_config:\n    backend: CUTLASS\nspeculative_config:\n    decoding_type: MTP\n    num_nextn_predict_layers: 3\n";

    fn line(text: &str, file: &'static str) -> Line {
        read(Source::Text(text), &|_| Ok(file.into())).unwrap()
    }

    #[test]
    fn flags_and_the_file_of_options_are_read_together() {
        let l = line(
            "PYTHONNOUSERSITE=1 trtllm-serve deepseek-ai/DeepSeek-R1-0528 --port=8888 --trust_remote_code --backend=pytorch \
             --max_batch_size=16 --max_seq_len=2248 --max_num_tokens=1152 --tp_size=8 --ep_size=8 --free_gpu_memory_fraction 0.5 \
             --extra_llm_api_options=dsr1-fp8-mtp.yml",
            YAML,
        );
        assert_eq!(l.engine, Some(Scheduler::Trtllm));
        assert_eq!(l.model.as_deref(), Some("deepseek-ai/DeepSeek-R1-0528"));
        let s = &l.settings;
        assert_eq!(s.get(MAX_NUM_SEQS), Some(16));
        assert_eq!(s.get(MAX_NUM_BATCHED_TOKENS), Some(1152));
        assert_eq!(s.get(MAX_MODEL_LEN), Some(2248));
        assert_eq!(s.get(TENSOR_PARALLEL_SIZE), Some(8));
        assert_eq!(s.get(ENABLE_EXPERT_PARALLEL), Some(true));
        assert_eq!(
            s.get(GPU_MEMORY_UTILIZATION),
            Some(0.75),
            "the file stands above the flag"
        );
        assert_eq!(s.get(KV_CACHE_DTYPE).as_deref(), Some("fp8"));
        assert_eq!(s.get(ENABLE_PREFIX_CACHING), Some(false));
        assert_eq!(s.get(ENABLE_DP_ATTENTION), Some(false));
        assert_eq!(s.get(STREAM_INTERVAL), Some(10));
        assert_eq!(s.get(SPECULATIVE_METHOD).as_deref(), Some("MTP"));
        assert_eq!(s.get(NUM_SPECULATIVE_TOKENS), Some(3));
        assert_eq!(
            l.changes,
            [
                "--cuda_graph_config.max_batch_size 128",
                "--moe_config.backend CUTLASS"
            ]
        );
    }

    #[test]
    fn keys_of_the_file_change_the_scheduler() {
        let l = line(
            "trtllm-serve serve m --config f.yaml --enable_chunked_prefill",
            "scheduler_config:\n  capacity_scheduler_policy: MAX_UTILIZATION\ndisable_overlap_scheduler: true\n\
             cuda_graph_config: null\nkv_cache_config:\n  max_tokens: 6400\n  tokens_per_block: 64\nenable_attention_dp: true\n",
        );
        let s = &l.settings;
        let policy = s.get(CAPACITY_SCHEDULER_POLICY);
        assert_eq!(policy.as_deref(), Some("MAX_UTILIZATION"));
        assert_eq!(s.get(ASYNC_SCHEDULING), Some(false));
        assert_eq!(s.get(ENFORCE_EAGER), Some(true));
        assert_eq!(s.get(NUM_GPU_BLOCKS_OVERRIDE), Some(101));
        assert_eq!(s.get(BLOCK_SIZE), Some(64));
        assert_eq!(s.get(ENABLE_DP_ATTENTION), Some(true));
        assert_eq!(s.get(ENABLE_CHUNKED_PREFILL), Some(true));
        assert!(l.changes.is_empty(), "{:?}", l.changes);
    }

    #[test]
    fn another_server_is_refused_and_an_unknown_key_is_named() {
        let e = read(Source::Text("trtllm-serve m --pp_size 2"), &|_| {
            Err("".into())
        });
        let e = e.unwrap_err().to_string();
        assert!(e.contains("--pp_size") && e.contains("pipelines"), "{e}");
        let l = line("trtllm-serve m --config f", "warp_drive: 9\n");
        assert_eq!(
            l.changes,
            ["--warp_drive 9 (no flag that capsim knows)".to_string()]
        );
    }
}
