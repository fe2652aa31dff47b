//! A load as it is described: one table of its fields, the values given of it, and the defaults of what is not said.
mod laws;
mod resolve;
mod table;
mod traced;

pub use resolve::{Assumed, resolve};
pub use table::*;
pub use traced::trace;

use crate::fields::{Field, FieldError, Section, Values};

/// The section of a scenario that describes the load.
#[derive(Clone, Copy, Debug)]
pub struct LoadSection;

impl Section for LoadSection {
    const WHAT: &'static str = "load field";
    const LEN: usize = LOAD.len();
    fn field(at: usize) -> &'static Field {
        &LOAD[at]
    }
}

/// What was said of a load. What is not in it takes its default.
pub type LoadValues = Values<LoadSection>;

/// Where the files that a load names are read: traces, histograms of lengths.
pub trait LoadFiles {
    /// A file's text.
    ///
    /// # Errors
    /// It cannot be read; the error names it.
    fn text(&self, path: &str) -> Result<String, String>;
    /// A file's text in pieces that end where lines end, for files that need not be held as a whole.
    ///
    /// # Errors
    /// It cannot be read, or what takes the pieces refuses one.
    fn pieces(
        &self,
        path: &str,
        take: &mut dyn FnMut(&str) -> Result<(), String>,
    ) -> Result<(), String> {
        take(&self.text(path)?)
    }
    /// Whether it is a folder.
    fn is_folder(&self, path: &str) -> bool;
    /// The names in a folder.
    ///
    /// # Errors
    /// It cannot be read; the error names it.
    fn names(&self, folder: &str) -> Result<Vec<String>, String>;
}

/// No files: a load that names one is refused.
impl LoadFiles for () {
    fn text(&self, path: &str) -> Result<String, String> {
        Err(format!("{path}: files cannot be read here"))
    }
    fn is_folder(&self, _: &str) -> bool {
        false
    }
    fn names(&self, folder: &str) -> Result<Vec<String>, String> {
        Err(format!("{folder}: files cannot be read here"))
    }
}

fn wrong(field: &str, problem: impl Into<String>) -> FieldError {
    FieldError {
        field: field.into(),
        problem: problem.into(),
    }
}

fn ensure(holds: bool, field: &str, problem: impl FnOnce() -> String) -> Result<(), FieldError> {
    if holds {
        Ok(())
    } else {
        Err(wrong(field, problem()))
    }
}
