//! The command, as its users run it.
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
mod devices;
mod explore;
mod exports;
mod impossible;
mod live;
mod plan_cli;
mod python;
mod report_page;
mod sweep;
mod wrong_answers;
