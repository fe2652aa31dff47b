//! Calibration: the protocol against a device with known truth, and the same body on every device there is.
mod body;
mod bundles;
mod command;
mod common;
mod crashes;
mod files;
mod from_metrics;
mod fitting;
mod protocol;
