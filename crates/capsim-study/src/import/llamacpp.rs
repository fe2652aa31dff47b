//! Profiles from what llama.cpp's own tools print: `llama-bench` and `llama-batched-bench` ([`super::llama_bench`] reads them), and
//! `test-backend-ops perf`.
//!
//! The first two time a whole model; rates of streaming and arithmetic follow from its bytes and operations. The last times
//! single matrix products by shape and format.
use super::gpus::Gpu;
use super::{ImportError, Source, fit};
use capsim::device::{
    Curve, DeviceProfile, KernelTimes, Origin, Point, Provenance, RowShape, RowTimes,
};
use capsim::model::{Model, WeightFormat};
use std::collections::BTreeMap;

/// One timed thing that a whole model did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measure {
    /// A prompt of `tokens` after `depth` tokens of context.
    Prompt {
        /// Prompt tokens.
        tokens: f64,
        /// Tokens before.
        depth: f64,
        /// How long.
        seconds: f64,
    },
    /// One step of `batch` sequences of `depth` tokens each on average.
    Step {
        /// Sequences.
        batch: f64,
        /// Tokens of context.
        depth: f64,
        /// How long.
        seconds: f64,
    },
}

/// pp512, tg128 @ d4096 and the like as a measure; `None` for combined tests.
pub(super) fn test(name: &str, per_second: f64) -> Option<Measure> {
    let (what, depth) = match name.split_once('@') {
        Some((w, d)) => (w.trim(), d.trim().strip_prefix('d')?.parse().ok()?),
        None => (name.trim(), 0.0),
    };
    if let Some(n) = what.strip_prefix("pp") {
        let tokens: f64 = n.parse().ok()?;
        return prompt(tokens, depth, per_second);
    }
    let n: f64 = what.strip_prefix("tg")?.parse().ok()?;
    generation(n, depth, per_second)
}

pub(super) fn prompt(tokens: f64, depth: f64, per_second: f64) -> Option<Measure> {
    let ok = (1.0..=1e9).contains(&tokens) && (0.0..=1e9).contains(&depth) && per_second > 0.0;
    ok.then(|| Measure::Prompt {
        tokens,
        depth,
        seconds: tokens / per_second,
    })
}

pub(super) fn generation(tokens: f64, depth: f64, per_second: f64) -> Option<Measure> {
    let ok = (1.0..=1e9).contains(&tokens) && (0.0..=1e9).contains(&depth) && per_second > 0.0;
    ok.then(|| Measure::Step {
        batch: 1.0,
        depth: depth + tokens / 2.0,
        seconds: 1.0 / per_second,
    })
}

/// What a row of `llama-batched-bench` timed.
pub(super) fn batched(pp: f64, tg: f64, b: f64, t_pp: f64, t_tg: f64) -> Vec<Measure> {
    let mut all = vec![];
    let ok = |v: f64| (1.0..=1e9).contains(&v);
    if b == 1.0 && ok(pp) && t_pp > 0.0 {
        all.extend(prompt(pp, 0.0, pp / t_pp));
    }
    if ok(tg) && ok(b) && t_tg > 0.0 {
        all.push(Measure::Step {
            batch: b,
            depth: pp + tg / 2.0,
            seconds: t_tg / tg,
        });
    }
    all
}

fn curve(mut points: Vec<(f64, f64)>, source: &str, note: &str) -> Curve {
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Several measurements at one place: the fastest is what the device can do.
    let mut best: Vec<(f64, f64)> = vec![];
    for (x, y) in points {
        match best.last_mut() {
            Some(l) if l.0 == x => l.1 = l.1.max(y),
            _ => best.push((x, y)),
        }
    }
    Curve {
        points: best
            .into_iter()
            .map(|(x, y)| Point {
                x,
                y: fit::round(y),
                rel_sd: 0.05,
            })
            .collect(),
        provenance: Provenance {
            origin: Origin::Fitted,
            source: source.into(),
            note: note.into(),
        },
    }
}

/// Rows or tokens, and a rate or seconds there.
type Points = Vec<(f64, f64)>;

/// Bytes of weights that a token reads, and of cache per token of context.
fn bytes_of(model: &Model) -> (f64, f64) {
    (
        model.weight_bytes_per_token().as_f64(),
        model.kv_bytes_per_token().as_f64(),
    )
}

/// Most bytes per second of a lone sequence; 0: there is none.
fn stream_of(model: &Model, all: &[Measure]) -> f64 {
    let (weights, kv) = bytes_of(model);
    all.iter()
        .filter_map(|m| match m {
            Measure::Step {
                batch,
                depth,
                seconds,
            } if *batch == 1.0 => Some((weights + kv * depth) / seconds),
            _ => None,
        })
        .fold(0.0, f64::max)
}

/// Rows and operations per second, of prompts without context and of steps of several sequences; and seconds of those prompts
/// by their tokens.
fn rates_of(model: &Model, all: &[Measure], stream: f64) -> (Points, Points) {
    let (weights, kv) = bytes_of(model);
    let ops = 2.0 * model.parameters().multiplied() as f64;
    let dense = model.experts().is_none();
    let mut gemm = vec![];
    let mut prompts: Vec<(f64, f64)> = vec![];
    for m in all {
        match *m {
            Measure::Prompt {
                tokens,
                depth: 0.0,
                seconds,
            } => {
                gemm.push((tokens, ops * tokens / seconds));
                prompts.push((tokens, seconds));
            }
            Measure::Step {
                batch,
                depth,
                seconds,
            } if batch > 1.0 && dense => {
                let rest = seconds - kv * depth * batch / stream;
                if rest > 1.05 * weights / stream {
                    gemm.push((batch, ops * batch / rest));
                }
            }
            _ => {}
        }
    }
    (gemm, prompts)
}

/// Operations per second that context adds to a prompt, by the prompt's tokens. `prompts`: those without.
fn attention_of(model: &Model, all: &[Measure], prompts: &[(f64, f64)]) -> Points {
    let dims: f64 = model
        .ops()
        .iter()
        .filter_map(|o| match o.kind {
            capsim::model::OpKind::Attention(a) => Some(f64::from(o.layers) * a.ops_per_pair()),
            _ => None,
        })
        .sum();
    all.iter()
        .filter_map(|m| match *m {
            Measure::Prompt {
                tokens,
                depth,
                seconds,
            } if depth > 0.0 => {
                let (_, alone) = prompts.iter().find(|p| p.0 == tokens)?;
                let more = seconds - alone;
                (more > 0.0).then(|| (tokens, dims * tokens * depth / more))
            }
            _ => None,
        })
        .collect()
}

/// A device profile from a whole model's times: what an engine with that model achieves of the device, batch cliffs included.
///
/// Bytes per second of a lone sequence's step stream weights and cache; operations per second of prompts, and of steps
/// of several sequences of a dense model that take longer than streaming, are the arithmetic rate at so many rows;
/// prompts after context, where there are any, give attention's rate.
///
/// # Errors
/// Without a lone sequence's step or a prompt there is nothing to go by.
pub fn device(
    gpu: &Gpu,
    model: &Model,
    all: &[Measure],
    source: &Source,
    name: &str,
) -> Result<DeviceProfile, ImportError> {
    let bad = |problem: &str| ImportError::File {
        file: name.into(),
        problem: problem.into(),
    };
    let words = source.words();
    let stream = stream_of(model, all);
    if stream <= 0.0 {
        return Err(bad("needs a generation of one sequence (tg, or B = 1)"));
    }
    let (gemm, prompts) = rates_of(model, all, stream);
    if prompts.is_empty() {
        return Err(bad("needs a prompt without context before it (pp)"));
    }
    let mut attention = attention_of(model, all, &prompts);
    let known = !attention.is_empty();
    if !known {
        let best = gemm.iter().map(|p| p.1).fold(0.0, f64::max);
        attention.push((512.0, 0.4 * best));
    }
    let mut d = super::profile::bare(gpu, source);
    d.stream_read = curve(
        vec![(bytes_of(model).0.max(1.0), stream)],
        &words,
        "bytes of weights and cache per second of a lone sequence",
    );
    d.gemm_f16 = curve(
        gemm,
        &words,
        "operations per second of prompts, and of steps of several sequences, in the measured weight format",
    );
    d.attention_prefill = curve(
        attention,
        &words,
        if known {
            "operations per second that context adds to a prompt"
        } else {
            "two fifths of the matrix rate: no prompt after context was measured"
        },
    );
    if !known {
        d.attention_prefill.provenance.origin = Origin::Assumed;
    }
    d.elementwise = curve(
        vec![(1e6, 1e18)],
        &words,
        "no time of their own: passes are within the whole model's",
    );
    Ok(d)
}

/// The engine that goes with [`device`]: the rates there are what the engine itself achieved, host time included, so that
/// every efficiency is 1 and no host time is added. `like` gives the rest: scheduling rules and memory.
pub fn engine(
    like: &capsim::device::EngineProfile,
    device: &DeviceProfile,
    source: &Source,
) -> capsim::device::EngineProfile {
    let mut e = like.clone();
    e.id = format!("{}-as-measured", device.id);
    e.name = format!("As measured on {}", device.name);
    e.devices = vec![device.id.clone()];
    let names: Vec<String> = e.coefficients().into_iter().map(|(n, _)| n).collect();
    for name in names {
        let q = e.coefficient_mut(&name).expect("listed by the profile");
        let host = name.starts_with("host.");
        if name == "host.turnaround" || name == "host.front_end" {
            continue;
        }
        q.value = if host { 1e-9 } else { 1.0 };
        q.rel_sd = if host { 0.0 } else { 0.05 };
        q.provenance = Provenance {
            origin: Origin::Fitted,
            source: source.words(),
            note: "within the device profile's rates, which a whole model achieved".into(),
        };
    }
    e.provenance = Provenance {
        origin: Origin::Fitted,
        source: source.words(),
        note: format!(
            "goes with the device profile; scheduling and memory as {}",
            like.id
        ),
    };
    e
}

/// Times of `test-backend-ops perf`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Operators {
    /// `Device description`, if printed.
    pub device: Option<String>,
    /// Bytes of `Device memory`, if printed.
    pub memory: Option<f64>,
    /// (format, out, in) → (rows, seconds).
    pub products: BTreeMap<(String, u64, u64), Vec<(u32, f64)>>,
    /// Lines with times that are not used: by operator, how many.
    pub left_out: BTreeMap<String, u32>,
}

/// Reads the output of `test-backend-ops perf`; of several backends only the first with times.
///
/// # Errors
/// A line cut off, or no times at all.
pub fn operators(text: &str, name: &str) -> Result<Operators, ImportError> {
    let mut o = Operators::default();
    for (i, line) in text.lines().enumerate() {
        let l = line.trim();
        if l.starts_with("Backend ") && l.contains('/') && !o.products.is_empty() {
            break;
        }
        if let Some(d) = l.strip_prefix("Device description:") {
            o.device = Some(d.trim().to_string());
        }
        if let Some(m) = l.strip_prefix("Device memory:") {
            let mb: Option<f64> = m.split_whitespace().next().and_then(|v| v.parse().ok());
            o.memory = mb
                .filter(|v| (1.0..1e9).contains(v))
                .map(|v| v * 1_048_576.0);
        }
        let Some((op, rest)) = l.split_once('(') else {
            continue;
        };
        let Some((args, timing)) = rest.split_once("):") else {
            continue;
        };
        if !op
            .chars()
            .all(|c| c.is_ascii_uppercase() || c == '_' || c.is_ascii_digit())
        {
            continue;
        }
        let Some(us) = timing
            .split(" - ")
            .find_map(|p| p.trim().strip_suffix("us/run"))
        else {
            continue;
        };
        let bad = |problem: String| ImportError::Line {
            file: name.into(),
            line: i as u64 + 1,
            problem,
        };
        let us: f64 = match us.trim().parse() {
            Ok(v) if v > 0.0 && v < 1e9 => v,
            _ => {
                return Err(bad(format!(
                    "`{}` is not a number of microseconds",
                    us.trim()
                )));
            }
        };
        let arg = |key: &str| {
            args.split(',')
                .find_map(|p| p.trim().strip_prefix(key)?.strip_prefix('='))
        };
        let whole = |key: &str| arg(key).and_then(|v| v.parse::<u64>().ok());
        let format = arg("type_a").filter(|f| f.parse::<WeightFormat>().is_ok());
        // Batched and broadcast products (attention's own) have other shapes: bs=[1,1], nr=[1,1] are a layer's.
        let plain = ["bs=[1,1]", "nr=[1,1]"].iter().all(|p| args.contains(p));
        match (op, format, whole("m"), whole("n"), whole("k")) {
            ("MUL_MAT", Some(f), Some(m), Some(n), Some(k))
                if plain && m > 0 && k > 0 && (1..=1 << 20).contains(&n) =>
            {
                o.products
                    .entry((f.to_ascii_lowercase(), m, k))
                    .or_default()
                    .push((n as u32, us * 1e-6));
            }
            _ => *o.left_out.entry(op.to_string()).or_default() += 1,
        }
    }
    if o.products.is_empty() {
        return Err(ImportError::File {
            file: name.into(),
            problem: "holds no time of a MUL_MAT in a weight format that capsim knows (… us/run …)"
                .into(),
        });
    }
    for p in o.products.values_mut() {
        p.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        p.dedup_by_key(|p| p.0);
    }
    Ok(o)
}

impl Operators {
    /// Kernel times by format.
    pub fn kernel_times(&self, engine: &str, source: &Source) -> Vec<KernelTimes> {
        let mut all: Vec<KernelTimes> = vec![];
        for ((format, out, inner), points) in &self.products {
            let (pieces, residual) = fit::pieces(points);
            let row = RowTimes {
                covers: vec!["matrix".into()],
                shape: RowShape::Matrix {
                    out_features: *out,
                    in_features: *inner,
                },
                pieces,
                residual: Some(residual),
            };
            match all.iter_mut().find(|k| k.format == *format) {
                Some(k) => k.rows.push(row),
                None => all.push(KernelTimes {
                    engine: engine.into(),
                    format: format.clone(),
                    rows: vec![row],
                    attention: vec![],
                    attention_backend: None,
                    experts: vec![],
                    rel_sd: 0.05,
                    provenance: Provenance {
                        origin: Origin::Fitted,
                        source: source.words(),
                        note: "test-backend-ops perf: one product at a time, weights perhaps in a cache between repetitions"
                            .into(),
                    },
                }),
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made by hand in the format of llama.cpp b6000 (tests/test-backend-ops.cpp).
    #[test]
    fn operator_times_are_read_and_the_rest_is_counted() {
        let t = "Testing 2 devices\n\nBackend 1/2: CUDA0\n  Device description: Some GPU\n  Device memory: 1024 MB (1000 MB free)\n\n\
            \x20 MUL_MAT(type_a=q4_K,type_b=f32,m=4096,n=1,k=14336,bs=[1,1],nr=[1,1],per=[0,1,2,3],v=0):  22152 runs -    45.22 us/run - 117.44 MFLOP/run -   2.60 TFLOPS\n\
            \x20 MUL_MAT(type_a=q4_K,type_b=f32,m=4096,n=2,k=14336,bs=[1,1],nr=[1,1],per=[0,1,2,3],v=0):  22152 runs -    46.00 us/run - 117.44 MFLOP/run -   2.60 TFLOPS\n\
            \x20 MUL_MAT(type_a=tq9_9,type_b=f32,m=4096,n=1,k=14336,bs=[1,1],nr=[1,1],per=[0,1,2,3],v=0):  2 runs -    46.00 us/run - 1 MFLOP/run -   2.60 TFLOPS\n\
            \x20 MUL_MAT_ID(type_a=q4_K,type_b=f32,n_mats=128,n_used=8,b=0,m=768,n=1,k=2048):  2 runs -    46.00 us/run - 1 MFLOP/run - 2.60 TFLOPS\n\
            \x20 MUL_MAT(type_a=bf16,type_b=f32,m=4096,n=1,k=14336,bs=[1,1],nr=[1,1],per=[0,1,2,3]): not supported\n";
        let o = operators(t, "ops.txt").unwrap();
        assert_eq!(o.products.len(), 1);
        assert_eq!(o.products[&("q4_k".to_string(), 4096, 14336)].len(), 2);
        assert_eq!(o.left_out["MUL_MAT"], 1);
        assert_eq!(o.left_out["MUL_MAT_ID"], 1);
        assert_eq!(o.device.as_deref(), Some("Some GPU"));
        assert!(operators("nothing", "x").is_err());
    }
}
