//! Names of the figures of a run: which latency, which statistic of it, in which unit.
use super::PERCENTILES;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A latency, as `vllm bench serve` defines it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Latency {
    /// Time to first token.
    Ttft,
    /// Time per output token after the first.
    Tpot,
    /// Gaps between tokens, pooled over all requests.
    Itl,
    /// From sending a request to its last token.
    E2el,
    /// From arrival to being scheduled first.
    Queue,
}

impl Latency {
    /// The latencies that `vllm bench serve` reports, in its order.
    pub const REPORTED: [Latency; 4] = [Self::Ttft, Self::Tpot, Self::Itl, Self::E2el];

    /// Its name in metrics: `ttft`.
    pub const fn name(self) -> &'static str {
        match self {
            Latency::Ttft => "ttft",
            Latency::Tpot => "tpot",
            Latency::Itl => "itl",
            Latency::E2el => "e2el",
            Latency::Queue => "queue",
        }
    }

    /// Its name in tables: `TTFT`.
    pub const fn heading(self) -> &'static str {
        match self {
            Latency::Ttft => "TTFT",
            Latency::Tpot => "TPOT",
            Latency::Itl => "ITL",
            Latency::E2el => "E2EL",
            Latency::Queue => "queue",
        }
    }

    /// Its name in words, as `vllm bench serve` prints it.
    pub const fn words(self) -> &'static str {
        match self {
            Latency::Ttft => "Time to First Token",
            Latency::Tpot => "Time per Output Token (excl. 1st token)",
            Latency::Itl => "Inter-token Latency",
            Latency::E2el => "End-to-end Latency",
            Latency::Queue => "Queueing Time",
        }
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Latency {
    type Err = UnknownMetric;
    fn from_str(text: &str) -> Result<Self, UnknownMetric> {
        [Self::Ttft, Self::Tpot, Self::Itl, Self::E2el, Self::Queue]
            .into_iter()
            .find(|l| l.name() == text)
            .ok_or_else(|| UnknownMetric(text.into()))
    }
}

/// A statistic of a sample.
#[derive(Clone, Copy, Debug)]
pub enum Statistic {
    /// Arithmetic mean.
    Mean,
    /// Population standard deviation.
    Std,
    /// Smallest value.
    Min,
    /// Percentile, 0 to 100.
    Percentile(f64),
    /// Largest value.
    Max,
}

impl Statistic {
    /// The 50th percentile.
    pub const MEDIAN: Self = Self::Percentile(50.0);

    /// Position among the statistics, and the percentile.
    fn key(self) -> (u8, f64) {
        match self {
            Statistic::Mean => (0, 0.0),
            Statistic::Std => (1, 0.0),
            Statistic::Min => (2, 0.0),
            Statistic::Percentile(p) => (3, p),
            Statistic::Max => (4, 0.0),
        }
    }
}

impl PartialEq for Statistic {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Statistic {}

impl PartialOrd for Statistic {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Statistic {
    fn cmp(&self, other: &Self) -> Ordering {
        let ((a, p), (b, q)) = (self.key(), other.key());
        a.cmp(&b).then_with(|| p.total_cmp(&q))
    }
}

impl fmt::Display for Statistic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Statistic::Mean => f.write_str("mean"),
            Statistic::Std => f.write_str("std"),
            Statistic::Min => f.write_str("min"),
            Statistic::Max => f.write_str("max"),
            Statistic::Percentile(p) => write!(f, "p{p}"),
        }
    }
}

impl FromStr for Statistic {
    type Err = UnknownMetric;
    fn from_str(text: &str) -> Result<Self, UnknownMetric> {
        let percentile = || {
            let p: f64 = text.strip_prefix('p')?.parse().ok()?;
            // Negative zero is zero.
            (0.0..=100.0)
                .contains(&p)
                .then_some(Self::Percentile(p + 0.0))
        };
        match text {
            "mean" => Ok(Self::Mean),
            "std" => Ok(Self::Std),
            "min" => Ok(Self::Min),
            "max" => Ok(Self::Max),
            "median" => Ok(Self::MEDIAN),
            _ => percentile().ok_or_else(|| UnknownMetric(text.into())),
        }
    }
}

/// The unit of a metric's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// Requests per second.
    RequestsPerSecond,
    /// Tokens per second.
    TokensPerSecond,
    /// A number of requests.
    Requests,
    /// A share, 0 to 1.
    Share,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unit::Seconds => "s",
            Unit::Milliseconds => "ms",
            Unit::RequestsPerSecond => "req/s",
            Unit::TokensPerSecond => "tok/s",
            Unit::Requests | Unit::Share => "",
        })
    }
}

/// A figure of a whole run. Its name is the key of `vllm bench serve`'s result file, with `duration_s` for its `duration`, and
/// `min_`, `max_` and `pNN_` forms of every latency. Ordered by name, so that a map of metrics is written in the order of its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// From the first measured request to the last answer's end, in seconds.
    Duration,
    /// Requests answered.
    Completed,
    /// Requests answered per second.
    RequestThroughput,
    /// Output tokens per second.
    OutputThroughput,
    /// Prompt and output tokens per second.
    TotalThroughput,
    /// Part of the prompt tokens that the prefix cache saved, 0 to 1.
    PrefixHitRate,
    /// A statistic of a latency, in milliseconds.
    Latency(Latency, Statistic),
}

/// A name that no metric has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no metric that capsim knows; see docs/formats.md for the names")]
pub struct UnknownMetric(pub String);

impl Metric {
    /// Its name, which ends with its unit where that is a time.
    pub fn name(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Metric::Duration => "duration_s",
            Metric::Completed => "successful_requests",
            Metric::RequestThroughput => "request_throughput",
            Metric::OutputThroughput => "output_throughput",
            Metric::TotalThroughput => "total_token_throughput",
            Metric::PrefixHitRate => "prefix_cache_hit_rate",
            Metric::Latency(l, Statistic::Percentile(50.0)) => {
                return format!("median_{l}_ms").into();
            }
            Metric::Latency(l, s) => return format!("{s}_{l}_ms").into(),
        })
    }

    /// The mean of a latency.
    pub const fn mean(latency: Latency) -> Self {
        Self::Latency(latency, Statistic::Mean)
    }

    /// The median of a latency.
    pub const fn median(latency: Latency) -> Self {
        Self::Latency(latency, Statistic::MEDIAN)
    }

    /// A percentile of a latency, 0 to 100.
    pub const fn percentile(latency: Latency, p: f64) -> Self {
        Self::Latency(latency, Statistic::Percentile(p))
    }

    /// The latency that it is a statistic of.
    pub const fn latency(self) -> Option<Latency> {
        match self {
            Metric::Latency(latency, _) => Some(latency),
            _ => None,
        }
    }

    /// The unit of its values.
    pub const fn unit(self) -> Unit {
        match self {
            Metric::Duration => Unit::Seconds,
            Metric::Completed => Unit::Requests,
            Metric::RequestThroughput => Unit::RequestsPerSecond,
            Metric::OutputThroughput | Metric::TotalThroughput => Unit::TokensPerSecond,
            Metric::PrefixHitRate => Unit::Share,
            Metric::Latency(..) => Unit::Milliseconds,
        }
    }

    /// Whether it is a rate: requests or tokens per second.
    pub const fn is_throughput(self) -> bool {
        matches!(
            self,
            Metric::RequestThroughput | Metric::OutputThroughput | Metric::TotalThroughput
        )
    }

    /// Whether it is the mean of a latency.
    pub const fn is_mean(self) -> bool {
        matches!(self, Metric::Latency(_, Statistic::Mean))
    }

    /// Whether a few requests make it: percentiles beyond the quartiles, the smallest and the largest value.
    pub fn is_tail(self) -> bool {
        match self {
            Metric::Latency(_, Statistic::Percentile(p)) => !(25.0..=75.0).contains(&p),
            Metric::Latency(_, Statistic::Min | Statistic::Max) => true,
            _ => false,
        }
    }

    /// Whether a run keeps it. Of the gaps between tokens only their mean, standard deviation and [`PERCENTILES`] are kept.
    pub fn is_kept(self) -> bool {
        match self {
            Metric::Latency(Latency::Itl, Statistic::Percentile(p)) => PERCENTILES.contains(&p),
            Metric::Latency(Latency::Itl, s) => matches!(s, Statistic::Mean | Statistic::Std),
            _ => true,
        }
    }
}

impl PartialOrd for Metric {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Metric {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name().cmp(&other.name())
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name())
    }
}

impl FromStr for Metric {
    type Err = UnknownMetric;
    /// Reads a name, or another one in use: `duration`, `completed`, `output_token_throughput`, `p50_` for `median_`.
    fn from_str(text: &str) -> Result<Self, UnknownMetric> {
        let latency = || {
            let (statistic, latency) = text.strip_suffix("_ms")?.split_once('_')?;
            let metric = Metric::Latency(latency.parse().ok()?, statistic.parse().ok()?);
            metric.is_kept().then_some(metric)
        };
        Ok(match text {
            "duration_s" | "duration" => Metric::Duration,
            "successful_requests" | "completed" => Metric::Completed,
            "request_throughput" => Metric::RequestThroughput,
            "output_throughput" | "output_token_throughput" => Metric::OutputThroughput,
            "total_token_throughput" => Metric::TotalThroughput,
            "prefix_cache_hit_rate" => Metric::PrefixHitRate,
            _ => latency().ok_or_else(|| UnknownMetric(text.into()))?,
        })
    }
}

/// A metric under the name that a file gives it: `p50_ttft_ms` and `median_ttft_ms` are one metric. Ordered by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetricName {
    name: Cow<'static, str>,
    metric: Metric,
}

impl MetricName {
    /// The name under which recorded runs hold a metric: [`Metric`]'s own, but for `output_token_throughput`.
    pub fn recorded(metric: Metric) -> Self {
        let name = match metric {
            Metric::OutputThroughput => "output_token_throughput".into(),
            m => m.name(),
        };
        Self { name, metric }
    }

    /// Whether it is a metric under the name that recorded runs have.
    pub fn is_recorded(&self, metric: Metric) -> bool {
        self.metric == metric && *self == Self::recorded(metric)
    }

    /// The metric.
    pub const fn metric(&self) -> Metric {
        self.metric
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.name
    }
}

impl From<Metric> for MetricName {
    fn from(metric: Metric) -> Self {
        Self {
            name: metric.name(),
            metric,
        }
    }
}

impl fmt::Display for MetricName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

impl FromStr for MetricName {
    type Err = UnknownMetric;
    fn from_str(text: &str) -> Result<Self, UnknownMetric> {
        Ok(Self {
            metric: text.parse()?,
            name: text.to_string().into(),
        })
    }
}

/// Written and read as a string, with that string's schema.
macro_rules! as_text {
    ($type:ty, $name:literal) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        #[cfg(feature = "schema")]
        impl schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }
            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                String::json_schema(generator)
            }
        }
    };
}

as_text!(Metric, "Metric");
as_text!(MetricName, "MetricName");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_reads_back_from_its_name_and_from_those_in_use() {
        for name in [
            "duration_s",
            "successful_requests",
            "request_throughput",
            "output_throughput",
            "total_token_throughput",
            "prefix_cache_hit_rate",
            "mean_ttft_ms",
            "std_itl_ms",
            "median_tpot_ms",
            "p99.9_e2el_ms",
            "min_queue_ms",
            "max_e2el_ms",
        ] {
            assert_eq!(name.parse::<Metric>().unwrap().to_string(), name);
        }
        for (name, metric) in [
            ("duration", Metric::Duration),
            ("completed", Metric::Completed),
            ("output_token_throughput", Metric::OutputThroughput),
            ("p50_itl_ms", Metric::median(Latency::Itl)),
            ("p-0_e2el_ms", Metric::percentile(Latency::E2el, 0.0)),
        ] {
            assert_eq!(name.parse(), Ok(metric));
            let spelled: MetricName = name.parse().unwrap();
            assert_eq!((spelled.metric(), spelled.as_str()), (metric, name));
        }
        assert_eq!(
            MetricName::recorded(Metric::OutputThroughput).as_str(),
            "output_token_throughput"
        );
    }

    #[test]
    fn what_no_run_keeps_is_no_metric() {
        for name in [
            "p97_itl_ms",
            "max_itl_ms",
            "p101_e2el_ms",
            "pNaN_e2el_ms",
            "mean_ttft",
            "mean_ttft_s",
            "nonsense",
            "",
        ] {
            assert_eq!(name.parse::<Metric>(), Err(UnknownMetric(name.into())));
        }
    }

    #[test]
    fn every_metric_has_the_unit_that_its_name_ends_with() {
        let unit = |name: &str| name.parse::<Metric>().unwrap().unit().to_string();
        assert_eq!(unit("duration_s"), "s");
        assert_eq!(unit("p99_ttft_ms"), "ms");
        assert_eq!(unit("request_throughput"), "req/s");
        assert_eq!(unit("total_token_throughput"), "tok/s");
    }
}
