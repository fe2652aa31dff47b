//! The live side of capsim: servers that speak OpenAI's API, measured and stood in for.
//!
//! [`openai`] is what both ends say to each other; [`mod@bench`] sends a load and measures; [`serve`] answers one with the simulated
//! engine, by the wall clock. The feature `http` adds the last two.
#![cfg_attr(
    not(feature = "http"),
    allow(
        rustdoc::broken_intra_doc_links,
        reason = "links to what this build leaves out"
    )
)]
#[cfg(feature = "http")]
pub mod bench;
pub mod openai;
#[cfg(feature = "http")]
pub mod serve;
