//! What drafts, by its names in the engines.
use crate::device::EngineId;

/// What drafts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// What followed the last words where they stood before.
    Ngram,
    /// A smaller model of the same vocabulary, one pass for each draft.
    DraftModel,
    /// A layer on the model's last hidden state, one pass for each draft (Y. Li et al., ICML 2024, arXiv:2401.15077).
    Eagle,
    /// A layer on hidden states of three depths (Y. Li et al., NeurIPS 2025, arXiv:2503.01840).
    Eagle3,
    /// The model's own layer for the token after next (DeepSeek-V3, arXiv:2412.19437, 2.2).
    Mtp,
    /// A few layers that fill a block of drafts in one pass (github.com/z-lab/dflash).
    Dflash,
}

/// Names of vLLM's `method` (0.33.0, `config/speculative.py: SpeculativeMethod`), which are capsim's own.
const NAMES: [(&str, Method); 6] = [
    ("ngram", Method::Ngram),
    ("draft_model", Method::DraftModel),
    ("eagle", Method::Eagle),
    ("eagle3", Method::Eagle3),
    ("mtp", Method::Mtp),
    ("dflash", Method::Dflash),
];

/// SGLang's `--speculative-algorithm` (`docs/advanced_features/speculative_decoding.md`@067ad4d; DFLASH: sgl-project/sglang#16999).
const SGLANG: [(&str, Method); 6] = [
    ("NGRAM", Method::Ngram),
    ("STANDALONE", Method::DraftModel),
    ("EAGLE", Method::Eagle),
    ("EAGLE3", Method::Eagle3),
    ("NEXTN", Method::Mtp),
    ("DFLASH", Method::Dflash),
];

/// TensorRT-LLM's `decoding_type` (`llmapi/llm_args.py`, 1.3; nvidia.github.io/TensorRT-LLM/features/speculative-decoding.html).
const TRTLLM: [(&str, Method); 6] = [
    ("NGram", Method::Ngram),
    ("Draft_Target", Method::DraftModel),
    ("Eagle", Method::Eagle),
    ("Eagle3", Method::Eagle3),
    ("MTP", Method::Mtp),
    ("DFlash", Method::Dflash),
];

impl Method {
    /// Its name.
    pub fn name(self) -> &'static str {
        let found = NAMES.iter().find(|(_, m)| *m == self);
        found.expect("every method has a name").0
    }

    /// Its name in an engine's flag.
    pub fn flag(self, engine: EngineId) -> &'static str {
        let names = match engine {
            EngineId::Sglang => &SGLANG,
            EngineId::Trtllm => &TRTLLM,
            _ => &NAMES,
        };
        let found = names.iter().find(|(_, m)| *m == self);
        found.expect("every method has a name").0
    }

    /// The method of a name: vLLM's own, those of the models' MTP layers (`deepseek_mtp`), SGLang's or TensorRT-LLM's.
    ///
    /// # Errors
    /// Says which there are.
    pub fn of_name(name: &str) -> Result<Self, String> {
        let lower = name.to_ascii_lowercase();
        let all = NAMES.iter().chain(&SGLANG).chain(&TRTLLM);
        if let Some((_, method)) = all.clone().find(|(n, _)| n.eq_ignore_ascii_case(name)) {
            return Ok(*method);
        }
        if lower == "ngram_gpu" {
            return Ok(Self::Ngram);
        }
        if lower.ends_with("_mtp") {
            return Ok(Self::Mtp);
        }
        let known: Vec<&str> = NAMES.iter().map(|(n, _)| *n).collect();
        Err(format!(
            "`{name}` is not simulated; {} are. A comparable one may stand for it, with its acceptance given by --speculative-acceptance; \
             none is no speculative decoding",
            known.join(", ")
        ))
    }

    /// The method of a draft model's name, where none is said, as vLLM finds it (0.33.0, `config/speculative.py: __post_init__`).
    pub fn of_drafter(model: &str) -> Self {
        let lower = model.to_ascii_lowercase();
        let has = |part: &str| lower.contains(part);
        match () {
            () if has("eagle3") => Self::Eagle3,
            () if has("eagle-") => Self::Eagle,
            () if has("dflash") => Self::Dflash,
            () if has("mtp") => Self::Mtp,
            () => Self::DraftModel,
        }
    }

    /// Whether it reads the model's hidden states (vLLM's `use_eagle`).
    pub fn reads_hidden_states(self) -> bool {
        matches!(self, Self::Eagle | Self::Eagle3 | Self::Mtp | Self::Dflash)
    }

    /// Passes of the drafter for `drafts` drafts.
    pub fn passes(self, drafts: u32) -> u32 {
        match self {
            Self::Ngram => 0,
            Self::Dflash => 1,
            _ => drafts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_found_by_its_names() {
        for (name, method) in NAMES.iter().chain(&SGLANG).chain(&TRTLLM) {
            assert_eq!(Method::of_name(name), Ok(*method));
        }
        assert_eq!(Method::of_name("deepseek_mtp"), Ok(Method::Mtp));
        assert_eq!(Method::of_name("ngram_gpu"), Ok(Method::Ngram));
        for other in ["suffix", "medusa", "dspark", ""] {
            assert!(Method::of_name(other).is_err(), "{other}");
        }
        assert_eq!(
            Method::of_drafter("yuhuili/EAGLE3-LLaMA3.1"),
            Method::Eagle3
        );
        assert_eq!(Method::of_drafter("Qwen/Qwen3-0.6B"), Method::DraftModel);
        assert_eq!(Method::Mtp.flag(EngineId::Sglang), "NEXTN");
    }
}
