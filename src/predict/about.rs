//! What an answer is about, in an answer: a page made from it says so without its maker.
use super::{Scenario, public_name};
use serde::{Deserialize, Serialize};

/// What was asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct About {
    /// Model, as it was named.
    pub model: String,
    /// Name of the device; empty where several are compared.
    pub device: String,
    /// Engine with the release whose rules apply, and its profile; empty where several are compared.
    pub engine: String,
    /// Lengths and pace of the requests; empty where the question has no load.
    pub load: String,
    /// The command that asks the same.
    pub command: String,
}

impl About {
    /// One scenario, asked by a command.
    pub fn of(scenario: &Scenario, command: String) -> Self {
        Self {
            device: scenario.device.name.clone(),
            engine: scenario.engine_words(),
            load: scenario.workload.sizes(),
            ..Self::several(scenario, command)
        }
    }

    /// Several devices or engines for the model of a scenario.
    pub fn several(scenario: &Scenario, command: String) -> Self {
        Self {
            model: public_name(&scenario.model_name).to_owned(),
            command,
            ..Self::default()
        }
    }
}

impl Scenario {
    /// The engine, the release whose rules apply, and the profile that prices its steps.
    pub fn engine_words(&self) -> String {
        let name = crate::engine::kind(self.engine.scheduler).name();
        let release = match crate::engine::kind(self.engine.scheduler).has_releases() {
            true => format!(" {}", self.version()),
            false => String::new(),
        };
        format!("{name}{release}, profile {}", self.engine.id)
    }
}
