//! The command, as its users run it.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests run programs and wait for them"
)]
#[path = "common/exploring.rs"]
mod exploring;
#[path = "common/serving.rs"]
mod serving;
#[path = "common/webdriver.rs"]
mod webdriver;
mod accuracy;
mod answers;
mod bench;
mod browser;
mod calibrate;
mod cli;
mod compare;
mod container;
mod devices;
mod explore;
mod files;
mod fleets;
mod exports;
mod impossible;
mod in_words;
mod live;
mod plan_cli;
mod python;
mod report_page;
mod sweep;
mod typed;
mod verify;
mod wrong_answers;
