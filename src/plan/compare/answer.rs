//! What is answered.
use super::Price;
use crate::device::Origin;
use crate::predict::About;
use serde::{Deserialize, Serialize};

/// A number with the ends of its 90 % interval, where one is known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Range {
    /// Best estimate; absent: only a limit is known, which is `high`.
    pub value: Option<f64>,
    /// Lower end.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
}

/// A way to serve all users.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Offer {
    /// Device profile.
    pub device: String,
    /// The device's name.
    pub name: String,
    /// What the device profile rests on.
    pub origin: Origin,
    /// Engine profile.
    pub engine: String,
    /// Weight format.
    pub weights: String,
    /// Devices of one engine.
    pub tensor_parallel_size: u32,
    /// Engines side by side, each with an equal part of the users.
    pub engines: u32,
    /// Devices in all: best estimate, and what the luckiest and the unluckiest of twenty cost models say (95 %); `high` absent: under the
    /// unluckiest no number of them suffices.
    pub devices: Range,
    /// Users of each engine.
    pub users_per_engine: u32,
    /// Value of each condition of the SLO, seconds or per second.
    pub values: Vec<f64>,
    /// Output tokens per second that one user reads: 1 / mean TPOT; 0 for answers of one token.
    pub interactivity: f64,
    /// Mean time to first token in seconds.
    pub ttft: f64,
    /// Output tokens per second of all engines together.
    pub output_throughput: f64,
    /// Watts of all devices, hosts not counted; absent: nothing is known of the device's power.
    pub watts: Option<Range>,
    /// Joules per output token.
    pub joules_per_token: Option<Range>,
    /// Price of one device as given; absent: none was given.
    pub price: Option<Price>,
    /// Cost per hour of all devices.
    pub cost_per_hour: Option<Range>,
    /// Cost per million output tokens at this load.
    pub cost_per_million_tokens: Option<Range>,
    /// Whether no other offer is both cheaper (where nothing is priced: takes fewer devices) and faster to read.
    pub on_front: bool,
    /// The line that starts one engine.
    pub serve: String,
}

/// A device that does not serve the users.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Missed {
    /// Device profile.
    pub device: String,
    /// Why: the model does not fit, or a condition that one user alone breaks.
    pub why: String,
}

/// The answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Compared {
    /// `capsim.compare/1`.
    pub schema: String,
    /// The answer in words, as the command prints it first; empty where no command was asked.
    pub answer: String,
    /// What was asked; absent where no command was.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(!default))]
    pub about: Option<About>,
    /// Users to serve.
    pub users: u32,
    /// The SLO as it was understood.
    pub slo: String,
    /// Price of a kWh as given.
    pub electricity: Option<f64>,
    /// The best offer of each device, and all on the front: priced ones first, the cheapest first, then those with the fewest devices.
    pub offers: Vec<Offer>,
    /// Devices that do not serve them, whatever their number.
    pub missed: Vec<Missed>,
    /// Combinations of device, weights and tensor-parallel size that were simulated.
    pub simulated: usize,
    /// What was assumed where nothing was said.
    pub assumed: Vec<String>,
    /// What a reader must know of the costs.
    pub notes: Vec<String>,
}
