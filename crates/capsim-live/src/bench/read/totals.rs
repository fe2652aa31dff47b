//! What readers of totals share: statistics by their many names, and requests of mean lengths.
use super::{Bad, LONGEST, MOST, Recorded, Recording};
use capsim::metrics::{Latency, Metric, MetricName, Statistic};
use serde_json::Value;

/// The statistic of a key: `mean`, `avg`, `std_dev`, `p99`, `p99.9`, `p99p9` (llm-d), `p999` (GuideLLM: the 99.9th), `quantiles_p99`.
pub(super) fn statistic(key: &str) -> Option<Statistic> {
    Some(match key {
        "mean" | "avg" | "average" => Statistic::Mean,
        "std" | "std_dev" | "stddev" => Statistic::Std,
        "min" => Statistic::Min,
        "max" => Statistic::Max,
        "median" => Statistic::MEDIAN,
        _ => {
            let digits = key
                .strip_prefix("quantiles_")
                .unwrap_or(key)
                .strip_prefix('p')?;
            let p: f64 = match digits.len() {
                // Three digits without a point are tenths: p001 is the 0.1st, p999 the 99.9th.
                3 if digits.bytes().all(|b| b.is_ascii_digit())
                    && (digits.starts_with('0') || digits.starts_with("99")) =>
                {
                    digits.parse::<f64>().ok()? / 10.0
                }
                _ => digits.replacen('p', ".", 1).parse().ok()?,
            };
            (0.0..=100.0)
                .contains(&p)
                .then_some(Statistic::Percentile(p))?
        }
    })
}

/// Units of a time, in milliseconds.
pub(super) fn milliseconds(unit: &str) -> Option<f64> {
    let unit = unit.split('/').next().unwrap_or(unit);
    Some(match unit {
        "ms" | "milliseconds" => 1.0,
        "s" | "sec" | "seconds" => 1e3,
        "us" | "microseconds" => 1e-3,
        "ns" | "nanoseconds" => 1e-6,
        _ => return None,
    })
}

impl Recording {
    /// States a figure of the file; what is no figure, or none that a simulation keeps, is left out.
    pub(super) fn state(&mut self, metric: Metric, value: Option<f64>) {
        let Some(value) = value.filter(|v| v.is_finite() && *v > 0.0) else {
            return;
        };
        if metric.is_kept() {
            self.reported.insert(MetricName::recorded(metric), value);
        } else {
            self.left_out.push(metric.to_string());
        }
    }

    /// States every statistic of a latency that an object holds, by `scale` in milliseconds.
    pub(super) fn statistics(&mut self, latency: Latency, v: &Value, scale: f64) {
        for (key, value) in v.as_object().into_iter().flatten() {
            match (key.as_str(), value) {
                ("percentiles" | "quantiles", Value::Object(_)) => {
                    self.statistics(latency, value, scale)
                }
                _ => {
                    if let Some(statistic) = statistic(key) {
                        self.state(
                            Metric::Latency(latency, statistic),
                            value.as_f64().map(|n| scale * n),
                        );
                    }
                }
            }
        }
    }

    /// Throughputs per second: requests, output tokens, all tokens.
    pub(super) fn throughputs(
        &mut self,
        requests: Option<f64>,
        output: Option<f64>,
        total: Option<f64>,
    ) {
        self.state(Metric::RequestThroughput, requests);
        self.state(Metric::OutputThroughput, output);
        self.state(Metric::TotalThroughput, total);
    }

    /// `count` answered requests whose lengths differ by at most a token and have these means.
    pub(super) fn of_means(&mut self, count: f64, input: f64, output: f64) -> Result<(), Bad> {
        if !(1.0..MOST as f64).contains(&count) {
            return Err((
                "(requests)".into(),
                format!("{count} requests were answered: there is nothing to compare"),
            ));
        }
        for (what, mean) in [("prompt", input), ("output", output)] {
            if !(0.0..=LONGEST).contains(&mean) {
                return Err((
                    "(requests)".into(),
                    format!("{mean} is no mean number of {what} tokens"),
                ));
            }
        }
        let nth = |mean: f64, i: f64| {
            (((i + 1.0) * mean + 1e-6).floor() - (i * mean + 1e-6).floor()).max(1.0) as u32
        };
        self.requests = (0..count as u32)
            .map(|i| Recorded {
                measured: true,
                ok: true,
                input: nth(input, f64::from(i)),
                output: nth(output, f64::from(i)),
                ..Recorded::default()
            })
            .collect();
        Ok(())
    }

    /// Where nothing tells how many requests were open: as many as the mean latency and the rate of answers make (J. D. C. Little,
    /// "A proof for the queuing formula L = λW", 1961).
    pub(super) fn clients_by_littles_law(&mut self) {
        let get = |m: Metric| self.reported.get(&MetricName::recorded(m)).copied();
        let latency = get(Metric::mean(Latency::E2el));
        let rate = get(Metric::RequestThroughput);
        if let (Some(ms), Some(rate)) = (latency, rate)
            && self.max_concurrency.is_none()
            && self.request_rate.is_none()
        {
            let open = (ms / 1e3 * rate)
                .round()
                .clamp(1.0, self.requests.len().max(1) as f64);
            self.max_concurrency = Some(open as u32);
            self.notes.push(format!(
                "the file does not say how many requests were open at a time: {open}, by mean latency and rate; --clients says another number"
            ));
        }
    }

    /// Last touches: what was left out becomes a note.
    pub(super) fn close(&mut self) {
        if !self.left_out.is_empty() {
            self.left_out.sort();
            self.left_out.dedup();
            self.notes.push(format!(
                "not compared, since no simulation keeps it: {}",
                self.left_out.join(", ")
            ));
        }
    }
}

/// The note of a file that holds no single request.
pub(super) const MEAN_LENGTHS: &str =
    "only totals were stored: every request is taken to have the mean lengths";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_found_by_every_name() {
        for (key, wanted) in [
            ("avg", Statistic::Mean),
            ("std_dev", Statistic::Std),
            ("p50", Statistic::MEDIAN),
            ("p001", Statistic::Percentile(0.1)),
            ("p999", Statistic::Percentile(99.9)),
            ("p99.9", Statistic::Percentile(99.9)),
            ("p99p9", Statistic::Percentile(99.9)),
            ("p05", Statistic::Percentile(5.0)),
            ("quantiles_p95", Statistic::Percentile(95.0)),
        ] {
            assert_eq!(statistic(key), Some(wanted), "{key}");
        }
        for key in ["count", "pdf", "p", "p101", "sum", "variance", "phase"] {
            assert_eq!(statistic(key), None, "{key}");
        }
    }

    #[test]
    fn requests_of_mean_lengths_have_the_total_of_the_file() {
        let mut r = Recording::empty(super::super::Tool::Vllm);
        r.of_means(300.0, 152_612.0 / 300.0, 160_347.0 / 300.0)
            .unwrap();
        let sum = |f: fn(&Recorded) -> u32| r.requests.iter().map(|q| u64::from(f(q))).sum::<u64>();
        assert_eq!((sum(|q| q.input), sum(|q| q.output)), (152_612, 160_347));
        assert!(r.of_means(0.0, 1.0, 1.0).is_err() && r.of_means(1.0, f64::NAN, 1.0).is_err());
    }
}
