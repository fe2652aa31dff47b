//! Families without real kernels: the shapes of a sweep, priced by the synthetic device. For tests of protocol and fit.
use super::super::backend::{Access, Backend, Kernel, Launch, Slice, Work};
use super::super::family::{Effort, Family, Point, Prepared, ProbeError, Scope, Variant};
use super::TRIPLE;
use capsim::device::CurveId;

type Shape = fn(&Scope) -> Vec<(Point, Work, usize)>;

struct Swept {
    name: &'static str,
    about: &'static str,
    feeds: &'static [CurveId],
    shape: Shape,
}

/// The families that a profile is made of, with the axes of the real ones.
pub fn families() -> Vec<Box<dyn Family>> {
    type Row = (&'static str, &'static str, &'static [CurveId], Shape);
    let all: [Row; 6] = [
        (
            "stream_read",
            "reads of a working set",
            &[CurveId::StreamRead],
            stream,
        ),
        (
            "gemm_skinny",
            "matrix products with few rows",
            &[CurveId::MatrixStream],
            skinny,
        ),
        (
            "gemm_prefill",
            "matrix products with many rows",
            &[CurveId::GemmF16],
            prefill,
        ),
        (
            "attention_prefill",
            "causal attention",
            &[CurveId::AttentionPrefill],
            attention,
        ),
        (
            "elementwise",
            "adding two vectors",
            &[CurveId::Elementwise],
            elementwise,
        ),
        (
            "launch",
            "a chain of launches that do nothing",
            &[CurveId::Launch],
            launch,
        ),
    ];
    all.into_iter()
        .map(|(name, about, feeds, shape)| {
            Box::new(Swept {
                name,
                about,
                feeds,
                shape,
            }) as Box<dyn Family>
        })
        .collect()
}

fn point(id: String, axes: &[(&'static str, f64)], required: bool) -> Point {
    Point {
        id,
        axes: axes.to_vec(),
        required,
    }
}

fn stream(scope: &Scope) -> Vec<(Point, Work, usize)> {
    let mut sizes: Vec<u64> = (0..=8).map(|i| (256 << 10) << i).collect();
    sizes.extend([scope.ring_bytes, 2 * scope.ring_bytes]);
    sizes.sort_unstable();
    sizes.dedup();
    sizes
        .into_iter()
        .map(|s| {
            let work = Work {
                bytes: s as f64,
                flops: 0.0,
                working_set: s as f64,
            };
            let required = s >= scope.ring_bytes || s == 4 << 20;
            (
                point(format!("{}KiB", s >> 10), &[("bytes", s as f64)], required),
                work,
                1,
            )
        })
        .collect()
}

fn gemm(m: u32, ring: u64, required: bool) -> (Point, Work, usize) {
    let (n, k) = (5120.0, 2048.0);
    let rows = f64::from(m);
    let slots = (ring as f64 / (2.0 * n * k)).max(1.0) as usize + 1;
    let work = Work {
        bytes: 2.0 * (n * k + rows * (n + k)),
        flops: 2.0 * rows * n * k,
        working_set: slots as f64 * 2.0 * n * k,
    };
    (
        point(
            format!("m{m}-qkv-f16"),
            &[("m", rows), ("n", n), ("k", k), ("weight_bytes", 2.0)],
            required,
        ),
        work,
        slots,
    )
}

fn skinny(scope: &Scope) -> Vec<(Point, Work, usize)> {
    [1, 2, 4, 8, 9, 16, 32, 64]
        .into_iter()
        .map(|m| gemm(m, scope.ring_bytes, m == 1))
        .collect()
}

fn prefill(scope: &Scope) -> Vec<(Point, Work, usize)> {
    [128, 256, 512, 1024, 2048, 4096]
        .into_iter()
        .map(|m| {
            let (p, w, _) = gemm(m, scope.ring_bytes, m == 512);
            (p, w, 2)
        })
        .collect()
}

fn attention(_: &Scope) -> Vec<(Point, Work, usize)> {
    [128u32, 512, 2048]
        .into_iter()
        .map(|q| {
            let t = f64::from(q);
            let bytes = t * 2.0 * 4.0 * 128.0 * 2.0;
            (
                point(format!("q{q}"), &[("tokens", t), ("past", 0.0)], q == 512),
                Work {
                    bytes,
                    flops: 4.0 * 32.0 * 128.0 * t * t / 2.0,
                    working_set: bytes,
                },
                1,
            )
        })
        .collect()
}

fn elementwise(_: &Scope) -> Vec<(Point, Work, usize)> {
    [64u64 << 10, 1 << 20, 16 << 20, 256 << 20]
        .into_iter()
        .map(|s| {
            (
                point(
                    format!("add-{}KiB", s >> 10),
                    &[("bytes", s as f64)],
                    s == 1 << 20,
                ),
                Work {
                    bytes: s as f64,
                    flops: 0.0,
                    working_set: s as f64,
                },
                1,
            )
        })
        .collect()
}

fn launch(_: &Scope) -> Vec<(Point, Work, usize)> {
    [1usize, 10, 100, 1000]
        .into_iter()
        .map(|n| {
            (
                point(format!("chain-{n}"), &[("launches", n as f64)], n >= 100),
                Work::default(),
                n,
            )
        })
        .collect()
}

impl Family for Swept {
    fn name(&self) -> &'static str {
        self.name
    }
    fn about(&self) -> &'static str {
        self.about
    }
    fn feeds(&self) -> &'static [CurveId] {
        self.feeds
    }
    fn points(&self, scope: &Scope) -> Vec<Point> {
        let mut points: Vec<Point> = (self.shape)(scope).into_iter().map(|(p, _, _)| p).collect();
        if scope.effort == Effort::Quick {
            points.retain(|p| p.required || self.name != "gemm_skinny" || p.id != "m2-qkv-f16");
        }
        points
    }
    fn variants(&self, _: &Scope, _: &Point) -> Vec<Variant> {
        ["lanes", "items"]
            .into_iter()
            .map(|id| Variant {
                id: id.into(),
                kernels: vec![Kernel {
                    name: TRIPLE,
                    defines: vec![],
                    group: [64, 1],
                    buffers: vec![Access::Read, Access::ReadWrite],
                    numbers: 0,
                    needs: vec![],
                }],
                options: vec![("slower", u32::from(id == "items"))],
            })
            .collect()
    }
    fn check(
        &self,
        device: &mut dyn Backend,
        _: &Scope,
        variant: &Variant,
    ) -> Result<(), ProbeError> {
        let kernel = device.compile(&variant.kernels[0])?;
        let (from, to) = (device.alloc(1024)?, device.alloc(1024)?);
        let slice = |buffer| Slice {
            buffer,
            offset: 0,
            len: 1024,
        };
        let values: Vec<f32> = (0..256).map(|i| 0.5 + i as f32).collect();
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        device.write(slice(from), &bytes)?;
        device.write(slice(to), &[0xff; 1024])?; // NaN
        device.run(&[Launch {
            kernel,
            buffers: vec![slice(from), slice(to)],
            numbers: vec![],
            groups: [4, 1, 1],
            work: Work::default(),
        }])?;
        let mut out = [0u8; 1024];
        device.read(slice(to), &mut out)?;
        device.free(from);
        device.free(to);
        for (i, (v, b)) in values.iter().zip(out.chunks_exact(4)).enumerate() {
            let got = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            if got != 3.0 * v {
                return Err(ProbeError::Wrong(format!(
                    "element {i} is {got}, must be {}",
                    3.0 * v
                )));
            }
        }
        Ok(())
    }
    fn prepare(
        &self,
        device: &mut dyn Backend,
        scope: &Scope,
        point: &Point,
        variant: &Variant,
    ) -> Result<Prepared, ProbeError> {
        let find = |ring_bytes: u64| {
            let scope = Scope {
                ring_bytes,
                ..scope.clone()
            };
            let all = (self.shape)(&scope);
            all.into_iter().find(|(p, _, _)| p.id == point.id)
        };
        // With the ring doubled, a sweep that starts from the ring's size has other points: this one was of the ring before.
        let (nominal, launches) = match (find(scope.ring_bytes), find(scope.ring_bytes / 2)) {
            (Some((_, work, n)), _) => (work, n),
            (None, Some((_, mut work, n))) => {
                work.working_set *= 2.0;
                (work, n)
            }
            _ => return Err(ProbeError::Wrong("no such point".into())),
        };
        // The second variant does a quarter more than it has to, so that there is a best one.
        let mut work = nominal;
        if variant.options[0].1 == 1 {
            work.bytes *= 1.25;
            work.flops *= 1.25;
        }
        let kernel = device.compile(&variant.kernels[0])?;
        let ring = device.alloc((work.working_set as u64).next_multiple_of(256).max(256))?;
        let out = device.alloc(256)?;
        let launch = Launch {
            kernel,
            buffers: vec![
                Slice {
                    buffer: ring,
                    offset: 0,
                    len: 256,
                },
                Slice {
                    buffer: out,
                    offset: 0,
                    len: 256,
                },
            ],
            numbers: vec![],
            groups: [1, 1, 1],
            work,
        };
        let n = launches as f64;
        Ok(Prepared {
            pass: vec![launch; launches],
            work: Work {
                bytes: nominal.bytes * n,
                flops: nominal.flops * n,
                working_set: work.working_set,
            },
            buffers: vec![ring, out],
            transfer: None,
            companion: None,
        })
    }
}
