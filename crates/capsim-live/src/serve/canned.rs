//! Answers from a file, for tests of what reads them: one JSON value a line, a text or `{"contains": "…", "answer": "…"}`.
use serde::Deserialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canned {
    /// What the prompt must contain; `None`: any prompt, in turn with the others of that kind.
    pub contains: Option<String>,
    /// The answer.
    pub answer: Arc<str>,
}

/// A line that is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {line}: {problem}; a line is a JSON text, or an object with `answer` and perhaps `contains`"
)]
pub struct CannedError {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub problem: String,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "neither a text nor an object with `answer`")]
enum Line {
    Text(String),
    Object {
        contains: Option<String>,
        answer: String,
    },
}

/// Reads a file's answers; empty lines are skipped.
///
/// # Errors
/// The first line that is none, or a file without any.
pub fn parse(text: &str) -> Result<Vec<Canned>, CannedError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut all = vec![];
    for (i, line) in text
        .lines()
        .enumerate()
        .filter(|(_, l)| !l.trim().is_empty())
    {
        let error = |problem: String| CannedError {
            line: i + 1,
            problem,
        };
        let (contains, answer) = match serde_json::from_str(line) {
            Ok(Line::Text(answer)) => (None, answer),
            Ok(Line::Object { contains, answer }) => (contains, answer),
            Err(e) => return Err(error(e.to_string())),
        };
        if answer.is_empty() {
            return Err(error("an answer must have at least one character".into()));
        }
        all.push(Canned {
            contains,
            answer: answer.into(),
        });
    }
    match all.is_empty() {
        true => Err(CannedError {
            line: 1,
            problem: "there is no answer".into(),
        }),
        false => Ok(all),
    }
}

/// Answers that are given out.
#[derive(Debug, Default)]
pub struct Shelf {
    answers: Vec<Canned>,
    turn: AtomicUsize,
}

impl Shelf {
    /// These answers.
    pub fn new(answers: Vec<Canned>) -> Self {
        Self {
            answers,
            turn: AtomicUsize::new(0),
        }
    }

    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// The answer to a prompt: the first one whose text it contains, else the next of those for any prompt.
    pub fn pick(&self, prompt: &str) -> Option<Arc<str>> {
        let fits = |c: &&Canned| {
            c.contains
                .as_ref()
                .is_some_and(|t| prompt.contains(t.as_str()))
        };
        if let Some(c) = self.answers.iter().find(fits) {
            return Some(Arc::clone(&c.answer));
        }
        let any: Vec<&Canned> = self
            .answers
            .iter()
            .filter(|c| c.contains.is_none())
            .collect();
        if any.is_empty() {
            return None;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        Some(Arc::clone(&any[turn % any.len()].answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_picked_by_what_the_prompt_contains_and_else_in_turn() {
        let file = "\u{feff}\"one\"\n\n{\"contains\": \"weather\", \"answer\": \"rain\"}\r\n{\"answer\": \"two\"}\n";
        let shelf = Shelf::new(parse(file).unwrap());
        let picked: Vec<_> = ["a", "the weather?", "b", "c"]
            .iter()
            .map(|p| shelf.pick(p).unwrap().to_string())
            .collect();
        assert_eq!(picked, ["one", "rain", "two", "one"]);
        let only = Shelf::new(parse("{\"contains\": \"x\", \"answer\": \"y\"}").unwrap());
        assert_eq!(only.pick("z"), None);
        for (bad, line) in [
            ("", 1),
            ("\"a\"\nnot JSON", 2),
            ("{\"text\": 1}", 1),
            ("\"\"", 1),
            ("3", 1),
        ] {
            assert_eq!(parse(bad).unwrap_err().line, line, "{bad}");
        }
    }
}
