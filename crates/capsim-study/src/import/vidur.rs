//! Profiles of Vidur (microsoft/vidur, MIT: `data/profiling/compute/<device>/<model>/{mlp,attention}.csv`): milliseconds per
//! operator, `time_stats.<operator>.median`, over tokens or over (batch, chunk, KV), by number of tensor-parallel workers.
use super::ImportError;
use super::llmservingsim::Tables;

/// An operator of `mlp.csv` and the layer of [`Tables`] that it is.
const LAYERS: &[(&str, &str)] = &[
    ("emb", "embedding"),
    ("input_layernorm", "layernorm"),
    ("attn_pre_proj", "qkv_proj"),
    ("attn_rope", "rotary_emb"),
    ("attn_post_proj", "o_proj"),
    ("mlp_up_proj", "gate_up_proj"),
    ("mlp_act", "act_fn"),
    ("mlp_down_proj", "down_proj"),
];

/// A CSV whose cells are asked for by column.
struct Sheet {
    header: csv::StringRecord,
    rows: Vec<csv::StringRecord>,
    name: String,
}

impl Sheet {
    fn read(text: &str, name: &str) -> Result<Self, ImportError> {
        let bad = |line: u64, problem: String| ImportError::Line {
            file: name.into(),
            line,
            problem,
        };
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .from_reader(text.as_bytes());
        let header = reader.headers().map_err(|e| bad(1, e.to_string()))?.clone();
        let mut rows = vec![];
        for r in reader.records() {
            rows.push(r.map_err(|e| bad(rows.len() as u64 + 2, e.to_string()))?);
        }
        Ok(Self {
            header,
            rows,
            name: name.into(),
        })
    }

    fn column(&self, name: &str) -> Option<usize> {
        self.header.iter().position(|h| h == name)
    }

    fn needed(&self, name: &str) -> Result<usize, ImportError> {
        self.column(name).ok_or_else(|| ImportError::Line {
            file: self.name.clone(),
            line: 1,
            problem: format!("there is no column `{name}`"),
        })
    }

    /// A number from 0 to 1e9; an empty cell is none.
    fn number(&self, row: usize, column: usize) -> Result<Option<f64>, ImportError> {
        let cell = self.rows[row].get(column).unwrap_or_default();
        if cell.is_empty() || cell.eq_ignore_ascii_case("nan") {
            return Ok(None);
        }
        match cell.parse::<f64>() {
            Ok(v) if (0.0..=1e9).contains(&v) => Ok(Some(v)),
            _ => Err(ImportError::Line {
                file: self.name.clone(),
                line: row as u64 + 2,
                problem: format!(
                    "{} `{cell}` is not a number between 0 and 1e9",
                    &self.header[column]
                ),
            }),
        }
    }
}

/// Tables of one model on `tensor` devices. Times of 0 mean that nothing was measured, as Vidur writes it.
///
/// # Errors
/// Names the file, the line and the column; also if there is nothing for that number of devices.
pub fn tables(
    mlp: (&str, &str),
    attention: Option<(&str, &str)>,
    tensor: u32,
) -> Result<Tables, ImportError> {
    let sheet = Sheet::read(mlp.0, mlp.1)?;
    let (tokens, workers) = (
        sheet.needed("num_tokens")?,
        sheet.needed("num_tensor_parallel_workers")?,
    );
    let mut t = Tables::default();
    for (operator, layer) in LAYERS {
        let Some(column) = sheet.column(&format!("time_stats.{operator}.median")) else {
            continue;
        };
        let mut points: Vec<(u32, f64)> = vec![];
        for row in 0..sheet.rows.len() {
            let at = (
                sheet.number(row, workers)?,
                sheet.number(row, tokens)?,
                sheet.number(row, column)?,
            );
            if let (Some(w), Some(n), Some(ms)) = at
                && w == f64::from(tensor)
                && n >= 1.0
                && ms > 0.0
            {
                points.push((n as u32, ms * 1e-3));
            }
        }
        points.sort_by_key(|p| p.0);
        points.dedup_by_key(|p| p.0);
        if !points.is_empty() {
            t.dense.insert((*layer).into(), points);
        }
    }
    if t.dense.is_empty() {
        return Err(ImportError::File {
            file: mlp.1.into(),
            problem: format!("has no times of an operator on {tensor} workers"),
        });
    }
    let Some((text, name)) = attention else {
        return Ok(t);
    };
    let sheet = Sheet::read(text, name)?;
    let column = |c: &str| sheet.needed(c);
    let (batch, chunk, kv, kind, workers) = (
        column("batch_size")?,
        column("prefill_chunk_size")?,
        column("kv_cache_size")?,
        column("is_prefill")?,
        column("num_tensor_parallel_workers")?,
    );
    let (prefill, decode) = (
        column("time_stats.attn_prefill.median")?,
        column("time_stats.attn_decode.median")?,
    );
    for row in 0..sheet.rows.len() {
        let is_prefill = sheet.rows[row]
            .get(kind)
            .is_some_and(|c| c.eq_ignore_ascii_case("true"));
        let time = sheet.number(row, if is_prefill { prefill } else { decode })?;
        let (Some(w), Some(b), Some(c), Some(k), Some(ms)) = (
            sheet.number(row, workers)?,
            sheet.number(row, batch)?,
            sheet.number(row, chunk)?,
            sheet.number(row, kv)?,
            time,
        ) else {
            continue;
        };
        if w != f64::from(tensor) || ms <= 0.0 {
            continue;
        }
        if is_prefill && b == 1.0 && c > 0.0 {
            t.attention.push([c, k, 0.0, 0.0, ms * 1e-3]);
        } else if !is_prefill && b > 0.0 {
            t.attention.push([0.0, 0.0, b, k.max(1.0), ms * 1e-3]);
        }
    }
    Ok(t)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_and_zero_cells_are_no_measurements() {
        let mlp = "num_tokens,num_tensor_parallel_workers,time_stats.mlp_up_proj.median\n\
                   1,1,0.1\n2,1,0.0\n3,1,\n4,1,0.4\n4,2,0.2\n";
        let t = tables((mlp, "mlp.csv"), None, 1).unwrap();
        assert_eq!(t.dense["gate_up_proj"].len(), 2);
        assert!((t.dense["gate_up_proj"][1].1 - 4e-4).abs() < 1e-12);
        assert!(tables((mlp, "mlp.csv"), None, 4).is_err());
        let e = tables(("num_tokens\n1\n", "mlp.csv"), None, 1).unwrap_err();
        assert!(e.to_string().contains("num_tensor_parallel_workers"), "{e}");
    }
}
