//! Every kernel variant gives the right answer on every device that is here, and a wrong answer is seen.
#![allow(clippy::disallowed_methods, reason = "tests read the environment")]
use capsim_calibrate::backend::*;
use capsim_calibrate::cpu::Cpu;
use capsim_calibrate::families;
use capsim_calibrate::family::*;
use std::collections::BTreeSet;
use std::time::Duration;

fn scope(device: &DeviceInfo, effort: Effort) -> Scope<'_> {
    Scope {
        device,
        effort,
        ring_bytes: 4 << 20,
        budget_bytes: 64 << 20,
        seed: 7,
    }
}

/// Every variant of every point once, by id.
fn variants(family: &dyn Family, scope: &Scope) -> Vec<Variant> {
    let mut seen = BTreeSet::new();
    let mut all = vec![];
    for point in family.points(scope) {
        all.extend(family.variants(scope, &point));
    }
    all.retain(|v| seen.insert(v.id.clone()));
    all
}

fn check_all(device: &mut dyn Backend, effort: Effort) {
    let info = device.info().clone();
    let scope = scope(&info, effort);
    let mut wrong = vec![];
    for family in families::all() {
        let variants = variants(family.as_ref(), &scope);
        assert!(
            !variants.is_empty() || effort == Effort::Quick,
            "{}: no variants",
            family.name()
        );
        for variant in variants {
            let r = family.check(device, &scope, &variant);
            match r {
                Ok(()) => {}
                Err(ProbeError::Backend(BackendError::Unsupported { .. }))
                    if !variant.kernels.iter().all(|k| k.needs.is_empty()) => {}
                Err(e) => wrong.push(format!("{} {}: {e}", family.name(), variant.id)),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn cpu() -> Cpu {
    Cpu::open().expect("a processor")
}

#[test]
fn every_variant_is_right_on_the_cpu() {
    check_all(&mut cpu(), Effort::Full);
}

/// The device of an API, or a printed reason why it is not tested here (an error where it is required).
fn device(api: &str, found: Result<Box<dyn Backend>, BackendError>) -> Option<Box<dyn Backend>> {
    let required = std::env::var("CAPSIM_REQUIRE_BACKENDS").unwrap_or_default();
    match found {
        Ok(device) => Some(device),
        Err(e) if required.split(',').any(|r| r == api) => panic!("{api} is required: {e}"),
        Err(e) => {
            println!("SKIP {api}: {e}");
            None
        }
    }
}

#[cfg(feature = "opencl")]
#[test]
fn every_variant_is_right_through_opencl() {
    let found = capsim_calibrate::opencl::OpenCl::open(0).map(|d| Box::new(d) as Box<dyn Backend>);
    if let Some(mut device) = device("opencl", found) {
        // A driver takes half a second to compile a variant: the full choice is for a device that is worth it.
        let effort = match device.info().software {
            true => Effort::Standard,
            false => Effort::Full,
        };
        check_all(device.as_mut(), effort);
    }
}

#[cfg(feature = "wgpu")]
#[test]
fn every_variant_is_right_through_wgpu() {
    let found = capsim_calibrate::wgpu::Wgpu::open(0).map(|d| Box::new(d) as Box<dyn Backend>);
    if let Some(mut device) = device("wgpu", found) {
        let effort = match device.info().software {
            true => Effort::Standard,
            false => Effort::Full,
        };
        check_all(device.as_mut(), effort);
    }
}

/// A device that spoils things on the way.
struct Saboteur {
    device: Cpu,
    spoil: Spoil,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Spoil {
    /// Launches do nothing: outputs keep their poison.
    Launches,
    /// Every result read back has one number a little off.
    Reads,
}

impl Backend for Saboteur {
    fn api(&self) -> Api {
        self.device.api()
    }
    fn info(&self) -> &DeviceInfo {
        self.device.info()
    }
    fn compile(&mut self, kernel: &Kernel) -> Result<KernelId, BackendError> {
        self.device.compile(kernel)
    }
    fn alloc(&mut self, bytes: u64) -> Result<BufferId, BackendError> {
        self.device.alloc(bytes)
    }
    fn free(&mut self, buffer: BufferId) {
        self.device.free(buffer)
    }
    fn write(&mut self, to: Slice, data: &[u8]) -> Result<Duration, BackendError> {
        self.device.write(to, data)
    }
    fn read(&mut self, from: Slice, data: &mut [u8]) -> Result<Duration, BackendError> {
        let time = self.device.read(from, data)?;
        if self.spoil == Spoil::Reads {
            data[3] ^= 0x40;
        }
        Ok(time)
    }
    fn run(&mut self, launches: &[Launch]) -> Result<Timing, BackendError> {
        match self.spoil {
            Spoil::Launches => self.device.run(&[]),
            Spoil::Reads => self.device.run(launches),
        }
    }
}

#[test]
fn a_wrong_answer_is_seen() {
    for spoil in [Spoil::Launches, Spoil::Reads] {
        let mut device = Saboteur {
            device: cpu(),
            spoil,
        };
        let info = device.info().clone();
        let scope = scope(&info, Effort::Quick);
        for family in families::all() {
            for variant in variants(family.as_ref(), &scope) {
                let result = family.check(&mut device, &scope, &variant);
                assert!(
                    matches!(result, Err(ProbeError::Wrong(_))),
                    "{} {}: {spoil:?} passed",
                    family.name(),
                    variant.id
                );
            }
        }
    }
}

#[test]
fn a_copy_or_a_layer_that_comes_back_spoiled_is_seen() {
    let mut device = Saboteur {
        device: cpu(),
        spoil: Spoil::Reads,
    };
    let info = device.info().clone();
    let scope = scope(&info, Effort::Standard);
    for family in families::all() {
        if ["copy", "layer"].contains(&family.name()) {
            let variants = variants(family.as_ref(), &scope);
            assert!(!variants.is_empty());
            for variant in variants {
                let result = family.check(&mut device, &scope, &variant);
                assert!(matches!(result, Err(ProbeError::Wrong(_))), "{result:?}");
            }
        }
    }
}

/// What a pass says that it does is what the definitions say.
#[test]
fn the_work_of_a_pass_is_counted() {
    let mut device = cpu();
    let info = device.info().clone();
    let scope = Scope {
        budget_bytes: 512 << 20,
        ..scope(&info, Effort::Standard)
    };
    let mut seen = BTreeSet::new();
    for family in families::all() {
        let mut parts = Work::default();
        let mut whole = Work::default();
        for point in family.points(&scope) {
            let axis = |name: &str| {
                let found = point.axes.iter().find(|(n, _)| *n == name);
                found.map_or(0.0, |(_, v)| *v)
            };
            let Some(variant) = family.variants(&scope, &point).into_iter().next() else {
                continue;
            };
            let option = |name: &str| {
                let found = variant.options.iter().find(|(n, _)| *n == name);
                found.map_or(0.0, |(_, v)| f64::from(*v))
            };
            // Bytes and FLOPs once around, where axes and options alone tell them.
            let expected = match (family.name(), axis("op")) {
                ("copy", _) => Some((axis("bytes"), 0.0)),
                ("contention" | "stream_read", _) => Some((axis("bytes"), 0.0)),
                ("kv_write", _) => Some((axis("tokens") * (12.0 * axis("width") + 4.0), 0.0)),
                ("sampling", _) => {
                    let n = axis("batch") * axis("vocab");
                    Some((4.0 * n, n))
                }
                ("router", _) => Some((axis("tokens") * 4.0 * 144.0, axis("tokens") * 1280.0)),
                ("elementwise", 0.0) => Some((axis("bytes"), axis("bytes") / 12.0)),
                ("launch", _) => Some((0.0, 0.0)),
                ("gemm_skinny", _) => {
                    let (m, n, k) = (axis("m"), axis("n"), axis("k"));
                    let bytes = n * k * axis("weight_bytes") + 4.0 * m * (n + k);
                    Some((bytes, 2.0 * m * n * k))
                }
                ("gemm_prefill", _) => {
                    let (m, n, k) = (axis("m"), axis("n"), axis("k"));
                    Some((2.0 * k * (m + n) + 4.0 * m * n, 2.0 * m * n * k))
                }
                ("moe", _) => {
                    let ids = axis("tokens") * axis("topk");
                    let (d, f) = (axis("hidden"), axis("expert"));
                    // bf16, or int4 with an f16 scale for 128 weights.
                    let weight = if axis("format") == 2.0 {
                        2.0
                    } else {
                        0.5 + 2.0 / 128.0
                    };
                    let moved = axis("tokens") * d + ids * (2.0 * f + f + d);
                    let bytes = axis("distinct") * 3.0 * d * f * weight + 4.0 * moved;
                    Some((bytes, 6.0 * ids * d * f))
                }
                ("attention_decode", _) => {
                    let (b, c) = (axis("batch"), axis("context"));
                    let tokens = match axis("mixed") {
                        0.0 => b * c,
                        // From a quarter to seven quarters in even steps, rounded down each.
                        _ => (0..b as u64)
                            .map(|i| c as u64 / 4 + c as u64 * 3 * i / (2 * (b as u64 - 1)))
                            .sum::<u64>() as f64,
                    };
                    let rows = b * axis("heads");
                    let splits = option("splits");
                    // Queries in, results out, and the splits' 128 sums and two numbers written and read.
                    let bytes = 512.0 * tokens * axis("kv_heads")
                        + 8.0 * 128.0 * rows
                        + 8.0 * 130.0 * rows * splits;
                    let flops = 512.0 * tokens * axis("heads") + 256.0 * rows * splits;
                    Some((bytes, flops))
                }
                ("attention_prefill", _) => {
                    let (q, past, heads) = (axis("tokens"), axis("past"), axis("heads"));
                    let bytes = 512.0 * (past + q) * axis("kv_heads") + 1024.0 * q * heads;
                    Some((bytes, 512.0 * heads * (q * past + q * (q + 1.0) / 2.0)))
                }
                ("layer", _) => None,
                _ => continue,
            };
            let Ok(p) = family.prepare(&mut device, &scope, &point, &variant) else {
                panic!("{} {}", family.name(), point.id)
            };
            p.once(&mut device).expect("runs");
            match expected {
                Some((bytes, flops)) => {
                    // A pass goes around once for each slot of its ring; decode attention and a mixture are two launches each.
                    let times = match family.name() {
                        "gemm_skinny" | "gemm_prefill" => p.pass.len(),
                        "moe" | "attention_decode" => p.pass.len() / 2,
                        _ => 1,
                    } as f64;
                    let (bytes, flops) = (bytes * times, flops * times);
                    // Pieces larger than a binding may lose a few bytes to alignment.
                    assert!((p.work.bytes - bytes).abs() < 64.0, "{}", point.id);
                    assert_eq!(p.work.flops, flops, "{} {}", family.name(), point.id);
                }
                None => {
                    let sum = match axis("part") {
                        0.0 => &mut whole,
                        _ => &mut parts,
                    };
                    sum.bytes += p.work.bytes;
                    sum.flops += p.work.flops;
                }
            }
            seen.insert(family.name());
            p.buffers.iter().for_each(|b| device.free(*b));
        }
        assert_eq!((parts.bytes, parts.flops), (whole.bytes, whole.flops));
    }
    // Every family but `stream`, whose kinds count differently and which the kernels' own check covers.
    let all = families::all();
    let all = all.iter().filter(|f| !f.points(&scope).is_empty());
    let all: BTreeSet<&str> = all.map(|f| f.name()).collect();
    let missing: Vec<_> = all.difference(&seen).filter(|f| **f != "stream").collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn threads_that_read_beside_the_device_end_with_the_point() {
    let mut device = cpu();
    let info = device.info().clone();
    let scope = Scope {
        budget_bytes: 256 << 20,
        ..scope(&info, Effort::Full)
    };
    let all = families::all();
    let family = all.iter().find(|f| f.name() == "contention");
    let family = family.expect("it is there");
    let points = family.points(&scope);
    let point = points.iter().find(|p| p.id == "cpu1").expect("one thread");
    let variant = family.variants(&scope, point).remove(0);
    let prepared = family.prepare(&mut device, &scope, point, &variant);
    let prepared = prepared.expect("memory");
    assert!(prepared.companion.is_some());
    prepared.once(&mut device).expect("runs");
    // Waits for the threads: a test that hangs here has failed.
    drop(prepared);
}
