//! The settings that every scheduler decides by, under vLLM's names.
use super::speculation::Speculation;
use super::vllm::EngineVersion;

/// `--scheduling-policy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SchedulingPolicy {
    /// First come, first served.
    #[default]
    Fcfs,
    /// By (priority, arrival, id), smaller first.
    Priority,
}

/// TensorRT-LLM's `capacity_scheduler_policy`: what a request needs to begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CapacityPolicy {
    /// KV blocks for all that it may ever need.
    #[default]
    GuaranteedNoEvict,
    /// KV blocks for its prompt.
    MaxUtilization,
}

/// The engine's settings, all of them decided. Names are vLLM's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// Release whose rules apply.
    pub version: EngineVersion,
    /// Tokens per KV block.
    pub block_size: u32,
    /// KV blocks, including the null block that is never handed out.
    pub num_gpu_blocks: u32,
    /// Most requests in the running list.
    pub max_num_seqs: u32,
    /// Most new tokens per step.
    pub max_num_batched_tokens: u32,
    /// Longest sequence, prompt and output together.
    pub max_model_len: u32,
    /// Whether a prompt may be computed in pieces.
    pub enable_chunked_prefill: bool,
    /// Whether full blocks are kept for requests that begin alike.
    pub enable_prefix_caching: bool,
    /// KV blocks that a running request holds beside those of its tokens, however long it is: the states of recurrent layers, one
    /// block per group of such layers (`MambaManager`), two with prefix caching.
    pub state_blocks: u32,
    /// Most new tokens of one request per step; 0: no such limit.
    pub long_prefill_token_threshold: u32,
    /// Whether a request is admitted only when blocks for its whole prompt are free; not given: as in the release.
    pub scheduler_reserve_full_isl: Option<bool>,
    /// Order of the waiting queue, and who is preempted.
    pub policy: SchedulingPolicy,
    /// Whether a step is scheduled before the previous one's output is known.
    pub async_scheduling: bool,
    /// Stages of the pipeline that steps go through.
    pub pipeline_stages: u32,
    /// Speculative decoding.
    pub speculation: Option<Speculation>,
    /// What a request of TensorRT-LLM needs to begin.
    pub capacity_policy: CapacityPolicy,
    /// Whether prompts are computed whole, and longer ones than a step has tokens refused: TensorRT-LLM without chunked context.
    pub whole_prompts: bool,
    /// Tokens of an answer that reach the client in one message, the first of all alone (SGLang, TensorRT-LLM).
    pub stream_interval: u32,
    /// Whether the interval counts steps of a sequence, as TensorRT-LLM does, not tokens: with drafts a step brings several.
    pub stream_by_step: bool,
}

impl EngineConfig {
    /// Batches that are scheduled at most before the oldest one's output is processed: one for each stage, and one more where scheduling
    /// is asynchronous (vLLM 0.32.0, `VllmConfig.max_concurrent_batches`).
    pub fn batches_in_flight(&self) -> usize {
        self.pipeline_stages as usize + usize::from(self.async_scheduling)
    }

    /// KV blocks that a request with `tokens` computed tokens holds.
    pub fn blocks_for(&self, tokens: u32) -> u32 {
        tokens.div_ceil(self.block_size) + self.state_blocks
    }
}

impl Default for EngineConfig {
    /// vLLM 0.12's defaults on a device with less than 70 GiB, and a KV cache of 10 000 blocks.
    fn default() -> Self {
        Self {
            version: EngineVersion::V0_12,
            block_size: 16,
            num_gpu_blocks: 10_000,
            max_num_seqs: 256,
            max_num_batched_tokens: 2048,
            max_model_len: 4096,
            enable_chunked_prefill: true,
            enable_prefix_caching: true,
            state_blocks: 0,
            long_prefill_token_threshold: 0,
            scheduler_reserve_full_isl: None,
            policy: SchedulingPolicy::Fcfs,
            async_scheduling: false,
            pipeline_stages: 1,
            speculation: None,
            capacity_policy: CapacityPolicy::GuaranteedNoEvict,
            whole_prompts: false,
            stream_interval: 1,
            stream_by_step: false,
        }
    }
}

/// Settings that no engine could start with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct ConfigError {
    /// vLLM's name of the setting.
    pub field: &'static str,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl EngineConfig {
    /// Checks what vLLM checks at start-up, and that numbers are sane.
    ///
    /// # Errors
    /// Names the setting.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let bad = |field, problem: String| Err(ConfigError { field, problem });
        for (field, value, low, high) in [
            ("block_size", self.block_size, 1, 1 << 16),
            ("num_gpu_blocks", self.num_gpu_blocks, 2, 1 << 31),
            ("max_num_seqs", self.max_num_seqs, 1, 1 << 24),
            (
                "max_num_batched_tokens",
                self.max_num_batched_tokens,
                1,
                1 << 30,
            ),
            ("max_model_len", self.max_model_len, 1, 1 << 30),
            ("pipeline_parallel_size", self.pipeline_stages, 1, 1 << 10),
            ("stream_interval", self.stream_interval, 1, 1 << 20),
        ] {
            if !(low..=high).contains(&value) {
                return bad(
                    field,
                    format!("must lie between {low} and {high}, not {value}"),
                );
            }
        }
        if self.state_blocks > 1 << 11 {
            return bad(
                "state_blocks",
                format!("{}: at most 2048", self.state_blocks),
            );
        }
        if self.max_num_batched_tokens < self.max_num_seqs {
            return bad(
                "max_num_batched_tokens",
                format!(
                    "{} is less than max_num_seqs {}",
                    self.max_num_batched_tokens, self.max_num_seqs
                ),
            );
        }
        if !self.enable_chunked_prefill && self.max_num_batched_tokens < self.max_model_len {
            return bad(
                "max_num_batched_tokens",
                format!(
                    "{} is less than max_model_len {} without chunked prefill",
                    self.max_num_batched_tokens, self.max_model_len
                ),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictions_are_refused_by_name() {
        let c = EngineConfig {
            max_num_seqs: 4096,
            ..EngineConfig::default()
        };
        assert_eq!(c.validate().unwrap_err().field, "max_num_batched_tokens");
    }
}
