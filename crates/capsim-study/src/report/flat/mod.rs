//! Results of many predictions as one table of columns: CSV and, with the feature `parquet`, Parquet.
#[cfg(feature = "parquet")]
mod parquet;
use super::escape;
use super::json::listing::SweepPoint;
use super::json::{Figure, Point};
use super::page::worded;
use capsim::predict::METRICS;
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

/// A figure of a prediction.
type Of<T> = fn(&Point) -> T;

/// An end of an interval, or what lies in it.
type Part = fn(&Figure) -> Option<f64>;

/// Whole figures of a prediction beside its metrics, by the names of their columns.
const COUNTS: &[(&str, Of<u64>)] = &[
    ("completed", |p| p.completed),
    ("refused_requests", |p| p.refused),
    ("total_input_tokens", |p| p.total_input_tokens),
    ("total_output_tokens", |p| p.total_output_tokens),
    ("num_gpu_blocks", |p| p.settings.num_gpu_blocks.into()),
    ("steps", |p| p.occupancy.steps),
    ("preemptions", |p| p.occupancy.preemptions),
];

/// The others.
const FIGURES: &[(&str, Of<Option<f64>>)] = &[
    ("batch", |p| p.occupancy.batch),
    ("waiting", |p| p.occupancy.waiting),
    ("kv_usage_mean", |p| p.occupancy.kv_usage_mean),
    ("kv_usage_max", |p| p.occupancy.kv_usage_max),
    ("prefix_hit_rate", |p| p.occupancy.prefix_hit_rate),
    ("distinct_experts", |p| p.occupancy.distinct_experts),
];

/// A flag's values: whole numbers or numbers if all are, else words.
fn flag(name: &str, rows: &[SweepPoint]) -> Column {
    let words: Vec<Option<String>> = rows.iter().map(|r| r.flags.get(name).map(worded)).collect();
    let given = || words.iter().flatten();
    if given().all(|w| w.parse::<i64>().is_ok()) {
        Column::Int(words.iter().map(|w| w.as_ref()?.parse().ok()).collect())
    } else if given().all(|w| w.parse::<f64>().is_ok()) {
        Column::Float(words.iter().map(|w| w.as_ref()?.parse().ok()).collect())
    } else {
        Column::Text(words)
    }
}

/// The table of rows as `sweep` merges them: `index`, `hash`, the flags that vary, what was refused, every metric with its interval,
/// and what the engine was doing.
pub fn table(dimensions: &[String], rows: &[SweepPoint]) -> Table {
    fn each<T>(rows: &[SweepPoint], of: impl Fn(&Point) -> Option<T>) -> Vec<Option<T>> {
        rows.iter().map(|r| of(r.prediction.as_ref()?)).collect()
    }
    let index = rows.iter().map(|r| Some(r.index as i64)).collect();
    let hash = rows.iter().map(|r| Some(r.hash.clone())).collect();
    let mut columns = vec![
        ("index".to_string(), Column::Int(index)),
        ("hash".to_string(), Column::Text(hash)),
    ];
    columns.extend(dimensions.iter().map(|d| (d.clone(), flag(d, rows))));
    let refused = rows.iter().map(|r| r.refused.clone()).collect();
    columns.push(("refused".into(), Column::Text(refused)));
    let binds = each(rows, |p| Some(p.binds.clone()));
    columns.push(("binds".into(), Column::Text(binds)));
    let parts: [(&str, Part); 3] = [
        ("", |f| f.value),
        ("_low", |f| f.low),
        ("_high", |f| f.high),
    ];
    for m in METRICS {
        for (suffix, part) in parts {
            let values = each(rows, |p| part(p.metrics.get(m)?));
            columns.push((format!("{m}{suffix}"), Column::Float(values)));
        }
    }
    for (name, of) in COUNTS {
        let values = each(rows, |p| Some(of(p) as i64));
        columns.push((name.to_string(), Column::Int(values)));
    }
    for (name, of) in FIGURES {
        columns.push((name.to_string(), Column::Float(each(rows, of))));
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
            Column::Text(v) => escape::field(v[i].as_deref().unwrap_or_default()),
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
