//! The engine's settings under vLLM's names, and the rules of each release.
use std::fmt;
use std::str::FromStr;

/// Release of vLLM whose scheduler is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EngineVersion {
    major: u16,
    minor: u16,
}

impl EngineVersion {
    /// The reference release.
    pub const V0_12: Self = Self {
        major: 0,
        minor: 12,
    };
    /// The newest release whose decisions were recorded.
    pub const V0_33: Self = Self {
        major: 0,
        minor: 33,
    };

    /// Whether this release came before the oldest rules that are simulated. It is then answered with those, which may be
    /// far from what it did.
    pub fn is_older_than_rules(self) -> bool {
        self < Self::V0_12
    }

    /// Minor releases between this one and another.
    pub fn releases_to(self, other: Self) -> u32 {
        // A major release counts as twenty minor ones.
        let place = |v: Self| 20 * u32::from(v.major) + u32::from(v.minor);
        place(self).abs_diff(place(other))
    }

    /// Whether this release is `major.minor` or later.
    pub fn at_least(self, major: u16, minor: u16) -> bool {
        (self.major, self.minor) >= (major, minor)
    }
}

/// Not a release that is simulated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a vLLM release (write it as 0.12.0)")]
pub struct VersionError(String);

impl FromStr for EngineVersion {
    type Err = VersionError;
    /// Reads `0.12`, `0.12.0`, `v0.19.1+rocm711`; the patch level and what follows change no rule.
    fn from_str(text: &str) -> Result<Self, VersionError> {
        let err = || VersionError(text.into());
        let mut parts = text.trim_start_matches('v').split('.');
        let mut number = || -> Option<u16> {
            let digits: String = parts
                .next()?
                .chars()
                .take_while(char::is_ascii_digit)
                .collect();
            digits.parse().ok()
        };
        let version = Self {
            major: number().ok_or_else(err)?,
            minor: number().ok_or_else(err)?,
        };
        Ok(version)
    }
}

impl fmt::Display for EngineVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What releases do differently, one named rule each, from the first release with it. Read off `v1/core` of each release from
/// 0.12.0 to 0.33.0, and recorded on both sides of each change (`tests/data/vllm-scheduler-between`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// A waiting request is admitted only if blocks for all of its present tokens are free, not only for the next
    /// chunk (`scheduler_reserve_full_isl`, from 0.19.0).
    pub reserve_full_prompt: bool,
    /// Released blocks that are not registered for prefix caching go to the front of the free queue (from 0.24.0; 0.23.0 has
    /// it for sliding windows only).
    pub unregistered_blocks_first: bool,
    /// The same without prefix caching, where no block is registered. 0.27 alone appends them all ("for better GPU cache
    /// locality", `BlockPool.free_blocks`, `v1/core/block_pool.py` of 0.27.0 and 0.27.1; 0.28.0 takes it back).
    pub blocks_first_without_caching: bool,
    /// Prefix-cache counters count admissions, not attempts (`Scheduler.schedule` calls `record_prefix_cache_stats` once the
    /// blocks are allocated, from 0.27.0).
    pub count_lookups_at_admission: bool,
    /// Priority preemption moves the loop index back whenever the victim stood before it, not only when the victim
    /// was already in the batch (`victim_index < req_index` in `Scheduler.schedule`, from 0.28.0).
    pub victim_before_moves_index: bool,
    /// Tokens in flight of a preempted request are remembered as stale, and it is not resumed before they arrived
    /// (`Request.num_stale_output_tokens`, from 0.27.0). With two batches in flight this decides nothing: the older batch
    /// is processed before the next `schedule`, and nobody is admitted in a step that preempts.
    pub stale_tokens_hold_back: bool,
    /// `long_prefill_token_threshold` is ignored while there is only one request, running or waiting, when the step begins
    /// (`num_eligible_reqs` in `Scheduler.schedule`, from 0.31.0).
    pub lone_request_ignores_threshold: bool,
    /// With the priority policy a request that preempts itself does not end the running loop (from 0.33.0).
    pub self_preemption_goes_on: bool,
}

impl Rules {
    /// The rules of a release.
    pub fn of(version: EngineVersion) -> Self {
        Self {
            reserve_full_prompt: version.at_least(0, 19),
            unregistered_blocks_first: version.at_least(0, 24),
            blocks_first_without_caching: version.at_least(0, 24)
                && (!version.at_least(0, 27) || version.at_least(0, 28)),
            count_lookups_at_admission: version.at_least(0, 27),
            victim_before_moves_index: version.at_least(0, 28),
            stale_tokens_hold_back: version.at_least(0, 27),
            lone_request_ignores_threshold: version.at_least(0, 31),
            self_preemption_goes_on: version.at_least(0, 33),
        }
    }

    /// Whether released blocks that are not registered go to the front of the free queue.
    pub fn unregistered_first(&self, enable_prefix_caching: bool) -> bool {
        if enable_prefix_caching {
            self.unregistered_blocks_first
        } else {
            self.blocks_first_without_caching
        }
    }
}

/// `--scheduling-policy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SchedulingPolicy {
    /// First come, first served.
    #[default]
    Fcfs,
    /// By (priority, arrival, id), smaller first.
    Priority,
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
    /// block per group of such layers (`MambaManager`). Only without prefix caching.
    pub state_blocks: u32,
    /// Most new tokens of one request per step; 0: no such limit.
    pub long_prefill_token_threshold: u32,
    /// Order of the waiting queue, and who is preempted.
    pub policy: SchedulingPolicy,
    /// Whether a step is scheduled before the previous one's output is known.
    pub async_scheduling: bool,
}

impl EngineConfig {
    /// KV blocks that a request with so many computed tokens holds.
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
            policy: SchedulingPolicy::Fcfs,
            async_scheduling: false,
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
        ] {
            if !(low..=high).contains(&value) {
                return bad(
                    field,
                    format!("must lie between {low} and {high}, not {value}"),
                );
            }
        }
        if self.state_blocks > 1 << 10 || (self.state_blocks > 0 && self.enable_prefix_caching) {
            return bad(
                "state_blocks",
                format!(
                    "{}: at most 1024, and none with prefix caching",
                    self.state_blocks
                ),
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
    fn versions_are_read_as_people_write_them() {
        for text in ["0.12", "0.12.0", "v0.12.0", "0.12.0+rocm711"] {
            assert_eq!(text.parse(), Ok(EngineVersion::V0_12), "{text}");
        }
        assert!(
            "0.9.1"
                .parse::<EngineVersion>()
                .unwrap()
                .is_older_than_rules()
        );
        assert!("latest".parse::<EngineVersion>().is_err());
        assert!("1.0".parse::<EngineVersion>().unwrap() > EngineVersion::V0_33);
    }

    #[test]
    fn contradictions_are_refused_by_name() {
        let c = EngineConfig {
            max_num_seqs: 4096,
            ..EngineConfig::default()
        };
        assert_eq!(c.validate().unwrap_err().field, "max_num_batched_tokens");
    }
}
