//! The answer about a server's log.
use super::validation::Claim;
use capsim::predict::spec::ScenarioSpec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A part of the device's memory.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct MemoryPart {
    /// What: weights, KV cache, KV tokens, graphs, buffers.
    pub part: String,
    /// Its unit: GiB or tokens.
    pub unit: String,
    /// As the log tells it.
    pub logged: Option<f64>,
    /// Line of the log, from 1.
    pub line: Option<u64>,
    /// As `capsim memory` has it; null where the scenario could not be resolved, or it has no such part.
    pub predicted: Option<f64>,
}

/// How busy the server was, over the lines that say so and at which it had something to do.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct LoadSeen {
    /// Lines.
    pub lines: u64,
    /// Mean of the requests in the batch.
    pub running: Option<f64>,
    /// Most requests in the batch.
    pub running_max: Option<f64>,
    /// Mean of the requests that wait.
    pub waiting: Option<f64>,
    /// Most requests that wait.
    pub waiting_max: Option<f64>,
    /// Largest part of the KV cache in use, 0 to 1.
    pub kv_max: Option<f64>,
    /// Mean prompt tokens per second.
    pub prompt_throughput: Option<f64>,
    /// Mean output tokens per second.
    pub output_throughput: Option<f64>,
    /// Output tokens per second that are predicted for as many requests, in the ratio of prompt to output tokens of the log.
    pub predicted_output_throughput: Option<f64>,
}

/// `capsim explain LOG --json`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LogAnswer {
    /// Format.
    #[schemars(extend("const" = "capsim.log/1"))]
    pub schema: String,
    /// The engine: vllm, sglang, llama-server.
    pub engine: String,
    /// Its release, where the log tells it.
    pub version: Option<String>,
    /// The model, as it was named.
    pub model: Option<String>,
    /// The line that starts such a server, as far as the log tells it.
    pub command: String,
    /// What was started, as a scenario.
    pub scenario: ScenarioSpec,
    /// Lines of the log, and those that something was read from.
    pub lines: [u64; 2],
    /// Where the memory went.
    pub memory: Vec<MemoryPart>,
    /// How busy it was; null where no line says so.
    pub load: Option<LoadSeen>,
    /// What binds and what to change, with the evidence.
    pub findings: Vec<Claim>,
    /// What could not be done, and why.
    pub notes: Vec<String>,
}
