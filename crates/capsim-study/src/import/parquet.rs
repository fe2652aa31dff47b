//! Tables in Parquet files: the columns that are asked for, row by row.
use super::ImportError;

/// A cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// A text.
    Text(String),
    /// Any number.
    Number(f64),
}

impl Cell {
    /// As a number; 0 for a text.
    pub fn number(&self) -> f64 {
        match self {
            Cell::Number(v) => *v,
            Cell::Text(_) => 0.0,
        }
    }
    /// As a whole number.
    pub fn whole(&self) -> u64 {
        self.number() as u64
    }
    /// As a text; empty for a number.
    pub fn text(&self) -> &str {
        match self {
            Cell::Text(t) => t,
            Cell::Number(_) => "",
        }
    }
}

/// Rows of a Parquet file, with these columns in that order.
///
/// # Errors
/// Not a Parquet file, damaged, or without one of the columns.
pub fn rows(bytes: &[u8], name: &str, columns: &[&str]) -> Result<Vec<Vec<Cell>>, ImportError> {
    let bad = |problem: String| ImportError::File {
        file: name.into(),
        problem,
    };
    // Some damaged files make the reader panic; to its caller that is one more way not to be a Parquet file.
    let read = std::panic::catch_unwind(|| read::rows(bytes, columns));
    match read {
        Ok(Ok(rows)) => Ok(rows),
        Ok(Err(problem)) => Err(bad(problem)),
        Err(_) => Err(bad("is damaged: its pages cannot be decoded".into())),
    }
}

/// This build reads no Parquet.
#[cfg(not(feature = "parquet"))]
mod read {
    use super::Cell;

    pub fn rows(_: &[u8], _: &[&str]) -> Result<Vec<Vec<Cell>>, String> {
        Err("this build of capsim reads no Parquet: build it with --features parquet".into())
    }
}

#[cfg(feature = "parquet")]
mod read {
    use super::Cell;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;
    use std::collections::BTreeMap;

    /// Most rows of a table: a file that claims more is damaged.
    const MOST_ROWS: i64 = 50_000_000;

    pub fn rows(bytes: &[u8], columns: &[&str]) -> Result<Vec<Vec<Cell>>, String> {
        let reader = SerializedFileReader::new(bytes::Bytes::copy_from_slice(bytes))
            .map_err(|e| format!("is no Parquet file: {e}"))?;
        let meta = reader.metadata().file_metadata();
        if !(0..=MOST_ROWS).contains(&meta.num_rows()) {
            return Err(format!("claims {} rows", meta.num_rows()));
        }
        let known: Vec<String> = meta
            .schema_descr()
            .columns()
            .iter()
            .map(|c| c.name().to_string())
            .collect();
        for c in columns {
            if !known.iter().any(|k| k == c) {
                return Err(format!(
                    "there is no column `{c}`; there are: {}",
                    known.join(", ")
                ));
            }
        }
        let mut all = vec![];
        for row in reader.get_row_iter(None).map_err(|e| e.to_string())? {
            let row = row.map_err(|e| format!("row {}: {e}", all.len() + 1))?;
            let cells: BTreeMap<&str, Cell> = row
                .get_column_iter()
                .filter_map(|(n, f)| Some((n.as_str(), cell(f)?)))
                .collect();
            let wanted: Option<Vec<Cell>> = columns.iter().map(|c| cells.get(c).cloned()).collect();
            match wanted {
                Some(w) => all.push(w),
                None => {
                    return Err(format!(
                        "row {}: an empty cell among {}",
                        all.len() + 1,
                        columns.join(", ")
                    ));
                }
            }
        }
        Ok(all)
    }

    fn cell(f: &Field) -> Option<Cell> {
        Some(match f {
            Field::Str(s) => Cell::Text(s.clone()),
            Field::Byte(v) => Cell::Number(f64::from(*v)),
            Field::Short(v) => Cell::Number(f64::from(*v)),
            Field::Int(v) => Cell::Number(f64::from(*v)),
            Field::Long(v) => Cell::Number(*v as f64),
            Field::UByte(v) => Cell::Number(f64::from(*v)),
            Field::UShort(v) => Cell::Number(f64::from(*v)),
            Field::UInt(v) => Cell::Number(f64::from(*v)),
            Field::ULong(v) => Cell::Number(*v as f64),
            Field::Float(v) => Cell::Number(f64::from(*v)),
            Field::Double(v) => Cell::Number(*v),
            Field::Bool(v) => Cell::Number(f64::from(u8::from(*v))),
            _ => return None,
        })
    }
}
