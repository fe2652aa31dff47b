//! Which requests an engine takes: the only place that decides it.
use super::config::EngineConfig;
use crate::workload::Request;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// An empty prompt, or no output asked for.
    #[error("a request needs at least one prompt token and one output token")]
    Empty,
    /// `max_model_len` leaves no room for a single output token.
    #[error("prompt of {prompt} tokens does not fit max_model_len {max_model_len}")]
    PromptTooLong {
        /// Prompt tokens.
        prompt: u32,
        /// Setting.
        max_model_len: u32,
    },
    /// A step has fewer tokens than the prompt, which is computed whole.
    #[error(
        "prompt of {prompt} tokens exceeds max_num_batched_tokens {most}, and chunked prefill is off"
    )]
    PromptExceedsStep {
        /// Prompt tokens.
        prompt: u32,
        /// Setting.
        most: u32,
    },
    /// Prompt and output together exceed `max_model_len`.
    #[error("{asked} tokens of prompt and output exceed max_model_len {max_model_len}")]
    TooLong {
        /// Prompt and output tokens asked for.
        asked: u64,
        /// Setting.
        max_model_len: u32,
    },
    /// The whole KV cache cannot hold the request: it would preempt itself again and again.
    #[error("the KV cache of {have} blocks cannot hold a request that needs {need}")]
    KvCacheTooSmall {
        /// Blocks that the request would hold at its end.
        need: u64,
        /// Blocks that the engine can hand out.
        have: u64,
    },
}

/// What a scheduler itself needs: a prompt, and room for a token of output.
///
/// # Errors
/// [`SubmitError::Empty`] and [`SubmitError::PromptTooLong`].
pub fn servable(config: &EngineConfig, request: &Request) -> Result<(), SubmitError> {
    let (prompt, max_model_len) = (request.prompt.len(), config.max_model_len);
    if prompt == 0 || request.max_tokens == 0 {
        return Err(SubmitError::Empty);
    }
    if prompt >= max_model_len {
        return Err(SubmitError::PromptTooLong {
            prompt,
            max_model_len,
        });
    }
    let most = config.max_num_batched_tokens;
    if config.whole_prompts && prompt > most {
        return Err(SubmitError::PromptExceedsStep { prompt, most });
    }
    Ok(())
}

/// What a server takes: as vLLM's OpenAI front end, nothing that asks for more than `max_model_len` tokens of prompt and output
/// together, and nothing that the whole KV cache cannot hold.
///
/// # Errors
/// Says what does not fit.
pub fn acceptable(config: &EngineConfig, request: &Request) -> Result<(), SubmitError> {
    servable(config, request)?;
    let prompt = u64::from(request.prompt.len());
    let asked = prompt + u64::from(request.max_tokens);
    if asked > config.max_model_len.into() {
        return Err(SubmitError::TooLong {
            asked,
            max_model_len: config.max_model_len,
        });
    }
    let outputs = match request.answer.stop_at {
        Some(k) => k.saturating_add(1).min(request.max_tokens),
        None => request.max_tokens,
    };
    // The KV of the last output token is never computed.
    let held = prompt + u64::from(outputs) - 1;
    // Speculation needs room behind the known tokens, as far as sequences may reach.
    let beyond = config.speculation.as_ref().map_or(0, |s| s.most_slots());
    let held = held.max((held + u64::from(beyond)).min(config.max_model_len.into()));
    let need = held.div_ceil(config.block_size.into()) + u64::from(config.state_blocks);
    let have = u64::from(config.num_gpu_blocks - 1);
    if need > have {
        return Err(SubmitError::KvCacheTooSmall { need, have });
    }
    Ok(())
}
