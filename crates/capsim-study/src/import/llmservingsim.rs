//! Kernel tables of LLMServingSim's profiler (casys-kaist/LLMServingSim, `profiler/perf/<GPU>/<model>/<variant>/tp<N>`).
//!
//! Times are microseconds of one layer, measured inside vLLM with eager execution: kernels alone, no host time.
//! `dense.csv` has (layer, tokens), `per_sequence.csv` (layer, sequences), `attention.csv` a grid of (prefill chunk,
//! KV tokens before it, decoding sequences, KV tokens of each), `moe.csv` (tokens, activated experts).
use super::ImportError;
use super::fit;
use capsim::device::{
    AttentionTimes, ExpertTimes, KernelTimes, Origin, Provenance, Residual, RowShape, RowTimes,
};
use capsim::model::{AttentionDims, ExpertGemms, Model, Op, OpKind};
use std::collections::BTreeMap;

/// Times by layer, each over its rows.
pub type Layers = BTreeMap<String, Vec<(u32, f64)>>;

/// Decoding sequences of a mixed batch and what they add: ((chunk, n, kv), seconds added, seconds in all).
type Added = Vec<((f64, f64, f64), f64, f64)>;

/// One folder of tables: a model divided among `tp` devices. Seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tables {
    /// `dense.csv`.
    pub dense: Layers,
    /// `per_sequence.csv`.
    pub per_sequence: Layers,
    /// `attention.csv`: chunk, KV before it, decoding sequences, KV of each, seconds.
    pub attention: Vec<[f64; 5]>,
    /// `moe.csv`: tokens, activated experts, seconds.
    pub moe: Vec<(u32, u32, f64)>,
}

/// Rows of a CSV with these columns, in that order; further columns are left alone.
fn rows(text: &str, name: &str, columns: &[&str]) -> Result<Vec<(u64, Vec<String>)>, ImportError> {
    let bad = |line: u64, problem: String| ImportError::Line {
        file: name.into(),
        line,
        problem,
    };
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let header = reader.headers().map_err(|e| bad(1, e.to_string()))?.clone();
    let mut places = vec![];
    for c in columns {
        match header.iter().position(|h| h == *c) {
            Some(i) => places.push(i),
            None => return Err(bad(1, format!("there is no column `{c}`"))),
        }
    }
    let mut all = vec![];
    for record in reader.records() {
        let record = record.map_err(|e| bad(all.len() as u64 + 2, e.to_string()))?;
        let line = record.position().map_or(0, csv::Position::line);
        let cells = places
            .iter()
            .map(|&i| record.get(i).unwrap_or_default().to_string())
            .collect();
        all.push((line, cells));
    }
    if all.is_empty() {
        return Err(bad(1, "there are no rows".into()));
    }
    Ok(all)
}

/// A number within what any table holds.
fn number(cell: &str, name: &str, line: u64, column: &str) -> Result<f64, ImportError> {
    match cell.parse::<f64>() {
        Ok(v) if (0.0..=1e9).contains(&v) => Ok(v),
        _ => Err(ImportError::Line {
            file: name.into(),
            line,
            problem: format!("{column} `{cell}` is not a number between 0 and 1e9"),
        }),
    }
}

fn layers(text: &str, name: &str, rows_column: &str) -> Result<Layers, ImportError> {
    let mut all = Layers::new();
    for (line, cells) in rows(text, name, &["layer", rows_column, "time_us"])? {
        let n = number(&cells[1], name, line, rows_column)?;
        let t = number(&cells[2], name, line, "time_us")?;
        if n < 1.0 || n.fract() != 0.0 || t <= 0.0 {
            return Err(ImportError::Line {
                file: name.into(),
                line,
                problem: "needs a whole number of rows and a positive time".into(),
            });
        }
        all.entry(cells[0].clone())
            .or_default()
            .push((n as u32, t * 1e-6));
    }
    for points in all.values_mut() {
        points.sort_by_key(|p| p.0);
        points.dedup_by_key(|p| p.0);
    }
    Ok(all)
}

impl Tables {
    /// Reads the texts of one folder; `moe` where the model has experts. `folder` appears in errors.
    ///
    /// # Errors
    /// Names the file, the line and the column.
    pub fn parse(
        folder: &str,
        dense: &str,
        per_sequence: &str,
        attention: &str,
        moe: Option<&str>,
    ) -> Result<Self, ImportError> {
        let file = |name: &str| format!("{folder}/{name}");
        let mut t = Self {
            dense: layers(dense, &file("dense.csv"), "tokens")?,
            per_sequence: layers(per_sequence, &file("per_sequence.csv"), "sequences")?,
            ..Self::default()
        };
        let name = file("attention.csv");
        let columns = [
            "prefill_chunk",
            "kv_prefill",
            "n_decode",
            "kv_decode",
            "time_us",
        ];
        for (line, cells) in rows(attention, &name, &columns)? {
            let mut values = [0.0; 5];
            for (v, (cell, column)) in values.iter_mut().zip(cells.iter().zip(columns)) {
                *v = number(cell, &name, line, column)?;
            }
            values[4] *= 1e-6;
            if values[4] <= 0.0 || (values[0] == 0.0 && values[2] == 0.0) {
                return Err(ImportError::Line {
                    file: name,
                    line,
                    problem: "needs a chunk or decoding sequences, and a positive time".into(),
                });
            }
            t.attention.push(values);
        }
        if let Some(text) = moe {
            let name = file("moe.csv");
            let columns = ["tokens", "activated_experts", "time_us"];
            for (line, cells) in rows(text, &name, &columns)? {
                let tokens = number(&cells[0], &name, line, columns[0])?;
                let experts = number(&cells[1], &name, line, columns[1])?;
                let time = number(&cells[2], &name, line, columns[2])?;
                if tokens < 1.0 || experts < 1.0 || time <= 0.0 {
                    return Err(ImportError::Line {
                        file: name,
                        line,
                        problem: "needs tokens, experts and a time above 0".into(),
                    });
                }
                t.moe.push((tokens as u32, experts as u32, time * 1e-6));
            }
        }
        Ok(t)
    }
}

/// A layer of the tables and the operators that it stands for, the first one's shape being the kernel's.
const DENSE: &[(&str, &[&str])] = &[
    ("embedding", &["embed"]),
    ("layernorm", &["norm"]),
    ("qkv_proj", &["qkv_proj"]),
    ("qk_norm", &["qk_norm"]),
    ("rotary_emb", &["rotary"]),
    ("o_proj", &["o_proj"]),
    ("gate_up_proj", &["gate_up_proj"]),
    ("act_fn", &["act_and_mul"]),
    ("down_proj", &["down_proj"]),
];

/// The same of `per_sequence.csv`.
const PER_SEQUENCE: &[(&str, &[&str])] = &[
    ("lm_head", &["lm_head"]),
    ("sampler", &["sampling", "gather_sampled"]),
];

/// What an attention layer of vLLM runs, and so what its time holds.
const ATTENTION: &[&str] = &["attention", "kv_write"];

/// What a fused-MoE block of vLLM runs (its router included: no table of its own has it).
const EXPERTS: &[&str] = &[
    "experts",
    "router",
    "moe_route",
    "moe_act_and_mul",
    "moe_sum",
];

/// Lines of the fitted attention grids: decoding sequences and KV tokens; chunk and KV tokens before it. Coarser than
/// the measured grids by design: the fit averages, and what remains are our figures, not the table.
const DECODE_N: &[f64] = &[1.0, 2.0, 8.0, 32.0, 128.0, 256.0];
const DECODE_KV: &[f64] = &[16.0, 128.0, 512.0, 2048.0, 16384.0];
const CHUNK: &[f64] = &[16.0, 128.0, 256.0, 512.0, 1024.0, 2048.0];
const BEFORE: &[f64] = &[0.0, 128.0, 1024.0, 16384.0];
const MIXED_CHUNK: &[f64] = &[16.0, 256.0, 512.0, 1024.0, 2048.0];
const MIXED_N: &[f64] = &[1.0, 4.0, 16.0, 64.0, 128.0];
const MIXED_KV: &[f64] = &[16.0, 512.0, 1024.0, 2048.0, 4096.0, 16384.0];

/// Longest context before a chunk whose mixed batches count in the fit: a short chunk behind a longer one leaves most of the
/// device to the decoding sequences, so that they add less than they do elsewhere.
const MIXED_BEFORE: f64 = 4096.0;

/// Lines that lie within what was measured.
fn within(lines: &[f64], values: impl Iterator<Item = f64>) -> Vec<f64> {
    let (mut low, mut high) = (f64::INFINITY, 0.0f64);
    for v in values {
        low = low.min(v);
        high = high.max(v);
    }
    let mut all: Vec<f64> = lines
        .iter()
        .copied()
        .filter(|l| (low..=high).contains(l))
        .collect();
    if all.is_empty() && low.is_finite() {
        all.push(low);
    }
    all
}

fn attention(t: &Tables, dims: &AttentionDims) -> Option<AttentionTimes> {
    let of = |keep: &dyn Fn(&&[f64; 5]) -> bool| -> Vec<[f64; 5]> {
        t.attention.iter().filter(keep).copied().collect()
    };
    let decode = of(&|r| r[0] == 0.0);
    let prefill = of(&|r| r[2] == 0.0);
    let both = of(&|r| r[0] > 0.0 && r[2] > 0.0);
    if decode.is_empty() || prefill.is_empty() {
        return None;
    }
    let samples: Vec<fit::Sample> = decode.iter().map(|r| ((r[2], r[3]), r[4], r[4])).collect();
    let decode_grid = fit::grid(
        &within(DECODE_N, decode.iter().map(|r| r[2])),
        &within(DECODE_KV, decode.iter().map(|r| r[3])),
        &samples,
        f64::INFINITY,
    );
    let samples: Vec<fit::Sample> = prefill.iter().map(|r| ((r[0], r[1]), r[4], r[4])).collect();
    let prefill_grid = fit::grid(
        &within(CHUNK, prefill.iter().map(|r| r[0])),
        &within(BEFORE, prefill.iter().map(|r| r[1])),
        &samples,
        AttentionTimes::PER_TOKEN_FROM,
    );
    let alone: BTreeMap<(u64, u64), f64> = prefill
        .iter()
        .map(|r| ((r[0] as u64, r[1] as u64), r[4]))
        .collect();
    let added: Added = both
        .iter()
        .filter_map(|r| {
            let base = alone.get(&(r[0] as u64, r[1] as u64))?;
            if r[1] > MIXED_BEFORE {
                return None;
            }
            Some(((r[0], r[2], r[3]), r[4] - base, r[4]))
        })
        .collect();
    let mut times = AttentionTimes {
        covers: names(ATTENTION),
        q_heads: dims.q_heads,
        kv_heads: dims.kv_heads,
        head_dim: dims.head_dim,
        kv_element_bytes: dims.kv_block_bytes / 32,
        decode: decode_grid,
        prefill: prefill_grid,
        least_per_token: 0.0,
        mixed: vec![],
        residual: vec![],
    };
    if !added.is_empty() {
        times.mixed = fit::mixed(
            &within(MIXED_CHUNK, added.iter().map(|s| s.0.0)),
            &within(MIXED_N, added.iter().map(|s| s.0.1)),
            &within(MIXED_KV, added.iter().map(|s| s.0.2)),
            &added,
        );
    }
    let against = |rows: &[[f64; 5]]| -> Residual {
        fit::residual(
            rows.iter()
                .map(|r| times.at(r[2], r[3], r[0], r[1]).value / r[4] - 1.0)
                .collect(),
        )
    };
    times.residual = vec![against(&decode), against(&prefill), against(&both)];
    Some(times)
}

fn names(all: &[&str]) -> Vec<String> {
    all.iter().map(|s| s.to_string()).collect()
}

fn experts(t: &Tables, e: &ExpertGemms) -> Option<ExpertTimes> {
    if t.moe.is_empty() {
        return None;
    }
    let mut times = ExpertTimes {
        covers: names(EXPERTS),
        num_experts: e.of,
        top_k: e.top_k,
        hidden: e.hidden,
        intermediate: e.intermediate,
        points: fit::experts(&t.moe),
        residual: None,
    };
    times.residual = Some(fit::residual(
        t.moe
            .iter()
            .map(|&(n, d, s)| times.at(f64::from(n), f64::from(d)).value / s - 1.0)
            .collect(),
    ));
    Some(times)
}

fn row_times(points: &[(u32, f64)], op: &Op, covers: &[&str]) -> Option<RowTimes> {
    let shape = match &op.kind {
        OpKind::Gemm(g) | OpKind::Router(g) => RowShape::Matrix {
            out_features: g.out_features,
            in_features: g.in_features,
        },
        OpKind::Elementwise(p) => RowShape::Pass {
            bytes_per_row: p.bytes_per_token as u64,
        },
        _ => return None,
    };
    let (pieces, residual) = fit::pieces(points);
    Some(RowTimes {
        covers: names(covers),
        shape,
        pieces,
        residual: Some(residual),
    })
}

/// The kernel times of `model` (one device's part of it) in these tables, and layers that no operator of it answers to.
pub fn kernel_times(
    t: &Tables,
    model: &Model,
    engine: &str,
    source: &str,
) -> (KernelTimes, Vec<String>) {
    let mut k = KernelTimes {
        engine: engine.into(),
        format: "bf16".into(),
        rows: vec![],
        attention: vec![],
        attention_backend: None,
        experts: vec![],
        rel_sd: 0.03,
        provenance: Provenance {
            origin: Origin::Fitted,
            source: source.into(),
            note: "straight pieces over rows, bilinear grids over KV, lines over distinct experts, by least squares of the \
                   relative error; `residual` says how near; the measured times are not in this file. Clock and \
                   temperature move all of them together by about 3 % from run to run"
                .into(),
        },
    };
    let op = |name: &str| model.ops().iter().find(|o| o.name == name);
    let mut unknown = vec![];
    for (table, map) in [(&t.dense, DENSE), (&t.per_sequence, PER_SEQUENCE)] {
        for (layer, points) in table {
            let found = map
                .iter()
                .find(|(l, _)| l == layer)
                .and_then(|(_, covers)| Some((op(covers[0])?, *covers)));
            match found.and_then(|(o, covers)| row_times(points, o, covers)) {
                Some(times) => k.rows.push(times),
                // The final norm is one of the norms, and its input is only sampled rows.
                None if layer == "final_layernorm" => {}
                None => unknown.push(layer.clone()),
            }
        }
    }
    for o in model.ops() {
        match &o.kind {
            OpKind::Attention(a) if a.window.is_none() => k.attention.extend(attention(t, a)),
            OpKind::Experts(e) => k.experts.extend(experts(t, e)),
            _ => {}
        }
    }
    (k, unknown)
}
