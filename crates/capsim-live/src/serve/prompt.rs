//! From a request's fields to what the engine is asked: prompts as tokens, limits checked as vLLM checks them, and the
//! answer that will be given.
use super::identity::{Chain, Identified, mix};
use super::stops::stops;
use super::structured::{Script, Wanted};
use super::text::Tokenizer;
use crate::openai::{PromptInput, Sampling, Unsimulated};
use capsim::workload::{Answer, StreamId};
use std::sync::Arc;

/// A refusal in vLLM's words: status 400.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// What is wrong.
    pub message: String,
    /// The parameter at fault.
    pub param: Option<&'static str>,
}

impl Bad {
    /// Of a parameter.
    pub fn of(param: &'static str, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            param: Some(param),
        }
    }
}

impl<T: Into<String>> From<T> for Bad {
    fn from(s: T) -> Self {
        Self {
            message: s.into(),
            param: None,
        }
    }
}

/// A prompt in tokens, and as text where it was given as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    pub ids: Vec<u32>,
    pub text: Option<String>,
}

/// All prompts of a request.
pub fn prompts(input: Option<PromptInput>, text: &Tokenizer) -> Result<Vec<Tokens>, Bad> {
    let encode = |t: String| -> Result<Tokens, Bad> {
        Ok(Tokens {
            ids: text.encode(&t, true).map_err(|e| e.to_string())?,
            text: Some(t),
        })
    };
    let ids = |ids: Vec<u32>| -> Result<Tokens, Bad> {
        if let Some(&bad) = ids.iter().find(|&&id| !text.knows(id)) {
            return Err(format!("Token id {bad} is out of vocabulary").into());
        }
        Ok(Tokens { ids, text: None })
    };
    let all = match input {
        None => vec![],
        Some(PromptInput::Text(t)) if t.is_empty() => vec![],
        Some(PromptInput::Text(t)) => vec![encode(t)?],
        Some(PromptInput::Tokens(t)) if t.is_empty() => vec![],
        Some(PromptInput::Tokens(t)) => vec![ids(t)?],
        Some(PromptInput::Texts(all)) => all.into_iter().map(encode).collect::<Result<_, _>>()?,
        Some(PromptInput::TokenLists(all)) => all.into_iter().map(ids).collect::<Result<_, _>>()?,
    };
    if all.is_empty() {
        return Err("Either prompt or prompt_embeds must be provided and non-empty.".into());
    }
    Ok(all)
}

/// Most stop strings of a request (vllm 0.33.0, envs.py: VLLM_MAX_STOP_STRINGS).
pub const MOST_STOPS: usize = 4;

/// Most candidates whose log-probabilities are told (vllm 0.33.0, config/model.py: max_logprobs).
pub const MOST_LOGPROBS: i64 = 20;

/// How many candidates' log-probabilities an answer tells beside each token's own; `None`: no log-probabilities.
pub fn candidates(asked: Option<i64>, param: &'static str) -> Result<Option<u32>, Bad> {
    match asked {
        None => Ok(None),
        Some(n) if n < 0 => Err(Bad::of(
            param,
            format!("`{param}` must be a positive value or -1."),
        )),
        Some(n) if n > MOST_LOGPROBS => Err(Bad::of(
            param,
            format!(
                "Requested sample logprobs of {n}, which is greater than max allowed: {MOST_LOGPROBS}"
            ),
        )),
        Some(n) => Ok(Some(n as u32)),
    }
}

/// Checks sampling parameters (vllm 0.12.0 to 0.33.0, sampling_params.py: _verify_args).
pub fn check_sampling(
    s: &Sampling,
    other: &Unsimulated,
    max_tokens: Option<i64>,
) -> Result<(), Bad> {
    if s.n < 1 {
        return Err(Bad::of("n", format!("n must be at least 1, got {}.", s.n)));
    }
    let within =
        |name: &'static str, value: Option<f64>, fits: fn(f64) -> bool, must: &str| match value {
            Some(v) if !fits(v) => Err(Bad::of(name, format!("{name} must be {must}, got {v:?}."))),
            _ => Ok(()),
        };
    within("temperature", s.temperature, |t| t >= 0.0, "non-negative")?;
    within("temperature", s.temperature, |t| t <= 2.0, "in [0, 2]")?;
    within("top_p", other.top_p, |p| p > 0.0 && p <= 1.0, "in (0, 1]")?;
    within(
        "min_p",
        other.min_p,
        |p| (0.0..=1.0).contains(&p),
        "in [0, 1]",
    )?;
    within(
        "presence_penalty",
        other.presence_penalty,
        |p| (-2.0..=2.0).contains(&p),
        "in [-2, 2]",
    )?;
    within(
        "frequency_penalty",
        other.frequency_penalty,
        |p| (-2.0..=2.0).contains(&p),
        "in [-2, 2]",
    )?;
    within(
        "repetition_penalty",
        other.repetition_penalty,
        |p| p > 0.0,
        "greater than zero",
    )?;
    if let Some(k) = other.top_k.filter(|k| *k < -1) {
        return Err(Bad::of(
            "top_k",
            format!("top_k must be 0 (disable), or at least 1, got {k}."),
        ));
    }
    if s.stop.len() > MOST_STOPS {
        return Err(Bad::of(
            "stop",
            format!(
                "List should have at most {MOST_STOPS} items after validation, not {}",
                s.stop.len()
            ),
        ));
    }
    if s.stop.iter().any(String::is_empty) {
        return Err(Bad::of("stop", "stop cannot contain an empty string."));
    }
    if let Some(m) = max_tokens {
        if m < 1 {
            return Err(Bad::of(
                "max_tokens",
                format!("max_tokens must be at least 1, got {m}."),
            ));
        }
        if i64::from(s.min_tokens) > m {
            return Err(Bad::of(
                "min_tokens",
                format!(
                    "min_tokens must be less than or equal to max_tokens={m}, got {}.",
                    s.min_tokens
                ),
            ));
        }
    }
    if s.temperature == Some(0.0) && s.n > 1 {
        return Err(Bad::of(
            "n",
            format!("n must be 1 when using greedy sampling, got {}.", s.n),
        ));
    }
    Ok(())
}

/// The limit on output tokens for a prompt of that many tokens.
pub fn output_limit(
    prompt: usize,
    max_tokens: Option<i64>,
    max_model_len: u32,
) -> Result<u32, Bad> {
    let (prompt, limit) = (prompt as u64, u64::from(max_model_len));
    if prompt == 0 {
        return Err("The decoder prompt cannot be empty".into());
    }
    if prompt >= limit {
        return Err(format!(
            "This model's maximum context length is {limit} tokens. However, your request has {prompt} input tokens. \
             Please reduce the length of the input messages."
        )
        .into());
    }
    match max_tokens {
        None => Ok((limit - prompt) as u32),
        Some(m) => {
            if i128::from(m) + i128::from(prompt) > i128::from(limit) {
                return Err(format!(
                    "'max_tokens' or 'max_completion_tokens' is too large: {m}. This model's maximum context length is \
                     {limit} tokens and your request has {prompt} input tokens ({m} > {limit} - {prompt})."
                )
                .into());
            }
            Ok(m as u32)
        }
    }
}

/// What will be answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// For the engine.
    pub answer: Answer,
    /// Bytes of the text that are given out; the rest belongs to a stop string.
    pub clip: usize,
    /// What stopped it, for `stop_reason`.
    pub stop_reason: Option<serde_json::Value>,
    /// Its text, where that is known beforehand.
    pub script: Option<Arc<Script>>,
}

/// Lengths of answers that nothing else ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerLength {
    /// Shortest.
    pub low: u32,
    /// Longest.
    pub high: u32,
}

/// What the answer is to be, besides long enough.
#[derive(Clone, Copy)]
pub struct Form<'a> {
    /// How long answers are that nothing else ends.
    pub length: Option<AnswerLength>,
    /// What the request demands.
    pub wanted: &'a Wanted,
}

/// Plans the answer to choice number `choice` of a prompt. Equal prompts get equal answers if greedy, or if the seed is
/// the same; else every request gets its own, told apart by `unique`.
pub fn plan(
    prompt: &Identified,
    s: &Sampling,
    choice: u32,
    max_tokens: u32,
    unique: u64,
    form: Form<'_>,
    text: &Tokenizer,
) -> Plan {
    let Form { length, wanted } = form;
    let chance = match (s.temperature, s.seed) {
        (Some(0.0), _) => 0,
        (t, Some(seed)) => mix(seed as u64 ^ t.unwrap_or(1.0).to_bits()) ^ u64::from(choice),
        _ => mix(unique ^ 0x7574_7465_7261_6e63),
    };
    let stream = answer_stream(prompt.chain, chance);
    let mut plan = Plan {
        answer: Answer {
            stream: StreamId(stream),
            stop_at: None,
        },
        clip: usize::MAX,
        stop_reason: None,
        script: match wanted {
            Wanted::Said(said) => Some(Script {
                pieces: text.pieces(said),
                tool: None,
            }),
            form => form.script(stream, max_tokens),
        }
        .map(Arc::new),
    };
    if let (Some(script), Wanted::Said(said)) = (&plan.script, wanted)
        && let Some((at, stop)) = first_stop(said, s.stop)
    {
        let mut bytes = 0;
        let last = script.pieces.iter().position(|p| {
            bytes += p.len();
            bytes >= at + stop.len()
        });
        plan.answer.stop_at = last.map(|k| k as u32);
        plan.clip = at;
        plan.stop_reason = Some(stop.into());
        return plan;
    }
    if let Some(script) = &plan.script {
        // The form ends the answer, whatever else would.
        plan.answer.stop_at = Some(script.pieces.len() as u32 - 1);
        return plan;
    }
    if let Some(l) = length
        && !s.ignore_eos
    {
        // The draw belongs to the answer: equal answers are equally long.
        let width = u64::from(l.high - l.low) + 1;
        let len = l.low + (mix(stream ^ 0x656e_6420_6f66) % width) as u32;
        let at = len.max(s.min_tokens).max(1) - 1;
        if at < max_tokens {
            plan.answer.stop_at = Some(at);
            plan.clip = (0..at).map(|k| text.answer_text(stream, k).len()).sum();
        }
    }
    let end = plan
        .answer
        .stop_at
        .map_or(max_tokens, |k| k.min(max_tokens));
    if let Some((k, clip, reason)) = stops(stream, s, end, text) {
        plan.answer.stop_at = Some(k);
        plan.clip = clip;
        plan.stop_reason = Some(reason);
    }
    plan
}

/// Where the first stop string in a text begins, and which it is.
fn first_stop<'s>(text: &str, stops: &'s [String]) -> Option<(usize, &'s str)> {
    let found = stops
        .iter()
        .filter_map(|s| Some((text.find(s.as_str())?, s.as_str())));
    found.min_by_key(|(at, s)| at + s.len())
}

fn answer_stream(chain: Chain, chance: u64) -> u64 {
    mix(chain.value() ^ mix(chance ^ 0x616e_7377_6572))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::identity::Identities;

    fn sampling<'a>() -> Sampling<'a> {
        Sampling {
            n: 1,
            temperature: Some(0.0),
            seed: None,
            stop: &[],
            stop_token_ids: &[],
            ignore_eos: false,
            min_tokens: 0,
            priority: 0,
        }
    }

    const FREE: Form<'static> = Form {
        length: None,
        wanted: &Wanted::Text,
    };

    #[test]
    fn limits_are_checked_in_vllms_words() {
        assert_eq!(output_limit(10, Some(90), 100), Ok(90));
        assert_eq!(output_limit(10, None, 100), Ok(90));
        assert_eq!(
            output_limit(10, Some(91), 100).unwrap_err().message,
            "'max_tokens' or 'max_completion_tokens' is too large: 91. This model's maximum context length is 100 tokens \
             and your request has 10 input tokens (91 > 100 - 10)."
        );
        assert!(output_limit(100, Some(1), 100).is_err());
        assert!(output_limit(1, Some(i64::MAX), 100).is_err());
        assert!(check_sampling(&sampling(), &Unsimulated::default(), Some(0)).is_err());
        let nothing = Unsimulated::default();
        let refused =
            |other: Unsimulated| check_sampling(&sampling(), &other, None).unwrap_err().param;
        assert_eq!(
            refused(Unsimulated {
                top_p: Some(0.0),
                ..nothing
            }),
            Some("top_p")
        );
        assert_eq!(
            refused(Unsimulated {
                presence_penalty: Some(2.5),
                ..nothing
            }),
            Some("presence_penalty")
        );
        let five = vec!["x".to_string(); 5];
        for stop in [&five[..], &[String::new()]] {
            let s = Sampling { stop, ..sampling() };
            assert_eq!(
                check_sampling(&s, &nothing, None).unwrap_err().param,
                Some("stop")
            );
        }
        let hot = Sampling {
            temperature: Some(f64::NAN),
            ..sampling()
        };
        assert!(check_sampling(&hot, &nothing, None).is_err());
        assert!(
            check_sampling(
                &Sampling {
                    temperature: Some(2.5),
                    ..sampling()
                },
                &nothing,
                None
            )
            .is_err()
        );
    }

    #[test]
    fn equal_prompts_get_equal_answers_exactly_when_they_should() {
        let text = Tokenizer::words();
        let ids = Identities::new(16, 10);
        let (a, b) = (ids.identify(&[1, 2, 3]), ids.identify(&[1, 2, 4]));
        let stream = |p: &Identified, s: &Sampling, choice, unique| {
            plan(p, s, choice, 10, unique, FREE, &text).answer.stream
        };
        let greedy = sampling();
        assert_eq!(stream(&a, &greedy, 0, 1), stream(&a, &greedy, 0, 2));
        assert_ne!(stream(&a, &greedy, 0, 1), stream(&b, &greedy, 0, 1));
        let free = Sampling {
            temperature: None,
            ..greedy
        };
        assert_ne!(stream(&a, &free, 0, 1), stream(&a, &free, 0, 2));
        let seeded = Sampling {
            seed: Some(5),
            ..free
        };
        assert_eq!(stream(&a, &seeded, 0, 1), stream(&a, &seeded, 0, 2));
        assert_ne!(stream(&a, &seeded, 0, 1), stream(&a, &seeded, 1, 1));
    }

    #[test]
    fn stop_strings_and_lengths_end_an_answer_where_they_come() {
        let text = Tokenizer::words();
        let p = Identities::new(16, 10).identify(&[1]);
        let free = plan(&p, &sampling(), 0, 50, 1, FREE, &text);
        let stream = free.answer.stream.0;
        let words: Vec<String> = (0..50)
            .map(|k| text.answer_text(stream, k).into())
            .collect();
        // From the middle of one word into the next.
        let stop = vec![format!("{}{}", &words[7][2..], &words[8][..3])];
        let s = Sampling {
            stop: &stop,
            ..sampling()
        };
        let stopped = plan(&p, &s, 0, 50, 1, FREE, &text);
        assert_eq!(stopped.answer.stream.0, stream);
        assert_eq!(stopped.answer.stop_at, Some(8));
        assert_eq!(stopped.clip, words[..7].concat().len() + 2);
        assert_eq!(stopped.stop_reason, Some(stop[0].as_str().into()));
        let late = Sampling {
            min_tokens: 20,
            ..s
        };
        assert_ne!(
            plan(&p, &late, 0, 50, 1, FREE, &text).answer.stop_at,
            Some(8)
        );
        let length = Some(AnswerLength { low: 12, high: 12 });
        let short = plan(&p, &sampling(), 0, 50, 1, Form { length, ..FREE }, &text);
        assert_eq!(short.answer.stop_at, Some(11));
        assert_eq!(short.clip, words[..11].concat().len());
        let ignoring = Sampling {
            ignore_eos: true,
            ..sampling()
        };
        assert_eq!(
            plan(&p, &ignoring, 0, 50, 1, Form { length, ..FREE }, &text)
                .answer
                .stop_at,
            None
        );
    }
}
