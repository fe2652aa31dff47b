//! Results of many predictions as one table of columns: CSV and, with the feature `parquet`, Parquet.
#[cfg(feature = "parquet")]
mod parquet;
use super::page::worded;
use capsim::predict::METRICS;
use serde_json::Value;
use std::io::Write;

/// A column; a missing value is `None`.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// Whole numbers.
    Int(Vec<Option<i64>>),
    /// Numbers.
    Float(Vec<Option<f64>>),
    /// Words.
    Text(Vec<Option<String>>),
}

/// Columns of equal length under their names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Name and values.
    pub columns: Vec<(String, Column)>,
}

/// Figures of a prediction beside its metrics: column name, place in the JSON, whether whole.
const FIGURES: &[(&str, &str, bool)] = &[
    ("completed", "/prediction/completed", true),
    ("refused_requests", "/prediction/refused", true),
    ("total_input_tokens", "/prediction/total_input_tokens", true),
    (
        "total_output_tokens",
        "/prediction/total_output_tokens",
        true,
    ),
    (
        "num_gpu_blocks",
        "/prediction/settings/num_gpu_blocks",
        true,
    ),
    ("steps", "/prediction/occupancy/steps", true),
    ("preemptions", "/prediction/occupancy/preemptions", true),
    ("batch", "/prediction/occupancy/batch", false),
    ("waiting", "/prediction/occupancy/waiting", false),
    (
        "kv_usage_mean",
        "/prediction/occupancy/kv_usage_mean",
        false,
    ),
    ("kv_usage_max", "/prediction/occupancy/kv_usage_max", false),
    (
        "prefix_hit_rate",
        "/prediction/occupancy/prefix_hit_rate",
        false,
    ),
    (
        "distinct_experts",
        "/prediction/occupancy/distinct_experts",
        false,
    ),
];

/// The table of rows as `sweep` merges them: `index`, `hash`, the flags that vary, what was refused, every metric with its interval,
/// and what the engine was doing.
pub fn table(dimensions: &[String], rows: &[Value]) -> Table {
    let text = |place: &str| -> Vec<Option<String>> {
        rows.iter()
            .map(|r| r.pointer(place).and_then(Value::as_str).map(String::from))
            .collect()
    };
    let float = |place: &str| -> Vec<Option<f64>> {
        rows.iter()
            .map(|r| r.pointer(place).and_then(Value::as_f64))
            .collect()
    };
    let int = |place: &str| -> Vec<Option<i64>> {
        rows.iter()
            .map(|r| r.pointer(place).and_then(Value::as_i64))
            .collect()
    };
    let mut columns = vec![
        ("index".to_string(), Column::Int(int("/index"))),
        ("hash".to_string(), Column::Text(text("/hash"))),
    ];
    for d in dimensions {
        let words: Vec<Option<String>> =
            rows.iter().map(|r| r["flags"].get(d).map(worded)).collect();
        let given = || words.iter().flatten();
        let column = if given().all(|w| w.parse::<i64>().is_ok()) {
            Column::Int(words.iter().map(|w| w.as_ref()?.parse().ok()).collect())
        } else if given().all(|w| w.parse::<f64>().is_ok()) {
            Column::Float(words.iter().map(|w| w.as_ref()?.parse().ok()).collect())
        } else {
            Column::Text(words)
        };
        columns.push((d.clone(), column));
    }
    columns.push(("refused".into(), Column::Text(text("/refused"))));
    columns.push(("binds".into(), Column::Text(text("/prediction/binds"))));
    for m in METRICS {
        for (suffix, key) in [("", "value"), ("_low", "low"), ("_high", "high")] {
            columns.push((
                format!("{m}{suffix}"),
                Column::Float(float(&format!("/prediction/metrics/{m}/{key}"))),
            ));
        }
    }
    for (name, place, whole) in FIGURES {
        let column = if *whole {
            Column::Int(int(place))
        } else {
            Column::Float(float(place))
        };
        columns.push((name.to_string(), column));
    }
    Table { columns }
}

/// Comma-separated values with a header; missing values are empty.
pub fn csv(table: &Table, out: &mut impl Write) -> anyhow::Result<()> {
    let mut w = csv::Writer::from_writer(out);
    w.write_record(table.columns.iter().map(|(n, _)| n))?;
    let len = match table.columns.first() {
        Some((_, Column::Int(v))) => v.len(),
        Some((_, Column::Float(v))) => v.len(),
        Some((_, Column::Text(v))) => v.len(),
        None => 0,
    };
    for i in 0..len {
        w.write_record(table.columns.iter().map(|(_, c)| match c {
            Column::Int(v) => v[i].map_or(String::new(), |x| x.to_string()),
            Column::Float(v) => v[i].map_or(String::new(), |x| x.to_string()),
            Column::Text(v) => v[i].clone().unwrap_or_default(),
        }))?;
    }
    w.flush()?;
    Ok(())
}

/// An Apache Parquet file with one row group: optional INT64, DOUBLE and UTF8 columns. `None`: this build writes none (feature
/// `parquet`).
///
/// # Errors
/// What Parquet cannot hold.
pub fn parquet(table: &Table) -> anyhow::Result<Option<Vec<u8>>> {
    #[cfg(feature = "parquet")]
    let file = Some(parquet::file(table)?);
    #[cfg(not(feature = "parquet"))]
    let file = {
        let _ = table;
        None
    };
    Ok(file)
}
