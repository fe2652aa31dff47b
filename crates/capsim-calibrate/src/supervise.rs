//! Measures through worker processes: a point that brings one down is recorded, and the next worker goes on after it.
use super::child;
use super::samples::{Outcome, PointRecord, SamplesFile, Trial};
use super::worker::{Job, Message};
use std::process::Command;
use std::time::Duration;

/// Workers that may fail in a row without a single point dealt with in between.
pub const MOST_CRASHES: u32 = 3;

/// Silence after which a device counts as hung. The backends give up waiting after 30 s by themselves; compilers may take longer.
pub const SILENCE: Duration = Duration::from_secs(90);

/// What a watcher is told.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// From the worker.
    Heard(Message),
    /// A worker failed, at this point (if it was at one): what is said about it.
    Crash(String),
}

/// Runs workers until everything is measured or nothing works any more. `command` starts a worker, `load` reads the samples file
/// if it is there, `save` writes it.
///
/// # Errors
/// With the last state: why it is not complete.
pub fn run(
    command: &mut dyn FnMut() -> Command,
    mut job: Job,
    silence: Duration,
    load: &dyn Fn() -> Result<Option<SamplesFile>, String>,
    save: &dyn Fn(&SamplesFile) -> Result<(), String>,
    news: &mut dyn FnMut(News),
) -> Result<SamplesFile, (Box<SamplesFile>, String)> {
    let mut in_a_row = 0;
    loop {
        let input = serde_json::to_string(&job).expect("numbers and strings");
        let mut at: Option<Box<PointRecord>> = None;
        let mut variant: Option<String> = None;
        let mut lost: Option<String> = None;
        let ended = child::watch(&mut command(), input, silence, |line| {
            // Drivers may print as well.
            let Ok(message) = serde_json::from_str::<Message>(line) else {
                return;
            };
            match &message {
                Message::Begin { record, left_s, .. } => {
                    at = Some(record.clone());
                    variant = None;
                    // A point that crashes costs nothing of the others' time.
                    job.left_s = *left_s;
                }
                Message::Try(v) => variant = Some(v.clone()),
                Message::Settled => {
                    at = None;
                    variant = None;
                    in_a_row = 0;
                }
                Message::Ready => {
                    at = None;
                    variant = None;
                }
                Message::Lost(why) => lost = Some(why.clone()),
                Message::Pause | Message::Alive => {}
            }
            news(News::Heard(message));
        });
        match load() {
            Ok(Some(file)) => job.file = file,
            Ok(None) => {}
            Err(e) => return Err((Box::new(job.file), e)),
        }
        let why = match ended {
            Ok(()) if job.file.complete => return Ok(job.file),
            Ok(()) => "the worker ended early".into(),
            Err(why) => lost.unwrap_or(why),
        };
        in_a_row += 1;
        let mut words = why.clone();
        if let Some(record) = at {
            words = format!("{}: {why}", record.key());
            let known = job.file.find(&record.family, &record.id);
            // A measured point that crashed when it was measured again keeps what it has.
            if known.is_none_or(|r| r.outcome != Outcome::Measured) {
                let mut record = *record;
                record.outcome = Outcome::Crashed(why.clone());
                record.trials = variant
                    .into_iter()
                    .map(|variant| Trial {
                        variant,
                        seconds: None,
                        error: Some(why.clone()),
                    })
                    .collect();
                job.file.put(record);
                if let Err(e) = save(&job.file) {
                    return Err((Box::new(job.file), e));
                }
            }
        }
        news(News::Crash(words.clone()));
        if in_a_row >= MOST_CRASHES {
            let why = format!("stopped after {in_a_row} failures in a row; the last: {words}");
            return Err((Box::new(job.file), why));
        }
    }
}
