//! `vllm serve`.
use super::{PastedLine, ServeArgsError, Words, human_int};
use crate::device::Scheduler;

/// Flags of `vllm serve` that change nothing a simulation knows of, with whether they take a value.
const HARMLESS: &[(&str, bool)] = &[
    ("--host", true),
    ("--port", true),
    ("--api-key", true),
    ("--served-model-name", true),
    ("--trust-remote-code", false),
    ("--download-dir", true),
    ("--tokenizer", true),
    ("--tokenizer-mode", true),
    ("--revision", true),
    ("--seed", true),
    ("--uvicorn-log-level", true),
    ("--disable-log-requests", false),
    ("--disable-log-stats", false),
    ("--enable-log-requests", false),
    ("--chat-template", true),
    ("--enable-auto-tool-choice", false),
    ("--tool-call-parser", true),
    ("--reasoning-parser", true),
    ("--generation-config", true),
    ("--hf-token", true),
    ("--swap-space", true),
    ("--max-log-len", true),
    ("--root-path", true),
];

/// Reads the flags, with underscores or dashes, and `--no-flag` for switches.
pub(super) fn read(
    starts: Option<Scheduler>,
    words: &[&str],
) -> Result<PastedLine, ServeArgsError> {
    let mut line = PastedLine {
        starts,
        ..PastedLine::default()
    };
    let mut words = Words::new(words, false);
    while let Some(word) = words.next() {
        if word.starts_with("--") || matches!(word.as_str(), "-q" | "-tp" | "-dp" | "-ep") {
            take(&mut line, &word, &mut words)?;
        } else if line.args.model.is_none() && word != "\\" {
            line.args.model = Some(word);
        } else {
            line.stray(word);
        }
    }
    Ok(line)
}

fn take(line: &mut PastedLine, flag: &str, words: &mut Words) -> Result<(), ServeArgsError> {
    let a = &mut line.args;
    match flag {
        "--model" => a.model = Some(words.value(flag, "a model")?),
        "--dtype" => a.dtype = Some(words.value(flag, "a data type")?),
        "--quantization" | "-q" => a.quantization = Some(words.value(flag, "a quantisation")?),
        "--kv-cache-dtype" => a.kv_cache_dtype = Some(words.value(flag, "a data type")?),
        "--max-model-len" => a.max_model_len = Some(words.int(flag, "tokens")?),
        "--max-num-seqs" => a.max_num_seqs = Some(words.int(flag, "sequences")?),
        "--max-num-batched-tokens" => a.max_num_batched_tokens = Some(words.int(flag, "tokens")?),
        "--block-size" => a.block_size = Some(words.int(flag, "tokens")?),
        "--long-prefill-token-threshold" => {
            a.long_prefill_token_threshold = Some(words.int(flag, "tokens")?)
        }
        "--num-gpu-blocks-override" => a.num_gpu_blocks_override = Some(words.int(flag, "blocks")?),
        "--tensor-parallel-size" | "-tp" => {
            a.tensor_parallel_size = Some(words.int(flag, "devices")?)
        }
        "--data-parallel-size" | "-dp" => a.data_parallel_size = Some(words.int(flag, "engines")?),
        "--kv-cache-memory-bytes" | "--kv-cache-memory" => {
            let v = words.value(flag, "bytes")?;
            a.kv_cache_memory_bytes = Some(human_int(&v).ok_or(ServeArgsError::BadValue {
                flag: flag.into(),
                value: v,
                expected: "a number of bytes",
            })?)
        }
        "--gpu-memory-utilization" => a.gpu_memory_utilization = Some(words.fraction(flag)?),
        "--scheduling-policy" => a.scheduling_policy = Some(words.value(flag, "fcfs or priority")?),
        "--enable-prefix-caching" => a.enable_prefix_caching = Some(true),
        "--no-enable-prefix-caching" => a.enable_prefix_caching = Some(false),
        "--enable-chunked-prefill" => a.enable_chunked_prefill = Some(true),
        "--no-enable-chunked-prefill" => a.enable_chunked_prefill = Some(false),
        "--enforce-eager" => a.enforce_eager = Some(true),
        "--no-enforce-eager" => a.enforce_eager = Some(false),
        "--data-parallel-external-lb" => a.data_parallel_external_lb = Some(true),
        "--enable-expert-parallel" | "-ep" => a.enable_expert_parallel = Some(true),
        "--no-enable-expert-parallel" => a.enable_expert_parallel = Some(false),
        "--async-scheduling" => a.async_scheduling = Some(true),
        "--no-async-scheduling" => a.async_scheduling = Some(false),
        _ => return line.other(flag, words, HARMLESS),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::predict::ServeArgs;

    fn words(line: &str) -> Vec<&str> {
        line.split_whitespace().collect()
    }

    #[test]
    fn a_pasted_line_is_understood_as_vllm_would() {
        let line = ServeArgs::from_words(&words(
            "vllm serve Qwen/Qwen3-30B-A3B --max-num-seqs 16 --max_model_len=32K --dtype float16 \
             --enforce-eager --no-enable-prefix-caching --port 8000 --gpu-memory-utilization 0.9 \
             --speculative-config {} --attention-backend X",
        ))
        .unwrap();
        assert_eq!(line.args.model.as_deref(), Some("Qwen/Qwen3-30B-A3B"));
        assert_eq!(line.args.max_num_seqs, Some(16));
        assert_eq!(line.args.max_model_len, Some(32768));
        assert_eq!(line.args.enforce_eager, Some(true));
        assert_eq!(line.args.enable_prefix_caching, Some(false));
        assert_eq!(line.ignored, ["--port"]);
        assert_eq!(
            line.unmodelled,
            ["--speculative-config {}", "--attention-backend X"]
        );
    }

    #[test]
    fn bad_values_name_their_flag() {
        let e = ServeArgs::from_words(&words("--max-num-seqs many")).unwrap_err();
        assert_eq!(
            e.to_string(),
            "`--max-num-seqs`: `many` is not a whole number below 4294967296"
        );
        assert!(ServeArgs::from_words(&words("--max-num-seqs")).is_err());
        assert!(ServeArgs::from_words(&words("--gpu-memory-utilization 1.5")).is_err());
        assert!(ServeArgs::from_words(&words("--max-model-len é")).is_err());
    }
}
