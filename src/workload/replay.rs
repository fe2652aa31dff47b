//! Recorded requests once more: at their recorded times, or as a closed loop in their recorded order.
use super::{ListSource, Request, RequestId, Source};
use crate::units::{SimTime, Span};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

/// What decides when the next request is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pace {
    /// The recording.
    Recorded,
    /// So many clients, each asking anew when it got its answer; their first requests `skew` apart.
    Clients {
        /// How many.
        count: u32,
        /// Between the first requests of successive clients.
        skew: Span,
    },
    /// Each request its recorded time after the answer that it followed, in the order of the requests; those that followed none
    /// at their recorded times. Users who read and think.
    Answers(Vec<Option<Follows>>),
}

/// What a request followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Follows {
    /// Number of the earlier request.
    pub request: usize,
    /// From the end of its answer to the next request.
    pub gap: Span,
}

/// A list of requests and their pace.
#[derive(Clone, Debug)]
pub struct Replay {
    requests: Vec<Request>,
    warmup: u32,
    pace: Pace,
}

impl Replay {
    /// Replays `requests`, numbered anew from 0 in their order; the first `warmup` of them come one by one before the others.
    pub fn new(mut requests: Vec<Request>, warmup: u32, pace: Pace) -> Self {
        for (i, r) in requests.iter_mut().enumerate() {
            r.id = RequestId(i as u64);
        }
        let warmup = warmup.min(requests.len() as u32);
        Self {
            requests,
            warmup,
            pace,
        }
    }

    /// Requests that do not count.
    pub fn warmup(&self) -> u32 {
        self.warmup
    }

    /// All requests, in order.
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// The pace.
    pub fn pace(&self) -> &Pace {
        &self.pace
    }

    /// The source; `turnaround` passes between an answer and the same client's next request.
    pub fn source(&self, turnaround: Span) -> Box<dyn Source> {
        match &self.pace {
            Pace::Recorded => Box::new(ListSource::new(self.requests.iter().cloned())),
            Pace::Clients { count, skew } => Box::new(Closed::new(self, *count, *skew, turnaround)),
            Pace::Answers(follows) => Box::new(Chained::new(&self.requests, follows)),
        }
    }
}

impl<S: Source + ?Sized> Source for Box<S> {
    fn peek(&mut self) -> Option<SimTime> {
        (**self).peek()
    }
    fn pop(&mut self) -> Option<Request> {
        (**self).pop()
    }
    fn finished(&mut self, id: RequestId, now: SimTime) {
        (**self).finished(id, now)
    }
}

/// Requests that wait for answers.
struct Chained {
    /// By number; handed out once.
    requests: Vec<Option<Request>>,
    /// What an answer sets off.
    next: BTreeMap<u64, Vec<(u64, Span)>>,
    pending: BinaryHeap<Reverse<(SimTime, u64)>>,
}

impl Chained {
    fn new(requests: &[Request], follows: &[Option<Follows>]) -> Self {
        let mut chained = Self {
            requests: requests.iter().cloned().map(Some).collect(),
            next: BTreeMap::new(),
            pending: BinaryHeap::new(),
        };
        for (i, r) in requests.iter().enumerate() {
            match follows.get(i).copied().flatten() {
                // Only an earlier request can have been answered before.
                Some(f) if f.request < i => {
                    let after = chained.next.entry(f.request as u64).or_default();
                    after.push((i as u64, f.gap));
                }
                _ => chained.pending.push(Reverse((r.arrival, i as u64))),
            }
        }
        chained
    }
}

impl Source for Chained {
    fn peek(&mut self) -> Option<SimTime> {
        self.pending.peek().map(|Reverse((t, _))| *t)
    }

    fn pop(&mut self) -> Option<Request> {
        let Reverse((arrival, i)) = self.pending.pop()?;
        let request = self.requests[i as usize].take()?;
        Some(Request { arrival, ..request })
    }

    fn finished(&mut self, id: RequestId, now: SimTime) {
        for (i, gap) in self.next.remove(&id.0).unwrap_or_default() {
            self.pending.push(Reverse((now + gap, i)));
        }
    }
}

struct Closed {
    left: VecDeque<Request>,
    pending: BinaryHeap<Reverse<SimTime>>,
    warmup: u64,
    clients: u32,
    skew: Span,
    turnaround: Span,
}

impl Closed {
    fn new(replay: &Replay, clients: u32, skew: Span, turnaround: Span) -> Self {
        let mut closed = Self {
            left: replay.requests.iter().cloned().collect(),
            pending: BinaryHeap::new(),
            warmup: replay.warmup.into(),
            clients,
            skew,
            turnaround,
        };
        if closed.warmup > 0 {
            closed.pending.push(Reverse(SimTime::ZERO));
        } else {
            closed.start(SimTime::ZERO);
        }
        closed
    }

    fn start(&mut self, now: SimTime) {
        for i in 0..u64::from(self.clients).min(self.left.len() as u64) {
            self.pending.push(Reverse(now + self.skew * i));
        }
    }
}

impl Source for Closed {
    fn peek(&mut self) -> Option<SimTime> {
        self.pending.peek().map(|Reverse(t)| *t)
    }

    fn pop(&mut self) -> Option<Request> {
        let Reverse(arrival) = self.pending.pop()?;
        let request = self.left.pop_front()?;
        Some(Request { arrival, ..request })
    }

    fn finished(&mut self, id: RequestId, now: SimTime) {
        let next = now + self.turnaround;
        if id.0 + 1 == self.warmup {
            self.start(next);
        } else if self.pending.len() < self.left.len() {
            self.pending.push(Reverse(next));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Answer, Prompt, StreamId};

    fn request(i: u64) -> Request {
        Request {
            id: RequestId(99 - i),
            arrival: SimTime(1000 * i),
            prompt: Prompt::of_stream(StreamId(i), 4),
            max_tokens: 2,
            answer: Answer {
                stream: StreamId(i),
                stop_at: None,
            },
            priority: 0,
        }
    }

    /// (id, arrival) when every request is served for 10 ns, at once.
    fn drain(replay: &Replay) -> Vec<(u64, u64)> {
        let mut source = replay.source(Span(5));
        let mut open: BinaryHeap<Reverse<(SimTime, u64)>> = BinaryHeap::new();
        let mut all = vec![];
        loop {
            let next = source.peek();
            match (next, open.peek()) {
                (Some(t), Some(Reverse((end, id)))) if *end <= t => {
                    let (end, id) = (*end, *id);
                    open.pop();
                    source.finished(RequestId(id), end);
                }
                (Some(_), _) => {
                    let r = source.pop().unwrap();
                    all.push((r.id.0, r.arrival.0));
                    open.push(Reverse((r.arrival + Span(10), r.id.0)));
                }
                (None, Some(Reverse((end, id)))) => {
                    let (end, id) = (*end, *id);
                    open.pop();
                    source.finished(RequestId(id), end);
                }
                (None, None) => return all,
            }
        }
    }

    #[test]
    fn a_closed_loop_keeps_order_and_number_of_clients() {
        let pace = Pace::Clients {
            count: 2,
            skew: Span(1),
        };
        let replay = Replay::new((0..6).map(request).collect(), 1, pace);
        assert_eq!(
            drain(&replay),
            [(0, 0), (1, 15), (2, 16), (3, 30), (4, 31), (5, 45)]
        );
        let many = Pace::Clients {
            count: 50,
            skew: Span::ZERO,
        };
        let replay = Replay::new((0..3).map(request).collect(), 0, many);
        assert_eq!(drain(&replay), [(0, 0), (1, 0), (2, 0)]);
    }

    #[test]
    fn a_request_waits_for_the_answer_that_it_followed() {
        let after = |request, gap| {
            Some(Follows {
                request,
                gap: Span(gap),
            })
        };
        let pace = Pace::Answers(vec![None, after(0, 7), None, after(1, 3), after(1, 1)]);
        let replay = Replay::new((0..5).map(request).collect(), 0, pace);
        assert_eq!(
            drain(&replay),
            [(0, 0), (1, 17), (4, 28), (3, 30), (2, 2000)]
        );
    }

    #[test]
    fn recorded_times_are_kept() {
        let replay = Replay::new((0..3).map(request).collect(), 0, Pace::Recorded);
        assert_eq!(drain(&replay), [(0, 0), (1, 1000), (2, 2000)]);
    }
}
