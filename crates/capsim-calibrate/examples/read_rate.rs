//! Is the CPU device's streaming read as fast as a plain loop? One thread per core adds up its part of the same number of bytes, once
//! in a loop of a few lines, once through the backend in each of its access shapes; rounds alternate, medians are compared.
//!
//! `cargo run --release -p capsim-calibrate --example read_rate -- [MiB] [rounds] [opencl]`. With `opencl`, the first OpenCL device's shapes stand beside.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a benchmark"
)]
use capsim::stats::percentile;
use capsim_calibrate::backend::Backend;
use capsim_calibrate::cpu::Cpu;
use capsim_calibrate::families;
use capsim_calibrate::family::{Effort, Family, Prepared, Scope};
use std::time::Instant;

/// Adds up all words on `threads` threads; seconds. Eight sums in parallel, so that the compiler can use vectors.
fn plain(words: &[u32], threads: usize) -> f64 {
    let begin = Instant::now();
    let total: u32 = std::thread::scope(|s| {
        let parts = words.chunks(words.len().div_ceil(threads));
        let all: Vec<_> = parts
            .map(|part| {
                s.spawn(move || {
                    let mut sums = [0u32; 64];
                    for chunk in part.chunks_exact(64) {
                        for (sum, word) in sums.iter_mut().zip(chunk) {
                            *sum = sum.wrapping_add(*word);
                        }
                    }
                    sums.iter().fold(0u32, |a, b| a.wrapping_add(*b))
                })
            })
            .collect();
        all.into_iter()
            .map(|t| t.join().expect("a sum"))
            .fold(0, u32::wrapping_add)
    });
    std::hint::black_box(total);
    begin.elapsed().as_secs_f64()
}

struct Lane {
    name: String,
    bytes: f64,
    device: usize,
    prepared: Prepared,
    seconds: Vec<f64>,
}

fn median(seconds: &[f64]) -> f64 {
    let mut v = seconds.to_vec();
    v.sort_by(f64::total_cmp);
    percentile(&v, 50.0)
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, or: usize| args.get(i).and_then(|a| a.parse().ok()).unwrap_or(or);
    let (mib, rounds) = (number(0, 256), number(1, 21).max(3));
    let bytes = (mib as u64) << 20;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut devices: Vec<Box<dyn Backend>> = vec![Box::new(Cpu::open().expect("threads"))];
    #[cfg(feature = "opencl")]
    if args.iter().any(|a| a == "opencl") {
        let device = capsim_calibrate::opencl::OpenCl::open(0).expect("an OpenCL device");
        devices.push(Box::new(device));
    }
    let all = families::all();
    let read: &dyn Family = all
        .iter()
        .find(|f| f.name() == "stream_read")
        .expect("the family")
        .as_ref();
    let mut lanes = vec![];
    for (at, device) in devices.iter_mut().enumerate() {
        let info = device.info().clone();
        let scope = Scope {
            device: &info,
            effort: Effort::Full,
            ring_bytes: bytes,
            budget_bytes: 4 * bytes,
            seed: 1,
        };
        let points = read.points(&scope);
        let point = points
            .iter()
            .find(|p| p.axes.contains(&("bytes", bytes as f64)))
            .expect("a point of that size");
        for variant in read.variants(&scope, point) {
            let prepared = read
                .prepare(device.as_mut(), &scope, point, &variant)
                .expect("memory");
            lanes.push(Lane {
                name: format!("{} {}", info.name, variant.id),
                bytes: prepared.work.bytes,
                device: at,
                prepared,
                seconds: vec![],
            });
        }
    }
    let words: Vec<u32> = (0..bytes as usize / 4)
        .map(|i| (i as u32).wrapping_mul(0x9e37_79b9))
        .collect();
    let mut loops = vec![];
    for round in 0..=rounds {
        let s = plain(&words, threads);
        // The first round warms up.
        if round > 0 {
            loops.push(s);
        }
        for lane in &mut lanes {
            let timing = devices[lane.device]
                .run(&lane.prepared.pass)
                .expect("a run");
            if round > 0 {
                lane.seconds
                    .push(timing.device.unwrap_or(timing.host).as_secs_f64());
            }
        }
    }
    let base = bytes as f64 / median(&loops);
    let best = |s: &[f64]| s.iter().copied().fold(f64::INFINITY, f64::min);
    println!(
        "{mib} MiB, {threads} threads, {rounds} rounds; GB/s: median, best; median over the plain loop's"
    );
    println!(
        "{:6.1} {:6.1}  1.00  plain loop",
        base / 1e9,
        bytes as f64 / best(&loops) / 1e9
    );
    for lane in &lanes {
        let rate = lane.bytes / median(&lane.seconds);
        println!(
            "{:6.1} {:6.1}  {:4.2}  {}",
            rate / 1e9,
            lane.bytes / best(&lane.seconds) / 1e9,
            rate / base,
            lane.name
        );
    }
}
