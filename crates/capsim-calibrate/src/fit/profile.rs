//! The device profile's curves and quantities from measured points.
use super::super::protocol::ring_bytes;
use super::super::samples::{Outcome, PointRecord, SamplesFile, SentinelReading};
use super::gemm::Product;
use super::{Fit, FitError, Kind, Parameter, Sample, curve, judged, kind_of, of, sample};
use super::{gemm, launch, stream};
use capsim::device::{
    Curve, DeviceProfile, Memory, Origin, Point, Provenance, Quantity, Reading, Surface,
    SurfacePoint, Switch,
};
use std::collections::BTreeMap;

/// A name for files and `--device`: lower case, digits, single dashes.
pub fn slug(name: &str) -> String {
    let mut out = String::new();
    for c in name.to_lowercase().chars() {
        if c.is_ascii_alphanumeric() {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
        if out.len() >= 48 {
            break;
        }
    }
    let out = out.trim_end_matches('-');
    if out.is_empty() { "device" } else { out }.into()
}

/// Dependent launch where none was measured: between the fastest and the slowest drivers known (1.8 µs HIP on gfx1151, 10–30 µs
/// on lavapipe).
const LAUNCH_GUESS: f64 = 8e-6;

struct Source<'a> {
    file: &'a SamplesFile,
    name: &'a str,
}

impl Source<'_> {
    fn measured(&self, note: &str) -> Provenance {
        let soft = if self.file.device.software {
            "; a software device: no GPU's speed"
        } else {
            ""
        };
        Provenance {
            origin: Origin::Measured,
            source: format!(
                "capsim {} calibrate on {} ({}), {}: {}",
                self.file.capsim,
                self.file.device.name,
                self.file.device.driver,
                self.file.started,
                self.name
            ),
            note: format!("{note}{soft}"),
        }
    }
    fn assumed(&self, note: &str) -> Provenance {
        Provenance {
            origin: Origin::Assumed,
            source: "capsim calibrate".into(),
            note: note.into(),
        }
    }
    fn missing(&self, what: &'static str, is: fn(&PointRecord) -> bool) -> FitError {
        let mut why: Vec<String> = self
            .file
            .points
            .iter()
            .filter(|p| is(p))
            .filter_map(|p| match &p.outcome {
                Outcome::Measured => None,
                Outcome::Unsupported(w)
                | Outcome::Failed(w)
                | Outcome::Crashed(w)
                | Outcome::Dropped(w) => Some(format!("{}: {w}", p.key())),
            })
            .take(3)
            .collect();
        if why.is_empty() {
            why.push("no such point is in the file; was --family given?".into());
        }
        FitError::Missing {
            what,
            why: why.join("; "),
        }
    }
}

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

pub(super) fn fit(file: &SamplesFile, name: &str) -> Result<Fit, FitError> {
    let source = Source { file, name };
    let (mut notes, mut families, mut parameters, mut falls) = (vec![], vec![], vec![], vec![]);
    notes.extend(super::layer::notes(file));

    let t0 = launch::slope(&of(file, Kind::Chain));
    let launch = match t0 {
        Some((value, rel_sd)) => {
            parameters.push(Parameter {
                name: "dependent launch",
                value,
                rel_sd,
                unit: "s",
            });
            Quantity {
                value,
                rel_sd,
                provenance: source.measured("slope of a chain of dependent empty launches"),
            }
        }
        None => {
            notes.push("launch cost was not measured; assumed".to_string());
            Quantity {
                value: LAUNCH_GUESS,
                rel_sd: 1.0,
                provenance: source.assumed("not measured"),
            }
        }
    };
    // Nothing is taken off where the launch cost is only a guess.
    let t0 = t0.unwrap_or((0.0, 0.0));

    let read = curve::merged(
        of(file, Kind::Read)
            .into_iter()
            .filter_map(|p| sample(p, place(p), p.work.bytes, t0))
            .collect(),
    );
    if read.last().is_none_or(|s| s.x < file.ring_bytes as f64) {
        return Err(source.missing("streaming read from memory", |p| kind_of(p) == Kind::Read));
    }
    families.push(judged("stream_read", &read));
    if let Some(p) = stream::plateaus(&read) {
        for (name, (value, rel_sd), unit) in [
            ("cache read", p.cache, "B/s"),
            ("memory read", p.dram, "B/s"),
            ("cache size (knee)", p.knee, "B"),
        ] {
            parameters.push(Parameter {
                name,
                value,
                rel_sd,
                unit,
            });
        }
        let usual = ring_bytes(&file.device, file.effort);
        if file.ring_bytes > usual {
            notes.push(format!(
                "half of a ring of {} MiB was read from a cache that the driver does not tell of: rings have {} MiB",
                usual >> 20,
                file.ring_bytes >> 20
            ));
        }
        if 4.0 * p.knee.0 * (1.0 - p.knee.1) > file.ring_bytes as f64 {
            notes.push(format!(
                "the cache seems to hold {:.0} MiB, so that rings of {} MiB may be partly cached; measure again with --cache {:.0}",
                p.knee.0 / f64::from(1 << 20),
                file.ring_bytes >> 20,
                libm::ceil(p.knee.0 * (1.0 + p.knee.1) / f64::from(1 << 20))
            ));
        }
    }
    let read_points = curve::points(&read);
    if let (Some(peak), Some(last)) = (file.limits.bandwidth, read_points.last())
        && last.y < 0.5 * peak
    {
        notes.push(format!(
            "memory read is {:.0} % of the known peak: is the device busy, throttled or short of memory channels?",
            100.0 * last.y / peak
        ));
    }

    let products: Vec<Product> = of(file, Kind::Gemm)
        .into_iter()
        .filter_map(|p| {
            let rows = p.axis("m")?;
            let sample = sample(p, rows, p.work.flops, t0)?;
            Some(Product {
                rows,
                sample,
                stream_s: p.work.bytes / at(&read_points, p.work.working_set.max(1.0)).y,
            })
        })
        .collect();
    let mut matrix = gemm::arithmetic(&products);
    if matrix.is_empty() {
        return Err(source.missing("matrix product", |p| kind_of(p) == Kind::Gemm));
    }
    for f in curve::rising(&mut matrix) {
        falls.push(("gemm_f16".to_string(), f));
    }
    families.push(judged("gemm_f16", &matrix));
    if let Some((value, rel_sd)) = gemm::saturation(&matrix) {
        parameters.push(Parameter {
            name: "matrix rate, many rows",
            value,
            rel_sd,
            unit: "op/s",
        });
    }
    let gemm_points = curve::points(&matrix);

    let attention = curve::merged(
        of(file, Kind::AttentionPrefill)
            .into_iter()
            .filter_map(|p| {
                let q = p.axis("tokens").or(p.axis("q"))?;
                sample(p, q, p.work.flops, t0)
            })
            .collect(),
    );
    let attention_prefill = if attention.is_empty() {
        notes
            .push("prefill attention was not measured; taken as a third of the matrix rate".into());
        Curve {
            points: gemm_points
                .iter()
                .map(|p| Point {
                    y: p.y / 3.0,
                    rel_sd: 0.5,
                    ..*p
                })
                .collect(),
            provenance: source.assumed("not measured: a third of gemm_f16, a guess"),
        }
    } else {
        families.push(judged("attention_prefill", &attention));
        Curve {
            points: curve::points(&attention),
            provenance: source.measured("causal attention without a past"),
        }
    };

    let elements = pooled(
        of(file, Kind::Elementwise)
            .into_iter()
            .filter_map(|p| sample(p, p.work.bytes / f64::from(p.launches), p.work.bytes, t0))
            .collect(),
    );
    let elementwise = if elements.is_empty() {
        notes.push("elementwise kernels were not measured; taken as streaming reads".into());
        Curve {
            points: read_points
                .iter()
                .map(|p| Point { rel_sd: 0.3, ..*p })
                .collect(),
            provenance: source.assumed("not measured: as stream_read"),
        }
    } else {
        families.push(judged("elementwise", &elements));
        Curve {
            points: curve::points(&elements),
            provenance: source.measured("geometric mean of the elementwise kernels at each size"),
        }
    };

    if let Some(s) = Soaked::of(file) {
        notes.push(format!(
            "after {:.0} s without a rest, memory reads run at {:.0} % and matrix products at {:.0} % of their first rate",
            file.soak_s,
            100.0 * s.stream,
            100.0 * s.gemm
        ));
        for (name, value) in [
            ("memory read, sustained / first", s.stream),
            ("matrix rate, sustained / first", s.gemm),
        ] {
            parameters.push(Parameter {
                name,
                value,
                rel_sd: s.rel_sd,
                unit: "×",
            });
        }
    }

    let (measured, switches) = surfaces(file, &source, t0);
    falls.extend(switches.iter().map(|s| {
        (
            s.curve.clone(),
            curve::Fall {
                before: s.before,
                after: s.after,
                factor: s.factor,
            },
        )
    }));
    let memory = if file.device.memory_bytes > 0 {
        Quantity {
            value: file.device.memory_bytes as f64,
            rel_sd: 0.001,
            provenance: source.measured("as the driver reports it"),
        }
    } else {
        notes.push("the driver does not tell the memory's size; 16 GiB assumed".into());
        Quantity {
            value: (16u64 << 30) as f64,
            rel_sd: 1.0,
            provenance: source.assumed("the driver does not tell; edit this to the true size"),
        }
    };
    let profile = DeviceProfile {
        schema: DeviceProfile::SCHEMA.into(),
        id: slug(&file.device.name),
        name: file.device.name.clone(),
        aliases: vec![],
        memory: Memory {
            total_bytes: memory,
            unified: file.device.unified_memory,
        },
        stream_read: Curve {
            points: read_points,
            provenance: source.measured("over the working set; best access shape at each size"),
        },
        gemm_f16: Curve {
            points: gemm_points,
            provenance: source.measured(
                "best format and shape at each number of rows, where arithmetic and not streaming limits it",
            ),
        },
        attention_prefill,
        elementwise,
        launch,
        int8_ratio: None,
        measured,
        switches,
        kernels: vec![],
        link: None,
        provenance: source.measured("capsim calibrate"),
    };
    // The reader's own checks, so that nothing is written that predict would refuse.
    let text = serde_json::to_string(&profile).expect("numbers and strings");
    let profile = DeviceProfile::parse(&text, "device.json")?;
    Ok(Fit {
        profile,
        families,
        parameters,
        falls,
        notes,
    })
}

/// Where a read belongs on the curve: its working set.
fn place(p: &PointRecord) -> f64 {
    if p.work.working_set > 0.0 {
        p.work.working_set
    } else {
        p.axis("bytes").unwrap_or(0.0)
    }
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

/// Every other family as it was measured, and where a rate falls although the work per byte grows.
fn surfaces(
    file: &SamplesFile,
    source: &Source,
    t0: (f64, f64),
) -> (BTreeMap<String, Surface>, Vec<Switch>) {
    let mut by_family: BTreeMap<&str, Vec<&PointRecord>> = BTreeMap::new();
    for p in file.points.iter().filter(|p| p.seconds().is_some()) {
        // Plain reads, chains and elementwise kernels are whole in the curves.
        if !matches!(kind_of(p), Kind::Read | Kind::Elementwise) {
            by_family.entry(&p.family).or_default().push(p);
        }
    }
    let mut all = BTreeMap::new();
    let mut switches = vec![];
    for (family, points) in by_family {
        let rows: Vec<SurfacePoint> = points
            .iter()
            .map(|p| {
                let s = p.stats.expect("measured");
                SurfacePoint {
                    id: p.id.clone(),
                    axes: p.axes.clone(),
                    kernel: p.variant.clone().unwrap_or_default(),
                    // A copy between host and device is a pass without launches.
                    seconds: s.median / f64::from(p.launches.max(1)),
                    bytes: p.work.bytes / f64::from(p.launches.max(1)),
                    flops: p.work.flops / f64::from(p.launches.max(1)),
                    rel_sd: libm::hypot(s.rel_sd(), s.rel_error()).clamp(0.0, 3.0),
                }
            })
            .collect();
        switches.extend(cliffs(family, &points, t0));
        all.insert(
            family.to_string(),
            Surface {
                points: rows,
                provenance: source.measured("seconds, bytes and operations per launch"),
            },
        );
    }
    (all, switches)
}

/// Falls of the rate over rows or tokens, all else equal. Rates over these axes can only rise by physics: rows may be padded.
fn cliffs(family: &str, points: &[&PointRecord], t0: (f64, f64)) -> Vec<Switch> {
    let mut out = vec![];
    for axis in ["m", "tokens"] {
        // Points that differ in this axis alone, told apart by all their other axes and the id without its digits.
        let mut series: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
        for p in points {
            let (Some(x), Some(s)) = (
                p.axis(axis),
                p.axis(axis).and_then(|x| sample(p, x, p.work.flops, t0)),
            ) else {
                continue;
            };
            if x <= 0.0 {
                continue;
            }
            let rest: Vec<String> = p
                .axes
                .iter()
                .filter(|(k, _)| *k != axis && *k != "distinct")
                .map(|(k, v)| format!("{k}={v}"))
                .collect();
            let word: String = p.id.split('-').skip(1).collect::<Vec<_>>().join("-");
            series
                .entry(format!("{word} {}", rest.join(" ")))
                .or_default()
                .push(s);
        }
        for (_, mut s) in series {
            s.sort_by(|a, b| a.x.total_cmp(&b.x));
            s.dedup_by(|a, b| a.x == b.x);
            for f in curve::rising(&mut s) {
                out.push(Switch {
                    curve: family.into(),
                    axis: axis.into(),
                    before: f.before,
                    after: f.after,
                    factor: f.factor,
                });
            }
        }
    }
    out
}
