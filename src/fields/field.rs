//! A field and its values.
use serde::{Serialize, Serializer};
use std::fmt;

/// What a field's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole number, at most this.
    Count(u64),
    /// A real number; `inf` where the field allows it.
    Number,
    /// On or off.
    Switch,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Any text.
    Text,
}

/// One named value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name, with underscores. A flag has dashes in their place.
    pub name: &'static str,
    /// Other names that flags and documents may use.
    pub aliases: &'static [&'static str],
    /// What its value is.
    pub kind: Kind,
    /// What it does, its unit and its default, for the help and the documentation.
    pub help: &'static str,
    /// What a form calls it.
    pub label: &'static str,
    /// Whether several values may be given, which makes a table of predictions.
    pub many: bool,
    /// What joins the values of a flag that may be repeated and is one value all the same.
    pub joined: Option<char>,
    /// Whether its value is flags, which begin with dashes.
    pub of_flags: bool,
}

/// A value that a field cannot have. Its text names the field as a flag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--{}: {problem}", .field.replace('_', "-"))]
pub struct FieldError {
    /// The field's name.
    pub field: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// On or off.
    Switch(bool),
    /// A whole number.
    Count(u64),
    /// A real number.
    Number(f64),
    /// A text.
    Text(String),
}

impl Field {
    /// A field that takes one value and has no other name.
    pub const fn new(
        name: &'static str,
        kind: Kind,
        label: &'static str,
        help: &'static str,
    ) -> Self {
        Self {
            name,
            aliases: &[],
            kind,
            help,
            label,
            many: false,
            joined: None,
            of_flags: false,
        }
    }

    /// The same field, whose flag may be repeated: the values are joined to one by this.
    pub const fn joined(mut self, by: char) -> Self {
        self.joined = Some(by);
        self
    }

    /// The same field, whose value is flags.
    pub const fn flags(mut self) -> Self {
        self.of_flags = true;
        self
    }

    /// The same field, which may be given several values.
    pub const fn many(mut self) -> Self {
        self.many = true;
        self
    }

    /// The same field with other names beside its own.
    pub const fn alias(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// Its name as a flag, without the dashes in front.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// Whether it bears this name, with dashes or underscores.
    pub fn is(&self, name: &str) -> bool {
        let same = |own: &str| {
            own.len() == name.len()
                && own
                    .bytes()
                    .zip(name.bytes())
                    .all(|(a, b)| a == b || (a == b'_' && b == b'-'))
        };
        same(self.name) || self.aliases.iter().any(|a| same(a))
    }

    fn wrong(&self, problem: String) -> FieldError {
        FieldError {
            field: self.name.into(),
            problem,
        }
    }

    /// Reads a value as it is typed.
    ///
    /// # Errors
    /// A text that is no such value.
    pub fn parse(&self, text: &str) -> Result<Value, FieldError> {
        let text = text.trim();
        let value = match self.kind {
            Kind::Count(most) => human_int(text)
                .filter(|n| *n <= most)
                .map(Value::Count)
                .ok_or_else(|| format!("`{text}` is not a whole number from 0 to {most}")),
            Kind::Number => text
                .parse()
                .ok()
                .filter(|v: &f64| !v.is_nan())
                .map(Value::Number)
                .ok_or_else(|| format!("`{text}` is not a number")),
            Kind::Switch => match text {
                "true" | "on" | "1" => Ok(Value::Switch(true)),
                "false" | "off" | "0" => Ok(Value::Switch(false)),
                _ => Err(format!("`{text}` is neither on nor off")),
            },
            Kind::Choice(words) => match words.iter().find(|w| **w == text) {
                Some(w) => Ok(Value::Text(w.to_string())),
                None => Err(format!("`{text}` is none of {}", words.join(", "))),
            },
            Kind::Text if text.is_empty() => Err("must not be empty".into()),
            Kind::Text => Ok(Value::Text(text.into())),
        };
        value.map_err(|problem| self.wrong(problem))
    }

    /// Reads a value of a JSON document. Numbers and switches may also stand there as texts.
    ///
    /// # Errors
    /// A value of another type, or one that the field cannot have.
    pub fn from_json(&self, value: &serde_json::Value) -> Result<Value, FieldError> {
        use serde_json::Value as J;
        match (self.kind, value) {
            (Kind::Switch, J::Bool(on)) => Ok(Value::Switch(*on)),
            (_, J::String(text)) => self.parse(text),
            (Kind::Count(_) | Kind::Number | Kind::Text, J::Number(n)) => {
                // A whole number may be written as 4.0.
                let whole = n
                    .as_f64()
                    .filter(|v| n.is_f64() && *v == libm::trunc(*v) && libm::fabs(*v) < 1e15);
                match whole {
                    Some(v) => self.parse(&format!("{v:.0}")),
                    None => self.parse(&n.to_string()),
                }
            }
            _ => Err(self.wrong(format!("{value} is not {}", self.kind.words()))),
        }
    }
}

impl Kind {
    /// What such a value is, in words.
    pub fn words(self) -> &'static str {
        match self {
            Kind::Count(_) => "a whole number",
            Kind::Number => "a number",
            Kind::Switch => "true or false",
            Kind::Choice(_) => "one of the field's words",
            Kind::Text => "a text",
        }
    }
}

/// As it is typed.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Switch(on) => write!(f, "{on}"),
            Value::Count(n) => write!(f, "{n}"),
            Value::Number(v) => write!(f, "{v}"),
            Value::Text(text) => f.write_str(text),
        }
    }
}

/// A JSON value of its own type; JSON has no infinity, which is the text `inf`.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Switch(on) => s.serialize_bool(*on),
            Value::Count(n) => s.serialize_u64(*n),
            Value::Number(v) if v.is_finite() => s.serialize_f64(*v),
            other => s.serialize_str(&other.to_string()),
        }
    }
}

/// An integer as vLLM's own parser takes it: `4096`, `32k` (32 000), `32K` (32 768), also `m`/`M`, `g`/`G`, `t`/`T`.
pub fn human_int(text: &str) -> Option<u64> {
    let factor = match text.as_bytes().last()? {
        b'k' => 1_000f64,
        b'K' => 1024.0,
        b'm' => 1e6,
        b'M' => 1_048_576.0,
        b'g' => 1e9,
        b'G' => 1_073_741_824.0,
        b't' => 1e12,
        b'T' => 1_099_511_627_776.0,
        _ => return text.trim().parse().ok(),
    };
    let value = text[..text.len() - 1].parse::<f64>().ok()? * factor;
    ((0.0..1e18).contains(&value) && libm::floor(value) == value).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_read_by_the_kind_of_their_field() {
        let count = Field::new("max_num_seqs", Kind::Count(100), "", "");
        assert_eq!(count.parse("7"), Ok(Value::Count(7)));
        assert_eq!(count.from_json(&json!(7.0)), Ok(Value::Count(7)));
        assert_eq!(count.from_json(&json!("7")), Ok(Value::Count(7)));
        for bad in [json!(-1), json!(101), json!(1.5), json!(true), json!(null)] {
            let e = count.from_json(&bad).unwrap_err().to_string();
            assert!(e.starts_with("--max-num-seqs: "), "{e}");
        }
        let rate = Field::new("request_rate", Kind::Number, "", "");
        assert_eq!(rate.parse("inf"), Ok(Value::Number(f64::INFINITY)));
        assert!(rate.parse("NaN").is_err());
        let policy = Field::new(
            "scheduling_policy",
            Kind::Choice(&["fcfs", "priority"]),
            "",
            "",
        );
        assert!(policy.parse("lifo").is_err());
        let switch = Field::new("enforce_eager", Kind::Switch, "", "");
        assert_eq!(switch.from_json(&json!(true)), Ok(Value::Switch(true)));
        assert!(switch.from_json(&json!(3)).is_err());
    }

    #[test]
    fn names_are_the_same_with_dashes() {
        let f = Field::new("random_input_len", Kind::Count(9), "", "").alias(&["input_len"]);
        assert!(f.is("random-input-len") && f.is("input-len") && f.is("input_len"));
        assert!(!f.is("input") && !f.is("random.input.len"));
    }
}
