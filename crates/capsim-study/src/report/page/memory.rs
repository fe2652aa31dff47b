//! What fits: where the device memory goes, how many requests of which length the KV cache holds, and what would make it fit.
use super::super::bars::Bars;
use super::super::chart::{escape, short};
use super::{PageError, Picture, Section, array, figure, list, table};
use capsim::units::Bytes;
use serde_json::Value;

/// Parts of the device memory: their names, and where the answer has them.
const PARTS: [(&str, &str); 4] = [
    ("weights", "weights"),
    ("activations", "activations"),
    ("runtime", "non_torch"),
    ("KV cache", "kv_cache"),
];

fn number(value: &Value, key: &str) -> Result<f64, PageError> {
    value[key]
        .as_f64()
        .ok_or_else(|| PageError::Missing(key.into()))
}

fn size(bytes: f64) -> String {
    Bytes(bytes.max(0.0) as u64).to_string()
}

/// Whether it fits, and why not.
fn verdict(value: &Value) -> String {
    let problem = value["problem"].as_str().unwrap_or("");
    match (value["fits"].as_bool(), value["starts"].as_bool()) {
        (Some(true), _) => "It fits.".into(),
        (_, Some(true)) => format!("It does not fit: the engine starts, but {problem}."),
        _ => format!("It does not fit: {problem}."),
    }
}

/// Requests of each length that the KV cache holds.
fn held(value: &Value) -> Result<String, PageError> {
    let rows: Vec<Vec<String>> = array(value, "table")?
        .iter()
        .map(|r| {
            let at = |key: &str| r[key].as_u64().map_or("–".into(), |n| n.to_string());
            vec![
                at("context"),
                at("blocks"),
                r["bytes"].as_f64().map_or("–".into(), size),
                at("held"),
                at("running"),
            ]
        })
        .collect();
    let head = [
        "tokens per request",
        "KV blocks",
        "KV",
        "KV holds",
        "run at once",
    ]
    .map(String::from);
    Ok(match rows.is_empty() {
        true => String::new(),
        false => table("Requests that the KV cache holds", &head, &rows),
    })
}

/// Changes that make it fit, and flags that are not modelled.
fn remarks(value: &Value) -> Vec<String> {
    let mut all: Vec<String> = vec![];
    for way in value["ways"].as_array().into_iter().flatten() {
        let change = way["change"].as_str().unwrap_or("?");
        let same = match way["same_answers"].as_bool() {
            Some(false) => ", which changes answers",
            _ => "",
        };
        let tokens = way["kv_tokens"].as_u64().unwrap_or(0);
        all.push(format!("fits with {change}{same}: {tokens} KV tokens"));
    }
    if let Some(b) = value["device_needed"].as_f64() {
        all.push(format!("fits unchanged on a device with {}", size(b)));
    }
    if let Some(mean) = value["preempts_at"].as_f64() {
        all.push(format!(
            "with {} requests running, the KV cache is full beyond {} tokens each on average",
            value["max_num_seqs"],
            short(mean)
        ));
    }
    let notes = value["notes"].as_array().into_iter().flatten();
    all.extend(notes.filter_map(|n| Some(n.as_str()?.into())));
    for flag in value["unmodelled"].as_array().into_iter().flatten() {
        if let Some(flag) = flag.as_str() {
            all.push(format!("`{flag}` may matter and is not modelled"));
        }
    }
    all
}

pub fn section(value: &Value) -> Result<Section, PageError> {
    let total = number(value, "total")?;
    let mut sizes: Vec<(&str, f64)> = vec![];
    for (name, key) in PARTS {
        sizes.push((name, number(value, key)?));
    }
    let used: f64 = sizes.iter().map(|s| s.1).sum();
    if used < total {
        sizes.push(("left alone", total - used));
    }
    let bars = Bars {
        title: "Where the memory goes".into(),
        parts: sizes.iter().map(|s| s.0.to_string()).collect(),
        rows: vec![(
            format!(
                "{} of {} on the device ({:.0} %)",
                size(used),
                size(total),
                100.0 * used / total
            ),
            sizes.iter().map(|s| s.1).collect(),
        )],
    };
    let rows: Vec<Vec<String>> = sizes
        .iter()
        .map(|(name, b)| {
            let share = format!("{:.1} %", 100.0 * b / total);
            vec![name.to_string(), size(*b), share]
        })
        .collect();
    let head = ["part", "size", "share of the device"].map(String::from);
    let picture = Picture::from(bars);
    let body = format!(
        "<p class=\"note\">{} {} KV blocks of {} tokens, max-model-len {}, max-num-seqs {}.</p>\n",
        escape(&verdict(value)),
        value["num_gpu_blocks"],
        value["block_size"],
        value["max_model_len"],
        value["max_num_seqs"]
    ) + "<div class=\"charts\">\n"
        + &figure(&picture, "")
        + "</div>\n"
        + &table("Memory", &head, &rows)
        + &held(value)?
        + &list(&remarks(value));
    Ok(Section {
        title: "Memory".into(),
        body,
        pictures: vec![picture],
    })
}
