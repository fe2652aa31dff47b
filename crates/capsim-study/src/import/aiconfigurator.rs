//! Operator databases of AIConfigurator (ai-dynamo/aiconfigurator; PyPI package `aiconfigurator-core`, Apache-2.0): Parquet
//! tables of one operator each, `systems/data/<system>/<family>/<backend>/<version>/`. Latencies are milliseconds per
//! launch, replayed from CUDA graphs.
use super::fit;
use super::gpus::Gpu;
use super::links::AllReduces;
use super::parquet::{Cell, rows};
use super::{ImportError, Source};
use capsim::device::{
    AttentionTimes, DeviceProfile, ExpertPoint, ExpertTimes, Grid, KernelTimes, Origin, Provenance,
    RowShape, RowTimes,
};
use capsim::model::{Model, OpKind};
use std::collections::BTreeMap;

/// A matrix product: rows, out, in, seconds.
type Product = (u32, u64, u64, f64);

/// Query heads, key/value heads, width of a head.
type Heads = (u32, u32, u32);

/// Two coordinates and seconds.
type Timed = (f64, f64, f64);

/// What of a database describes bf16 models.
#[derive(Clone, Debug, Default)]
pub struct Database {
    /// `gemm_perf`.
    gemm: Vec<Product>,
    /// `generation_attention_perf`: (query heads, kv heads, head width) → (sequences, KV tokens of each, seconds).
    decode: BTreeMap<Heads, Vec<Timed>>,
    /// `context_attention_perf`: the same → (prompts, tokens of each, seconds).
    prefill: BTreeMap<Heads, Vec<Timed>>,
    /// `moe_perf`: (hidden, inner width on a device, top k, experts) → (tokens, distinct experts, seconds).
    moe: BTreeMap<(u64, u64, u32, u32), Vec<Timed>>,
    /// All-reduce: (devices, bytes, seconds).
    all_reduce: AllReduces,
}

/// Distinct experts of one device among the choices of `tokens`, under the routing that a row's label names.
///
/// `balanced` gives every expert the same number of tokens, so that min(E, k · tokens) are touched. `power_law_α`: the
/// collector draws each expert's share from a power law of exponent α between 1 and 0.8 · tokens, scales the shares to
/// k · tokens in all and rounds (`collector/helper.py: power_law_logits_v3`); its quantiles stand in for the draw here.
pub fn distinct_of(label: &str, tokens: u64, top_k: u32, experts: u32) -> Option<f64> {
    let slots = tokens as f64 * f64::from(top_k);
    let e = f64::from(experts);
    let most = slots.min(e);
    if label == "balanced" {
        return Some(most);
    }
    let alpha: f64 = label.strip_prefix("power_law_")?.parse().ok()?;
    if !(0.5..=4.0).contains(&alpha) {
        return None;
    }
    let high = (0.8 * tokens as f64).max(1.0 + 1e-9);
    let power = 1.0 - alpha;
    let shares: Vec<f64> = (0..experts)
        .map(|i| {
            let u = (f64::from(i) + 0.5) / e;
            if power.abs() < 1e-9 {
                libm::pow(high, u)
            } else {
                libm::pow((libm::pow(high, power) - 1.0) * u + 1.0, 1.0 / power)
            }
        })
        .collect();
    let sum: f64 = shares.iter().sum();
    // The rounded shares; what rounding leaves over goes to further experts, at least k of them in all.
    let touched = shares.iter().filter(|s| *s / sum * slots >= 0.5).count() as f64;
    Some(touched.clamp(f64::from(top_k).min(most), most))
}

fn seconds(c: &Cell) -> f64 {
    c.number() * 1e-3
}

impl Database {
    /// Adds `gemm_perf.parquet`.
    ///
    /// # Errors
    /// See [`ImportError`].
    pub fn add_gemm(&mut self, bytes: &[u8], name: &str) -> Result<(), ImportError> {
        for r in rows(bytes, name, &["gemm_dtype", "m", "n", "k", "latency"])? {
            if r[0].text() == "bfloat16" && seconds(&r[4]) > 0.0 && r[1].whole() > 0 {
                self.gemm.push((
                    r[1].whole() as u32,
                    r[2].whole(),
                    r[3].whole(),
                    seconds(&r[4]),
                ));
            }
        }
        Ok(())
    }

    /// Adds `generation_attention_perf.parquet` or `context_attention_perf.parquet`.
    ///
    /// # Errors
    /// See [`ImportError`].
    pub fn add_attention(
        &mut self,
        bytes: &[u8],
        name: &str,
        decode: bool,
    ) -> Result<(), ImportError> {
        let columns = [
            "batch_size",
            "isl",
            "num_heads",
            "num_key_value_heads",
            "head_dim",
            "attn_dtype",
            "kv_cache_dtype",
            "step",
            "latency",
        ];
        let windowed = rows(bytes, name, &["window_size"]).ok();
        for (i, r) in rows(bytes, name, &columns)?.iter().enumerate() {
            let window = windowed.as_ref().is_some_and(|w| w[i][0].number() > 0.0);
            let sixteen = |c: &Cell| matches!(c.text(), "bfloat16" | "float16");
            if window || !sixteen(&r[5]) || !sixteen(&r[6]) || seconds(&r[8]) <= 0.0 {
                continue;
            }
            let heads = r[2].whole() as u32;
            // 0 stands for as many as query heads in some releases.
            let kv = match r[3].whole() as u32 {
                0 => heads,
                n => n,
            };
            let key = (heads, kv, r[4].whole() as u32);
            let (batch, isl, step) = (r[0].number(), r[1].number(), r[7].number());
            if decode {
                self.decode
                    .entry(key)
                    .or_default()
                    .push((batch, isl + step, seconds(&r[8])));
            } else if step == 0.0 && isl > 0.0 {
                self.prefill
                    .entry(key)
                    .or_default()
                    .push((batch, isl, seconds(&r[8])));
            }
        }
        Ok(())
    }

    /// Adds `moe_perf.parquet`. Rows of expert parallelism are left out: the cost model shares experts itself.
    ///
    /// # Errors
    /// See [`ImportError`].
    pub fn add_moe(&mut self, bytes: &[u8], name: &str) -> Result<(), ImportError> {
        let columns = [
            "moe_dtype",
            "num_tokens",
            "hidden_size",
            "inter_size",
            "topk",
            "num_experts",
            "moe_tp_size",
            "moe_ep_size",
            "distribution",
            "latency",
        ];
        for r in rows(bytes, name, &columns)? {
            let (k, e) = (r[4].whole() as u32, r[5].whole() as u32);
            if r[0].text() != "bfloat16" || r[7].whole() != 1 || k == 0 || e < k || e > 65_536 {
                continue;
            }
            let tokens = r[1].whole();
            let Some(distinct) = distinct_of(r[8].text(), tokens, k, e) else {
                continue;
            };
            let inner = r[3].whole() / r[6].whole().max(1);
            if tokens > 0 && seconds(&r[9]) > 0.0 {
                self.moe
                    .entry((r[2].whole(), inner, k, e))
                    .or_default()
                    .push((tokens as f64, distinct, seconds(&r[9])));
            }
        }
        Ok(())
    }

    /// Adds an all-reduce table: the engine's own (graphed rows) or NCCL's.
    ///
    /// # Errors
    /// See [`ImportError`].
    pub fn add_all_reduce(
        &mut self,
        bytes: &[u8],
        name: &str,
        nccl: bool,
    ) -> Result<(), ImportError> {
        if nccl {
            let columns = [
                "op_name",
                "nccl_dtype",
                "num_gpus",
                "message_size",
                "latency",
            ];
            for r in rows(bytes, name, &columns)? {
                // Sizes count elements of 2 bytes.
                if r[0].text() == "all_reduce" && r[1].text() == "half" {
                    self.all_reduce
                        .add(r[2].whole() as u32, 2.0 * r[3].number(), seconds(&r[4]));
                }
            }
        } else {
            let columns = ["backend", "num_gpus", "message_size", "latency"];
            for r in rows(bytes, name, &columns)? {
                if r[0].text() != "vllm_eager" {
                    self.all_reduce
                        .add(r[1].whole() as u32, 2.0 * r[2].number(), seconds(&r[3]));
                }
            }
        }
        Ok(())
    }

    /// Seconds of m rows through an (n, k) matrix: bilinear in n and k between the measured sizes.
    fn product(&self, grid: &Products, m: u32, n: u64, k: u64) -> Option<f64> {
        let at = grid.get(&m)?;
        let axis = |pick: fn(&(u64, u64)) -> u64| {
            let mut v: Vec<u64> = at.keys().map(pick).collect();
            v.sort_unstable();
            v.dedup();
            v
        };
        let (ns, ks) = (axis(|p| p.0), axis(|p| p.1));
        let bracket = |v: &[u64], x: u64| -> Option<(u64, u64)> {
            let i = v.partition_point(|a| *a < x);
            match (i, v.len()) {
                (_, 0 | 1) => None,
                (0, _) => Some((v[0], v[1])),
                (i, n) if i == n => Some((v[n - 1], v[n - 1])),
                (i, _) if v[i] == x => Some((v[i], v[i])),
                (i, _) => Some((v[i - 1], v[i])),
            }
        };
        let ((n0, n1), (k0, k1)) = (bracket(&ns, n)?, bracket(&ks, k)?);
        // Matrices larger than any measured cost in proportion.
        let beyond = |v: &[u64], x: u64| v.last().map_or(1.0, |&l| (x as f64 / l as f64).max(1.0));
        let scale = beyond(&ns, n) * beyond(&ks, k);
        let t = |n, k| at.get(&(n, k)).copied();
        let mix = |a: f64, b: f64, lo: u64, hi: u64, x: u64| {
            if lo == hi {
                a
            } else {
                a + (b - a) * (x as f64 - lo as f64) / (hi as f64 - lo as f64)
            }
        };
        let low = mix(t(n0, k0)?, t(n1, k0)?, n0, n1, n);
        let high = mix(t(n0, k1)?, t(n1, k1)?, n0, n1, n);
        Some(scale * mix(low, high, k0, k1, k)).filter(|v| *v > 0.0)
    }

    fn products(&self) -> Products {
        let mut all = Products::new();
        for &(m, n, k, s) in &self.gemm {
            // Several kernels for one shape: the engine takes the fastest.
            let slot = all.entry(m).or_default().entry((n, k)).or_insert(s);
            *slot = slot.min(s);
        }
        all
    }

    fn attention(&self, heads: u32, kv: u32, dim: u32) -> Option<AttentionTimes> {
        let decode = self.decode.get(&(heads, kv, dim))?;
        let prefill = self.prefill.get(&(heads, kv, dim))?;
        let samples: Vec<fit::Sample> = decode.iter().map(|s| ((s.0, s.1), s.2, s.2)).collect();
        let within = |lines: &[f64], max: f64| -> Vec<f64> {
            lines.iter().copied().filter(|l| *l <= max).collect()
        };
        let most = |v: &[(f64, f64, f64)], pick: fn(&(f64, f64, f64)) -> f64| {
            v.iter().map(pick).fold(0.0, f64::max)
        };
        let grid = fit::grid(
            &within(DECODE_N, most(decode, |s| s.0)),
            &within(DECODE_KV, most(decode, |s| s.1)),
            &samples,
            f64::INFINITY,
        );
        // Prompts one at a time give the time without context; what a token of context costs is the slope of the
        // longest ones: seconds per (query, key) pair.
        let mut alone: Vec<(f64, f64)> = prefill
            .iter()
            .filter(|s| s.0 == 1.0)
            .map(|s| (s.1, s.2))
            .collect();
        alone.sort_by(|a, b| a.0.total_cmp(&b.0));
        alone.dedup_by(|a, b| a.0 == b.0);
        let longest = *alone.last()?;
        if alone.len() < 3 || longest.0 < 2048.0 {
            return None;
        }
        let per_pair = longest.1 / (longest.0 * (longest.0 + 1.0) / 2.0);
        let one: Vec<fit::Sample> = alone.iter().map(|s| ((s.0, 0.0), s.1, s.1)).collect();
        let chunks = within(CHUNK, longest.0);
        let base = fit::grid(&chunks, &[0.0], &one, AttentionTimes::PER_TOKEN_FROM);
        let far = 16384.0;
        let prefill_grid = Grid {
            x: chunks.clone(),
            y: vec![0.0, far],
            seconds: chunks
                .iter()
                .zip(&base.seconds)
                .map(|(c, row)| vec![row[0], fit::round(row[0] + c * far * per_pair)])
                .collect(),
        };
        let mut times = AttentionTimes {
            covers: vec!["attention".into()],
            q_heads: heads,
            kv_heads: kv,
            head_dim: dim,
            kv_element_bytes: 2,
            decode: grid,
            prefill: prefill_grid,
            least_per_token: 0.0,
            mixed: vec![],
            residual: vec![],
        };
        let mut short: Vec<f64> = prefill
            .iter()
            .filter(|s| s.1 <= 128.0 && s.0 * s.1 >= 4096.0)
            .map(|s| s.2 / (s.0 * s.1))
            .collect();
        short.sort_by(f64::total_cmp);
        if let Some(v) = short.get(short.len() / 4) {
            times.least_per_token = fit::round(*v);
        }
        let off = |v: &[(f64, f64, f64)], at: &dyn Fn(&(f64, f64, f64)) -> f64| {
            fit::residual(v.iter().map(|s| at(s) / s.2 - 1.0).collect())
        };
        // Several prompts at once are one chunk with as many pairs.
        times.residual = vec![
            off(decode, &|s| times.at(s.0, s.1, 0.0, 0.0).value),
            off(prefill, &|s| {
                let chunk = s.0 * s.1;
                let pairs = s.0 * s.1 * (s.1 + 1.0) / 2.0;
                times
                    .at(0.0, 0.0, chunk, pairs / chunk - (chunk + 1.0) / 2.0)
                    .value
            }),
        ];
        Some(times)
    }

    /// The line over distinct experts has one slope for all numbers of tokens: what one expert's weights cost.
    fn experts(&self, hidden: u64, inner: u64, top_k: u32, experts: u32) -> Option<ExpertTimes> {
        let all = self.moe.get(&(hidden, inner, top_k, experts))?;
        let few: Vec<(f64, f64)> = all
            .iter()
            // Balanced rows of few tokens: their numbers of experts are certain, and arithmetic costs nothing yet. A
            // quarter of the experts and more, because the weights of fewer may stay in a cache between repetitions.
            .filter(|s| {
                let most = (s.0 * f64::from(top_k)).min(f64::from(experts));
                s.0 <= 16.0 && s.1 == most && s.1 >= f64::from(experts) / 4.0
            })
            .map(|s| (s.1, s.2))
            .collect();
        let n = few.len() as f64;
        let (mx, my) = (
            few.iter().map(|p| p.0).sum::<f64>() / n,
            few.iter().map(|p| p.1).sum::<f64>() / n,
        );
        let sxx: f64 = few.iter().map(|p| (p.0 - mx) * (p.0 - mx)).sum();
        let sxy: f64 = few.iter().map(|p| (p.0 - mx) * (p.1 - my)).sum();
        if few.len() < 3 || sxx <= 0.0 {
            return None;
        }
        let slope = (sxy / sxx).max(0.0);
        let most = all.iter().map(|s| s.0).fold(0.0, f64::max);
        let per_token = all
            .iter()
            .filter(|s| s.0 == most)
            .map(|s| s.2 / s.0)
            .fold(f64::INFINITY, f64::min);
        let points = MOE_TOKENS
            .iter()
            .filter(|t| **t <= most)
            .map(|&t| {
                // The mean of what is left over at the nearest measured numbers of tokens.
                let near = all
                    .iter()
                    .map(|s| libm::log(s.0 / t).abs())
                    .fold(f64::INFINITY, f64::min);
                let left: Vec<f64> = all
                    .iter()
                    .filter(|s| libm::log(s.0 / t).abs() <= near + 1e-9)
                    .map(|s| s.2 - slope * s.1)
                    .collect();
                ExpertPoint {
                    tokens: t,
                    base: fit::round((left.iter().sum::<f64>() / left.len() as f64).max(0.0)),
                    per_expert: fit::round(slope),
                    least: fit::round(0.8 * per_token * t),
                }
            })
            .collect();
        let mut times = ExpertTimes {
            covers: ["experts", "moe_route", "moe_act_and_mul", "moe_sum"]
                .map(String::from)
                .to_vec(),
            num_experts: experts,
            top_k,
            hidden,
            intermediate: inner,
            points,
            residual: None,
        };
        times.residual = Some(fit::residual(
            all.iter()
                .map(|s| times.at(s.0, s.1).value / s.2 - 1.0)
                .collect(),
        ));
        Some(times)
    }

    /// The kernel times of `models` (devices' parts included) in this database.
    pub fn kernel_times(&self, models: &[Model], engine: &str, source: &Source) -> KernelTimes {
        let mut k = KernelTimes {
            engine: engine.into(),
            format: "bf16".into(),
            rows: vec![],
            attention: vec![],
            attention_backend: None,
            experts: vec![],
            rel_sd: 0.05,
            provenance: Provenance {
                origin: Origin::Fitted,
                source: source.words(),
                note: "matrix products interpolated between measured sizes, then straight pieces over rows; bilinear grids \
                       over KV; experts a line over distinct ones, from routing labels; context of a prefill chunk from the \
                       slope of long prompts. `residual` says how near; the database is not in this file"
                    .into(),
            },
        };
        let grid = self.products();
        for model in models {
            for op in model.ops() {
                match &op.kind {
                    OpKind::Gemm(g) | OpKind::Router(g) => {
                        let shape = RowShape::Matrix {
                            out_features: g.out_features,
                            in_features: g.in_features,
                        };
                        if k.rows.iter().any(|r| r.shape == shape) {
                            continue;
                        }
                        let points: Vec<(u32, f64)> = grid
                            .keys()
                            .filter(|m| **m <= 16384)
                            .filter_map(|&m| {
                                Some((m, self.product(&grid, m, g.out_features, g.in_features)?))
                            })
                            .collect();
                        if points.len() >= 8 {
                            let (pieces, residual) = fit::coarse_pieces(&points);
                            k.rows.push(RowTimes {
                                covers: vec![op.name.into()],
                                shape,
                                pieces,
                                residual: Some(residual),
                            });
                        }
                    }
                    OpKind::Attention(a) if a.window.is_none() => {
                        let key = (a.q_heads, a.kv_heads, a.head_dim);
                        let there = |x: &AttentionTimes| (x.q_heads, x.kv_heads, x.head_dim) == key;
                        if !k.attention.iter().any(there) {
                            k.attention.extend(self.attention(key.0, key.1, key.2));
                        }
                    }
                    OpKind::Experts(e) => {
                        let key = (e.hidden, e.intermediate, e.top_k, e.of);
                        let there = |x: &ExpertTimes| {
                            (x.hidden, x.intermediate, x.top_k, x.num_experts) == key
                        };
                        if !k.experts.iter().any(there) {
                            k.experts.extend(self.experts(key.0, key.1, key.2, key.3));
                        }
                    }
                    _ => {}
                }
            }
        }
        k
    }

    /// A device profile of this database.
    pub fn device(
        &self,
        gpu: &Gpu,
        models: &[Model],
        engine: &str,
        source: &Source,
    ) -> Option<DeviceProfile> {
        let mut kernels = self.kernel_times(models, engine, source);
        if engine.starts_with("vllm") {
            kernels.attention_backend = Some(gpu.attention_backend.into());
        }
        let mut d = super::device_of(gpu, vec![kernels], source)?;
        if let Some(link) = self.all_reduce.link(source) {
            d.link = Some(link);
        }
        // No table of norms and rotary embeddings: a launch's fixed time and four fifths of the data sheet's rate, as the
        // database's own system file assumes for such kernels.
        let rate = |bytes: f64| bytes / (2.5e-6 + bytes / (0.8 * gpu.bandwidth));
        d.elementwise.points = [1e4, 1e5, 1e6, 1e7, 1e8]
            .iter()
            .map(|&x| capsim::device::Point {
                x,
                y: fit::round(rate(x)),
                rel_sd: 0.2,
            })
            .collect();
        d.elementwise.provenance = Provenance {
            origin: Origin::Assumed,
            source: format!("{}: 2.5 µs and 0.8 of the data sheet's rate", gpu.name),
            note: "mem_empirical_scaling_factor of the database's system file".into(),
        };
        // Launches are within what the database measured.
        d.launch.value = 0.3e-6;
        d.launch.provenance.note =
            "kernel times were taken from replayed graphs, gaps mostly included".into();
        Some(d)
    }
}

type Products = BTreeMap<u32, BTreeMap<(u64, u64), f64>>;

const DECODE_N: &[f64] = &[1.0, 2.0, 8.0, 32.0, 128.0, 256.0, 1024.0];
const DECODE_KV: &[f64] = &[16.0, 128.0, 512.0, 2048.0, 8192.0, 32768.0];
const CHUNK: &[f64] = &[
    16.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0,
];
const MOE_TOKENS: &[f64] = &[
    1.0, 8.0, 32.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routing_labels_become_distinct_experts() {
        assert_eq!(distinct_of("balanced", 1, 8, 128), Some(8.0));
        assert_eq!(distinct_of("balanced", 4, 8, 128), Some(32.0));
        assert_eq!(distinct_of("balanced", 100, 8, 128), Some(128.0));
        // A skewed router touches fewer, more with more tokens, never fewer than a token's own choices.
        let at = |t| distinct_of("power_law_1.2", t, 8, 128).unwrap();
        assert!(at(16) < 128.0 && at(16) >= 8.0);
        let mut last = 0.0;
        for t in [1, 2, 4, 8, 16, 64, 256, 4096] {
            assert!(at(t) >= last, "{t}");
            last = at(t);
        }
        assert_eq!(distinct_of("by hand", 1, 8, 128), None);
        assert_eq!(distinct_of("power_law_x", 1, 8, 128), None);
    }
}
