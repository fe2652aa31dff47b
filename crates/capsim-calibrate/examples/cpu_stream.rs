//! Streaming read of the CPU device beside a plain loop of scoped threads over the same number of bytes.
//!
//! `cargo run --release -p capsim-calibrate --example cpu_stream`
//! Rounds alternate, so that a change of the machine's load meets both; the best and the median of each are printed.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a benchmark reads the clock"
)]
use capsim_calibrate::backend::Backend;
use capsim_calibrate::cpu::Cpu;
use capsim_calibrate::families;
use capsim_calibrate::family::{Effort, Scope};
use std::time::Instant;

/// What anybody would write: each thread sums its share, with enough independent sums for the vector units.
fn plain(words: &[u32], threads: usize) -> u32 {
    let sum = |part: &[u32]| {
        let mut lanes = [0u32; 64];
        for chunk in part.chunks_exact(64) {
            for (l, w) in lanes.iter_mut().zip(chunk) {
                *l = l.wrapping_add(*w);
            }
        }
        lanes.iter().fold(0u32, |a, b| a.wrapping_add(*b))
    };
    std::thread::scope(|s| {
        let share = words.len() / threads;
        let parts = words.chunks(share).map(|p| s.spawn(move || sum(p)));
        let parts: Vec<_> = parts.collect();
        parts
            .into_iter()
            .filter_map(|p| p.join().ok())
            .fold(0u32, u32::wrapping_add)
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut device = Cpu::open()?;
    let info = device.info().clone();
    let threads = info.compute_units as usize;
    println!("{} ({})", info.name, info.api_version);
    let scope = Scope {
        device: &info,
        effort: Effort::Standard,
        ring_bytes: (4 * info.cache_bytes).max(256 << 20),
        budget_bytes: 2 << 30,
        seed: 1,
    };
    let family = &families::all()[0];
    for point in family.points(&scope).iter().filter(|p| p.required) {
        let mut rates: Vec<(String, Vec<f64>)> = vec![];
        let mut prepared = vec![];
        for variant in family.variants(&scope, point) {
            prepared.push(family.prepare(&mut device, &scope, point, &variant)?);
            rates.push((variant.id, vec![]));
        }
        rates.push(("plain loop".into(), vec![]));
        let bytes = prepared[0].work.bytes;
        let words: Vec<u32> = (0..bytes as u64 / 4)
            .map(|i| (i * 0x9e37_79b9) as u32)
            .collect();
        let passes = ((64 << 20) as f64 / bytes).ceil() as usize;
        for _ in 0..21 {
            for (i, (_, rates)) in rates.iter_mut().enumerate() {
                let begin = Instant::now();
                for _ in 0..passes {
                    match prepared.get(i) {
                        Some(p) => drop(device.run(&p.pass)?),
                        None => drop(std::hint::black_box(plain(&words, threads))),
                    }
                }
                rates.push(bytes * passes as f64 / begin.elapsed().as_secs_f64() / 1e9);
            }
        }
        for (name, mut rates) in rates {
            rates.sort_by(f64::total_cmp);
            println!(
                "{} {name:18} best {:6.1} GB/s, median {:6.1} GB/s",
                point.id,
                rates[rates.len() - 1],
                rates[rates.len() / 2]
            );
        }
        for p in prepared {
            p.buffers.into_iter().for_each(|b| device.free(b));
        }
    }
    Ok(())
}
