//! What vLLM's releases do differently: one table, from which the rules, the defaults, the memory terms and the table in
//! docs/engine.md come. A new rule is a field, a row, and the place that asks for it.
use crate::units::Bytes;
use std::fmt;
use std::str::FromStr;

/// A release of vLLM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EngineVersion {
    major: u16,
    minor: u16,
    patch: u16,
}

impl EngineVersion {
    /// The reference release, whose rules are the oldest that are simulated.
    pub const V0_12: Self = at(0, 12, 0);
    /// The first release that may have draft models again.
    pub const V0_15: Self = at(0, 15, 0);
    /// The first release that may have DFlash.
    pub const V0_20: Self = at(0, 20, 0);
    /// The newest release whose decisions were recorded.
    pub const V0_33: Self = at(0, 33, 0);

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

    /// The whole number, patch level included: `0.20.2`.
    pub fn full(self) -> String {
        format!("{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Not a release number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a vLLM release (write it as 0.12.0)")]
pub struct VersionError(String);

impl FromStr for EngineVersion {
    type Err = VersionError;
    /// Reads `0.12`, `0.12.0`, `v0.19.1+rocm711`. What follows the patch level changes no rule.
    fn from_str(text: &str) -> Result<Self, VersionError> {
        let mut parts = text.trim_start_matches('v').split('.');
        let mut number = || -> Option<u16> {
            let part = parts.next()?;
            let end = part
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(part.len());
            part[..end].parse().ok()
        };
        let err = || VersionError(text.into());
        Ok(at(
            number().ok_or_else(err)?,
            number().ok_or_else(err)?,
            number().unwrap_or(0),
        ))
    }
}

impl fmt::Display for EngineVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

const fn at(major: u16, minor: u16, patch: u16) -> EngineVersion {
    EngineVersion {
        major,
        minor,
        patch,
    }
}

/// The scheduler's rules of one release.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// A waiting request is admitted only if blocks for all of its present tokens are free, not only for the next
    /// chunk (`scheduler_reserve_full_isl`).
    pub reserve_full_prompt: bool,
    /// Released blocks that are not registered for prefix caching go to the front of the free queue (0.23.0 has it for sliding
    /// windows only).
    pub unregistered_blocks_first: bool,
    /// The same without prefix caching, where no block is registered. 0.27 alone appends them all ("for better GPU cache
    /// locality", `BlockPool.free_blocks`, `v1/core/block_pool.py` of 0.27.0 and 0.27.1; 0.28.0 takes it back).
    pub blocks_first_without_caching: bool,
    /// Prefix-cache counters count admissions, not attempts (`Scheduler.schedule` calls `record_prefix_cache_stats` once the
    /// blocks are allocated).
    pub count_lookups_at_admission: bool,
    /// Priority preemption moves the loop index back whenever the victim stood before it, not only when the victim
    /// was already in the batch (`victim_index < req_index` in `Scheduler.schedule`).
    pub victim_before_moves_index: bool,
    /// Tokens in flight of a preempted request are remembered as stale, and it is not resumed before they arrived
    /// (`Request.num_stale_output_tokens`). With two batches in flight this decides nothing: the older batch
    /// is processed before the next `schedule`, and no request is admitted in a step that preempts.
    pub stale_tokens_hold_back: bool,
    /// `long_prefill_token_threshold` is ignored while there is only one request, running or waiting, when the step begins
    /// (`num_eligible_reqs` in `Scheduler.schedule`).
    pub lone_request_ignores_threshold: bool,
    /// With the priority policy a request that preempts itself does not end the running loop.
    pub self_preemption_goes_on: bool,
}

impl Rules {
    /// The rules of a release.
    pub fn of(version: EngineVersion) -> Self {
        Release::of(version).rules
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

/// Everything that depends on the release: rules, defaults, and what counts against the device memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Release {
    /// The scheduler's rules.
    pub rules: Rules,
    /// Default of `--async-scheduling`.
    pub async_scheduling: bool,
    /// Whether a pipeline schedules asynchronously, with one batch more in flight than it has stages and each request again once as
    /// many steps as stages have gone by (`AsyncScheduler`, `VllmConfig.max_concurrent_batches`).
    pub async_pipeline: bool,
    /// Whether the balancer of data-parallel engines looks at all requests alike, and at the KV cache (`DPLBAsyncMPClient`).
    pub balances_by_cache: bool,
    /// Default of `--gpu-memory-utilization`.
    pub gpu_memory_utilization: f64,
    /// Default of `--max-num-batched-tokens` of the API server on devices of 160 GiB and more, where it differs from that of
    /// smaller ones.
    pub tokens_from_160_gib: Option<u32>,
    /// The profiling run also samples through the Triton top-k/top-p kernel, which needs scratch rows (`topk_topp_triton.py`).
    pub profiles_top_k_kernel: bool,
    /// The graphs' memory counts against the utilisation (`VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS`).
    pub counts_graph_memory: bool,
    /// The log's `GPU KV cache size` is the number of full-length requests that fit, times `max_model_len`, instead of blocks times
    /// block size (`get_kv_cache_capacity`; vLLM issues 40691 and 54458: after 0.19.0, at the latest in 0.28).
    pub reports_request_capacity: bool,
    /// Fewer blocks than `max_num_seqs` of a model with recurrent layers are an error where graphs are captured
    /// (`config/compilation.py: resolve_cudagraph_mode_and_sizes`; vllm-project/vllm#38270).
    pub refuses_more_seqs_than_states: bool,
}

/// The oldest release that is simulated: 0.12.0.
const OLDEST: Release = Release {
    rules: Rules {
        reserve_full_prompt: false,
        unregistered_blocks_first: false,
        blocks_first_without_caching: false,
        count_lookups_at_admission: false,
        victim_before_moves_index: false,
        stale_tokens_hold_back: false,
        lone_request_ignores_threshold: false,
        self_preemption_goes_on: false,
    },
    async_scheduling: false,
    async_pipeline: false,
    balances_by_cache: false,
    gpu_memory_utilization: 0.9,
    tokens_from_160_gib: None,
    profiles_top_k_kernel: false,
    counts_graph_memory: false,
    reports_request_capacity: false,
    refuses_more_seqs_than_states: false,
};

/// One thing that a release changed.
struct Change {
    /// The first release with it.
    since: EngineVersion,
    /// The rule, for the table in docs/engine.md.
    rule: &'static str,
    /// Whether the real scheduler was recorded on both sides of the change.
    recorded: bool,
    apply: fn(&mut Release),
}

/// Every change, in order of releases. The scheduler's were read off `v1/core` of each release from 0.12.0 to 0.33.0 and recorded on
/// both sides (`tests/data/vllm-scheduler-between`); the others lie outside the scheduler and may have come between two releases
/// that were looked at.
const CHANGES: &[Change] = &[
    Change {
        since: at(0, 14, 0),
        rule: "async scheduling by default",
        recorded: false,
        apply: |r| r.async_scheduling = true,
    },
    Change {
        since: at(0, 17, 0),
        rule: "the profiling run samples through the top-k/top-p kernel, whose scratch rows cost memory",
        recorded: false,
        apply: |r| r.profiles_top_k_kernel = true,
    },
    Change {
        since: at(0, 19, 0),
        rule: "a waiting request is admitted only if blocks for all its tokens are free",
        recorded: true,
        apply: |r| r.rules.reserve_full_prompt = true,
    },
    Change {
        since: at(0, 20, 0),
        rule: "the memory of CUDA graphs counts against `gpu_memory_utilization`",
        recorded: false,
        apply: |r| r.counts_graph_memory = true,
    },
    Change {
        since: at(0, 20, 0),
        rule: "the log's `GPU KV cache size` counts requests of full length",
        recorded: false,
        apply: |r| r.reports_request_capacity = true,
    },
    Change {
        // Reported of 0.20 and later (vllm-project/vllm#49064, vllm-project/recipes#551); 0.19.0 captures, and fails then.
        since: at(0, 20, 0),
        rule: "a model with recurrent layers starts with as many blocks as `max_num_seqs` only",
        recorded: false,
        apply: |r| r.refuses_more_seqs_than_states = true,
    },
    Change {
        // Recorded on an H200: validation/h200-sxm/vllm-0.20.2. 0.19.1 still has 0.9.
        since: at(0, 20, 2),
        rule: "`gpu_memory_utilization` default 0.92",
        recorded: false,
        apply: |r| r.gpu_memory_utilization = 0.92,
    },
    Change {
        since: at(0, 24, 0),
        rule: "released unregistered blocks go to the front of the free queue",
        recorded: true,
        apply: |r| {
            r.rules.unregistered_blocks_first = true;
            r.rules.blocks_first_without_caching = true;
        },
    },
    Change {
        since: at(0, 27, 0),
        rule: "... but not without prefix caching (0.27 only)",
        recorded: true,
        apply: |r| r.rules.blocks_first_without_caching = false,
    },
    Change {
        since: at(0, 27, 0),
        rule: "cache counters count admissions, not attempts",
        recorded: true,
        apply: |r| r.rules.count_lookups_at_admission = true,
    },
    Change {
        since: at(0, 27, 0),
        rule: "a preempted request waits for its tokens in flight (decides nothing with two batches in flight)",
        recorded: true,
        apply: |r| r.rules.stale_tokens_hold_back = true,
    },
    Change {
        since: at(0, 28, 0),
        rule: "... also without prefix caching again",
        recorded: true,
        apply: |r| r.rules.blocks_first_without_caching = true,
    },
    Change {
        since: at(0, 28, 0),
        rule: "priority preemption moves the loop index back for any earlier victim",
        recorded: true,
        apply: |r| r.rules.victim_before_moves_index = true,
    },
    Change {
        since: at(0, 28, 0),
        rule: "`max_num_batched_tokens` default 16384 from 160 GiB of device memory on",
        recorded: false,
        apply: |r| r.tokens_from_160_gib = Some(16384),
    },
    Change {
        since: at(0, 31, 0),
        rule: "`long_prefill_token_threshold` is ignored for a lone request",
        recorded: true,
        apply: |r| r.rules.lone_request_ignores_threshold = true,
    },
    Change {
        since: at(0, 32, 0),
        rule: "a pipeline schedules asynchronously",
        recorded: false,
        apply: |r| r.async_pipeline = true,
    },
    Change {
        since: at(0, 32, 0),
        rule: "data-parallel engines get requests by their number and the fullness of the KV cache, not by 4 · waiting + running",
        recorded: false,
        apply: |r| r.balances_by_cache = true,
    },
    Change {
        since: at(0, 33, 0),
        rule: "a priority request that preempts itself does not end the running loop",
        recorded: true,
        apply: |r| r.rules.self_preemption_goes_on = true,
    },
];

impl Release {
    /// What holds in a release: the oldest one's, and every change up to it.
    pub fn of(version: EngineVersion) -> Self {
        let mut release = OLDEST;
        CHANGES
            .iter()
            .filter(|c| c.since <= version)
            .for_each(|c| (c.apply)(&mut release));
        release
    }

    /// Default (`max_num_batched_tokens`, `max_num_seqs`) of the API server on a device of that memory and name
    /// (`engine/arg_utils.py: get_batch_defaults`).
    pub fn batch_defaults(&self, memory: Bytes, device_name: &str) -> (u32, u32) {
        let a100 = device_name.to_lowercase().contains("a100");
        match self.tokens_from_160_gib {
            Some(tokens) if memory >= Bytes::gib(160) => (tokens, 1024),
            _ if memory >= Bytes::gib(70) && !a100 => (8192, 1024),
            _ => (2048, 256),
        }
    }
}

/// The table of docs/engine.md, in Markdown.
pub fn changes_as_markdown() -> String {
    let mut text =
        String::from("| rule | first release with it | recorded |\n| --- | --- | --- |\n");
    for c in CHANGES {
        let recorded = if c.recorded { "yes" } else { "" };
        text += &format!("| {} | {} | {recorded} |\n", c.rule, c.since.full());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_people_write_them() {
        for text in ["0.12", "0.12.0", "v0.12.0", "0.12.0+rocm711"] {
            assert_eq!(text.parse(), Ok(EngineVersion::V0_12), "{text}");
        }
        let patch: EngineVersion = "v0.20.2rc1".parse().unwrap();
        assert_eq!(
            (patch.to_string(), patch.full()),
            ("0.20".into(), "0.20.2".into())
        );
        for text in ["latest", "", "0", "0.x", "99999.1"] {
            assert!(text.parse::<EngineVersion>().is_err(), "{text}");
        }
        assert!("1.0".parse::<EngineVersion>().unwrap() > EngineVersion::V0_33);
    }

    #[test]
    fn a_release_before_the_oldest_rules_says_so_and_gets_those() {
        for (text, older) in [
            ("0.6.3", true),
            ("0.11.2", true),
            ("0.12.0", false),
            ("0.33", false),
        ] {
            let version: EngineVersion = text.parse().unwrap();
            assert_eq!(version.is_older_than_rules(), older, "{text}");
            assert!(!older || Release::of(version) == OLDEST, "{text}");
        }
    }

    #[test]
    fn the_default_utilisation_is_that_of_the_release() {
        for (text, want) in [
            ("0.19.1", 0.9),
            ("0.20.0", 0.9),
            ("0.20.2", 0.92),
            ("0.21.0", 0.92),
        ] {
            let release = Release::of(text.parse().unwrap());
            assert_eq!(release.gpu_memory_utilization, want, "{text}");
        }
    }

    #[test]
    fn the_documentation_holds_the_table() {
        let page = include_str!("../../../docs/engine.md");
        let table = changes_as_markdown();
        assert!(page.contains(&table), "docs/engine.md must hold:\n{table}");
    }

    #[test]
    fn changes_are_in_order_and_each_changes_something() {
        assert!(CHANGES.is_sorted_by_key(|c| c.since));
        for c in CHANGES {
            let before = CHANGES.iter().take_while(|b| !std::ptr::eq(*b, c));
            let mut release = OLDEST;
            before.for_each(|b| (b.apply)(&mut release));
            let was = release;
            (c.apply)(&mut release);
            assert_ne!(release, was, "{}", c.rule);
        }
    }
}
