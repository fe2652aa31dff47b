//! Per-request and time-series metrics, with one definition of each latency.
//!
//! Definitions are those of `vllm bench serve` (vllm 0.12.0, `vllm/benchmarks/serve.py`):
//!
//! - **TTFT** from sending a request to its first token;
//! - **E2EL** from sending it to its last token;
//! - **TPOT** of a request = (E2EL − TTFT) / (output tokens − 1), for requests with more than one;
//! - **ITL** pools all gaps between consecutive tokens of all requests;
//! - percentiles interpolate linearly (`numpy.percentile`).
mod collect;
mod dist;
mod metric;
mod peaks;
mod summary;
mod timing;

pub use collect::{Collector, Occupancy};
pub use dist::{Dist, EXACT_VALUES, Percentiles, Sample};
pub use metric::{Latency, Metric, MetricName, Statistic, Unit, UnknownMetric};
pub use peaks::Peaks;
pub use summary::{Summary, TtftParts};
pub use timing::Timing;

/// Percentiles that are kept of the gaps between tokens, that get an interval and that are shown; an SLO may ask for others of
/// what is kept per request.
pub const PERCENTILES: [f64; 4] = [50.0, 90.0, 95.0, 99.0];
