//! Prompts with given lengths and given identity: which tokens are equal is the workload's to say, which they are is chosen here.
use capsim::workload::{Prompt, StreamId};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use tokenizers::Tokenizer;

/// Token ids drawn without a tokenizer: beyond the single bytes and special tokens of the usual vocabularies, within the
/// smallest of them (4096).
pub const TOKEN_IDS: std::ops::Range<u32> = 500..3500;

/// Common English words, one token each with a leading space in most vocabularies: prompts as text without a tokenizer.
const WORDS: &str = "the of and to in is that it was for on are as with his they at be this have from or one had by word but not what all were we when your can said there use an each which she do how their if will up other about out many then them these so some her would make like him into time has look two more write go see number no way could people my than first water been call who oil its now find long down day did get come made may part";

/// What is sent as a prompt.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Token ids: the length is exact.
    Ids(Vec<u32>),
    /// Text, with the number of tokens where a tokenizer counted them.
    Text(String, Option<u32>),
}

/// Makes prompts.
pub struct PromptMaker {
    ids: std::ops::Range<u32>,
    seed: u64,
    tokenizer: Option<Tokenizer>,
    allowed: Vec<u32>,
    text: bool,
    /// What the server answered, by stream: later turns of a conversation quote it.
    said: Mutex<BTreeMap<u64, Vec<u32>>>,
}

/// A tokenizer file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct TokenizerError {
    /// The file.
    pub file: String,
    /// What is wrong.
    pub problem: String,
}

/// SplitMix64 (G. Steele, D. Lea, C. Flood, 2014): one well-mixed number per (seed, stream, position).
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Reads a Hugging Face `tokenizer.json`, or the folder that holds one.
///
/// # Errors
/// Names the file.
pub fn tokenizer(path: &Path) -> Result<Tokenizer, TokenizerError> {
    let file = if path.is_dir() {
        path.join("tokenizer.json")
    } else {
        path.to_path_buf()
    };
    Tokenizer::from_file(&file).map_err(|e| TokenizerError {
        file: file.display().to_string(),
        problem: format!("is no tokenizer.json that can be read: {e}"),
    })
}

impl PromptMaker {
    /// Prompts as token ids from `ids`.
    pub fn ids(ids: std::ops::Range<u32>, seed: u64) -> Self {
        Self {
            ids,
            seed,
            tokenizer: None,
            allowed: vec![],
            text: false,
            said: Mutex::default(),
        }
    }

    /// Prompts as text of common words, for servers or endpoints that take no token ids; lengths are nominal.
    pub fn words(seed: u64) -> Self {
        Self {
            text: true,
            ..Self::ids(TOKEN_IDS, seed)
        }
    }

    /// Prompts as text whose tokens are counted with `tokenizer`.
    pub fn text(tokenizer: Tokenizer, seed: u64) -> Self {
        let special: std::collections::BTreeSet<u32> = tokenizer
            .get_added_tokens_decoder()
            .keys()
            .copied()
            .collect();
        let mut allowed: Vec<u32> = tokenizer
            .get_vocab(false)
            .into_values()
            .filter(|id| !special.contains(id))
            .collect();
        allowed.sort_unstable();
        Self {
            allowed,
            tokenizer: Some(tokenizer),
            text: true,
            ..Self::ids(TOKEN_IDS, seed)
        }
    }

    /// The tokenizer, where there is one.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.tokenizer.as_ref()
    }

    /// Whether prompts are text.
    pub fn is_text(&self) -> bool {
        self.text
    }

    /// In words, for reports.
    pub fn describe(&self) -> String {
        match (&self.tokenizer, self.text) {
            (Some(_), _) => "text, tokens counted with the tokenizer".into(),
            (None, true) => "text of common words; lengths nominal".into(),
            (None, false) => format!(
                "token ids {} to {}; lengths exact",
                self.ids.start,
                self.ids.end - 1
            ),
        }
    }

    fn draws<'a>(&'a self, prompt: &'a Prompt) -> impl Iterator<Item = u64> + 'a {
        prompt.segments().iter().flat_map(move |s| {
            let stream = mix(self.seed ^ mix(s.stream.0));
            (0..s.len).map(move |i| mix(stream ^ u64::from(s.start + i)))
        })
    }

    /// Keeps the tokens of an answer, so that prompts which quote it have them and not drawn ones.
    pub fn remember(&self, answer: StreamId, tokens: Vec<u32>) {
        if !tokens.is_empty() {
            self.said().insert(answer.0, tokens);
        }
    }

    fn said(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Vec<u32>>> {
        // A thread that panicked with it left a whole map.
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The prompt's tokens: drawn, but for what the server said.
    fn tokens(&self, prompt: &Prompt, token: impl Fn(u64) -> u32) -> Vec<u32> {
        let mut all: Vec<u32> = self.draws(prompt).map(token).collect();
        let said = self.said();
        let mut at = 0;
        for s in prompt.segments() {
            let (start, len) = (s.start as usize, s.len as usize);
            if let Some(answer) = said.get(&s.stream.0) {
                let answer = answer.iter().skip(start);
                for (slot, token) in all[at..at + len].iter_mut().zip(answer) {
                    *slot = *token;
                }
            }
            at += len;
        }
        all
    }

    /// The prompt as it is sent. Equal tokens of the workload become equal tokens.
    pub fn make(&self, prompt: &Prompt) -> Body {
        let pick = |draw: u64, n: usize| ((u128::from(draw) * n as u128) >> 64) as usize;
        match (&self.tokenizer, self.text) {
            (Some(t), _) => {
                let ids = self.tokens(prompt, |d| self.allowed[pick(d, self.allowed.len())]);
                let (text, count) = retokenised(t, ids);
                Body::Text(text, Some(count))
            }
            (None, true) => {
                let words: Vec<&str> = WORDS.split(' ').collect();
                let text: Vec<&str> = self
                    .draws(prompt)
                    .map(|d| words[pick(d, words.len())])
                    .collect();
                Body::Text(text.join(" "), None)
            }
            (None, false) => {
                Body::Ids(self.tokens(prompt, |d| self.ids.start + pick(d, self.ids.len()) as u32))
            }
        }
    }
}

/// Text whose number of tokens comes as near to that of `ids` as a few rounds of decoding and encoding bring it (ids drawn
/// at random rarely survive one), and that number.
fn retokenised(t: &Tokenizer, ids: Vec<u32>) -> (String, u32) {
    let want = ids.len();
    let mut ids = ids;
    let mut text = String::new();
    for _ in 0..4 {
        text = t.decode(&ids, false).unwrap_or_default();
        let Ok(encoded) = t.encode_fast(text.as_str(), false) else {
            break;
        };
        let again = encoded.get_ids().to_vec();
        if again.len() == want {
            return (text, want as u32);
        }
        let mut next = again;
        let have = next.len();
        if have > want {
            next.truncate(want);
        } else {
            // Pad with the prompt's own first tokens.
            let pad: Vec<u32> = ids.iter().copied().cycle().take(want - have).collect();
            next.extend(pad);
        }
        ids = next;
    }
    let count = t
        .encode_fast(text.as_str(), false)
        .map_or(want, |e| e.len());
    (text, count as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use capsim::workload::{Segment, StreamId};

    fn ids(b: Body) -> Vec<u32> {
        match b {
            Body::Ids(v) => v,
            Body::Text(..) => panic!("asked for ids"),
        }
    }

    #[test]
    fn equal_segments_give_equal_tokens_and_others_do_not() {
        let maker = PromptMaker::ids(TOKEN_IDS, 7);
        let shared = |own: u64| {
            Prompt::new([
                Segment {
                    stream: StreamId(0),
                    start: 0,
                    len: 40,
                },
                Segment {
                    stream: StreamId(own),
                    start: 0,
                    len: 24,
                },
            ])
        };
        let (a, b) = (ids(maker.make(&shared(1))), ids(maker.make(&shared(2))));
        assert_eq!(a.len(), 64);
        assert_eq!(a[..40], b[..40]);
        assert_ne!(a[40..], b[40..]);
        assert!(a.iter().all(|i| TOKEN_IDS.contains(i)));
        let other = PromptMaker::ids(TOKEN_IDS, 8);
        assert_ne!(a, ids(other.make(&shared(1))));
    }

    #[test]
    fn without_a_tokenizer_text_has_one_word_per_token() {
        let Body::Text(text, count) =
            PromptMaker::words(1).make(&Prompt::of_stream(StreamId(3), 17))
        else {
            panic!("asked for text");
        };
        assert_eq!(text.split(' ').count(), 17);
        assert_eq!(count, None, "not counted");
    }
}
