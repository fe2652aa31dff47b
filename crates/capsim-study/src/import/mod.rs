//! Profiles from what other people measured: kernel tables, operator databases, benchmark output.
//!
//! Readers take text or bytes and give kernel times or rates with their source; what they cannot read they refuse by
//! file and line. See docs/import.md.
pub mod aiconfigurator;
pub mod compact;
pub mod fit;
pub mod gpus;
pub mod links;
pub mod llama_bench;
pub mod llamacpp;
pub mod llmservingsim;
pub mod parquet;
mod profile;
pub mod rates;
pub mod system;
pub mod vidur;

pub use profile::{Source, add_kernels, device_of};

/// Why something cannot be imported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// A line of a text.
    #[error("{file}: line {line}: {problem}")]
    Line {
        /// The file.
        file: String,
        /// Its line, from 1.
        line: u64,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A file as a whole.
    #[error("{file}: {problem}")]
    File {
        /// The file or folder.
        file: String,
        /// What is wrong and what would be right.
        problem: String,
    },
}
