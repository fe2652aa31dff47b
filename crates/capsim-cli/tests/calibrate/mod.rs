//! Calibration: the protocol against a device with known truth, and the same body on every device there is.
mod body;
mod command;
mod common;
mod crashes;
mod files;
mod fitting;
mod protocol;
