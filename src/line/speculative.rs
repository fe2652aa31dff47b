//! Speculative decoding as the engines' lines ask for it: vLLM's JSON or its dotted keys, llama-server's types.
use super::LineError;
use super::arguments::Given;
use super::read::Line;
use crate::engine::settings::*;
use serde_json::{Map, Value};

/// Keys of vLLM's `--speculative-config` that change neither speed nor memory where text is drawn, or say what is simulated (0.33.0,
/// `config/speculative.py`).
const HARMLESS: &[(&str, &[&str])] = &[
    ("revision", &[]),
    ("code_revision", &[]),
    ("prompt_lookup_max", &[]),
    ("prompt_lookup_min", &[]),
    ("draft_sample_method", &[]),
    ("draft_load_config", &[]),
    ("rejection_sample_method", &["standard", "synthetic"]),
    ("parallel_drafting", &["false"]),
    ("disable_padded_drafter_batch", &["false"]),
    ("disable_eagle_block_drop", &["false"]),
    ("use_heterogeneous_vocab", &["false"]),
];

/// `--speculative-config '{…}'` and `--speculative-config.KEY VALUE`.
pub(super) fn config(line: &mut Line, given: &Given) -> Result<(), LineError> {
    if let Some((_, key)) = given.typed.split_once('.') {
        let value = Value::String(given.value()?.into());
        return keys(line, Map::from_iter([(key.replace('-', "_"), value)]));
    }
    match serde_json::from_str(given.value()?) {
        Ok(Value::Object(o)) if o.is_empty() => {
            line.change(given.words());
            Ok(())
        }
        Ok(Value::Object(o)) => keys(line, o),
        _ => {
            Err(given
                .bad("a JSON object, as {\"method\": \"eagle3\", \"num_speculative_tokens\": 3}"))
        }
    }
}

/// A value as a flag would give it.
fn plain(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        other => other.to_string(),
    }
}

fn keys(line: &mut Line, all: Map<String, Value>) -> Result<(), LineError> {
    let wrong = |key: &str, value: &Value, expected: &str| LineError::BadValue {
        flag: format!("--speculative-config {key}"),
        value: plain(value),
        expected: expected.into(),
    };
    for (key, value) in all.iter().filter(|(_, v)| !v.is_null()) {
        let text = plain(value);
        match key.replace('-', "_").as_str() {
            "method" => line.settings.set(SPECULATIVE_METHOD, text),
            "model" => drafter(line, &text),
            "quantization" => line.settings.set(SPECULATIVE_QUANTIZATION, text),
            "num_speculative_tokens" => match text.parse::<u32>() {
                Ok(n) if n > 0 => line.settings.set(NUM_SPECULATIVE_TOKENS, n),
                _ => return Err(wrong(key, value, "a whole number from 1 on")),
            },
            "synthetic_acceptance_rates" => {
                let rates = value
                    .as_array()
                    .map(|a| a.iter().map(plain).collect::<Vec<_>>());
                match rates {
                    Some(rates) if !rates.is_empty() => line
                        .settings
                        .set(SPECULATIVE_ACCEPTANCE, by_position(&rates)),
                    _ => return Err(wrong(key, value, "a list of shares, one for each position")),
                }
            }
            "synthetic_acceptance_length" => {
                let drafts = all.get("num_speculative_tokens").and_then(Value::as_u64);
                match (text.parse::<f64>(), drafts) {
                    (Ok(length), Some(k)) if length >= 1.0 && length <= k as f64 + 1.0 => {
                        line.settings.set(
                            SPECULATIVE_ACCEPTANCE,
                            by_position(&least_spread(length, k)),
                        )
                    }
                    _ => {
                        let expected = "a mean from 1 to one more than num_speculative_tokens";
                        return Err(wrong(key, value, expected));
                    }
                }
            }
            "draft_tensor_parallel_size" => {
                let own = line
                    .settings
                    .get(TENSOR_PARALLEL_SIZE)
                    .unwrap_or(1)
                    .to_string();
                if text != own {
                    line.change(format!("--speculative-config {key}={text}"));
                }
            }
            name => {
                let harmless = HARMLESS.iter().find(|(k, _)| *k == name);
                let usual = |values: &[&str]| values.is_empty() || values.contains(&text.as_str());
                if !harmless.is_some_and(|(_, values)| usual(values)) {
                    line.change(format!("--speculative-config {key}={text}"));
                }
            }
        }
    }
    Ok(())
}

/// Shares by position; one alone holds for that position only.
fn by_position(shares: &[String]) -> String {
    match shares {
        [one] => format!("{one},0"),
        many => many.join(","),
    }
}

/// The shares that vLLM makes of a mean length: all drafts up to it, and part of one (`_acceptance_length_to_rates`, 0.32.0).
fn least_spread(length: f64, drafts: u64) -> Vec<String> {
    let accepted = length - 1.0;
    (0..drafts)
        .map(|i| (accepted - i as f64).clamp(0.0, 1.0).to_string())
        .collect()
}

/// What drafts: a model, or vLLM's `[ngram]` of before 0.8.
pub(super) fn drafter(line: &mut Line, name: &str) {
    match name {
        "[ngram]" | "ngram" => line.settings.set(SPECULATIVE_METHOD, "ngram".to_string()),
        model => line.settings.set(SPECULATIVE_MODEL, model.to_string()),
    }
}

/// The method of llama-server's `--spec-type` (common/arg.cpp, summer of 2026, and docs/speculative.md@067318e): of several the first.
pub(super) fn llama_type(name: &str) -> String {
    let first = name.split(',').next().unwrap_or(name).trim();
    let kind = first.strip_prefix("draft-").unwrap_or(first);
    match kind {
        "simple" | "draft" => "draft_model".into(),
        other if other.starts_with("ngram") => "ngram".into(),
        other => other.into(),
    }
}
