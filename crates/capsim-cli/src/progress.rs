//! How far a command is: on standard error, and only where that is a terminal.
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// What takes less than this is over before anybody wonders.
const PATIENCE: Duration = Duration::from_secs(1);

/// A bar that appears on the standard error once it has been there for a second.
pub fn late(bar: ProgressBar) -> ProgressBar {
    appears(bar, PATIENCE, ProgressDrawTarget::stderr_with_hz(4))
}

fn appears(bar: ProgressBar, after: Duration, on: ProgressDrawTarget) -> ProgressBar {
    bar.set_draw_target(ProgressDrawTarget::hidden());
    let weak = bar.downgrade();
    std::thread::spawn(move || {
        std::thread::sleep(after);
        if let Some(bar) = weak.upgrade()
            && !bar.is_finished()
        {
            bar.set_draw_target(on);
            bar.tick();
        }
    });
    bar
}

/// A line that says what takes its time, and goes when this is dropped.
pub struct Busy(ProgressBar);

impl Busy {
    /// Number of steps; 0: unknown.
    pub fn new(what: &'static str, steps: usize) -> Self {
        let bar = match steps {
            0 => late(ProgressBar::no_length()),
            n => late(ProgressBar::new(n as u64)),
        };
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

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::TermLike;
    use std::io;
    use std::sync::{Arc, Mutex};

    /// A terminal that keeps what is written.
    #[derive(Clone, Debug, Default)]
    struct Paper(Arc<Mutex<String>>);

    impl TermLike for Paper {
        fn width(&self) -> u16 {
            80
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, s: &str) -> io::Result<()> {
            self.write_str(s)
        }
        fn write_str(&self, s: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(s);
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn shown(after: Duration, takes: Duration) -> bool {
        let paper = Paper::default();
        let on = ProgressDrawTarget::term_like(Box::new(paper.clone()));
        let bar = appears(ProgressBar::new(4), after, on);
        bar.inc(1);
        std::thread::sleep(takes);
        bar.finish_and_clear();
        // Gives the thread that shows it time to run.
        std::thread::sleep(after.min(Duration::from_millis(100)));
        let text = paper.0.lock().unwrap();
        text.contains("1/4")
    }

    #[test]
    fn only_what_takes_its_time_is_shown() {
        assert!(shown(Duration::from_millis(20), Duration::from_secs(1)));
        assert!(!shown(Duration::from_millis(60), Duration::ZERO));
        assert!(!shown(Duration::from_secs(60), Duration::from_millis(50)));
    }
}
