//! Where an answer stops: the first stop string that is complete, or a stop token. Every byte of the answer is looked at once per stop
//! string (D. E. Knuth, J. H. Morris, V. R. Pratt, "Fast Pattern Matching in Strings", SIAM J. Comput. 6, 1977).
use super::text::Tokenizer;
use crate::openai::Sampling;
use serde_json::Value;

/// A stop string, and how much of it the answer ends with.
struct Matcher<'a> {
    text: &'a str,
    /// For each prefix the longest proper one that it ends with.
    falls: Vec<u32>,
    matched: usize,
}

impl<'a> Matcher<'a> {
    fn new(text: &'a str) -> Self {
        let bytes = text.as_bytes();
        let mut falls = vec![0u32; bytes.len()];
        let mut k = 0;
        for i in 1..bytes.len() {
            while k > 0 && bytes[i] != bytes[k] {
                k = falls[k - 1] as usize;
            }
            k += usize::from(bytes[i] == bytes[k]);
            falls[i] = k as u32;
        }
        Self {
            text,
            falls,
            matched: 0,
        }
    }

    /// Whether the string is complete with this byte.
    fn push(&mut self, byte: u8) -> bool {
        let bytes = self.text.as_bytes();
        while self.matched > 0 && (self.matched == bytes.len() || bytes[self.matched] != byte) {
            self.matched = self.falls[self.matched - 1] as usize;
        }
        self.matched += usize::from(bytes[self.matched] == byte);
        self.matched == bytes.len()
    }
}

/// Longest stop string that an answer can contain: none is longer than its tokens' texts together, and no text of a token is longer
/// than this many bytes by far.
const BYTES_PER_TOKEN: usize = 256;

/// The first of `end` tokens at which a stop string is complete or a stop token comes: its number, the bytes of text before, and which it
/// was. `min_tokens` tokens come in any case.
pub fn stops(stream: u64, s: &Sampling, end: u32, text: &Tokenizer) -> Option<(u32, usize, Value)> {
    let longest = (end as usize).saturating_mul(BYTES_PER_TOKEN);
    let mut strings: Vec<Matcher> = s
        .stop
        .iter()
        .filter(|t| !t.is_empty() && t.len() <= longest)
        .map(|t| Matcher::new(t))
        .collect();
    if strings.is_empty() && s.stop_token_ids.is_empty() {
        return None;
    }
    let mut ids = s.stop_token_ids.to_vec();
    ids.sort_unstable();
    let mut bytes = 0;
    for k in 0..end {
        let id = text.answer_id(stream, k);
        let piece = text.answer_text(stream, k);
        // Where the earliest string that is complete in this token begins, and which it is.
        let mut found: Option<(usize, &str)> = None;
        for byte in piece.bytes() {
            bytes += 1;
            for m in &mut strings {
                if m.push(byte) {
                    let begin = bytes - m.text.len();
                    if found.is_none_or(|(at, _)| begin < at) {
                        found = Some((begin, m.text));
                    }
                }
            }
        }
        if k + 1 < s.min_tokens {
            continue;
        }
        if ids.binary_search(&id).is_ok() {
            return Some((k, bytes, id.into()));
        }
        if let Some((at, stop)) = found {
            return Some((k, at, stop.into()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The obvious way: after every token the whole text is searched for strings that end in it.
    fn slow(stream: u64, s: &Sampling, end: u32, text: &Tokenizer) -> Option<(u32, usize)> {
        let mut so_far = String::new();
        for k in 0..end {
            let before = so_far.len();
            so_far.push_str(&text.answer_text(stream, k));
            if k + 1 < s.min_tokens {
                continue;
            }
            let ends_here = s.stop.iter().flat_map(|stop| {
                let matches = (0..so_far.len()).filter(|at| {
                    so_far.is_char_boundary(*at) && so_far[*at..].starts_with(stop.as_str())
                });
                matches
                    .filter(move |at| at + stop.len() > before)
                    .collect::<Vec<_>>()
            });
            if let Some(at) = ends_here.min() {
                return Some((k, at));
            }
        }
        None
    }

    #[test]
    fn stop_strings_are_found_where_a_plain_search_finds_them() {
        let text = Tokenizer::words();
        let mut hits = 0;
        for stream in 0..60u64 {
            let answer: String = (0..40).map(|k| text.answer_text(stream, k)).collect();
            let cut =
                |from: usize, len: usize| answer[from..(from + len).min(answer.len())].to_string();
            let n = stream as usize;
            let all = [
                vec![cut(20 + n, 1 + n % 9)],
                vec![cut(n, 3), cut(50, 12)],
                vec!["w1w".into(), "1 w1".into(), "11".into()],
                vec!["never".into()],
            ];
            for stop in &all {
                for min_tokens in [0, 7] {
                    let s = Sampling {
                        stop,
                        min_tokens,
                        ..Sampling::default()
                    };
                    let fast = stops(stream, &s, 40, &text).map(|(k, at, _)| (k, at));
                    assert_eq!(fast, slow(stream, &s, 40, &text), "{stop:?} in {answer}");
                    hits += usize::from(fast.is_some());
                }
            }
        }
        assert!(hits > 200, "{hits}");
    }
}
