//! `vllm serve`.
use super::{LineError, PastedLine, Words, human_int};
use crate::device::Scheduler;
use crate::engine::settings::*;

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
pub(super) fn read(starts: Option<Scheduler>, words: &[&str]) -> Result<PastedLine, LineError> {
    let mut line = PastedLine {
        starts,
        ..PastedLine::default()
    };
    let mut words = Words::new(words, false);
    while let Some(word) = words.next() {
        if word.starts_with("--") || matches!(word.as_str(), "-q" | "-tp" | "-dp" | "-ep") {
            take(&mut line, &word, &mut words)?;
        } else if line.model.is_none() && word != "\\" {
            line.model = Some(word);
        } else {
            line.stray(word);
        }
    }
    Ok(line)
}

fn take(line: &mut PastedLine, flag: &str, words: &mut Words) -> Result<(), LineError> {
    let a = &mut line.args;
    match flag {
        "--model" => line.model = Some(words.value(flag, "a model")?),
        "--dtype" => a.set(DTYPE, words.value(flag, "a data type")?),
        "--quantization" | "-q" => a.set(QUANTIZATION, words.value(flag, "a quantisation")?),
        "--kv-cache-dtype" => a.set(KV_CACHE_DTYPE, words.value(flag, "a data type")?),
        "--max-model-len" => a.set(MAX_MODEL_LEN, words.int(flag, "tokens")?),
        "--max-num-seqs" => a.set(MAX_NUM_SEQS, words.int(flag, "sequences")?),
        "--max-num-batched-tokens" => a.set(MAX_NUM_BATCHED_TOKENS, words.int(flag, "tokens")?),
        "--block-size" => a.set(BLOCK_SIZE, words.int(flag, "tokens")?),
        "--long-prefill-token-threshold" => {
            a.set(LONG_PREFILL_TOKEN_THRESHOLD, words.int(flag, "tokens")?)
        }
        "--num-gpu-blocks-override" => a.set(NUM_GPU_BLOCKS_OVERRIDE, words.int(flag, "blocks")?),
        "--tensor-parallel-size" | "-tp" => {
            a.set(TENSOR_PARALLEL_SIZE, words.int(flag, "devices")?)
        }
        "--data-parallel-size" | "-dp" => a.set(DATA_PARALLEL_SIZE, words.int(flag, "engines")?),
        "--kv-cache-memory-bytes" | "--kv-cache-memory" => {
            let v = words.value(flag, "bytes")?;
            a.set(
                KV_CACHE_MEMORY_BYTES,
                human_int(&v).ok_or(LineError::BadValue {
                    flag: flag.into(),
                    value: v,
                    expected: "a number of bytes",
                })?,
            )
        }
        "--gpu-memory-utilization" => a.set(GPU_MEMORY_UTILIZATION, words.fraction(flag)?),
        "--scheduling-policy" => a.set(SCHEDULING_POLICY, words.value(flag, "fcfs or priority")?),
        "--enable-prefix-caching" => a.set(ENABLE_PREFIX_CACHING, true),
        "--no-enable-prefix-caching" => a.set(ENABLE_PREFIX_CACHING, false),
        "--enable-chunked-prefill" => a.set(ENABLE_CHUNKED_PREFILL, true),
        "--no-enable-chunked-prefill" => a.set(ENABLE_CHUNKED_PREFILL, false),
        "--enforce-eager" => a.set(ENFORCE_EAGER, true),
        "--no-enforce-eager" => a.set(ENFORCE_EAGER, false),
        "--data-parallel-external-lb" => a.set(DATA_PARALLEL_EXTERNAL_LB, true),
        "--enable-expert-parallel" | "-ep" => a.set(ENABLE_EXPERT_PARALLEL, true),
        "--no-enable-expert-parallel" => a.set(ENABLE_EXPERT_PARALLEL, false),
        "--async-scheduling" => a.set(ASYNC_SCHEDULING, true),
        "--no-async-scheduling" => a.set(ASYNC_SCHEDULING, false),
        _ => return line.other(flag, words, HARMLESS),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::engine::settings::*;
    use crate::predict::read_line;

    fn words(line: &str) -> Vec<&str> {
        line.split_whitespace().collect()
    }

    #[test]
    fn a_pasted_line_is_understood_as_vllm_would() {
        let line = read_line(&words(
            "vllm serve Qwen/Qwen3-30B-A3B --max-num-seqs 16 --max_model_len=32K --dtype float16 \
             --enforce-eager --no-enable-prefix-caching --port 8000 --gpu-memory-utilization 0.9 \
             --speculative-config {} --attention-backend X",
        ))
        .unwrap();
        assert_eq!(line.model.as_deref(), Some("Qwen/Qwen3-30B-A3B"));
        assert_eq!(line.args.get(MAX_NUM_SEQS), Some(16));
        assert_eq!(line.args.get(MAX_MODEL_LEN), Some(32768));
        assert_eq!(line.args.get(ENFORCE_EAGER), Some(true));
        assert_eq!(line.args.get(ENABLE_PREFIX_CACHING), Some(false));
        assert_eq!(line.ignored, ["--port"]);
        assert_eq!(
            line.unmodelled,
            ["--speculative-config {}", "--attention-backend X"]
        );
    }

    #[test]
    fn bad_values_name_their_flag() {
        let e = read_line(&words("--max-num-seqs many")).unwrap_err();
        assert_eq!(
            e.to_string(),
            "`--max-num-seqs`: `many` is not a whole number below 4294967296"
        );
        assert!(read_line(&words("--max-num-seqs")).is_err());
        assert!(read_line(&words("--gpu-memory-utilization 1.5")).is_err());
        assert!(read_line(&words("--max-model-len é")).is_err());
    }
}
