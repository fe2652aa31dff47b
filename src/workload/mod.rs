//! Who asks what, when: requests and the sources that send them.
pub mod arrival;
mod generator;
mod images;
pub mod length;
pub mod load;
pub mod numpy;
mod replay;
mod spec;
pub mod trace;
mod users;
pub mod vllm_bench;

pub use arrival::{Arrival, RampUp};
pub use generator::Generator;
pub use images::{ImageCost, Images};
pub use length::Length;
pub use replay::{Follows, Pace, Replay};
pub use spec::{PromptKind, WorkloadError, WorkloadSpec};
pub use trace::{Trace, TraceSpec};
pub use users::{Think, Users};

use crate::units::SimTime;
use smallvec::SmallVec;

/// The identity of a request: its number in order of creation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// An endless sequence of tokens. Two tokens are equal if and only if stream and position are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// Tokens `start .. start + len` of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Segment {
    /// The stream the tokens are taken from.
    pub stream: StreamId,
    /// Position of the first one in the stream.
    pub start: u32,
    /// How many.
    pub len: u32,
}

/// What a prompt says, as far as equality goes: segments of token streams, one after another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Prompt {
    segments: SmallVec<[Segment; 2]>,
    len: u32,
}

impl Prompt {
    /// The concatenation of `segments`; neighbours that continue each other are merged, empty ones
    /// dropped, so that equal token sequences compare equal.
    ///
    /// # Panics
    /// If the total length overflows `u32`.
    pub fn new(segments: impl IntoIterator<Item = Segment>) -> Self {
        let mut merged: SmallVec<[Segment; 2]> = SmallVec::new();
        let mut len = 0u32;
        for s in segments.into_iter().filter(|s| s.len > 0) {
            len = len.checked_add(s.len).expect("prompt length overflows");
            match merged.last_mut() {
                Some(last)
                    if last.stream == s.stream
                        && u64::from(last.start) + u64::from(last.len) == u64::from(s.start) =>
                {
                    last.len += s.len
                }
                _ => merged.push(s),
            }
        }
        Self {
            segments: merged,
            len,
        }
    }

    /// `len` tokens that no other stream shares.
    pub fn of_stream(stream: StreamId, len: u32) -> Self {
        Self::new([Segment {
            stream,
            start: 0,
            len,
        }])
    }

    /// Its length in tokens.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Its segments, in order.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }
}

/// What the model will answer. The engine delivers it; the scheduler never reads its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Output token `k` is token `k` of this stream. Two greedy requests with equal prompts share it,
    /// and are then the same computation wherever they are in lockstep.
    pub stream: StreamId,
    /// Output token number `stop_at` (from 0) ends the sequence; `None`: only a length limit does.
    pub stop_at: Option<u32>,
}

/// One request as the engine sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its number.
    pub id: RequestId,
    /// When it reaches the engine.
    pub arrival: SimTime,
    /// What it asks.
    pub prompt: Prompt,
    /// Limit on output tokens (`max_tokens`), at least 1.
    pub max_tokens: u32,
    /// What will be answered (the oracle's part).
    pub answer: Answer,
    /// For `--scheduling-policy priority`: smaller is more urgent.
    pub priority: i32,
}

/// A stream of requests, open or closed loop.
///
/// Contract: `peek` is the arrival time of the request that the next `pop` returns, `None` while nothing
/// more will come unless a running request finishes (closed loop) or ever (drained). Arrivals never
/// decrease. `finished` may make a request available whose arrival is at or after `now`.
pub trait Source {
    /// Arrival of the next request, if one is on its way.
    fn peek(&mut self) -> Option<SimTime>;
    /// The next request.
    fn pop(&mut self) -> Option<Request>;
    /// Request `id` was answered (or failed) at `now`.
    fn finished(&mut self, id: RequestId, now: SimTime);
}

/// A recorded or hand-made list of requests, in order of arrival.
#[derive(Clone, Debug, Default)]
pub struct ListSource {
    requests: std::collections::VecDeque<Request>,
}

impl ListSource {
    /// Sends `requests`, stably sorted by arrival.
    pub fn new(requests: impl IntoIterator<Item = Request>) -> Self {
        let mut requests: Vec<_> = requests.into_iter().collect();
        requests.sort_by_key(|r| r.arrival);
        Self {
            requests: requests.into(),
        }
    }
}

impl Source for ListSource {
    fn peek(&mut self) -> Option<SimTime> {
        self.requests.front().map(|r| r.arrival)
    }
    fn pop(&mut self) -> Option<Request> {
        self.requests.pop_front()
    }
    fn finished(&mut self, _: RequestId, _: SimTime) {}
}
