//! How the router spreads tokens over experts.
use serde::{Deserialize, Serialize};

/// Expert popularity, for the number of distinct experts that independent tokens touch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Routing {
    /// Every expert equally likely: E(1 − (1 − k/E)^m) distinct ones. Close to what trained routers do on
    /// mixed text (ggml-org/llama.cpp#27332 on this model: reads grow as under uniform routing).
    #[default]
    Uniform,
    /// Weights ∝ 1/rank^s.
    Zipf(f64),
    /// Measured popularity: relative frequency of each expert, one number per expert.
    Histogram(Vec<f64>),
}
