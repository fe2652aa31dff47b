//! The requests of a recording, as they are simulated: who asked when, and what prompts have in common.
use capsim::units::{SimTime, Span};
use capsim::workload::{
    Answer, Follows, Pace, Prompt, PromptKind, Replay, Request, RequestId, Segment, StreamId,
    vllm_bench,
};
use capsim_live::bench::drive::open_loop;
use capsim_live::bench::read::{Recorded, Recording};
use std::collections::{BTreeMap, BTreeSet};

/// What is supposed where a recording is silent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Suppose {
    /// What prompts have in common.
    pub prompts: PromptKind,
    /// Shared tokens, for prompts that share a prefix.
    pub shared_prefix_len: u32,
    /// Whether equal prompts get equal answers.
    pub sampled: bool,
    /// Number of clients, instead of the recording's.
    pub max_concurrency: Option<u32>,
    /// Seed that `vllm bench serve` was given, for arrivals that were not stored.
    pub seed: u32,
}

/// A recording that cannot be replayed.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {problem}")]
pub struct ReplayError {
    /// The recording.
    pub name: String,
    /// What is missing.
    pub problem: String,
}

/// Time between the first sends of successive clients, where the recording does not tell: a burst reaches a live engine in
/// two steps, the first request alone (measured on vLLM 0.32, validation/cpu-vllm).
const SKEW: Span = Span::from_micros(200);
fn content(i: usize, r: &Recorded, w: &Suppose) -> (Prompt, Answer) {
    let (own, own_answer) = (StreamId(16 + 2 * i as u64), StreamId(17 + 2 * i as u64));
    let common = |len| Segment {
        stream: StreamId(0),
        start: 0,
        len,
    };
    let (prompt, answer) = match (&r.prompt, w.prompts) {
        (Some(p), _) => (p.clone(), r.answer.unwrap_or(own_answer)),
        (None, PromptKind::Distinct) => (Prompt::of_stream(own, r.input), own_answer),
        (None, PromptKind::Identical) => (
            Prompt::new([common(r.input)]),
            if w.sampled {
                own_answer
            } else {
                StreamId(u64::MAX - u64::from(r.input))
            },
        ),
        (None, PromptKind::SharedPrefix) => {
            let shared = w.shared_prefix_len.min(r.input);
            let rest = Segment {
                stream: own,
                start: 0,
                len: r.input - shared,
            };
            (Prompt::new([common(shared), rest]), own_answer)
        }
    };
    // The server counted the prompt as it saw it (a chat template adds tokens): the difference goes on its end.
    let prompt = match (i64::from(r.input) - i64::from(prompt.len())).cmp(&0) {
        std::cmp::Ordering::Equal => prompt,
        std::cmp::Ordering::Greater => {
            let more = Segment {
                stream: StreamId(u64::MAX / 2 + i as u64),
                start: 0,
                len: r.input - prompt.len(),
            };
            Prompt::new(prompt.segments().iter().copied().chain([more]))
        }
        std::cmp::Ordering::Less => {
            let mut left = r.input;
            Prompt::new(prompt.segments().iter().map_while(|s| {
                let len = s.len.min(left);
                left -= len;
                (len > 0).then_some(Segment { len, ..*s })
            }))
        }
    };
    (
        prompt,
        Answer {
            stream: answer,
            stop_at: None,
        },
    )
}

/// The requests that are simulated, with their numbers, in the order in which they were sent: warm-up first. Clients that send
/// at the same time overtake each other on their way to the socket.
pub(super) fn used(r: &Recording) -> Vec<(usize, &Recorded)> {
    let mut all: Vec<_> = r
        .requests
        .iter()
        .enumerate()
        .filter(|(_, q)| q.ok && q.input > 0 && q.output > 0)
        .collect();
    all.sort_by(|(_, a), (_, b)| {
        let at = |q: &Recorded| q.sent.unwrap_or(0.0);
        a.measured.cmp(&b.measured).then(at(a).total_cmp(&at(b)))
    });
    all
}

/// The recorded requests, to be simulated. Failed ones are left out: the server may or may not have worked for them.
///
/// # Errors
/// If nothing tells how requests were paced.
pub fn replay(r: &Recording, w: &Suppose) -> Result<Replay, ReplayError> {
    let bad = |problem: &str| ReplayError {
        name: r.name.clone(),
        problem: problem.into(),
    };
    let clients = w.max_concurrency.or(r.max_concurrency);
    let paced = r.spec.as_ref().is_some_and(open_loop);
    let users = r.spec.as_ref().and_then(|s| s.users.as_ref());
    let open_loop = (r.request_rate.is_some() || paced) && w.max_concurrency.is_none();
    let used = used(r);
    if used.is_empty() {
        return Err(bad("holds no answered request"));
    }
    let drawn = match (r.has_arrivals(), r.request_rate) {
        (false, Some(rate)) => Some(vllm_bench::arrivals(
            r.requests.len() as u32,
            Some(rate),
            r.burstiness,
            w.seed,
        )),
        _ => None,
    };
    let pace = match clients {
        _ if open_loop => Pace::Recorded,
        None if users.is_some() => Pace::Answers(follows(&used, users.map_or(1, |u| u.count))),
        Some(count) => Pace::Clients {
            count,
            skew: skew(r, count),
        },
        None if r.has_arrivals() => Pace::Recorded,
        // All at once.
        None => Pace::Clients {
            count: used.len() as u32,
            skew: SKEW,
        },
    };
    let begin = r
        .requests
        .iter()
        .filter_map(|q| q.sent)
        .fold(f64::INFINITY, f64::min);
    let requests = used
        .iter()
        .map(|(i, q)| {
            let at = match &drawn {
                Some(times) => times[*i],
                None => q.sent.map_or(0.0, |s| s - begin),
            };
            let (prompt, answer) = content(*i, q, w);
            Request {
                id: RequestId(0),
                arrival: SimTime::ZERO + Span::from_secs(at.max(0.0)),
                prompt,
                max_tokens: q.output,
                answer,
                priority: 0,
            }
        })
        .collect();
    let warmup = used.iter().filter(|(_, q)| !q.measured).count() as u32;
    Ok(Replay::new(requests, warmup, pace))
}

/// Which answer each request followed, and how long after: how long a user thought is not for a simulation to draw anew. A turn of a
/// conversation follows the answer that it quotes. Users are all alike, so that any other request may have followed any answer that
/// no other client did, and that was there.
fn follows(used: &[(usize, &Recorded)], users: u32) -> Vec<Option<Follows>> {
    let sent = |i: usize| used[i].1.sent.unwrap_or(0.0);
    let end = |i: usize| sent(i) + used[i].1.latency.unwrap_or(0.0);
    let warmup = used.iter().filter(|(_, q)| !q.measured).count();
    let by_answer: BTreeMap<StreamId, usize> = (warmup..used.len())
        .filter_map(|i| Some((used[i].1.answer?, i)))
        .collect();
    let quoted: Vec<Option<usize>> = (0..used.len())
        .map(|i| {
            let prompt = used[i].1.prompt.as_ref()?;
            let mut back = prompt.segments().iter().rev();
            back.find_map(|s| by_answer.get(&s.stream).copied())
                .filter(|&j| j < i)
        })
        .collect();
    let mut free: BTreeSet<usize> = (warmup..used.len()).collect();
    for j in quoted.iter().flatten() {
        free.remove(j);
    }
    let mut begun = 0;
    (0..used.len())
        .map(|i| {
            let before = if i < warmup {
                i.checked_sub(1)
            } else if let Some(j) = quoted[i] {
                Some(j)
            } else if begun < users {
                begun += 1;
                warmup.checked_sub(1)
            } else {
                let there = free.iter().copied().filter(|&j| j < i && end(j) <= sent(i));
                let first = there.min_by(|&a, &b| end(a).total_cmp(&end(b)));
                first.inspect(|j| {
                    free.remove(j);
                })
            };
            before.map(|request| Follows {
                request,
                gap: Span::from_secs((sent(i) - end(request)).max(0.0)),
            })
        })
        .collect()
}

/// Time between the first sends of successive clients, as recorded: their mean.
fn skew(r: &Recording, clients: u32) -> Span {
    let first: Vec<f64> = r
        .requests
        .iter()
        .filter(|q| q.measured)
        .take(clients as usize)
        .filter_map(|q| q.sent)
        .collect();
    match (first.first(), first.last()) {
        (Some(a), Some(b)) if first.len() > 1 && b >= a => {
            Span::from_secs(((b - a) / (first.len() - 1) as f64).min(1.0))
        }
        _ => SKEW,
    }
}
