//! `llama-server` (llama.cpp `tools/server/README.md`@00dc8057ab, the list of its flags).
//!
//! Without `-np` it takes four slots that share one context (`tools/server/server.cpp`: "n_parallel is set to auto"); here every
//! slot has a context of its own, which is said. With `-np N` each has `-c` / N (unless `--kv-unified`).
use super::{LineError, PastedLine, Words, gguf};
use crate::device::Scheduler;
use crate::engine::settings::*;

/// Slots unless `-np` says otherwise.
const AUTO_SLOTS: u32 = 4;

/// Layers on the device from which on all are taken to be there: no model has as many, and lines say 99 or 999.
const ALL_LAYERS: i64 = 99;

/// Flags that change nothing a simulation knows of, with whether they take a value.
const HARMLESS: &[(&str, bool)] = &[
    ("--host", true),
    ("--port", true),
    ("--api-key", true),
    ("--api-key-file", true),
    ("-a", true),
    ("--alias", true),
    ("--path", true),
    ("--metrics", false),
    ("--slots", false),
    ("--no-slots", false),
    ("--props", false),
    ("--jinja", false),
    ("--no-jinja", false),
    ("--chat-template", true),
    ("--chat-template-file", true),
    ("--chat-template-kwargs", true),
    ("--reasoning-format", true),
    ("--reasoning-budget", true),
    ("--no-webui", false),
    ("--no-ui", false),
    ("--log-file", true),
    ("--log-disable", false),
    ("--log-prefix", false),
    ("--log-timestamps", false),
    ("-lv", true),
    ("--verbosity", true),
    ("--log-verbosity", true),
    ("-v", false),
    ("--verbose", false),
    ("--no-warmup", false),
    ("--warmup", false),
    ("--no-perf", false),
    ("--perf", false),
    ("--offline", false),
    ("-hft", true),
    ("--hf-token", true),
    ("--no-mmap", false),
    ("--mmap", false),
    ("--mlock", false),
    ("--no-mmproj", false),
    ("-to", true),
    ("--timeout", true),
    ("--threads-http", true),
    ("-cb", false),
    ("--cont-batching", false),
    ("--cache-prompt", false),
    ("--no-context-shift", false),
    ("--check-tensors", false),
    // Of the requests, which the load describes.
    ("-s", true),
    ("--seed", true),
    ("--temp", true),
    ("--temperature", true),
    ("--top-k", true),
    ("--top-p", true),
    ("--min-p", true),
    ("--repeat-penalty", true),
    ("--presence-penalty", true),
    ("--frequency-penalty", true),
    ("-n", true),
    ("--predict", true),
    ("--n-predict", true),
    // Of the host, which does nothing while the layers are on the device.
    ("-t", true),
    ("--threads", true),
    ("-tb", true),
    ("--threads-batch", true),
];

pub(super) fn read(words: &[&str]) -> Result<PastedLine, LineError> {
    let mut line = PastedLine {
        starts: Some(Scheduler::LlamaServer),
        ..PastedLine::default()
    };
    let mut words = Words::new(words, true);
    let (mut context, mut slots, mut unified) = (0, None, None);
    let mut values: Option<String> = None;
    while let Some(flag) = words.next() {
        let flag = flag.as_str();
        let a = &mut line.args;
        match flag {
            "-m" | "--model" => {
                let (model, weights) = gguf::of_file(&words.value(flag, "a file")?);
                line.model = Some(model);
                a.set(QUANTIZATION, weights);
            }
            "-hf" | "-hfr" | "--hf-repo" => {
                let (model, weights) = gguf::of_repo(&words.value(flag, "a repository")?);
                line.model = Some(model);
                a.set(QUANTIZATION, weights);
            }
            "-hff" | "--hf-file" => {
                let (_, weights) = gguf::of_file(&words.value(flag, "a file")?);
                a.set(QUANTIZATION, weights.or(a.get(QUANTIZATION).take()));
            }
            "-c" | "--ctx-size" => context = words.int(flag, "tokens")?,
            "-np" | "--parallel" => {
                let n = words.value(flag, "slots")?;
                // −1: as if it were not there.
                slots = match n.parse::<i64>() {
                    Ok(-1) => None,
                    Ok(n @ 1..=1_048_576) => Some(n as u32),
                    _ => {
                        return Err(LineError::BadValue {
                            flag: flag.into(),
                            value: n,
                            expected: "a number of slots, or -1",
                        });
                    }
                };
            }
            "-b" | "--batch-size" => a.set(MAX_NUM_BATCHED_TOKENS, words.int(flag, "tokens")?),
            "-ub" | "--ubatch-size" => a.set(MICRO_BATCH, words.int(flag, "tokens")?),
            "-ctk" | "--cache-type-k" => a.set(
                KV_CACHE_DTYPE,
                cache_type(words.value(flag, "a data type")?),
            ),
            "-ctv" | "--cache-type-v" => {
                values = Some(cache_type(words.value(flag, "a data type")?))
            }
            "--no-cache-prompt" => a.set(ENABLE_PREFIX_CACHING, false),
            "-kvu" | "--kv-unified" => unified = Some(true),
            "-no-kvu" | "--no-kv-unified" => unified = Some(false),
            "-fa" | "--flash-attn" => match words.optional().as_deref() {
                None | Some("on" | "auto" | "1" | "true") => line.ignored.push(flag.into()),
                Some(off) => line.unmodelled.push(format!("{flag} {off}")),
            },
            "-ngl" | "--gpu-layers" | "--n-gpu-layers" => {
                let n = words.value(flag, "layers")?;
                let all = matches!(n.as_str(), "all" | "auto" | "-1")
                    || n.parse::<i64>().is_ok_and(|n| n >= ALL_LAYERS);
                if all {
                    line.ignored.push(flag.into());
                } else {
                    line.unmodelled.push(format!("{flag} {n}"));
                }
            }
            _ if flag.starts_with('-') => line.other(flag, &mut words, HARMLESS)?,
            _ => line.stray(flag.into()),
        }
    }
    let a = &mut line.args;
    // One format for keys and values is what is simulated: the keys'.
    let keys = a.get(KV_CACHE_DTYPE).unwrap_or_else(|| "fp16".into());
    match values {
        Some(v) if v != keys => line
            .unmodelled
            .push(format!("-ctv {v} beside keys in {keys}")),
        _ => {}
    }
    let n = slots.unwrap_or(AUTO_SLOTS);
    a.set(MAX_NUM_SEQS, n);
    let unified = unified.unwrap_or(slots.is_none());
    if context > 0 {
        a.set(
            MAX_MODEL_LEN,
            if unified {
                context
            } else {
                (context / n).max(1)
            },
        );
    }
    if unified && n > 1 {
        line.unmodelled.push(format!(
            "--kv-unified{}: one context for all {n} slots; here each has its own",
            if slots.is_none() {
                " (the default without -np)"
            } else {
                ""
            }
        ));
    }
    Ok(line)
}

/// llama.cpp's names where they differ from the others'.
fn cache_type(name: String) -> String {
    match name.as_str() {
        "f16" => "fp16".into(),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<PastedLine, LineError> {
        read(&text.split_whitespace().collect::<Vec<_>>())
    }

    #[test]
    fn a_pasted_line_is_understood_as_llama_server_would() {
        let l = line(
            "-m /models/Qwen3-30B-A3B-Q4_K_M.gguf -c 32768 -np 8 -b 1024 -ub 256 -ngl 99 -fa on --host 0.0.0.0 \
             --port 8080 -ctk q8_0 -ctv q8_0 --temp -1 -ot exps=CPU --no-cache-prompt",
        )
        .unwrap();
        assert_eq!(l.model.as_deref(), Some("Qwen3-30B-A3B"));
        assert_eq!(l.args.get(QUANTIZATION).as_deref(), Some("q4_k_m"));
        // The context is all slots' together.
        assert_eq!(
            (l.args.get(MAX_NUM_SEQS), l.args.get(MAX_MODEL_LEN)),
            (Some(8), Some(4096))
        );
        assert_eq!(l.args.get(MAX_NUM_BATCHED_TOKENS), Some(1024));
        assert_eq!(l.args.get(MICRO_BATCH), Some(256));
        assert_eq!(l.args.get(KV_CACHE_DTYPE).as_deref(), Some("q8_0"));
        assert_eq!(l.args.get(ENABLE_PREFIX_CACHING), Some(false));
        assert_eq!(l.ignored, ["-ngl", "-fa", "--host", "--port", "--temp"]);
        assert_eq!(l.unmodelled, ["-ot exps=CPU"]);
    }

    #[test]
    fn what_is_left_unsaid_is_llama_servers_default() {
        let l = line("-hf unsloth/Qwen3-8B-GGUF -c 16384 -fa --jinja").unwrap();
        assert_eq!(l.args.get(QUANTIZATION).as_deref(), Some("q4_k_m"));
        assert_eq!(
            (l.args.get(MAX_NUM_SEQS), l.args.get(MAX_MODEL_LEN)),
            (Some(4), Some(16384))
        );
        assert_eq!(l.unmodelled.len(), 1);
        assert!(
            l.unmodelled[0].starts_with("--kv-unified"),
            "{:?}",
            l.unmodelled
        );
        let l = line("-m x.gguf -np 1 -c 0").unwrap();
        assert_eq!(
            (l.args.get(MAX_NUM_SEQS), l.args.get(MAX_MODEL_LEN)),
            (Some(1), None)
        );
        assert!(l.unmodelled.is_empty());
        let l = line("-m x.gguf -np 2 -ngl 20 -ctv q8_0 -fa off").unwrap();
        assert_eq!(
            l.unmodelled,
            ["-ngl 20", "-fa off", "-ctv q8_0 beside keys in fp16"]
        );
    }

    #[test]
    fn bad_values_name_their_flag() {
        let e = line("-m x.gguf -np many").unwrap_err().to_string();
        assert_eq!(e, "`-np`: `many` is not a number of slots, or -1");
        assert!(
            line("-c")
                .unwrap_err()
                .to_string()
                .contains("`-c (tokens)`")
        );
        assert!(line("-ub -5").is_err());
    }
}
