//! `python -m sglang.launch_server` (`python/sglang/srt/server_args.py`, v0.5; `predict::sglang` says what becomes of the settings).
use super::{LineError, PastedLine, Words};
use crate::device::Scheduler;
use crate::engine::settings::*;

/// Flags that change nothing a simulation knows of, with whether they take a value.
const HARMLESS: &[(&str, bool)] = &[
    ("--host", true),
    ("--port", true),
    ("--api-key", true),
    ("--served-model-name", true),
    ("--trust-remote-code", false),
    ("--tokenizer-path", true),
    ("--tokenizer-mode", true),
    ("--skip-tokenizer-init", false),
    ("--load-format", true),
    ("--revision", true),
    ("--download-dir", true),
    ("--device", true),
    ("--random-seed", true),
    ("--log-level", true),
    ("--log-level-http", true),
    ("--log-requests", false),
    ("--log-requests-level", true),
    ("--show-time-cost", false),
    ("--enable-metrics", false),
    ("--decode-log-interval", true),
    ("--chat-template", true),
    ("--tool-call-parser", true),
    ("--reasoning-parser", true),
    ("--watchdog-timeout", true),
    ("--skip-server-warmup", false),
    ("--enable-cache-report", false),
];

pub(super) fn read(words: &[&str]) -> Result<PastedLine, LineError> {
    let mut line = PastedLine {
        starts: Some(Scheduler::Sglang),
        ..PastedLine::default()
    };
    let mut words = Words::new(words, false);
    while let Some(flag) = words.next() {
        let flag = flag.as_str();
        let a = &mut line.args;
        match flag {
            "--model-path" | "--model" => line.model = Some(words.value(flag, "a model")?),
            "--dtype" => a.set(DTYPE, words.value(flag, "a data type")?),
            "--quantization" => a.set(QUANTIZATION, words.value(flag, "a quantisation")?),
            "--kv-cache-dtype" => a.set(KV_CACHE_DTYPE, words.value(flag, "a data type")?),
            "--context-length" => a.set(MAX_MODEL_LEN, words.int(flag, "tokens")?),
            "--max-running-requests" => a.set(MAX_NUM_SEQS, words.int(flag, "requests")?),
            // One token is the null block, which nobody gets.
            "--max-total-tokens" => a.set(
                NUM_GPU_BLOCKS_OVERRIDE,
                words.int(flag, "tokens")?.saturating_add(1),
            ),
            "--chunked-prefill-size" => match words.value(flag, "tokens")?.as_str() {
                "-1" => line.unmodelled.push(format!("{flag} -1")),
                tokens => {
                    words.inline = Some(tokens.into());
                    a.set(MAX_NUM_BATCHED_TOKENS, words.int(flag, "tokens")?);
                }
            },
            "--mem-fraction-static" => a.set(GPU_MEMORY_UTILIZATION, words.fraction(flag)?),
            "--disable-radix-cache" => a.set(ENABLE_PREFIX_CACHING, false),
            "--disable-overlap-schedule" => a.set(ASYNC_SCHEDULING, false),
            "--disable-cuda-graph" => a.set(ENFORCE_EAGER, true),
            "--tp" | "--tp-size" | "--tensor-parallel-size" => {
                a.set(TENSOR_PARALLEL_SIZE, words.int(flag, "devices")?)
            }
            "--dp" | "--dp-size" | "--data-parallel-size" => {
                a.set(DATA_PARALLEL_SIZE, words.int(flag, "engines")?)
            }
            // First come, first served is the default, and what is simulated.
            "--schedule-policy" => match words.value(flag, "a policy")?.as_str() {
                "fcfs" => line.ignored.push(flag.into()),
                other => line.unmodelled.push(format!("{flag} {other}")),
            },
            // The cache works on tokens here.
            "--page-size" => match words.int(flag, "tokens")? {
                1 => line.ignored.push(flag.into()),
                n => line.unmodelled.push(format!("{flag} {n}")),
            },
            _ if flag.starts_with("--") => line.other(flag, &mut words, HARMLESS)?,
            _ => line.stray(flag.into()),
        }
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<PastedLine, LineError> {
        read(&text.split_whitespace().collect::<Vec<_>>())
    }

    #[test]
    fn a_pasted_line_is_understood_as_sglang_would() {
        let l = line(
            "--model-path Qwen/Qwen3-8B --context-length 8192 --max-running-requests 32 --chunked-prefill-size 4096 \
             --mem-fraction-static 0.85 --disable-radix-cache --disable-cuda-graph --disable-overlap-schedule \
             --max-total-tokens 100000 --port 30000 --attention-backend triton --schedule-policy lpm --page-size 1",
        )
        .unwrap();
        let a = &l.args;
        assert_eq!(l.model.as_deref(), Some("Qwen/Qwen3-8B"));
        assert_eq!(
            (a.get(MAX_MODEL_LEN), a.get(MAX_NUM_SEQS)),
            (Some(8192), Some(32))
        );
        assert_eq!(a.get(MAX_NUM_BATCHED_TOKENS), Some(4096));
        assert_eq!(a.get(GPU_MEMORY_UTILIZATION), Some(0.85));
        assert_eq!(a.get(NUM_GPU_BLOCKS_OVERRIDE), Some(100_001));
        assert_eq!(a.get(ENABLE_PREFIX_CACHING), Some(false));
        assert_eq!(
            (a.get(ENFORCE_EAGER), a.get(ASYNC_SCHEDULING)),
            (Some(true), Some(false))
        );
        assert_eq!(l.ignored, ["--port", "--page-size"]);
        assert_eq!(
            l.unmodelled,
            ["--attention-backend triton", "--schedule-policy lpm"]
        );
    }

    #[test]
    fn bad_values_name_their_flag() {
        let e = line("--chunked-prefill-size 2x").unwrap_err().to_string();
        assert!(e.starts_with("`--chunked-prefill-size`: `2x`"), "{e}");
        assert_eq!(
            line("--chunked-prefill-size -1").unwrap().unmodelled,
            ["--chunked-prefill-size -1"]
        );
        assert!(line("--mem-fraction-static 2").is_err());
        assert!(line("--model-path").is_err());
    }
}
