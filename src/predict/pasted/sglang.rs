//! `python -m sglang.launch_server` (`python/sglang/srt/server_args.py`, v0.5; `predict::sglang` says what becomes of the settings).
use super::{PastedLine, ServeArgsError, Words};
use crate::device::Scheduler;

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

pub(super) fn read(words: &[&str]) -> Result<PastedLine, ServeArgsError> {
    let mut line = PastedLine {
        starts: Some(Scheduler::Sglang),
        ..PastedLine::default()
    };
    let mut words = Words::new(words, false);
    while let Some(flag) = words.next() {
        let flag = flag.as_str();
        let a = &mut line.args;
        match flag {
            "--model-path" | "--model" => a.model = Some(words.value(flag, "a model")?),
            "--dtype" => a.dtype = Some(words.value(flag, "a data type")?),
            "--quantization" => a.quantization = Some(words.value(flag, "a quantisation")?),
            "--kv-cache-dtype" => a.kv_cache_dtype = Some(words.value(flag, "a data type")?),
            "--context-length" => a.max_model_len = Some(words.int(flag, "tokens")?),
            "--max-running-requests" => a.max_num_seqs = Some(words.int(flag, "requests")?),
            // One token is the null block, which nobody gets.
            "--max-total-tokens" => {
                a.num_gpu_blocks_override = Some(words.int(flag, "tokens")?.saturating_add(1))
            }
            "--chunked-prefill-size" => match words.value(flag, "tokens")?.as_str() {
                "-1" => line.unmodelled.push(format!("{flag} -1")),
                tokens => {
                    words.inline = Some(tokens.into());
                    a.max_num_batched_tokens = Some(words.int(flag, "tokens")?);
                }
            },
            "--mem-fraction-static" => a.gpu_memory_utilization = Some(words.fraction(flag)?),
            "--disable-radix-cache" => a.enable_prefix_caching = Some(false),
            "--disable-overlap-schedule" => a.async_scheduling = Some(false),
            "--disable-cuda-graph" => a.enforce_eager = Some(true),
            "--tp" | "--tp-size" | "--tensor-parallel-size" => {
                a.tensor_parallel_size = Some(words.int(flag, "devices")?)
            }
            "--dp" | "--dp-size" | "--data-parallel-size" => {
                a.data_parallel_size = Some(words.int(flag, "engines")?)
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

    fn line(text: &str) -> Result<PastedLine, ServeArgsError> {
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
        assert_eq!(a.model.as_deref(), Some("Qwen/Qwen3-8B"));
        assert_eq!((a.max_model_len, a.max_num_seqs), (Some(8192), Some(32)));
        assert_eq!(a.max_num_batched_tokens, Some(4096));
        assert_eq!(a.gpu_memory_utilization, Some(0.85));
        assert_eq!(a.num_gpu_blocks_override, Some(100_001));
        assert_eq!(a.enable_prefix_caching, Some(false));
        assert_eq!(
            (a.enforce_eager, a.async_scheduling),
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
