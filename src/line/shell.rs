//! Text as a shell reads it: words, quotes, variables, several commands after one another.
//!
//! It is more lenient than a shell where people paste what a shell would refuse: a backslash with spaces after it, Windows' `^` and
//! PowerShell's backtick at the end of a line, a comment between two continued lines, a next line that begins with a flag, `$ ` before a
//! command, Markdown fences.
use super::LineError;
use super::expand::{MOST_EXPANDED, expansion};
use super::paste::{is_windows, joined};
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

/// Variables that the text set.
pub(super) type Variables = BTreeMap<String, String>;

/// One command: its words, variables put in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Command {
    /// The words, assignments in front included.
    pub words: Vec<String>,
}

/// The commands of a text, in order. Assignments alone, and `export`, set variables for what follows.
pub(super) fn commands(
    text_given: &str,
    variables: &mut Variables,
) -> Result<Vec<Command>, LineError> {
    let text = joined(text_given);
    let mut lexer = Lexer {
        rest: text.chars().peekable(),
        words: vec![],
        word: None,
        text: &text,
        windows: is_windows(text_given),
        expanded: 0,
    };
    let mut found = vec![];
    loop {
        let more = lexer.command(variables)?;
        let words = std::mem::take(&mut lexer.words);
        if !words.is_empty() {
            assign(&words, variables);
            found.push(Command { words });
        }
        if !more {
            return Ok(found);
        }
    }
}

/// `NAME=value`, as a shell takes it.
pub(super) fn assignment(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    is_name(name).then_some((name, value))
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Sets what a command that consists of assignments sets: `A=1 B=2`, `export A=1`, PowerShell's `$env:A = "1"`, cmd's `set A=1`.
fn assign(words: &[String], variables: &mut Variables) {
    let words = match words[0].as_str() {
        "export" | "set" | "declare" | "readonly" | "local" => &words[1..],
        first if first.starts_with("$env:") => {
            if let [name, equals, value] = words
                && equals == "="
            {
                variables.insert(name["$env:".len()..].into(), value.clone());
            } else if let Some((name, value)) = first["$env:".len()..].split_once('=') {
                variables.insert(name.into(), value.into());
            }
            return;
        }
        _ => words,
    };
    if words
        .iter()
        .all(|w| assignment(w).is_some() || w.starts_with('-'))
    {
        for (name, value) in words.iter().filter_map(|w| assignment(w)) {
            variables.insert(name.into(), value.into());
        }
    }
}

struct Lexer<'a> {
    rest: Peekable<Chars<'a>>,
    words: Vec<String>,
    /// The word that is being read; `None`: between words.
    word: Option<String>,
    text: &'a str,
    /// A backslash is a part of paths.
    windows: bool,
    /// Bytes that variables have brought.
    expanded: usize,
}

impl Lexer<'_> {
    /// Reads one command into `words`; false at the end of the text.
    fn command(&mut self, variables: &Variables) -> Result<bool, LineError> {
        while let Some(c) = self.rest.next() {
            match c {
                '\n' | ';' | '|' | '&' if c != '&' || !self.redirects_both() => {
                    self.end_word();
                    return Ok(true);
                }
                // `&>file`
                '&' => self.end_word(),
                '(' | ')' if self.word.is_none() => return Ok(true),
                '#' if self.word.is_none() => self.skip_line(),
                c if c.is_whitespace() => self.end_word(),
                '>' | '<' => self.redirection(variables)?,
                '\\' if self.windows => self.push('\\'),
                '\\' => {
                    if let Some(next) = self.rest.next() {
                        self.push(next);
                    }
                }
                '\'' => self.single()?,
                '"' => self.double(variables)?,
                '$' => self.dollar(variables)?,
                '`' => self.backticks(),
                c => self.push(c),
            }
        }
        self.end_word();
        Ok(false)
    }

    fn push(&mut self, c: char) {
        self.word.get_or_insert_default().push(c);
    }

    fn push_text(&mut self, text: &str) {
        self.word.get_or_insert_default().push_str(text);
    }

    fn end_word(&mut self) {
        self.words.extend(self.word.take());
    }

    fn skip_line(&mut self) {
        while self.rest.next_if(|c| *c != '\n').is_some() {}
    }

    /// `&>file`: a redirection, not the end of the command.
    fn redirects_both(&mut self) -> bool {
        self.rest.peek() == Some(&'>')
    }

    /// Skips `> file`, `2>&1`, `< file`: the word behind it is no argument, and digits before it are no word.
    fn redirection(&mut self, variables: &Variables) -> Result<(), LineError> {
        if self
            .word
            .as_ref()
            .is_some_and(|w| w.bytes().all(|b| b.is_ascii_digit()))
        {
            self.word = None;
        }
        self.end_word();
        while self
            .rest
            .next_if(|c| matches!(c, '>' | '<' | '&' | '|'))
            .is_some()
        {}
        while self.rest.next_if(|c| *c == ' ' || *c == '\t').is_some() {}
        let kept = self.words.len();
        while let Some(c) = self.rest.peek().copied() {
            if c.is_whitespace() || matches!(c, ';' | '|' | '&') {
                break;
            }
            self.rest.next();
            match c {
                '\'' => self.single()?,
                '"' => self.double(variables)?,
                c => self.push(c),
            }
        }
        self.word = None;
        self.words.truncate(kept);
        Ok(())
    }

    fn open(&self, quote: char, from: &Peekable<Chars>) -> LineError {
        let left: usize = from.clone().map(char::len_utf8).sum();
        let before: Vec<char> = self.text[..self.text.len() - left]
            .chars()
            .rev()
            .skip(1)
            .take(30)
            .collect();
        LineError::OpenQuote {
            quote,
            after: before.into_iter().rev().collect::<String>().trim().into(),
        }
    }

    fn single(&mut self) -> Result<(), LineError> {
        let start = self.rest.clone();
        self.push_text("");
        loop {
            match self.rest.next() {
                Some('\'') => return Ok(()),
                Some(c) => self.push(c),
                None => return Err(self.open('\'', &start)),
            }
        }
    }

    fn double(&mut self, variables: &Variables) -> Result<(), LineError> {
        let start = self.rest.clone();
        self.push_text("");
        loop {
            match self.rest.next() {
                Some('"') => return Ok(()),
                Some('\\') => match self.rest.next() {
                    Some(c @ ('"' | '\\' | '$' | '`')) => self.push(c),
                    Some('\n') => {}
                    Some(c) => {
                        self.push('\\');
                        self.push(c);
                    }
                    None => return Err(self.open('"', &start)),
                },
                Some('$') => self.dollar(variables)?,
                Some(c) => self.push(c),
                None => return Err(self.open('"', &start)),
            }
        }
    }

    /// What follows a dollar sign: a variable's value, or the text itself where nothing is known of it.
    fn dollar(&mut self, variables: &Variables) -> Result<(), LineError> {
        match self.rest.peek() {
            Some('{') => {
                let inside = self.until('}');
                let value = expansion(&inside, variables, 0);
                self.push_value(&value)?;
            }
            Some('(') => {
                let inside = self.parenthesis();
                self.push_text(&format!("$({inside})"));
            }
            Some('\'') if self.word.is_none() => {
                self.rest.next();
                self.single()?;
            }
            Some(c) if c.is_ascii_alphabetic() || *c == '_' => {
                let mut name = String::new();
                while let Some(c) = self
                    .rest
                    .next_if(|c| c.is_ascii_alphanumeric() || *c == '_')
                {
                    name.push(c);
                }
                match variables.get(&name) {
                    Some(value) => self.push_value(&value.clone())?,
                    None => self.push_text(&format!("${name}")),
                }
            }
            _ => self.push('$'),
        }
        Ok(())
    }

    /// A variable's value outside quotes falls into words; inside they are put together again by the caller's state, which this lexer
    /// does not keep: a value with spaces that begins with a dash is split (`$ARGS`), every other stays one word.
    fn push_value(&mut self, value: &str) -> Result<(), LineError> {
        self.expanded += value.len();
        if self.expanded > MOST_EXPANDED {
            return Err(LineError::TooLong);
        }
        if self.word.is_none()
            && value.trim_start().starts_with('-')
            && value.contains(char::is_whitespace)
        {
            self.words
                .extend(value.split_whitespace().map(String::from));
        } else {
            self.push_text(value);
        }
        Ok(())
    }

    /// The text up to `end`, which is taken, too.
    fn until(&mut self, end: char) -> String {
        self.rest.next();
        let mut inside = String::new();
        let mut depth = 1;
        for c in self.rest.by_ref() {
            depth += usize::from(c == '{');
            depth -= usize::from(c == end);
            if depth == 0 {
                break;
            }
            inside.push(c);
        }
        inside
    }

    fn parenthesis(&mut self) -> String {
        self.rest.next();
        let (mut inside, mut depth) = (String::new(), 1);
        for c in self.rest.by_ref() {
            depth += i32::from(c == '(');
            depth -= i32::from(c == ')');
            if depth == 0 {
                break;
            }
            inside.push(c);
        }
        inside
    }

    fn backticks(&mut self) {
        let mut inside = String::new();
        for c in self.rest.by_ref() {
            if c == '`' {
                break;
            }
            inside.push(c);
        }
        self.push_text(&format!("$({inside})"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Vec<String>> {
        let found = commands(text, &mut Variables::new()).unwrap();
        found.into_iter().map(|c| c.words).collect()
    }

    fn one(text: &str) -> Vec<String> {
        let all = read(text);
        assert_eq!(all.len(), 1, "{all:?}");
        all.into_iter().next().unwrap()
    }

    #[test]
    fn quotes_and_backslashes_are_a_shells() {
        assert_eq!(
            one(r#"a 'b c' "d \"e\" \n" f\ g"#),
            ["a", "b c", "d \"e\" \\n", "f g"]
        );
        assert_eq!(one(r#"--x='{"a": 1}' """#), ["--x={\"a\": 1}", ""]);
        assert_eq!(one("a \\\n  --b 1 \\  \n--c"), ["a", "--b", "1", "--c"]);
        let e = commands("vllm serve 'x", &mut Variables::new()).unwrap_err();
        assert_eq!(
            e.to_string(),
            "the quotation mark ' is never closed (after `vllm serve`)"
        );
    }

    #[test]
    fn lines_are_put_together_as_people_paste_them() {
        assert_eq!(
            one("vllm serve m ^\r\n  --port 1"),
            ["vllm", "serve", "m", "--port", "1"]
        );
        assert_eq!(
            one("vllm serve m `\n  --port 1"),
            ["vllm", "serve", "m", "--port", "1"]
        );
        assert_eq!(
            one("$ vllm serve m\n  --port 1 \\\n # no\n -q awq"),
            ["vllm", "serve", "m", "--port", "1", "-q", "awq"]
        );
        assert_eq!(
            one("```bash\nvllm serve m # the model\n```"),
            ["vllm", "serve", "m"]
        );
        assert_eq!(one("(v) me@host:~/x$ vllm serve m"), ["vllm", "serve", "m"]);
        assert_eq!(one("PS C:\\x> vllm serve m"), ["vllm", "serve", "m"]);
        assert_eq!(
            one("C:\\x\\llama-server -m a\\b.gguf"),
            ["C:\\x\\llama-server", "-m", "a\\b.gguf"]
        );
        assert_eq!(one("x --a $(cat `b`)"), ["x", "--a", "$(cat `b`)"]);
    }

    #[test]
    fn commands_end_at_operators_and_redirections_are_no_words() {
        assert_eq!(
            read("cd /x && vllm serve m > log 2>&1 &"),
            [vec!["cd", "/x"], vec!["vllm", "serve", "m"]]
        );
        assert_eq!(
            read("a 2>&1 | tee \"l o g\"; b &>> f"),
            [vec!["a"], vec!["tee", "l o g"], vec!["b"]]
        );
        assert_eq!(
            read("cat <<'EOF' > f\nvllm serve no\nEOF\nvllm serve m"),
            [vec!["cat"], vec!["vllm", "serve", "m"]]
        );
    }

    #[test]
    fn variables_come_from_earlier_lines() {
        let text = "MODEL=Qwen/Qwen3-8B\nexport TP=2 X='a b'\nvllm serve $MODEL -tp ${TP} --len ${LEN:-4096} --x \"$X\" $Y";
        assert_eq!(
            read(text).last().unwrap(),
            &[
                "vllm",
                "serve",
                "Qwen/Qwen3-8B",
                "-tp",
                "2",
                "--len",
                "4096",
                "--x",
                "a b",
                "$Y"
            ]
        );
        assert_eq!(
            read("ARGS='--a 1 --b'\nx $ARGS").last().unwrap(),
            &["x", "--a", "1", "--b"]
        );
        let doubled = format!("A=aaaaaaaa\n{}x $A", "A=$A$A\n".repeat(60));
        assert_eq!(
            commands(&doubled, &mut Variables::new()),
            Err(LineError::TooLong)
        );
    }
}
