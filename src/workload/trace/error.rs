//! What is wrong with a trace, and where.

/// A trace that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceError {
    /// The file.
    pub file: String,
    /// Line number from 1; 0: the whole file.
    pub line: u64,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl std::fmt::Display for TraceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.problem),
            n => write!(f, "{}: line {n}: {}", self.file, self.problem),
        }
    }
}

impl std::error::Error for TraceError {}
