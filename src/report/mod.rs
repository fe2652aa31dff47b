//! Tables for people, JSON and CSV for machines, Markdown for both.
pub mod json;
pub mod markdown;
pub mod prediction;
pub mod table;
pub mod validation;
