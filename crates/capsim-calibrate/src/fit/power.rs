//! What the device draws, from its sensor's readings.
use super::source::Source;
use capsim::device::{Power, Quantity};
use capsim::stats::{mad, percentile};

/// What sensors are trusted to: NVML states ± 5 %.
const SENSOR: f64 = 0.05;

/// Power as it was read; `None`: there is no sensor.
pub(super) fn power(source: &Source) -> Option<Power> {
    let record = source.file.power.as_ref()?;
    let quantity = |readings: &[f64], what: &str| {
        let mut sorted = readings.to_vec();
        sorted.retain(|w| w.is_finite() && *w > 0.0);
        sorted.sort_by(f64::total_cmp);
        let median = percentile(&sorted, 50.0);
        (!sorted.is_empty()).then(|| Quantity {
            value: median,
            rel_sd: libm::hypot(SENSOR, 1.4826 * mad(&sorted) / median).min(1.0),
            provenance: source.measured(&format!("{what}; {}", record.source)),
        })
    };
    let power = Power {
        idle_w: quantity(&record.idle_w, "before anything ran"),
        streaming_w: quantity(
            &record.streaming_w,
            "while the largest working set was read",
        ),
        multiplying_w: quantity(
            &record.multiplying_w,
            "while the product with the most rows ran",
        ),
        limit_w: None,
    };
    (power != Power::default()).then_some(power)
}
