//! The hidden command that measures for `capsim calibrate`, in a process of its own.
use super::files;
use anyhow::{Context, anyhow, bail};
use capsim_calibrate::worker::{self, Job, Message};
use std::cell::RefCell;
use std::io::{BufRead, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

/// For tests of what a bad driver does, honoured only here: `CAPSIM_MEASURE_FAULT=stream_read/64KiB=crash,launch@chain=hang`. A
/// fault strikes when a point begins (a family stands for all its points), or when the variant behind `@` is tried at it.
/// Faults: `crash`, `hang`, `exit`.
const FAULT: &str = "CAPSIM_MEASURE_FAULT";

struct Fault {
    point: String,
    variant: Option<String>,
    kind: String,
}

fn faults() -> anyhow::Result<Vec<Fault>> {
    let Some(text) = std::env::var_os(FAULT) else {
        return Ok(vec![]);
    };
    text.to_string_lossy()
        .split(',')
        .map(|spec| {
            let (place, kind) = spec.rsplit_once('=').context(FAULT)?;
            let (point, variant) = match place.split_once('@') {
                Some((point, variant)) => (point, Some(variant.to_string())),
                None => (place, None),
            };
            if !["crash", "hang", "exit"].contains(&kind) {
                bail!("{FAULT}: no fault `{kind}`");
            }
            Ok(Fault {
                point: point.into(),
                variant,
                kind: kind.into(),
            })
        })
        .collect()
}

impl Fault {
    fn strike(&self, point: &str, variant: Option<&str>) {
        let here = point == self.point || point.split('/').next() == Some(&self.point);
        if !here || variant != self.variant.as_deref() {
            return;
        }
        match self.kind.as_str() {
            "crash" => std::process::abort(),
            "hang" => loop {
                std::thread::sleep(Duration::from_secs(1));
            },
            _ => {
                eprintln!("the driver gave up");
                std::process::exit(1)
            }
        }
    }
}

/// `capsim measure-device`.
pub fn run() -> anyhow::Result<ExitCode> {
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .context("the job")?;
    let job: Job = serde_json::from_str(&line).context("the job, a line of JSON on stdin")?;
    // Standard input ends when the parent is gone: measuring ends, too.
    std::thread::spawn(|| {
        let mut rest = [0; 64];
        while matches!(std::io::stdin().lock().read(&mut rest), Ok(n) if n > 0) {}
        std::process::exit(1);
    });
    let faults = faults()?;
    let point = RefCell::new(String::new());
    let say = |message: &Message| {
        let text = serde_json::to_string(message).expect("numbers and strings");
        let mut out = std::io::stdout().lock();
        // On a line of its own, whatever a driver has printed before it.
        if writeln!(out, "\n{text}")
            .and_then(|()| out.flush())
            .is_err()
        {
            std::process::exit(1);
        }
        drop(out);
        match message {
            Message::Begin { record, .. } => {
                *point.borrow_mut() = record.key();
                faults.iter().for_each(|f| f.strike(&point.borrow(), None));
            }
            Message::Try(variant) => faults
                .iter()
                .for_each(|f| f.strike(&point.borrow(), Some(variant))),
            // A lost device fails every further call: a new process may find it well.
            Message::Lost(_) => std::process::exit(1),
            _ => {}
        }
    };
    let samples = job.samples.clone();
    let mut save = |file: &_| save(&samples, file);
    worker::work(job, &mut save, &say).map_err(|e| anyhow!(e))?;
    Ok(ExitCode::SUCCESS)
}

fn save(
    samples: &std::path::Path,
    file: &capsim_calibrate::samples::SamplesFile,
) -> Result<(), String> {
    files::write(samples, &file.to_text()).map_err(|e| format!("{e:#}"))
}
