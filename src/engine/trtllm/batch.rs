//! Which fitting requests take part in the next step, with how many tokens (`scheduler.py: PyMicroBatchScheduler` @002f3cc).
use crate::engine::EngineConfig;

/// What a request would add to a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Its place in the active list.
    pub at: usize,
    /// Whether its prompt is still to be computed.
    pub context: bool,
    /// Tokens to compute.
    pub tokens: u32,
    /// Drafts to verify beside them.
    pub drafts: u32,
}

/// The batch: prompts, then decoding requests.
pub(super) fn choose(all: &[Candidate], config: &EngineConfig) -> Vec<Candidate> {
    let most = config.max_num_batched_tokens;
    let chunked = !config.whole_prompts;
    let (mut contexts, mut decodes): (Vec<Candidate>, Vec<Candidate>) = (vec![], vec![]);
    let mut tokens = 0u32;
    for c in all {
        if !(c.context && chunked) {
            let more = c.tokens + c.drafts;
            // A prompt that grew beyond the budget when it was paused, or one sequence with more drafts, goes alone.
            let alone = tokens == 0;
            if tokens + more > most && !alone {
                break;
            }
            tokens += more;
        }
        match c.context {
            true => contexts.push(*c),
            false => decodes.push(*c),
        }
        if contexts.len() + decodes.len() >= config.max_num_seqs as usize {
            break;
        }
    }
    if chunked {
        cut(
            &mut contexts,
            most.saturating_sub(tokens),
            config.block_size,
        );
    }
    contexts.extend(decodes);
    contexts
}

/// Divides what is left of the budget among prompts, first come, first served; a chunk that is cut ends with a block
/// (`_chunk_fcfs`; `chunk_unit_size` is `tokens_per_block`, `_util.py`@0004396).
fn cut(contexts: &mut Vec<Candidate>, mut left: u32, unit: u32) {
    for c in contexts.iter_mut() {
        if c.tokens > left {
            c.tokens = left / unit * unit;
        }
        left -= c.tokens;
    }
    contexts.retain(|c| c.tokens > 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(all: &[(bool, u32)], whole_prompts: bool) -> Vec<(usize, u32)> {
        let all: Vec<Candidate> = all
            .iter()
            .enumerate()
            .map(|(at, &(context, tokens))| Candidate {
                at,
                context,
                tokens,
                drafts: 0,
            })
            .collect();
        let config = EngineConfig {
            max_num_seqs: 4,
            max_num_batched_tokens: 100,
            block_size: 32,
            whole_prompts,
            ..EngineConfig::default()
        };
        let chosen = choose(&all, &config);
        chosen.iter().map(|c| (c.at, c.tokens)).collect()
    }

    #[test]
    fn prompts_share_what_decoding_leaves_in_whole_blocks() {
        let all = [(false, 1), (false, 1), (true, 50), (true, 90)];
        // 98 are left: 50, then 48, which is one block of 32.
        assert_eq!(of(&all, false), [(2, 50), (3, 32), (0, 1), (1, 1)]);
        // Whole, the second does not fit.
        assert_eq!(of(&all, true), [(2, 50), (0, 1), (1, 1)]);
        // A short prompt behind one that is cut takes what is left over.
        let all = [(true, 99), (true, 4)];
        assert_eq!(of(&all, false), [(0, 99)]);
        let all = [(true, 130), (true, 4)];
        assert_eq!(of(&all, false), [(0, 96), (1, 4)]);
    }

    #[test]
    fn a_prompt_that_does_not_fit_whole_ends_the_batch() {
        assert_eq!(of(&[(true, 90), (true, 20), (true, 5)], true), [(0, 90)]);
        assert_eq!(of(&[(true, 130)], true), [(0, 130)], "grown when paused");
        let five = [(false, 1); 5];
        assert_eq!(of(&five, true).len(), 4, "max_batch_size");
    }
}
