//! The engines' settings: one table of them, under vLLM's names, and the values given of it.
mod table;

pub use table::*;

use crate::fields::{Field, Section, Values};

/// The section of a scenario that holds the engine's settings.
#[derive(Clone, Copy, Debug)]
pub struct EngineSection;

impl Section for EngineSection {
    const WHAT: &'static str = "engine setting";
    const LEN: usize = TABLE.len();
    fn field(at: usize) -> &'static Field {
        &TABLE[at].field
    }
}

/// Engine settings that were given, under vLLM's names. What is not in it takes the engine's own default.
///
/// ```
/// use capsim::engine::settings::{MAX_NUM_SEQS, SettingValues};
/// let settings = SettingValues::default().with(MAX_NUM_SEQS, 4);
/// assert_eq!(settings.get(MAX_NUM_SEQS), Some(4));
/// ```
pub type SettingValues = Values<EngineSection>;
