//! Text ↔ tokens, and what the stand-in says: words of which each is exactly one token, alone and in a row, so that
//! clients that count tokens themselves count right.
use super::identity::mix;
use crate::openai::ChatMessage;
use hashbrown::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::Mutex;
use tokenizers::Tokenizer as Hf;

/// Why a tokenizer file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TextError(String);

/// Words that the built-in scheme answers with: `w0` … `w4095`.
const WORDS: u32 = 4096;
/// Ids below this are the words `w0`, `w1`, …; above, other words in order of appearance.
const NAMED: u32 = 1 << 24;
/// Other words that are remembered for `/detokenize`; beyond, words of equal hash share an id.
const MAX_OTHERS: usize = 1 << 18;

type ByHash = HashMap<u64, u32, BuildHasherDefault<super::identity::Plain>>;

#[derive(Debug, Default)]
struct Others {
    ids: ByHash,
    words: Vec<String>,
}

/// The built-in scheme: one word is one token.
#[derive(Debug, Default)]
pub struct Words {
    others: Mutex<Others>,
}

fn hash(word: &str) -> u64 {
    word.bytes()
        .fold(word.len() as u64, |h, b| mix(h ^ u64::from(b)))
}

/// `w17` → 17.
fn named(word: &str) -> Option<u32> {
    let digits = word.strip_prefix('w')?;
    let n: u32 = digits.parse().ok()?;
    (n < NAMED && n.to_string() == digits).then_some(n)
}

impl Words {
    fn id(&self, word: &str) -> u32 {
        if let Some(n) = named(word) {
            return n;
        }
        let h = hash(word);
        let mut others = super::lock(&self.others);
        if let Some(&id) = others.ids.get(&h) {
            return id;
        }
        if others.words.len() >= MAX_OTHERS {
            // Still one token, and the same for the same word.
            return (1 << 31) | (h as u32 >> 1);
        }
        let id = NAMED + others.words.len() as u32;
        others.words.push(word.into());
        others.ids.insert(h, id);
        id
    }

    fn word(&self, id: u32) -> String {
        if id < NAMED {
            return format!("w{id}");
        }
        let others = super::lock(&self.others);
        match others.words.get((id - NAMED) as usize) {
            Some(w) => w.clone(),
            None => format!("t{id}"),
        }
    }
}

/// A Hugging Face tokenizer and the pieces that it takes apart as they were put together.
pub struct Real {
    tokenizer: Hf,
    /// Token and its text in the middle of others.
    pieces: Vec<(u32, String)>,
    chat_ml: bool,
}

/// A tokenizer.
pub enum Tokenizer {
    /// The built-in scheme.
    Words(Words),
    /// From a `tokenizer.json`.
    Real(Box<Real>),
}

/// As many pieces as an answer is drawn from.
const PIECES: usize = 512;

impl Tokenizer {
    /// The built-in scheme.
    pub fn words() -> Self {
        Self::Words(Words::default())
    }

    /// From the text of a `tokenizer.json`.
    ///
    /// # Errors
    /// Not a tokenizer, or none of its tokens survives being written and read again.
    pub fn from_json(json: &str) -> Result<Self, TextError> {
        let mut tokenizer: Hf = json
            .parse()
            .map_err(|e| TextError(format!("not a tokenizer.json: {e}")))?;
        // Limits of a training set-up are none of a server's.
        tokenizer
            .with_truncation(None)
            .map_err(|e| TextError(e.to_string()))?;
        tokenizer.with_padding(None);
        let pieces = find_pieces(&tokenizer);
        if pieces.is_empty() {
            return Err(TextError(
                "no token of this tokenizer stays one token when it is written several times in a row".into(),
            ));
        }
        let chat_ml = tokenizer.token_to_id("<|im_start|>").is_some();
        Ok(Self::Real(Box::new(Real {
            tokenizer,
            pieces,
            chat_ml,
        })))
    }

    /// How many different tokens answers are made of.
    pub fn num_pieces(&self) -> usize {
        match self {
            Self::Words(_) => WORDS as usize,
            Self::Real(r) => r.pieces.len(),
        }
    }

    /// What it is, for people.
    pub fn describe(&self) -> String {
        match self {
            Self::Words(_) => "built in, one word is one token".into(),
            Self::Real(r) => format!(
                "tokenizer file, {} tokens, answers of {}",
                r.tokenizer.get_vocab_size(true),
                r.pieces.len()
            ),
        }
    }

    /// Token ids of a text.
    ///
    /// # Errors
    /// The tokenizer's own.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, TextError> {
        match self {
            Self::Words(w) => Ok(text.split_whitespace().map(|word| w.id(word)).collect()),
            Self::Real(r) => r
                .tokenizer
                .encode(text, special)
                .map(|e| e.get_ids().to_vec())
                .map_err(|e| TextError(format!("tokenizer: {e}"))),
        }
    }

    /// The text of token ids.
    ///
    /// # Errors
    /// The tokenizer's own.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TextError> {
        match self {
            Self::Words(w) => Ok(ids
                .iter()
                .map(|&id| w.word(id))
                .collect::<Vec<_>>()
                .join(" ")),
            Self::Real(r) => r
                .tokenizer
                .decode(ids, false)
                .map_err(|e| TextError(format!("tokenizer: {e}"))),
        }
    }

    /// The text of one token as the vocabulary has it.
    pub fn token(&self, id: u32) -> String {
        match self {
            Self::Words(w) => w.word(id),
            Self::Real(r) => r.tokenizer.id_to_token(id).unwrap_or_default(),
        }
    }

    /// A text in the pieces that its tokens are, none of them lost; a token that is part of a character has an empty one.
    pub fn pieces(&self, text: &str) -> Vec<String> {
        let ends: Vec<usize> = match self {
            Self::Words(_) => {
                // A word with the blanks before it.
                let starts = text
                    .char_indices()
                    .zip(text.chars().skip(1))
                    .filter(|((_, a), b)| !a.is_whitespace() && b.is_whitespace());
                starts.map(|((at, c), _)| at + c.len_utf8()).collect()
            }
            Self::Real(r) => r
                .tokenizer
                .encode(text, false)
                .map(|e| e.get_offsets().iter().map(|o| o.1).collect())
                .unwrap_or_default(),
        };
        let (mut all, mut at) = (vec![], 0);
        for end in ends {
            if end >= at && text.is_char_boundary(end) {
                all.push(text[at..end].to_string());
                at = end;
            } else {
                all.push(String::new());
            }
        }
        if at < text.len() || all.is_empty() {
            all.push(text[at..].to_string());
        }
        all
    }

    /// Whether a token of that id exists.
    pub fn knows(&self, id: u32) -> bool {
        match self {
            Self::Words(_) => true,
            Self::Real(r) => r.tokenizer.id_to_token(id).is_some(),
        }
    }

    /// Token number `k` of an answer.
    pub fn answer_id(&self, stream: u64, k: u32) -> u32 {
        let draw = mix(stream ^ mix(u64::from(k)));
        match self {
            Self::Words(_) => (draw % u64::from(WORDS)) as u32,
            Self::Real(r) => r.pieces[(draw % r.pieces.len() as u64) as usize].0,
        }
    }

    /// Its text, with what separates it from the token before.
    pub fn answer_text(&self, stream: u64, k: u32) -> std::borrow::Cow<'_, str> {
        match self {
            Self::Words(_) => format!(" w{}", self.answer_id(stream, k)).into(),
            Self::Real(r) => {
                let draw = mix(stream ^ mix(u64::from(k)));
                r.pieces[(draw % r.pieces.len() as u64) as usize]
                    .1
                    .as_str()
                    .into()
            }
        }
    }

    /// A chat as one text: ChatML (Qwen's format) where the tokenizer has its tokens, else plain lines. Templates in
    /// Jinja are not read.
    pub fn chat(&self, messages: &[ChatMessage], generate: bool) -> String {
        let chat_ml = match self {
            Self::Words(_) => true,
            Self::Real(r) => r.chat_ml,
        };
        let mut text = String::new();
        for m in messages {
            let content = m.content.as_ref().map(|c| c.text()).unwrap_or_default();
            if chat_ml {
                text.push_str(&format!("<|im_start|>{}\n{content} <|im_end|>\n", m.role));
            } else {
                text.push_str(&format!("{}:\n{content}\n", m.role));
            }
        }
        if generate {
            text.push_str(if chat_ml {
                "<|im_start|>assistant\n"
            } else {
                "assistant:\n"
            });
        }
        text
    }
}

/// Pieces w for which k times w is k times the same token, and which keep to themselves beside one another.
fn find_pieces(tokenizer: &Hf) -> Vec<(u32, String)> {
    let encode = |text: &str| -> Vec<u32> {
        tokenizer
            .encode_fast(text, false)
            .map(|e| e.get_ids().to_vec())
            .unwrap_or_default()
    };
    let size = tokenizer.get_vocab_size(true) as u32;
    let mut found: Vec<(u32, String)> = vec![];
    for id in 0..size {
        if found.len() >= PIECES {
            break;
        }
        let Ok(text) = tokenizer.decode(&[id], true) else {
            continue;
        };
        let word = text.trim();
        // Plain words read best and are safe in JSON, in logs and between spaces.
        if word.is_empty() || !word.bytes().all(|b| b.is_ascii_alphanumeric()) {
            continue;
        }
        // With a space before it where that is one token, else as it stands (characters, bytes).
        for piece in [format!(" {word}"), word.to_string()] {
            if encode(&piece.repeat(8)) == [id; 8] {
                found.push((id, piece));
                break;
            }
        }
    }
    // One after another in many orders; a number that does not come back is dropped.
    for round in 0..8u64 {
        let mut order: Vec<usize> = (0..found.len()).collect();
        order.sort_by_key(|&i| mix(round ^ mix(i as u64)));
        let text: String = order.iter().map(|&i| found[i].1.as_str()).collect();
        let want: Vec<u32> = order.iter().map(|&i| found[i].0).collect();
        if encode(&text) != want {
            let mut kept: Vec<(u32, String)> = vec![];
            for (id, piece) in found {
                let good = kept.iter().all(|(other, text)| {
                    encode(&format!("{text}{piece}")) == [*other, id]
                        && encode(&format!("{piece}{text}")) == [id, *other]
                });
                if good {
                    kept.push((id, piece));
                }
                if kept.len() == 64 {
                    break;
                }
            }
            return kept;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_token_both_ways() {
        let t = Tokenizer::words();
        let ids = t.encode("w17 hello\n w900  w0017 hello", true).unwrap();
        assert_eq!(ids.len(), 5);
        assert_eq!(ids[0], 17);
        assert_eq!(ids[1], ids[4]);
        assert_ne!(ids[3], 17);
        assert_eq!(t.decode(&ids).unwrap(), "w17 hello w900 w0017 hello");
    }

    fn holds(t: &Tokenizer) {
        for stream in [1, 99] {
            let ids: Vec<u32> = (0..200).map(|k| t.answer_id(stream, k)).collect();
            let text: String = (0..200).map(|k| t.answer_text(stream, k)).collect();
            assert_eq!(t.encode(&text, false).unwrap(), ids);
            for k in 0..20 {
                assert_eq!(
                    t.encode(&t.answer_text(stream, k), false).unwrap(),
                    [ids[k as usize]]
                );
            }
        }
        assert_ne!(
            (0..9).map(|k| t.answer_id(1, k)).collect::<Vec<_>>(),
            (0..9).map(|k| t.answer_id(2, k)).collect::<Vec<_>>()
        );
    }

    #[test]
    fn answers_are_read_as_the_tokens_they_are_made_of() {
        holds(&Tokenizer::words());
        // A word-level tokenizer with special tokens.
        let vocab: Vec<String> = (0..50).map(|i| format!("\"w{i}\":{}", i + 1)).collect();
        let json = format!(
            r#"{{"version":"1.0","truncation":null,"padding":null,"added_tokens":[{{"id":0,"content":"<unk>",
            "single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}}],"normalizer":null,
            "pre_tokenizer":{{"type":"WhitespaceSplit"}},"post_processor":null,"decoder":null,
            "model":{{"type":"WordLevel","vocab":{{"<unk>":0,{}}},"unk_token":"<unk>"}}}}"#,
            vocab.join(",")
        );
        let t = Tokenizer::from_json(&json).unwrap();
        assert_eq!(t.num_pieces(), 50);
        holds(&t);
        // One of bytes: no token has a space before its letter.
        let vocab: Vec<String> = ('!'..='~')
            .filter(|c| !matches!(c, '"' | '\\'))
            .chain(['Ġ', 'Ċ'])
            .enumerate()
            .map(|(i, c)| format!("\"{c}\":{i}"))
            .collect();
        let json = format!(
            r#"{{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
            "pre_tokenizer":{{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}},
            "post_processor":null,"decoder":{{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,
            "use_regex":true}},"model":{{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,
            "end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,"vocab":{{{}}},"merges":[]}}}}"#,
            vocab.join(",")
        );
        let t = Tokenizer::from_json(&json).unwrap();
        assert_eq!(t.num_pieces(), 62);
        holds(&t);
        assert!(Tokenizer::from_json("{}").is_err());
    }
}
