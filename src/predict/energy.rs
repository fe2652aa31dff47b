//! What a predicted run draws, by the device's power and the share of time in which steps run.
use super::{Prediction, Scenario};
use crate::device::{DeviceProfile, Power, Provenance, Watts};
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

/// Devices that are equally busy.
struct Drawing<'a> {
    device: &'a DeviceProfile,
    devices: u32,
    busy: f64,
}

impl Prediction {
    /// Watts, and joules per output token; `None` where nothing is known of the device's power, or nothing was answered.
    ///
    /// Energy per token is mean power over output tokens per second. Its bounds are those of both: most power at the least throughput of the
    /// 90 % interval, and least at the most. Host processors, fans and power supplies are not in it.
    pub fn energy(&self, scenario: &Scenario) -> Option<Energy> {
        let summary = &self.run.summary;
        if summary.duration <= 0.0 || summary.output_tokens == 0 {
            return None;
        }
        let (mut busy, mut devices, mut sources) = (0.0, 0, vec![]);
        let mut watts = Watts {
            value: Some(0.0),
            low: 0.0,
            high: 0.0,
        };
        for part in self.drawing(scenario) {
            let power = Power::of(part.device);
            let each = power.watts(part.busy)?;
            let n = f64::from(part.devices);
            watts.value = watts.value.zip(each.value).map(|(all, w)| all + n * w);
            watts.low += n * each.low;
            watts.high += n * each.high;
            busy += n * part.busy;
            devices += part.devices;
            for q in power.sources() {
                if !sources.contains(&q.provenance) {
                    sources.push(q.provenance.clone());
                }
            }
        }
        let busy = busy / f64::from(devices.max(1));
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
            sources,
        })
    }

    /// The devices: of the only engine, or of each pool.
    fn drawing<'a>(&'a self, scenario: &'a Scenario) -> Vec<Drawing<'a>> {
        let duration = self.run.summary.duration;
        if let Some(fleet) = &self.run.fleet {
            let pool = |p: &'a super::PoolRun| Drawing {
                device: &p.device,
                devices: p.devices,
                busy: (p.occupancy.busy / duration).clamp(0.0, 1.0),
            };
            return fleet.pools.iter().map(pool).collect();
        }
        let parallel = self.run.settings.parallel;
        let engines = f64::from(parallel.data.max(1));
        vec![Drawing {
            device: &scenario.device,
            devices: parallel.all_devices().max(1),
            busy: (self.run.occupancy.busy / (duration * engines)).clamp(0.0, 1.0),
        }]
    }
}
