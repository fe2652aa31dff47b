//! The patterns with which checkpoints name modules: regular expressions as Python writes them, and wildcards.
//!
//! Only what such lists hold: literals, `.`, escapes, classes, groups with alternatives, `* + ?`, anchors, look-ahead. Matching backtracks
//! with a bound on its steps.

/// One element of an expression with how often it may occur.
#[derive(Clone, Debug, PartialEq)]
struct Item {
    what: What,
    least: u32,
    most: u32,
}

#[derive(Clone, Debug, PartialEq)]
enum What {
    Char(char),
    Any,
    /// Ranges, and whether all others are meant.
    Class(Vec<(char, char)>, bool),
    Group(Vec<Vec<Item>>),
    /// What must, or must not, follow.
    Ahead(Vec<Vec<Item>>, bool),
    Start,
    End,
}

/// A regular expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Regex(Vec<Vec<Item>>);

/// Steps after which a match is given up: lists are short, and an expression that takes longer is not meant for them.
const STEPS: u32 = 20_000;

impl Regex {
    /// `None`: it has parts that are not understood.
    pub fn new(text: &str) -> Option<Self> {
        let chars: Vec<char> = text.chars().take(4096).collect();
        let mut at = 0;
        let all = alternatives(&chars, &mut at, 0)?;
        (at == chars.len()).then_some(Self(all))
    }

    /// A wildcard pattern: `*` stands for anything, `?` for one letter.
    pub fn wildcard(text: &str) -> Self {
        let any = |least, most| Item {
            what: What::Any,
            least,
            most,
        };
        let mut items: Vec<Item> = text
            .chars()
            .map(|c| match c {
                '*' => any(0, u32::MAX),
                '?' => any(1, 1),
                c => one(What::Char(c)),
            })
            .collect();
        items.push(one(What::End));
        Self(vec![items])
    }

    /// Whether it is found anywhere in the text, as `re.search`.
    pub fn is_in(&self, text: &str) -> bool {
        let chars: Vec<char> = text.chars().collect();
        let mut steps = STEPS;
        (0..=chars.len()).any(|at| any_of(&self.0, &[], &chars, at, &mut steps))
    }

    /// Whether the text's beginning matches, as `re.match`.
    pub fn matches(&self, text: &str) -> bool {
        let chars: Vec<char> = text.chars().collect();
        let mut steps = STEPS;
        any_of(&self.0, &[], &chars, 0, &mut steps)
    }
}

fn one(what: What) -> Item {
    Item {
        what,
        least: 1,
        most: 1,
    }
}

fn alternatives(chars: &[char], at: &mut usize, depth: u32) -> Option<Vec<Vec<Item>>> {
    if depth > 16 {
        return None;
    }
    let mut all = vec![vec![]];
    while let Some(&c) = chars.get(*at) {
        if c == ')' {
            break;
        }
        *at += 1;
        let what = match c {
            '|' => {
                all.push(vec![]);
                continue;
            }
            '.' => What::Any,
            '^' => What::Start,
            '$' => What::End,
            '\\' => escape(chars, at)?,
            '[' => class(chars, at)?,
            '(' => group(chars, at, depth)?,
            '*' | '+' | '?' | '{' => return None,
            c => What::Char(c),
        };
        let (least, most) = match chars.get(*at) {
            Some('*') => (0, u32::MAX),
            Some('+') => (1, u32::MAX),
            Some('?') => (0, 1),
            Some('{') => return None,
            _ => (1, 1),
        };
        if (least, most) != (1, 1) {
            *at += 1;
            // Lazy or not makes no difference to whether something matches.
            if chars.get(*at) == Some(&'?') {
                *at += 1;
            }
        }
        all.last_mut()?.push(Item { what, least, most });
    }
    Some(all)
}

fn escape(chars: &[char], at: &mut usize) -> Option<What> {
    let c = *chars.get(*at)?;
    *at += 1;
    Some(match c {
        'd' => What::Class(vec![('0', '9')], false),
        'w' => What::Class(vec![('0', '9'), ('a', 'z'), ('A', 'Z'), ('_', '_')], false),
        c if c.is_ascii_alphanumeric() => return None,
        c => What::Char(c),
    })
}

fn class(chars: &[char], at: &mut usize) -> Option<What> {
    let others = chars.get(*at) == Some(&'^');
    *at += usize::from(others);
    let mut ranges = vec![];
    loop {
        let c = *chars.get(*at)?;
        *at += 1;
        match c {
            ']' => return Some(What::Class(ranges, others)),
            '\\' => match escape(chars, at)? {
                What::Class(more, _) => ranges.extend(more),
                What::Char(c) => ranges.push((c, c)),
                _ => return None,
            },
            c => {
                let to = match (chars.get(*at), chars.get(*at + 1)) {
                    (Some('-'), Some(&to)) if to != ']' => {
                        *at += 2;
                        to
                    }
                    _ => c,
                };
                ranges.push((c, to));
            }
        }
    }
}

fn group(chars: &[char], at: &mut usize, depth: u32) -> Option<What> {
    let mut ahead = None;
    if chars.get(*at) == Some(&'?') {
        match chars.get(*at + 1)? {
            ':' => {}
            '=' => ahead = Some(true),
            '!' => ahead = Some(false),
            _ => return None,
        }
        *at += 2;
    }
    let inside = alternatives(chars, at, depth + 1)?;
    if chars.get(*at) != Some(&')') {
        return None;
    }
    *at += 1;
    Some(match ahead {
        Some(must) => What::Ahead(inside, must),
        None => What::Group(inside),
    })
}

/// Whether one of the alternatives and then the rest match at `at`.
fn any_of(all: &[Vec<Item>], rest: &[&[Item]], text: &[char], at: usize, steps: &mut u32) -> bool {
    all.iter().any(|items| {
        let mut after: Vec<&[Item]> = vec![items];
        after.extend_from_slice(rest);
        matches_all(&after, text, at, steps)
    })
}

fn matches_all(rest: &[&[Item]], text: &[char], at: usize, steps: &mut u32) -> bool {
    if *steps == 0 {
        return false;
    }
    *steps -= 1;
    let Some((first, others)) = rest.split_first() else {
        return true;
    };
    let Some((item, tail)) = first.split_first() else {
        return matches_all(others, text, at, steps);
    };
    let mut after: Vec<&[Item]> = vec![tail];
    after.extend_from_slice(others);
    match &item.what {
        What::Start => at == 0 && matches_all(&after, text, at, steps),
        What::End => at == text.len() && matches_all(&after, text, at, steps),
        What::Ahead(inside, must) => {
            any_of(inside, &[], text, at, steps) == *must && matches_all(&after, text, at, steps)
        }
        What::Group(inside) => {
            if item.least == 0 && matches_all(&after, text, at, steps) {
                return true;
            }
            if item.most <= 1 {
                return any_of(inside, &after, text, at, steps);
            }
            // Once, and as often again as it likes.
            let again = [Item {
                least: 0,
                ..item.clone()
            }];
            let mut more: Vec<&[Item]> = vec![&again];
            more.extend_from_slice(&after);
            let empty = any_of(inside, &[], &[], 0, &mut 100);
            !empty && any_of(inside, &more, text, at, steps)
        }
        what => {
            let fits = |c: char| match what {
                What::Char(k) => *k == c,
                What::Any => true,
                What::Class(ranges, others) => {
                    ranges.iter().any(|(a, b)| (*a..=*b).contains(&c)) != *others
                }
                _ => false,
            };
            let mut n = 0;
            loop {
                if n >= item.least && matches_all(&after, text, at + n as usize, steps) {
                    return true;
                }
                match text.get(at + n as usize) {
                    Some(&c) if n < item.most && fits(c) && *steps > 0 => n += 1,
                    _ => return false,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_checkpoints_write_is_matched_as_python_does() {
        let name = "model.layers.12.mlp.gate_proj";
        for (pattern, matches) in [
            (".*mlp.*", true),
            (r".*mlp\.(gate|up|gate_up|down)_proj.*", true),
            ("mlp", false),
            (".*mlp.gate$", false),
            (r"model\.layers\.(1|12)\.mlp", true),
            (r"model\.layers\.\d+\.self_attn", false),
            (r"model\.layers\.[0-9]+\.mlp\.(?!down).*", true),
            (r"model\.layers\.[0-9]+\.mlp\.(?!gate).*", false),
            (r"(.*\.)?(gate|up)_proj", true),
            (r"^model.*proj$", true),
            ("", true),
        ] {
            let regex = Regex::new(pattern).unwrap_or_else(|| panic!("{pattern}"));
            assert_eq!(regex.matches(name), matches, "{pattern}");
        }
        for (pattern, matches) in [
            ("model.layers.12.mlp*", true),
            ("*gate_proj", true),
            ("model.layers.1.mlp*", false),
            ("*.mlp", false),
        ] {
            assert_eq!(Regex::wildcard(pattern).matches(name), matches, "{pattern}");
        }
        for odd in ["(", "[a", "a{2}", "*a", r"\b", "(?<x>a)", ")"] {
            assert_eq!(Regex::new(odd), None, "{odd}");
        }
    }

    #[test]
    fn an_expression_that_backtracks_for_ever_is_given_up() {
        let regex = Regex::new("(a|aa)*(a|aa)*(a|aa)*b").unwrap();
        assert!(!regex.matches(&"a".repeat(200)));
    }
}
