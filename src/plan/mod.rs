//! Questions that take many simulations: how many users, which settings, will it fit.
//!
//! Pure like all below: a search says which points it wants and a [`Pool`] evaluates them, on as many threads as it
//! likes; the answer holds the same bytes on any number of them.
pub mod capacity;
pub mod compare;
mod confidence;
mod floor;
mod gains;
mod limit;
mod load;
pub mod memory;
mod number;
mod pool;
mod search;
mod settings;
mod slo;
mod trial;
pub mod tune;
mod uncertainty;
mod what_if;

pub use confidence::at_least;
pub use floor::ideal;
pub use gains::{Gain, Kind, gains};
pub use limit::{Elasticities, Limit};
pub use load::Axis;
pub use pool::{Pool, Sequential};
pub use search::{Found, highest};
pub use settings::{Knob, Setting};
pub use slo::{Slo, SloError, Term};
pub use trial::{Trial, trial};
pub use uncertainty::{Extremes, extremes};
pub use what_if::{Change, changes, lighter_weights};
