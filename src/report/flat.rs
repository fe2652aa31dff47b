//! Results of many predictions as one table of columns: CSV and Parquet.
use super::page::worded;
use crate::predict::METRICS;
use anyhow::Context;
use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;
use serde_json::Value;
use std::io::Write;
use std::sync::Arc;

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

/// An Apache Parquet file with one row group: optional INT64, DOUBLE and UTF8 columns.
pub fn parquet(table: &Table) -> anyhow::Result<Vec<u8>> {
    let fields = table
        .columns
        .iter()
        .map(|(name, column)| {
            let (physical, logical) = match column {
                Column::Int(_) => (Physical::INT64, None),
                Column::Float(_) => (Physical::DOUBLE, None),
                Column::Text(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            };
            let field = Type::primitive_type_builder(name, physical)
                .with_repetition(Repetition::OPTIONAL)
                .with_logical_type(logical)
                .build()?;
            Ok(Arc::new(field))
        })
        .collect::<Result<Vec<_>, parquet::errors::ParquetError>>()?;
    let schema = Arc::new(
        Type::group_type_builder("results")
            .with_fields(fields)
            .build()?,
    );
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .build();
    let mut bytes = vec![];
    let mut file = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties))?;
    let mut group = file.next_row_group()?;
    for (_, column) in &table.columns {
        let mut writer = group.next_column()?.context("a column for every field")?;
        /// The values that are there, and a level per row that says which.
        fn split<T: Clone>(values: &[Option<T>]) -> (Vec<T>, Vec<i16>) {
            (
                values.iter().flatten().cloned().collect(),
                values.iter().map(|v| i16::from(v.is_some())).collect(),
            )
        }
        match column {
            Column::Int(v) => {
                let (values, levels) = split(v);
                writer
                    .typed::<Int64Type>()
                    .write_batch(&values, Some(&levels), None)?;
            }
            Column::Float(v) => {
                let (values, levels) = split(v);
                writer
                    .typed::<DoubleType>()
                    .write_batch(&values, Some(&levels), None)?;
            }
            Column::Text(v) => {
                let (values, levels) = split(v);
                let values: Vec<ByteArray> =
                    values.iter().map(|s| ByteArray::from(s.as_str())).collect();
                writer
                    .typed::<ByteArrayType>()
                    .write_batch(&values, Some(&levels), None)?;
            }
        }
        writer.close()?;
    }
    group.close()?;
    file.close()?;
    Ok(bytes)
}
