//! The live side of capsim: servers that speak OpenAI's API, measured and stood in for.
//!
//! [`openai`] is what both ends say to each other; [`mod@bench`] sends a load and measures; [`serve`] answers one with the simulated
//! engine, by the wall clock.
pub mod bench;
pub mod openai;
pub mod serve;
