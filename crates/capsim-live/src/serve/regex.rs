//! Texts that fit a regular expression, for `pattern` of JSON Schema and for regular expressions that constrain an answer: literals,
//! classes, groups, alternatives, repetitions. What looks around or back is refused.
use super::identity::mix;

/// Most characters of a text.
const LONGEST: usize = 4096;
/// Times that something is repeated beyond its least number, if nothing limits it.
const MORE: u32 = 3;
/// Deepest nesting.
const DEEPEST: u32 = 32;

/// A part of an expression.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    /// One of these characters.
    Class(Vec<char>),
    /// One after another.
    Sequence(Vec<Node>),
    /// One of them.
    Either(Vec<Node>),
    /// This many times at least, and at most.
    Repeat(Box<Node>, u32, u32),
}

struct Parser<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    depth: u32,
}

/// Characters that "any" draws from: those that are safe everywhere.
fn letters() -> Vec<char> {
    ('a'..='z').collect()
}

fn digits() -> Vec<char> {
    ('0'..='9').collect()
}

fn word() -> Vec<char> {
    letters().into_iter().chain(digits()).collect()
}

impl Parser<'_> {
    fn either(&mut self) -> Result<Node, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("is nested too deeply".into());
        }
        let mut all = vec![self.sequence()?];
        while self.rest.next_if_eq(&'|').is_some() {
            all.push(self.sequence()?);
        }
        self.depth -= 1;
        Ok(match all.len() {
            1 => all.remove(0),
            _ => Node::Either(all),
        })
    }

    fn sequence(&mut self) -> Result<Node, String> {
        let mut all = vec![];
        while let Some(&c) = self.rest.peek() {
            if c == '|' || c == ')' {
                break;
            }
            self.rest.next();
            let one = match c {
                '^' | '$' => continue,
                '(' => self.group()?,
                '[' => Node::Class(self.class()?),
                '.' => Node::Class(letters()),
                '\\' => Node::Class(self.escape()?),
                '*' | '+' | '?' => return Err(format!("`{c}` repeats nothing")),
                literal => Node::Class(vec![literal]),
            };
            all.push(self.repeated(one)?);
        }
        Ok(Node::Sequence(all))
    }

    fn group(&mut self) -> Result<Node, String> {
        if self.rest.next_if_eq(&'?').is_some() {
            match self.rest.next() {
                Some(':') => {}
                // (?P<name>…) and (?<name>…), but not (?<=…).
                Some(c @ ('P' | '<')) => {
                    if c == 'P' && self.rest.next() != Some('<')
                        || matches!(self.rest.peek(), Some('=' | '!'))
                    {
                        return Err("looks around or back".into());
                    }
                    while self.rest.next().ok_or("has a group without an end")? != '>' {}
                }
                _ => return Err("looks around or back".into()),
            }
        }
        let inner = self.either()?;
        match self.rest.next() {
            Some(')') => Ok(inner),
            _ => Err("has a group without an end".into()),
        }
    }

    fn escape(&mut self) -> Result<Vec<char>, String> {
        Ok(match self.rest.next().ok_or("ends with \\")? {
            'd' => digits(),
            'w' => word(),
            's' => vec![' '],
            'D' | 'W' | 'S' => letters(),
            'n' => vec!['\n'],
            't' => vec!['\t'],
            'r' => vec!['\r'],
            c @ ('b' | 'B' | 'A' | 'z' | 'Z' | 'p' | 'P' | 'u' | 'x') => {
                return Err(format!("`\\{c}` is not supported"));
            }
            c if c.is_ascii_digit() => return Err("looks around or back".into()),
            c => vec![c],
        })
    }

    fn class(&mut self) -> Result<Vec<char>, String> {
        let not = self.rest.next_if_eq(&'^').is_some();
        let mut all: Vec<char> = vec![];
        loop {
            let c = self.rest.next().ok_or("has a class without an end")?;
            let from = match c {
                ']' if !all.is_empty() => break,
                '\\' => {
                    let escaped = self.escape()?;
                    if escaped.len() > 1 {
                        all.extend(escaped);
                        continue;
                    }
                    escaped[0]
                }
                c => c,
            };
            if self.rest.peek() == Some(&'-') {
                let mut ahead = self.rest.clone();
                ahead.next();
                if let Some(&to) = ahead.peek().filter(|to| **to != ']') {
                    self.rest = ahead;
                    self.rest.next();
                    if to < from {
                        return Err(format!("`{from}-{to}` is no range"));
                    }
                    all.extend((from..=to).take(256));
                    continue;
                }
            }
            all.push(from);
        }
        if not {
            let mut others = word();
            others.retain(|c| !all.contains(c));
            all = others;
        }
        match all.is_empty() {
            true => Err("has a class of nothing".into()),
            false => Ok(all),
        }
    }

    fn repeated(&mut self, one: Node) -> Result<Node, String> {
        let (least, most) = match self.rest.peek() {
            Some('*') => (0, MORE),
            Some('+') => (1, 1 + MORE),
            Some('?') => (0, 1),
            Some('{') => {
                let mut text = String::new();
                let mut ahead = self.rest.clone();
                ahead.next();
                for c in ahead.by_ref().take_while(|c| *c != '}') {
                    text.push(c);
                }
                let (low, high) = text.split_once(',').unwrap_or((&text, &text));
                let Ok(least) = low.parse::<u32>() else {
                    // A brace that is no repetition.
                    return Ok(one);
                };
                let most = match high {
                    "" => least + MORE,
                    n => n
                        .parse()
                        .map_err(|_| format!("`{{{text}}}` is no repetition"))?,
                };
                if least > most || least as usize > LONGEST {
                    return Err(format!("`{{{text}}}` is no repetition, or of too many"));
                }
                self.rest = ahead;
                self.lazy();
                return Ok(Node::Repeat(Box::new(one), least, most.min(least + MORE)));
            }
            _ => return Ok(one),
        };
        self.rest.next();
        self.lazy();
        Ok(Node::Repeat(Box::new(one), least, most))
    }

    fn lazy(&mut self) {
        if matches!(self.rest.peek(), Some('?' | '+')) {
            self.rest.next();
        }
    }
}

fn write(node: &Node, seed: &mut u64, out: &mut String) -> Result<(), String> {
    if out.len() > LONGEST {
        return Err("matches nothing short".into());
    }
    *seed = mix(*seed);
    match node {
        Node::Class(all) => out.push(all[(*seed % all.len() as u64) as usize]),
        Node::Sequence(all) => all.iter().try_for_each(|n| write(n, seed, out))?,
        Node::Either(all) => write(&all[(*seed % all.len() as u64) as usize], seed, out)?,
        Node::Repeat(one, least, most) => {
            let n = least + (*seed % u64::from(most - least + 1)) as u32;
            (0..n).try_for_each(|_| write(one, seed, out))?;
        }
    }
    Ok(())
}

/// A text that the whole expression matches.
///
/// # Errors
/// What is wrong with the expression, or not supported.
pub fn text(pattern: &str, mut seed: u64) -> Result<String, String> {
    let mut parser = Parser {
        rest: pattern.chars().peekable(),
        depth: 0,
    };
    let node = parser.either()?;
    if parser.rest.next().is_some() {
        return Err("has a `)` too many".into());
    }
    let mut out = String::new();
    write(&node, &mut seed, &mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    #[test]
    fn texts_fit_their_expressions() {
        for seed in 0..50 {
            let t = |p: &str| super::text(p, seed).unwrap();
            let phone = t(r"^\(\d{3}\) \d{3}-\d{4}$");
            assert_eq!(
                (phone.len(), &phone[0..1], &phone[4..6]),
                (14, "(", ") "),
                "{phone}"
            );
            let id = t("[A-Z]{2}[0-9]+(?:-x|_y)?");
            assert!(
                id[..2].bytes().all(|b| b.is_ascii_uppercase())
                    && id.as_bytes()[2].is_ascii_digit(),
                "{id}"
            );
            assert!(["yes", "no"].contains(&t("(yes|no)").as_str()));
            assert!(!t("[^a-y]").contains('b'));
            assert_eq!(t("a{3}"), "aaa");
            assert_eq!(t(r"a\.b{x"), "a.b{x");
            assert!((1..=4).contains(&t(r"\w+?").len()));
        }
        for bad in [
            "(", ")", "[", "a{9,2}", "(?=x)", r"(a)\1", "*", r"\", "[z-a]", "(?<=a)b",
        ] {
            assert!(super::text(bad, 1).is_err(), "{bad}");
        }
        assert!(super::text(&"(".repeat(1000), 1).is_err());
        assert!(super::text("(a{4000}){4000}", 1).is_err());
    }
}
