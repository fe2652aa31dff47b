//! Qwen-Bailian (alibaba-edu/qwen-bailian-usagetraces-anon; ATC 2025): one JSON object per line, `chat_id`, `parent_chat_id`,
//! `timestamp` in seconds, `input_length`, `output_length`, `type`, `turn`, `hash_ids`: one per 16 tokens of the prompt.
use super::{Problem, Reader, mooncake, timestamp::Clock};

pub(super) fn read(text: &str, clock: &mut Clock, out: &mut Reader) -> Result<(), Problem> {
    mooncake::read(text, clock, out)
}
