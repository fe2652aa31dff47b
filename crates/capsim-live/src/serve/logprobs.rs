//! Log-probabilities, as a model might have had them: the token that came is the likeliest, the others share what it leaves, each half of
//! the one before. The same token of the same answer always has the same.
use super::identity::mix;
use super::text::Tokenizer;
use serde_json::{Map, Value, json};

/// A token of an answer with its log-probability.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Its text.
    pub token: String,
    /// Natural logarithm of its probability.
    pub logprob: f64,
    /// The likeliest tokens, as many as were asked for, this one first.
    pub top: Vec<(String, f64)>,
}

/// Token number `k` of the answer `stream`, whose text is `token`.
pub fn told(text: &Tokenizer, stream: u64, k: u32, token: &str, candidates: u32) -> Told {
    let draw = mix(stream ^ mix(0x6c6f_6770 ^ u64::from(k)));
    // Between a half and nineteen twentieths.
    let mut rest = 1.0 - (0.5 + 0.45 * (draw >> 11) as f64 / (1u64 << 53) as f64);
    let logprob = (1.0 - rest).ln();
    let mut top = vec![(token.to_string(), logprob)];
    for j in 1..candidates {
        rest /= 2.0;
        let other = mix(draw ^ u64::from(j));
        top.push((text.answer_text(other, k).into_owned(), rest.ln()));
    }
    top.truncate(candidates as usize);
    Told {
        token: token.into(),
        logprob,
        top,
    }
}

/// In the form of `/v1/chat/completions`.
pub fn chat(all: &[Told]) -> Value {
    let one = |token: &str, logprob: f64| json!({"token": token, "logprob": logprob, "bytes": token.as_bytes()});
    let content: Vec<Value> = all
        .iter()
        .map(|t| {
            let mut v = one(&t.token, t.logprob);
            v["top_logprobs"] = t.top.iter().map(|(token, p)| one(token, *p)).collect();
            v
        })
        .collect();
    json!({ "content": content })
}

/// In the form of `/v1/completions`; the text of the first token begins after `offset` characters.
pub fn completion(all: &[Told], mut offset: usize) -> Value {
    let mut offsets = vec![];
    for t in all {
        offsets.push(offset);
        offset += t.token.chars().count();
    }
    let top: Vec<Map<String, Value>> = all
        .iter()
        .map(|t| {
            let own = (t.token.clone(), json!(t.logprob));
            std::iter::once(own)
                .chain(t.top.iter().map(|(token, p)| (token.clone(), json!(p))))
                .collect()
        })
        .collect();
    json!({
        "text_offset": offsets,
        "token_logprobs": all.iter().map(|t| t.logprob).collect::<Vec<_>>(),
        "tokens": all.iter().map(|t| &t.token).collect::<Vec<_>>(),
        "top_logprobs": top,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_some_and_sum_to_at_most_one() {
        let text = Tokenizer::words();
        for k in 0..100 {
            let t = told(&text, 7, k, "w", 20);
            let sum: f64 = t.top.iter().map(|(_, p)| p.exp()).sum();
            assert!(t.top.len() == 20 && sum <= 1.0 + 1e-12 && t.logprob < 0.0);
            assert!(t.top.windows(2).all(|w| w[0].1 > w[1].1), "{t:?}");
            assert_eq!(t, told(&text, 7, k, "w", 20));
        }
        assert!(told(&text, 7, 0, "w", 0).top.is_empty());
        let v = completion(&[told(&text, 7, 0, "ab", 1), told(&text, 7, 1, "c", 1)], 3);
        assert_eq!(v["text_offset"], json!([3, 5]));
    }
}
