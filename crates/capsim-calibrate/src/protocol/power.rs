//! What the device draws: idle, while it streams, and while it multiplies, where its driver tells.
use super::{Session, SessionError};
use crate::backend::Backend;
use crate::family::Effort;
use crate::samples::{PointRecord, PowerRecord, SamplesFile};
use std::time::Duration;

/// Readings of each kind.
const READINGS: usize = 10;
/// Time between two.
const EVERY: Duration = Duration::from_millis(100);
/// The sensor may tell an average over the last second (NVML from Ampere on): the load runs that long first.
const SETTLE: Duration = Duration::from_millis(1500);

impl Session<'_, '_, '_> {
    /// Readings before anything runs.
    pub(super) fn idle_power(&mut self, file: &mut SamplesFile) {
        let Some(source) = self.device.meter() else {
            return;
        };
        if file.power.is_some() {
            return;
        }
        let mut idle_w = vec![];
        for _ in 0..READINGS {
            idle_w.extend(self.device.watts());
            self.clock.pause(EVERY);
        }
        file.power = Some(PowerRecord {
            source,
            idle_w,
            streaming_w: vec![],
            multiplying_w: vec![],
        });
    }

    /// Readings while the largest read and the product with the most rows run.
    pub(super) fn loaded_power(&mut self, file: &mut SamplesFile) -> Result<(), SessionError> {
        if file.effort == Effort::Quick || file.power.is_none() {
            return Ok(());
        }
        let largest = |family: &str, axis: &str| -> Option<PointRecord> {
            let at = |p: &&PointRecord| p.axis(axis).unwrap_or(0.0);
            file.measured(family)
                .max_by(|a, b| at(a).total_cmp(&at(b)))
                .cloned()
        };
        let (stream, product) = (
            largest("stream_read", "bytes"),
            largest("gemm_prefill", "m"),
        );
        let streaming_w = self.held(file, stream)?;
        let multiplying_w = self.held(file, product)?;
        if let Some(power) = &mut file.power {
            power.streaming_w = streaming_w;
            power.multiplying_w = multiplying_w;
        }
        Ok(())
    }

    /// Readings while a measured point runs again and again.
    fn held(
        &mut self,
        file: &SamplesFile,
        record: Option<PointRecord>,
    ) -> Result<Vec<f64>, SessionError> {
        let mut all = vec![];
        let Some(record) = record else {
            return Ok(all);
        };
        let Some(f) = self.families.iter().position(|f| f.name() == record.family) else {
            return Ok(all);
        };
        let info = self.device.info().clone();
        let scope = super::scope(&info, file, file.ring_bytes);
        let points = self.families[f].points(&scope);
        let Some(point) = points.iter().find(|p| p.id == record.id) else {
            return Ok(all);
        };
        let variants = self.families[f].variants(&scope, point);
        let same = |id: &String| Some(id) == record.variant.as_ref();
        let Some(variant) = variants.iter().find(|v| same(&v.id)) else {
            return Ok(all);
        };
        let keep = self.device.live();
        // A point that fits no more (memory) has no reading.
        let Ok(prepared) = self.prepare(file, f, point, variant, file.ring_bytes) else {
            return Ok(all);
        };
        let begin = self.clock.now();
        let mut next = begin + SETTLE;
        while all.len() < READINGS && self.clock.now() < begin + 4 * SETTLE {
            self.device.run(&prepared.pass)?;
            if self.clock.now() >= next {
                all.extend(self.device.watts());
                next = self.clock.now() + EVERY;
            }
        }
        self.device.sweep(&keep);
        Ok(all)
    }
}
