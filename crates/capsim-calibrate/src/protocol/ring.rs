//! Whether the ring is large enough, before anything is measured with it.
//!
//! Drivers tell of a cache too small, or of none: wgpu never does, and OpenCL tells of an RDNA's 2 MiB and not of the 32 MiB beside
//! its memory. Half a ring must be read no faster than two rings; if it is, a cache holds part of it, and the ring doubles.
use super::super::backend::Backend;
use super::super::samples::SamplesFile;
use super::{Session, sampling, scope, size};

/// Half a ring may be read faster than two rings by this factor. With a cache of a quarter of the ring, what is left of it
/// at twice its size is a few per cent.
const FASTER: f64 = 1.25;
/// Variants of the reading kernel that are tried.
const VARIANTS: usize = 3;
/// Passes of each, of which the fastest counts.
const PASSES: usize = 4;

impl Session<'_, '_, '_> {
    /// Doubles the file's ring until no cache holds half of it, or the memory guard forbids more. Not on software devices, which
    /// know their cache and read too slowly for this, nor where `--cache` was given.
    pub(super) fn settle_ring(&mut self, file: &mut SamplesFile) {
        let info = self.device.info().clone();
        let stated = file.device.cache_bytes != info.cache_bytes;
        if info.software || stated || !file.points.is_empty() {
            return;
        }
        let Some(f) = self.families.iter().position(|f| f.name() == "stream_read") else {
            return;
        };
        let most = file.budget_bytes / 2;
        let until = self.left().map(|left| self.clock.now() + left / 10);
        while file.ring_bytes < most && until.is_none_or(|u| self.clock.now() < u) {
            let ring = file.ring_bytes;
            let rates = [ring / 2, (2 * ring).min(most)].map(|s| self.read_rate(file, f, s));
            match rates {
                [Some(half), Some(twice)] if half > FASTER * twice => {
                    file.ring_bytes = (2 * ring).min(most);
                }
                _ => return,
            }
        }
    }

    /// Bytes per second of reading a set of so many bytes again and again.
    fn read_rate(&mut self, file: &SamplesFile, f: usize, bytes: u64) -> Option<f64> {
        let info = self.device.info().clone();
        let point = self.families[f]
            .points(&scope(&info, file, bytes))
            .into_iter()
            .filter(|p| size(p) >= bytes as f64)
            .min_by(|a, b| size(a).total_cmp(&size(b)))?;
        let mut best: Option<f64> = None;
        for variant in self
            .candidates(file, f, &point, bytes)
            .iter()
            .take(VARIANTS)
        {
            self.trying(file, f, variant);
            if self.check(file, f, variant, bytes).is_err() {
                continue;
            }
            let Ok(p) = self.prepare(file, f, &point, variant, bytes) else {
                continue;
            };
            // Long enough to be above launch costs and clock ticks; the first pass is a warm-up.
            let once = p.once(&mut self.device).ok().map(|t| sampling::seconds(&t));
            let again = once.map_or(0, |s| {
                (sampling::MIN_SAMPLE_S / s.max(1e-6)).clamp(1.0, 64.0) as usize
            });
            let pass: Vec<_> = (0..again).flat_map(|_| p.pass.clone()).collect();
            for _ in 0..PASSES {
                let Ok(time) = self.device.run(&pass) else {
                    break;
                };
                let rate = p.work.bytes * again as f64 / sampling::seconds(&time).max(1e-9);
                best = Some(best.map_or(rate, |b| b.max(rate)));
            }
            self.device.sweep(&[]);
        }
        best
    }
}
