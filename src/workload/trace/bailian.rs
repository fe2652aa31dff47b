//! Qwen-Bailian (alibaba-edu/qwen-bailian-usagetraces-anon; ATC 2025): one JSON object per line, `chat_id`, `parent_chat_id`,
//! `timestamp` in seconds, `input_length`, `output_length`, `type`, `turn`, `hash_ids`: one per 16 tokens of the prompt.
use super::{Problem, Reader, mooncake};

pub(super) fn read(text: &str, out: &mut Reader) -> Result<(), Problem> {
    mooncake::lines(text, 1_000_000_000, out)
}
