//! How one model is divided among devices, under vLLM's names.
use super::config::ModelConfig;
use serde::Serialize;

/// Devices that serve one model together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Parallel {
    /// Devices that share every layer (`--tensor-parallel-size`).
    pub tensor: u32,
    /// Engines with requests of their own that share the experts (`--data-parallel-size`).
    pub data: u32,
    /// Whether whole experts are given to devices (`--enable-expert-parallel`) instead of slices of all of them.
    pub expert: bool,
}

impl Default for Parallel {
    fn default() -> Self {
        Self {
            tensor: 1,
            data: 1,
            expert: false,
        }
    }
}

impl Parallel {
    /// Tensor parallelism alone.
    pub fn tensor(tensor: u32) -> Self {
        Self {
            tensor,
            ..Self::default()
        }
    }

    /// Devices in all.
    pub fn devices(&self) -> u32 {
        self.tensor * self.data
    }

    /// Why `config` cannot be divided so, if it cannot: vLLM's own conditions (`ModelConfig.verify_with_parallel_config`,
    /// `divide` in the layers).
    pub fn problem(&self, config: &ModelConfig) -> Option<String> {
        let t = self.tensor;
        if t == 0 || self.data == 0 {
            return Some("sizes must be at least 1".into());
        }
        if t > 1024 || self.data > 1024 {
            return Some("more than 1024 devices".into());
        }
        let whole = |what: &str, n: u32, by: u32| {
            (!n.is_multiple_of(by)).then(|| format!("{what} {n} is not divisible by {by}"))
        };
        if let Some(p) = whole("num_attention_heads", config.num_attention_heads, t) {
            return Some(p);
        }
        let kv = config.num_key_value_heads;
        if !kv.is_multiple_of(t) && !t.is_multiple_of(kv) {
            return Some(format!(
                "num_key_value_heads {kv} and {t} do not divide each other"
            ));
        }
        if let Some(p) = whole("intermediate_size", config.intermediate_size, t) {
            return Some(p);
        }
        if let Some(f) = &config.full_heads
            && !f.kv_heads.is_multiple_of(t)
            && !t.is_multiple_of(f.kv_heads)
        {
            return Some(format!(
                "{} key/value heads of full attention and {t} do not divide each other",
                f.kv_heads
            ));
        }
        if let Some(l) = &config.linear
            && let Some(p) = whole("linear_num_key_heads", l.key_heads, t)
                .or_else(|| whole("linear_num_value_heads", l.value_heads, t))
        {
            return Some(p);
        }
        let moe = config.moe?;
        if self.expert {
            (moe.num_experts < self.devices()).then(|| {
                format!(
                    "{} experts are fewer than {} devices",
                    moe.num_experts,
                    self.devices()
                )
            })
        } else {
            whole(
                "moe_intermediate_size",
                moe.moe_intermediate_size,
                self.devices(),
            )
            .or_else(|| {
                whole(
                    "shared_expert_intermediate_size",
                    moe.shared_expert_intermediate_size,
                    t,
                )
            })
        }
    }

    /// The sizes of one device's part. Key/value heads are repeated where there are fewer than devices; the vocabulary is padded
    /// to a multiple of 64 first (`vocab_parallel_embedding.py`).
    pub(super) fn part(&self, config: &ModelConfig) -> ModelConfig {
        let t = self.tensor;
        let mut part = config.clone();
        part.num_attention_heads /= t;
        part.num_key_value_heads = (part.num_key_value_heads / t).max(1);
        part.intermediate_size /= t;
        if let Some(f) = &mut part.full_heads {
            f.kv_heads = (f.kv_heads / t).max(1);
        }
        if let Some(l) = &mut part.linear {
            l.key_heads /= t;
            l.value_heads /= t;
        }
        if t > 1 {
            part.vocab_size = config.vocab_size.next_multiple_of(64).div_ceil(t);
        }
        if let Some(moe) = &mut part.moe {
            if !self.expert {
                moe.moe_intermediate_size /= self.devices();
            }
            moe.shared_expert_intermediate_size /= t;
        }
        part
    }

    /// Ranks among which whole experts are divided.
    pub fn expert_ranks(&self) -> u32 {
        if self.expert { self.devices() } else { 1 }
    }
}
