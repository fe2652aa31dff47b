//! Streaming reads of the device while CPU threads stream host memory: what the host's work takes from shared memory.
//!
//! Bytes and FLOPs per pass: those of `stream_read`; what the threads read is not counted.
use super::harness::{axis, native, point};
use super::stream::Stream;
use crate::backend::Backend;
use crate::family::{Effort, Family, Point, Prepared, ProbeError, Scope, Variant};
use capsim::device::CurveId;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Reads beside threads that read.
pub(super) struct Contention;

const STREAM: Stream = Stream { read: true };
/// Bytes that each thread goes through, beyond the share of a core of any last-level cache.
const EACH: usize = 64 << 20;

/// Threads that stream host memory until this is dropped.
#[derive(Debug)]
struct Readers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    fn start(count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let reader = |i: usize| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                let words: Vec<u64> = (i as u64..).take(EACH / 8).collect();
                while !stop.load(Ordering::Relaxed) {
                    // A MiB between two looks at the flag.
                    for part in words.chunks(1 << 17) {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        black_box(part.iter().fold(0u64, |a, b| a.wrapping_add(*b)));
                    }
                }
            })
        };
        let threads = (0..count).map(reader).collect();
        Self { stop, threads }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for t in self.threads.drain(..) {
            // A thread that panicked has stopped as well.
            let _ = t.join();
        }
    }
}

impl Family for Contention {
    fn name(&self) -> &'static str {
        "contention"
    }

    fn about(&self) -> &'static str {
        "Streaming reads while CPU threads read host memory: what the server's own work takes from a memory that both share"
    }

    fn feeds(&self) -> &'static [CurveId] {
        &[]
    }

    fn points(&self, scope: &Scope) -> Vec<Point> {
        let shared = scope.device.unified_memory || native(scope.device);
        if scope.effort == Effort::Quick || !shared {
            return vec![];
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let dram = scope.ring_bytes.min(scope.budget_bytes / 2) >> 20 << 20;
        [0, 1, 2, 4, 8, 16, 32]
            .into_iter()
            .filter(|n| *n <= cores && (n * EACH) as u64 <= scope.budget_bytes / 2)
            .filter(|n| scope.effort == Effort::Full || *n <= 4)
            .map(|n| {
                // `op` 0: the plain read of the family `stream_read`.
                let axes = vec![("bytes", dram as f64), ("threads", n as f64), ("op", 0.0)];
                point(format!("cpu{n}"), axes, false)
            })
            .collect()
    }

    fn variants(&self, scope: &Scope, point: &Point) -> Vec<Variant> {
        Family::variants(&STREAM, scope, point)
    }

    fn check(
        &self,
        device: &mut dyn Backend,
        scope: &Scope,
        variant: &Variant,
    ) -> Result<(), ProbeError> {
        STREAM.check(device, scope, variant)
    }

    fn prepare(
        &self,
        device: &mut dyn Backend,
        scope: &Scope,
        point: &Point,
        variant: &Variant,
    ) -> Result<Prepared, ProbeError> {
        let prepared = STREAM.prepare(device, scope, point, variant)?;
        let readers = Readers::start(axis(point, "threads"));
        Ok(Prepared {
            companion: Some(Box::new(readers)),
            ..prepared
        })
    }
}
