//! `capsim explore`: a page on this machine with the scenario's knobs as sliders; each change runs the simulator behind it.
//!
//! `table.rs` says what can be turned, `knob.rs` checks what a page sends; `answer.rs` simulates and `seen.rs` judges; `view/` draws
//! with the report's own pictures; `page.rs` is the page around them; `download.rs` hands out files; `server.rs` listens. Who turns
//! flags into a scenario is the command line's business ([`Describe`]): a state of the page is nothing but flags of `capsim predict`,
//! and what is wanted of it.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a server lives in real time"
)]
mod answer;
mod download;
mod knob;
mod page;
mod seen;
mod server;
mod table;
mod verb;
mod view;

pub use knob::State;
pub use verb::{ExploreArgs, run};

use capsim::predict::Scenario;

/// What the flags of a state mean.
#[derive(Clone, Debug)]
pub struct Described {
    /// The scenario.
    pub scenario: Scenario,
    /// The `capsim predict` line that says the same.
    pub command: String,
    /// The scenario as a document.
    pub document: String,
}

/// Turns a checked state into a scenario, or says what is wrong with it.
pub type Describe = dyn Fn(&State) -> Result<Described, String> + Send + Sync;
