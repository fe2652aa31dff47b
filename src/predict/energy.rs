//! What a predicted run draws, by the device's power and the share of time in which steps run.
use super::{Prediction, Scenario};
use crate::device::{Power, Provenance, Watts};
use crate::metrics::{Metric, Percentiles};

/// Power and energy of all devices together.
#[derive(Clone, Debug, PartialEq)]
pub struct Energy {
    /// Devices.
    pub devices: u32,
    /// Share of the time in which steps run.
    pub busy: f64,
    /// Mean watts.
    pub watts: Watts,
    /// Joules per output token.
    pub joules_per_token: Watts,
    /// What the figures rest on.
    pub sources: Vec<Provenance>,
}

impl Prediction {
    /// Watts, and joules per output token; `None` where nothing is known of the device's power, or nothing was answered.
    ///
    /// Energy per token is mean power over output tokens per second. Its bounds are those of both: most power at the least throughput of the
    /// 90 % interval, and least at the most. Host processors, fans and power supplies are not in it.
    pub fn energy(&self, scenario: &Scenario) -> Option<Energy> {
        let (summary, parallel) = (&self.run.summary, self.run.settings.parallel);
        if summary.duration <= 0.0 || summary.output_tokens == 0 {
            return None;
        }
        let engines = f64::from(parallel.data.max(1));
        let busy = (self.run.occupancy.busy / (summary.duration * engines)).clamp(0.0, 1.0);
        let power = Power::of(&scenario.device);
        let each = power.watts(busy)?;
        let devices = parallel.all_devices().max(1);
        let n = f64::from(devices);
        let watts = Watts {
            value: each.value.map(|w| n * w),
            low: n * each.low,
            high: n * each.high,
        };
        let rate = summary.metric(Metric::OutputThroughput, Percentiles::Linear);
        let (slow, fast) = match self.interval_of(Metric::OutputThroughput) {
            Some(i) if i.low > 0.0 => (i.low.min(rate), i.high.max(rate)),
            _ => (rate, rate),
        };
        Some(Energy {
            devices,
            busy,
            watts,
            joules_per_token: Watts {
                value: watts.value.map(|w| w / rate),
                low: watts.low / fast,
                high: watts.high / slow,
            },
            sources: power.sources().map(|q| q.provenance.clone()).collect(),
        })
    }
}
