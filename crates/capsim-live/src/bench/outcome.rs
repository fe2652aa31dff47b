//! What became of one request.
use capsim::metrics::Timing;
use capsim::units::{SimTime, Span};
use capsim::workload::{Prompt, StreamId};
use serde::{Deserialize, Serialize};

/// Why a request has no (whole) answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// No connection.
    Connect,
    /// The time limit passed.
    Timeout,
    /// An HTTP status other than 2xx.
    Status(u16),
    /// The connection broke, or the stream ended before the answer did.
    BrokenStream,
    /// What came is no server-sent event, or no JSON, or not of the API's shape.
    Garbage,
    /// The server reported an error inside the stream.
    ServerError,
    /// The answer holds no token.
    Empty,
    /// In flight when the run was interrupted.
    Interrupted,
}

impl FailureKind {
    /// For tables.
    pub fn words(self) -> String {
        match self {
            FailureKind::Connect => "no connection".into(),
            FailureKind::Timeout => "timed out".into(),
            FailureKind::Status(code) => format!("HTTP status {code}"),
            FailureKind::BrokenStream => "broken stream".into(),
            FailureKind::Garbage => "unreadable answer".into(),
            FailureKind::ServerError => "error in the stream".into(),
            FailureKind::Empty => "answer without a token".into(),
            FailureKind::Interrupted => "interrupted".into(),
        }
    }
}

/// Statuses with which a server says that no request of this kind will ever be answered.
const FOR_GOOD: [u16; 8] = [301, 308, 401, 403, 404, 405, 410, 421];

impl FailureKind {
    /// Whether trying again, or with other prompts, is in vain; and what to do.
    pub fn remedy(self) -> Option<&'static str> {
        match self {
            FailureKind::Status(401 | 403) => {
                Some("the server asks for a key; give --api-key, or set OPENAI_API_KEY")
            }
            FailureKind::Status(300..=399) => Some(
                "the address leads elsewhere; give --base-url the one that it leads to (often https://, or another path)",
            ),
            FailureKind::Status(s) if FOR_GOOD.contains(&s) => Some(
                "nothing answers at this path; check --base-url and --endpoint, and the model's name (--served-model-name)",
            ),
            _ => None,
        }
    }
}

/// A failure with what the other side said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Which kind.
    pub kind: FailureKind,
    /// Details, shortened.
    pub detail: String,
}

/// Token counts as the server states them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// `usage.prompt_tokens`.
    pub prompt: u32,
    /// `usage.completion_tokens`.
    pub completion: u32,
    /// `usage.prompt_tokens_details.cached_tokens`, where given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached: Option<u32>,
}

/// One request: what was asked, every instant, what came back. Times count from the start of the run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Its number, in order of creation; warm-up requests come first.
    pub id: u64,
    /// Whether it counts (warm-up requests do not).
    pub measured: bool,
    /// What the prompt has in common with others.
    pub prompt: Option<Prompt>,
    /// Stream of the answer, as the workload supposes it.
    pub answer: StreamId,
    /// Prompt tokens asked for.
    pub nominal_input: u32,
    /// Prompt tokens that were sent, where the client knows: token ids, or text counted with a tokenizer.
    pub sent_input: Option<u32>,
    /// `max_tokens`.
    pub max_tokens: u32,
    /// When the load says that it is sent.
    pub intended: SimTime,
    /// When the client's own concurrency limit let it go.
    pub released: SimTime,
    /// When it was handed to the connection (the first try).
    pub sent: SimTime,
    /// Response head.
    pub first_byte: Option<SimTime>,
    /// First chunk with choices: for chat the role chunk, even if empty (vLLM 0.12's "first token").
    pub first_chunk: Option<SimTime>,
    /// Chunks with tokens, one instant each; without streaming one instant for all.
    pub chunks: Vec<SimTime>,
    /// Usage chunk, where it came.
    pub usage_at: Option<SimTime>,
    /// End of the answer or of the attempt.
    pub end: SimTime,
    /// What the server counted.
    pub usage: Option<Counted>,
    /// Whether the server counted no token of an answer that has text: its count is not used.
    pub uncounted: bool,
    /// Output tokens by the client's own tokenizer, where it has one and the server did not count.
    pub recounted: Option<u32>,
    /// `finish_reason`.
    pub finish_reason: Option<String>,
    /// Generated text.
    pub text: String,
    /// Generated tokens, until they are kept for the next turn of a conversation.
    pub said: Vec<u32>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Tries after the first.
    pub retries: u32,
    /// Whether the answer was streamed.
    pub streamed: bool,
    /// A field of its stream that event streams do not have.
    pub unknown_field: Option<String>,
}

impl Outcome {
    /// Whether there is a whole answer.
    pub fn ok(&self) -> bool {
        self.failure.is_none()
    }

    /// Output tokens: the server's count, else the tokenizer's, else one per chunk.
    pub fn output_tokens(&self) -> u32 {
        self.usage
            .map(|u| u.completion)
            .or(self.recounted)
            .unwrap_or(self.chunks.len() as u32)
    }

    /// Prompt tokens: the server's count, else what was sent, else what was meant.
    pub fn input_tokens(&self) -> u32 {
        self.usage
            .map(|u| u.prompt)
            .filter(|p| *p > 0)
            .or(self.sent_input)
            .unwrap_or(self.nominal_input)
    }

    /// Send, first token, last token. `None` for a failure.
    pub fn timing(&self) -> Option<Timing> {
        let (first, last) = (self.chunks.first()?, self.chunks.last()?);
        self.ok().then(|| Timing {
            start: self.sent,
            first_token: *first,
            end: *last,
            input_tokens: self.input_tokens(),
            output_tokens: self.output_tokens(),
        })
    }

    /// Gaps between chunks with tokens.
    pub fn gaps(&self) -> impl Iterator<Item = Span> + '_ {
        self.chunks.windows(2).map(|w| w[1].since(w[0]))
    }

    /// Wait at the client: for a free place under the concurrency limit.
    pub fn held(&self) -> Span {
        self.released.since(self.intended)
    }

    /// Delay by the client itself: from the moment the request should have gone to the moment it went.
    pub fn lateness(&self) -> Span {
        self.sent.since(self.released)
    }

    /// Whether chunks carried more than one token on average.
    pub fn multi_token_chunks(&self) -> bool {
        self.streamed && self.ok() && self.output_tokens() as usize > self.chunks.len()
    }

    /// Whether the server gave another number of tokens than was asked for, with the end-of-sequence token ignored.
    pub fn wrong_count(&self, ignore_eos: bool) -> bool {
        ignore_eos && self.ok() && self.output_tokens() != self.max_tokens
    }
}
