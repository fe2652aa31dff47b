//! Named values. A flag, a key of a scenario document, a field of the Python classes and a knob of a page are one [`Field`] each;
//! what was given of a section's fields is a [`Values`] map. All readers of values, whichever way they come, are in this module.
mod field;
mod values;

pub use field::{Field, FieldError, Kind, Value, human_int};
pub(crate) use values::keys;
pub use values::{Key, Section, Typed, Values, names, position};
