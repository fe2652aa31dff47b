//! The engine's own settings under vLLM's names: from a struct, a JSON object or a pasted `vllm serve` line.
use serde::{Deserialize, Serialize};

/// Settings as `vllm serve` takes them. `None` means: the engine's default applies.
///
/// Names and meanings are those of vLLM 0.12.0 (`engine/arg_utils.py`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ServeArgs {
    /// Model: a Hugging Face id, a short name, or the path of a `config.json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// `auto`, `float16`/`half`, `bfloat16`, `float32`/`float`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dtype: Option<String>,
    /// Weight quantisation: `fp8`, `awq`, `gptq`, `mxfp4`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantization: Option<String>,
    /// `auto`, `fp8`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_cache_dtype: Option<String>,
    /// Longest sequence, prompt and output together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_model_len: Option<u32>,
    /// Most sequences in a batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_num_seqs: Option<u32>,
    /// Most new tokens in a step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_num_batched_tokens: Option<u32>,
    /// Part of the device memory that the engine may use, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_memory_utilization: Option<f64>,
    /// Tokens per KV block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_size: Option<u32>,
    /// Prefix cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_prefix_caching: Option<bool>,
    /// Chunked prefill.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_chunked_prefill: Option<bool>,
    /// No graphs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enforce_eager: Option<bool>,
    /// Schedule a step before the previous one's output is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub async_scheduling: Option<bool>,
    /// `fcfs` or `priority`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduling_policy: Option<String>,
    /// Cap on one request's chunk in a step; 0: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub long_prefill_token_threshold: Option<u32>,
    /// KV blocks, whatever the memory says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_gpu_blocks_override: Option<u32>,
    /// Bytes for the KV cache, whatever the utilisation says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_cache_memory_bytes: Option<u64>,
    /// Tokens computed at a time (llama.cpp's `--ubatch-size`); of engines that split a step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub micro_batch: Option<u32>,
    /// Devices that share every layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensor_parallel_size: Option<u32>,
    /// Engines with requests of their own that share the experts of a mixture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_parallel_size: Option<u32>,
    /// A router of one's own in front of the engines (taken to go round in turn) instead of vLLM's balancer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_parallel_external_lb: Option<bool>,
    /// Whole experts per device instead of slices of all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_expert_parallel: Option<bool>,
}

/// What is wrong with a pasted line or a flag's value.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServeArgsError {
    /// A flag without its value.
    #[error("`{flag}` needs a value")]
    MissingValue {
        /// The flag.
        flag: String,
    },
    /// A value that is no such thing.
    #[error("`{flag}`: `{value}` is not {expected}")]
    BadValue {
        /// The flag.
        flag: String,
        /// What was given.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
}

/// A pasted line, understood as far as possible.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PastedLine {
    /// The settings that matter here.
    pub args: ServeArgs,
    /// Flags that do not change what is simulated (ports, keys, logging).
    pub ignored: Vec<String>,
    /// Flags that may change performance and are not modelled.
    pub unmodelled: Vec<String>,
}

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

/// An integer as vLLM's own parser takes it: `4096`, `32k` (32 000), `32K` (32 768), also `m`/`M`, `g`/`G`.
fn human_int(text: &str) -> Option<u64> {
    let (digits, factor) = match text.as_bytes().last()? {
        b'k' => (&text[..text.len() - 1], 1_000f64),
        b'K' => (&text[..text.len() - 1], 1024.0),
        b'm' => (&text[..text.len() - 1], 1e6),
        b'M' => (&text[..text.len() - 1], 1_048_576.0),
        b'g' => (&text[..text.len() - 1], 1e9),
        b'G' => (&text[..text.len() - 1], 1_073_741_824.0),
        _ => return text.parse().ok(),
    };
    let value = digits.parse::<f64>().ok()? * factor;
    ((0.0..1e18).contains(&value) && libm::floor(value) == value).then_some(value as u64)
}

impl ServeArgs {
    /// Reads the words of a `vllm serve MODEL --flag value …` line (with or without the first two words).
    /// Both `--flag value` and `--flag=value` are understood, underscores in place of dashes too, and
    /// `--no-flag` for switches.
    ///
    /// # Errors
    /// A known flag with a value that it cannot take, or without one.
    pub fn from_words<S: AsRef<str>>(words: &[S]) -> Result<PastedLine, ServeArgsError> {
        let mut words: std::collections::VecDeque<String> =
            words.iter().map(|w| w.as_ref().to_string()).collect();
        if words
            .front()
            .is_some_and(|w| w == "vllm" || w.ends_with("/vllm"))
        {
            words.pop_front();
        }
        if words.front().is_some_and(|w| w == "serve") {
            words.pop_front();
        }
        let mut line = PastedLine::default();
        while let Some(word) = words.pop_front() {
            if !word.starts_with("--") {
                if line.args.model.is_none() {
                    line.args.model = Some(word);
                } else if word != "\\" {
                    line.unmodelled.push(word);
                }
                continue;
            }
            let (flag, inline) = match word.split_once('=') {
                Some((f, v)) => (f.replace('_', "-"), Some(v.to_string())),
                None => (word.replace('_', "-"), None),
            };
            line.take(&flag, inline, &mut words)?;
        }
        Ok(line)
    }
}

impl PastedLine {
    fn take(
        &mut self,
        flag: &str,
        inline: Option<String>,
        rest: &mut std::collections::VecDeque<String>,
    ) -> Result<(), ServeArgsError> {
        let mut value = |expected: &'static str| -> Result<String, ServeArgsError> {
            if let Some(v) = &inline {
                return Ok(v.clone());
            }
            match rest.front() {
                Some(v) if !v.starts_with("--") => Ok(rest.pop_front().expect("just seen")),
                _ => Err(ServeArgsError::MissingValue {
                    flag: format!("{flag} ({expected})"),
                }),
            }
        };
        let int = |v: String, flag: &str| -> Result<u32, ServeArgsError> {
            human_int(&v)
                .and_then(|n| u32::try_from(n).ok())
                .ok_or(ServeArgsError::BadValue {
                    flag: flag.into(),
                    value: v,
                    expected: "a whole number below 4294967296",
                })
        };
        let a = &mut self.args;
        match flag {
            "--model" => a.model = Some(value("a model")?),
            "--dtype" => a.dtype = Some(value("a data type")?),
            "--quantization" | "-q" => a.quantization = Some(value("a quantisation")?),
            "--kv-cache-dtype" => a.kv_cache_dtype = Some(value("a data type")?),
            "--max-model-len" => a.max_model_len = Some(int(value("tokens")?, flag)?),
            "--max-num-seqs" => a.max_num_seqs = Some(int(value("sequences")?, flag)?),
            "--max-num-batched-tokens" => {
                a.max_num_batched_tokens = Some(int(value("tokens")?, flag)?)
            }
            "--block-size" => a.block_size = Some(int(value("tokens")?, flag)?),
            "--long-prefill-token-threshold" => {
                a.long_prefill_token_threshold = Some(int(value("tokens")?, flag)?)
            }
            "--num-gpu-blocks-override" => {
                a.num_gpu_blocks_override = Some(int(value("blocks")?, flag)?)
            }
            "--tensor-parallel-size" | "-tp" => {
                a.tensor_parallel_size = Some(int(value("devices")?, flag)?)
            }
            "--data-parallel-size" | "-dp" => {
                a.data_parallel_size = Some(int(value("engines")?, flag)?)
            }
            "--kv-cache-memory-bytes" | "--kv-cache-memory" => {
                let v = value("bytes")?;
                a.kv_cache_memory_bytes = Some(human_int(&v).ok_or(ServeArgsError::BadValue {
                    flag: flag.into(),
                    value: v,
                    expected: "a number of bytes",
                })?)
            }
            "--gpu-memory-utilization" => {
                let v = value("a fraction")?;
                match v.parse::<f64>() {
                    Ok(f) if f > 0.0 && f <= 1.0 => a.gpu_memory_utilization = Some(f),
                    _ => {
                        return Err(ServeArgsError::BadValue {
                            flag: flag.into(),
                            value: v,
                            expected: "a fraction above 0 and at most 1",
                        });
                    }
                }
            }
            "--scheduling-policy" => a.scheduling_policy = Some(value("fcfs or priority")?),
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
            _ => match HARMLESS.iter().find(|(f, _)| *f == flag) {
                Some((_, takes_value)) => {
                    if *takes_value {
                        value("a value")?;
                    }
                    self.ignored.push(flag.into());
                }
                None => {
                    // An unknown flag may or may not take a value: a following word without dashes is its.
                    let mut shown = flag.to_string();
                    if let Ok(v) = value("") {
                        shown = format!("{flag} {v}");
                    }
                    self.unmodelled.push(shown);
                }
            },
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn human_readable_integers_are_vllms() {
        assert_eq!(human_int("32k"), Some(32_000));
        assert_eq!(human_int("32K"), Some(32_768));
        assert_eq!(human_int("1.5k"), Some(1500));
        assert_eq!(human_int("-1"), None);
        assert_eq!(human_int("k"), None);
    }
}
