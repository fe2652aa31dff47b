//! How far a command is: on standard error, and only where that is a terminal.
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// A line that says what takes its time, and goes when this is dropped.
pub struct Busy(ProgressBar);

impl Busy {
    /// Of so many steps; 0: nobody knows of how many.
    pub fn new(what: &'static str, steps: usize) -> Self {
        let bar = ProgressBar::with_draw_target(
            (steps > 0).then_some(steps as u64),
            ProgressDrawTarget::stderr_with_hz(4),
        );
        let template = if steps > 0 {
            "{spinner} {msg} {pos}/{len}, {elapsed}"
        } else {
            "{spinner} {msg}, {elapsed}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what);
        bar.enable_steady_tick(Duration::from_millis(250));
        Self(bar)
    }

    /// One step is done.
    pub fn step(&self) {
        self.0.inc(1);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
