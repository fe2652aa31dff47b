//! The steps from samples to a device profile: each fits one curve or quantity, and notes what it found on the way.
use super::super::protocol::ring_bytes;
use super::super::samples::{PointRecord, SamplesFile, SentinelReading};
use super::gemm::Product;
use super::kernels::{FEW_ROWS, product};
use super::source::Source;
use super::{
    FamilyFit, FitError, Kind, Launches, Parameter, Sample, curve, judged, kind_of, of, sample,
};
use super::{gemm, launch, stream};
use capsim::device::{Curve, Origin, Point, Provenance, Quantity, Reading, Switch};
use std::collections::BTreeMap;

/// Dependent launch where none was measured: between the fastest and the slowest drivers known (1.8 µs HIP on gfx1151, 10–30 µs
/// on lavapipe).
const LAUNCH_GUESS: f64 = 8e-6;

/// Rates at the end of a soak relative to the session's first.
struct Soaked {
    stream: f64,
    gemm: f64,
    rel_sd: f64,
}

impl Soaked {
    /// Medians of the last quarter of the readings, which are times relative to the first.
    fn of(file: &SamplesFile) -> Option<Self> {
        let last = &file.soak[file.soak.len() * 3 / 4..];
        if last.is_empty() {
            return None;
        }
        let times = |pick: fn(&SentinelReading) -> f64| -> Vec<f64> {
            let mut all: Vec<f64> = last.iter().map(pick).collect();
            all.sort_by(f64::total_cmp);
            all
        };
        let (stream, gemm) = (times(|r| r.stream), times(|r| r.gemm));
        let median = |v: &[f64]| capsim::stats::percentile(v, 50.0).max(1e-9);
        let spread = |v: &[f64]| 1.4826 * capsim::stats::mad(v) / median(v);
        Some(Self {
            stream: 1.0 / median(&stream),
            gemm: 1.0 / median(&gemm),
            rel_sd: spread(&stream).max(spread(&gemm)),
        })
    }
}

fn at(points: &[Point], x: f64) -> Reading {
    Curve {
        points: points.to_vec(),
        provenance: Provenance {
            origin: Origin::Measured,
            source: String::new(),
            note: String::new(),
        },
    }
    .at(x)
}

/// A fit under way.
pub(super) struct Steps<'a> {
    source: &'a Source<'a>,
    /// Seconds of a launch with their relative standard deviation; none is taken off where they are only a guess.
    pub t0: Launches,
    pub notes: Vec<String>,
    pub families: Vec<FamilyFit>,
    pub parameters: Vec<Parameter>,
    pub falls: Vec<(String, curve::Fall)>,
}

impl<'a> Steps<'a> {
    pub fn new(source: &'a Source<'a>) -> Self {
        Self {
            source,
            t0: Launches::default(),
            notes: super::layer::notes(source.file),
            families: vec![],
            parameters: vec![],
            falls: vec![],
        }
    }

    fn of(&self, kind: Kind) -> Vec<&'a PointRecord> {
        of(self.source.file, kind)
    }

    fn parameter(&mut self, name: &'static str, (value, rel_sd): (f64, f64), unit: &'static str) {
        self.parameters.push(Parameter {
            name,
            value,
            rel_sd,
            unit,
        });
    }

    pub fn launch(&mut self) -> Quantity {
        self.t0.graph = launch::slope(&self.of(Kind::GraphChain));
        match launch::slope(&self.of(Kind::Chain)) {
            Some((value, rel_sd)) => {
                self.t0.alone = (value, rel_sd);
                self.parameter("dependent launch", (value, rel_sd), "s");
                Quantity {
                    value,
                    rel_sd,
                    provenance: self
                        .source
                        .measured("slope of a chain of dependent empty launches"),
                }
            }
            None => {
                self.notes
                    .push("launch cost was not measured; assumed".to_string());
                Quantity {
                    value: LAUNCH_GUESS,
                    rel_sd: 1.0,
                    provenance: self.source.assumed("not measured"),
                }
            }
        }
    }

    /// Bytes per second of reads over the working set.
    pub fn read(&mut self) -> Result<Vec<Point>, FitError> {
        let read = curve::merged(
            self.of(Kind::Read)
                .into_iter()
                .filter_map(|p| sample(p, place(p), p.work.bytes, self.t0))
                .collect(),
        );
        // With a very large cache the memory guard allows no ring that is four times as large.
        let (ring, most) = (
            self.source.file.ring_bytes,
            self.source.file.budget_bytes / 2,
        );
        let largest = (ring.min(most) >> 20) << 20;
        if largest < (ring >> 20) << 20 {
            self.notes.push(format!(
                "memory was read in {} MiB, where {} MiB would leave less of it to the caches",
                largest >> 20,
                ring >> 20
            ));
        }
        if read.last().is_none_or(|s| s.x < largest as f64) {
            return Err(self
                .source
                .missing("streaming read from memory", |p| kind_of(p) == Kind::Read));
        }
        self.families.push(judged("stream_read", &read));
        self.plateaus(&read);
        let read_points = curve::points(&read);
        if let (Some(peak), Some(last)) = (self.source.file.limits.bandwidth, read_points.last())
            && last.y < 0.5 * peak
        {
            self.notes.push(format!(
                "memory read is {:.0} % of the known peak: is the device busy, throttled or short of memory channels?",
                100.0 * last.y / peak
            ));
        }
        Ok(read_points)
    }

    /// Rates and size of the cache, and whether it is larger than it was thought to be.
    fn plateaus(&mut self, read: &[Sample]) {
        let file = self.source.file;
        if let Some(p) = stream::plateaus(read) {
            for (name, fitted, unit) in [
                ("cache read", p.cache, "B/s"),
                ("memory read", p.dram, "B/s"),
                ("cache size (knee)", p.knee, "B"),
            ] {
                self.parameter(name, fitted, unit);
            }
            let usual = ring_bytes(&file.device, file.effort);
            if file.ring_bytes > usual {
                self.notes.push(format!(
                    "half of a ring of {} MiB was read from a cache that the driver does not tell of: rings have {} MiB",
                    usual >> 20,
                    file.ring_bytes >> 20
                ));
            }
            if 4.0 * p.knee.0 * (1.0 - p.knee.1) > file.ring_bytes as f64 {
                self.notes.push(format!(
                    "the cache seems to hold {:.0} MiB, so that rings of {} MiB may be partly cached; measure again with --cache {:.0}",
                    p.knee.0 / f64::from(1 << 20),
                    file.ring_bytes >> 20,
                    libm::ceil(p.knee.0 * (1.0 + p.knee.1) / f64::from(1 << 20))
                ));
            }
        }
    }

    /// Seconds of a launch of each product with so few rows that its weights, and not arithmetic, take the time.
    fn without_arithmetic(&self, all: &[&PointRecord]) -> BTreeMap<String, f64> {
        let mut least: BTreeMap<String, f64> = BTreeMap::new();
        for p in all
            .iter()
            .filter(|p| p.axis("m").is_some_and(|m| m <= FEW_ROWS))
        {
            if let Some(s) = sample(p, 1.0, p.work.flops, self.t0) {
                let seconds = s.seconds / f64::from(p.launches);
                let known = least.entry(product(p)).or_insert(seconds);
                *known = known.min(seconds);
            }
        }
        least
    }

    /// Operations per second of matrix products over their rows.
    pub fn matrix(&mut self, read: &[Point]) -> Result<Vec<Point>, FitError> {
        let all = self.of(Kind::Gemm);
        let idle = self.without_arithmetic(&all);
        let products: Vec<Product> = all
            .into_iter()
            .filter_map(|p| {
                let rows = p.axis("m")?;
                let sample = sample(p, rows, p.work.flops, self.t0)?;
                Some(Product {
                    rows,
                    sample,
                    stream_s: f64::max(
                        p.work.bytes / at(read, p.work.working_set.max(1.0)).y,
                        idle.get(&product(p))
                            .map_or(0.0, |s| s * f64::from(p.launches)),
                    ),
                    matrix_units: super::kernels::has_matrix_units(p),
                })
            })
            .collect();
        let mut matrix = gemm::arithmetic(&products);
        if matrix.is_empty() {
            return Err(self
                .source
                .missing("matrix product", |p| kind_of(p) == Kind::Gemm));
        }
        for f in curve::rising(&mut matrix) {
            self.falls.push(("gemm_f16".to_string(), f));
        }
        curve::never_faster(&mut matrix);
        self.families.push(judged("gemm_f16", &matrix));
        if let Some((value, rel_sd)) = gemm::saturation(&matrix) {
            self.parameter("matrix rate, many rows", (value, rel_sd), "op/s");
        }
        Ok(curve::points(&matrix))
    }

    pub fn attention(&mut self, matrix: &[Point]) -> Curve {
        let mut attention = summed(
            self.of(Kind::AttentionPrefill)
                .into_iter()
                .filter_map(|p| {
                    let q = p.axis("tokens").or(p.axis("q"))?;
                    sample(p, q, p.work.flops, self.t0)
                })
                .collect(),
        );
        curve::never_faster(&mut attention);
        if attention.is_empty() {
            self.notes.push(
                "prefill attention was not measured; taken as a third of the matrix rate".into(),
            );
            Curve {
                points: matrix
                    .iter()
                    .map(|p| Point {
                        y: p.y / 3.0,
                        rel_sd: 0.5,
                        ..*p
                    })
                    .collect(),
                provenance: self
                    .source
                    .assumed("not measured: a third of gemm_f16, a guess"),
            }
        } else {
            self.families.push(judged("attention_prefill", &attention));
            Curve {
                points: curve::points(&attention),
                provenance: self.source.measured(
                    "causal attention: at each number of new tokens the operations of all pasts over their time",
                ),
            }
        }
    }

    pub fn elementwise(&mut self, read: &[Point]) -> Curve {
        let elements = pooled(
            self.of(Kind::Elementwise)
                .into_iter()
                .filter_map(|p| {
                    sample(
                        p,
                        p.work.bytes / f64::from(p.launches),
                        p.work.bytes,
                        self.t0,
                    )
                })
                .collect(),
        );
        if elements.is_empty() {
            self.notes
                .push("elementwise kernels were not measured; taken as streaming reads".into());
            Curve {
                points: read.iter().map(|p| Point { rel_sd: 0.3, ..*p }).collect(),
                provenance: self.source.assumed("not measured: as stream_read"),
            }
        } else {
            self.families.push(judged("elementwise", &elements));
            Curve {
                points: curve::points(&elements),
                provenance: self
                    .source
                    .measured("geometric mean of the elementwise kernels at each size"),
            }
        }
    }

    /// What is left of the rates after a soak.
    pub fn soak(&mut self) {
        if let Some(s) = Soaked::of(self.source.file) {
            self.notes.push(format!(
                "after {:.0} s without a rest, memory reads run at {:.0} % and matrix products at {:.0} % of their first rate",
                self.source.file.soak_s,
                100.0 * s.stream,
                100.0 * s.gemm
            ));
            for (name, value) in [
                ("memory read, sustained / first", s.stream),
                ("matrix rate, sustained / first", s.gemm),
            ] {
                self.parameter(name, (value, s.rel_sd), "×");
            }
        }
    }

    pub fn switches(&mut self, switches: &[Switch]) {
        self.falls.extend(switches.iter().map(|s| {
            (
                s.curve.clone(),
                curve::Fall {
                    before: s.before,
                    after: s.after,
                    factor: s.factor,
                },
            )
        }));
    }

    pub fn memory(&mut self) -> Quantity {
        if self.source.file.device.memory_bytes > 0 {
            Quantity {
                value: self.source.file.device.memory_bytes as f64,
                rel_sd: 0.001,
                provenance: self.source.measured("as the driver reports it"),
            }
        } else {
            self.notes
                .push("the driver does not tell the memory's size; 16 GiB assumed".into());
            Quantity {
                value: (16u64 << 30) as f64,
                rel_sd: 1.0,
                provenance: self
                    .source
                    .assumed("the driver does not tell; edit this to the true size"),
            }
        }
    }
}

/// Where a read belongs on the curve: its working set.
fn place(p: &PointRecord) -> f64 {
    if p.work.working_set > 0.0 {
        p.work.working_set
    } else {
        p.axis("bytes").unwrap_or(0.0)
    }
}

/// Sorted by x; samples at the same place become one that does the work of all in the time of all.
fn summed(mut samples: Vec<Sample>) -> Vec<Sample> {
    samples.sort_by(|a, b| a.x.total_cmp(&b.x));
    let mut out: Vec<Sample> = vec![];
    for s in samples {
        match out.last_mut() {
            Some(sum) if s.x == sum.x => {
                let seconds = sum.seconds + s.seconds;
                let share = |a: f64, b: f64| (a * sum.seconds + b * s.seconds) / seconds;
                *sum = Sample {
                    x: s.x,
                    amount: sum.amount + s.amount,
                    seconds,
                    spread: share(sum.spread, s.spread),
                    error: share(sum.error, s.error),
                };
            }
            _ => out.push(s),
        }
    }
    out
}

/// Sorted by x; kernels at about the same size (10 %) become their geometric mean.
fn pooled(mut samples: Vec<Sample>) -> Vec<Sample> {
    samples.sort_by(|a, b| a.x.total_cmp(&b.x));
    let mut out: Vec<Vec<Sample>> = vec![];
    for s in samples {
        match out.last_mut() {
            Some(group) if s.x <= group[0].x * 1.1 => group.push(s),
            _ => out.push(vec![s]),
        }
    }
    out.into_iter()
        .map(|g| {
            let n = g.len() as f64;
            let mean = |f: fn(&Sample) -> f64| g.iter().map(f).sum::<f64>() / n;
            let log_rate = mean(|s| libm::log(s.rate()));
            let apart = libm::sqrt(
                g.iter()
                    .map(|s| {
                        let d = libm::log(s.rate()) - log_rate;
                        d * d
                    })
                    .sum::<f64>()
                    / n,
            );
            Sample {
                x: g[0].x,
                amount: g[0].x,
                seconds: g[0].x / libm::exp(log_rate),
                spread: libm::hypot(mean(|s| s.spread), apart),
                error: mean(|s| s.error),
            }
        })
        .collect()
}
