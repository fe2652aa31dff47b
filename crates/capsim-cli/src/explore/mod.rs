//! `capsim explore`: a page on this machine with the scenario's knobs as sliders; each change runs the simulator behind it.
//!
//! `knob.rs` says what can be turned and checks what a page sends; `answer.rs` simulates; `view.rs` draws with the report's own
//! pictures; `page.rs` is the page around them; `server.rs` listens. Who turns flags into a scenario is the command line's
//! business ([`Describe`]): a state of the page is nothing but flags of `capsim predict`.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a server lives in real time"
)]
mod answer;
mod knob;
mod page;
mod server;
mod verb;
mod view;

pub use knob::{Control, Group, Knob, SLO, State, check};
pub use server::{Explorer, Options};
pub use verb::{ExploreArgs, run};

use capsim::predict::Scenario;

/// What the flags of a state mean.
#[derive(Clone, Debug)]
pub struct Described {
    /// The scenario.
    pub scenario: Scenario,
    /// The `capsim predict` line that says the same.
    pub command: String,
}

/// Turns a checked state into a scenario, or says what is wrong with it.
pub type Describe = dyn Fn(&State) -> Result<Described, String> + Send + Sync;
