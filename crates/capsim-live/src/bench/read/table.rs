//! Results as tables of values: a row per result or request whose columns are the keys of a JSON form (`vllm bench sweep`'s
//! `summary.csv`, Ollama's durations), and AIPerf's and GenAI-Perf's CSV, a row per metric.
use super::{Bad, Recording, aiperf, forms, guidellm, guidellm_csv};
use capsim::text;
use serde_json::{Map, Value, json};

/// The results of a table; `None`: the text is none that is known.
pub(super) fn read(text: &str) -> Result<Option<Vec<Recording>>, Bad> {
    let first = text
        .lines()
        .find(|l| !l.trim().is_empty())
        .unwrap_or_default();
    if let Some(separator) = text::separator(first)
        && first.trim_start().starts_with("Metric")
    {
        return aiperf::totals(&metrics(text, separator)?).map(|r| Some(vec![r]));
    }
    if guidellm_csv::is(first) {
        return guidellm::read(&guidellm_csv::json(text)?).map(Some);
    }
    let rows = text::table(text, forms::columns).map_err(|e| (e.place, e.problem))?;
    rows.and_then(|rows| forms::of_values(&rows)).transpose()
}

fn value(text: &str) -> Value {
    match text.parse::<f64>() {
        Ok(n) if n.is_finite() => json!(n),
        _ => Value::Null,
    }
}

/// AIPerf's CSV as its JSON: `Time to First Token (ms)` is the key `time_to_first_token` with the unit `ms`. Each block has a header of its
/// own: statistics, then `Metric,Value`.
fn metrics(text: &str, separator: u8) -> Result<Value, Bad> {
    let mut rows = csv::ReaderBuilder::new()
        .has_headers(false)
        .delimiter(separator)
        .trim(csv::Trim::All)
        .flexible(true)
        .from_reader(text.as_bytes());
    let mut header: Vec<String> = vec![];
    let mut all = Map::new();
    for row in rows.records() {
        let row = row.map_err(|e| ("(the whole file)".to_string(), e.to_string()))?;
        let name = row.get(0).unwrap_or_default();
        if name == "Metric" {
            header = row
                .iter()
                .map(|h| {
                    if h == "Value" {
                        "avg".into()
                    } else {
                        h.to_ascii_lowercase()
                    }
                })
                .collect();
            continue;
        }
        let (words, unit) = match name.rsplit_once('(') {
            Some((words, unit)) => (words.trim(), unit.trim_end_matches(')')),
            None => (name, ""),
        };
        let key: String = words.to_ascii_lowercase().replace([' ', '-'], "_");
        let mut of: Map<String, Value> = header
            .iter()
            .zip(&row)
            .skip(1)
            .map(|(k, v)| (k.clone(), value(&v.replace(',', ""))))
            .collect();
        if !unit.is_empty() {
            of.insert("unit".into(), unit.into());
        }
        all.insert(key, Value::Object(of));
    }
    Ok(Value::Object(all))
}
