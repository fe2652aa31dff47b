//! Texts that tools wrote → values: JSON, JSON Lines, JSON with a program's chatter around it, tables. What the values mean is for the
//! readers of results, traces and measurements.
mod lines;
mod table;
mod values;

pub use lines::Lines;
pub use table::{separator, table};
pub use values::{values, without_nan};

use serde_json::Value;

/// A value, and where it stands for messages; an empty place is the whole text.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The value.
    pub value: Value,
    /// `line 3`, `[2]`, or nothing.
    pub place: String,
}

impl Item {
    /// The path of a field in this value, for messages.
    pub fn at(&self, field: &str) -> String {
        match self.place.is_empty() {
            true => field.into(),
            false => format!("{}: {field}", self.place),
        }
    }
}

/// The values of a text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values {
    /// The values, in order.
    pub items: Vec<Item>,
    /// Lines that are none.
    pub chatter: usize,
}

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct TextError {
    /// Where: `line 3`, `(the whole file)`.
    pub place: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

fn whole_file(problem: impl Into<String>) -> TextError {
    TextError {
        place: "(the whole file)".into(),
        problem: problem.into(),
    }
}
