//! The best settings of `tune`, one by one, as the user restarts the server.
use super::VerifyArgs;
use super::measure::{Job, announce, close, one, salt};
use crate::bench::session::Session;
use crate::tune::setting;
use anyhow::{Context, bail, ensure};
use capsim::plan::Slo;
use capsim::plan::tune::{Outcome, Tuned};
use capsim::predict::Scenario;
use capsim_live::bench::drive::conversations;
use capsim_study::report::json::verified::Verification;
use std::process::ExitCode;

/// What the user says before a setting is measured.
enum Reply {
    Measure,
    Skip,
    Stop,
    Interrupted,
}

/// Waits for the user. The end of the input ends the measurement.
fn ask(question: &str) -> anyhow::Result<Reply> {
    eprintln!("{question}");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot wait for an answer")?;
    let read = || {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|n| (n, line))
    };
    let reply = runtime.block_on(async {
        tokio::select! {
            read = tokio::task::spawn_blocking(read) => match read {
                Ok(Ok((n, line))) if n > 0 => match line.trim() {
                    "s" | "skip" => Reply::Skip,
                    "q" | "quit" => Reply::Stop,
                    _ => Reply::Measure,
                },
                _ => Reply::Stop,
            },
            // A handler that an earlier run installed swallows the signal otherwise.
            _ = tokio::signal::ctrl_c() => Reply::Interrupted,
        }
    });
    runtime.shutdown_background();
    Ok(reply)
}

/// The settings to measure: today's, the best, and the next on the front, each engine once.
fn chosen(t: &Tuned, most: usize) -> Vec<&Outcome> {
    let mut front: Vec<&Outcome> = t.front.iter().collect();
    front.sort_by(|a, b| {
        (b.met, b.score)
            .partial_cmp(&(a.met, a.score))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    let first = t.present.iter().chain(&t.best).chain(&t.nearest);
    let mut all: Vec<&Outcome> = vec![];
    for o in first.chain(front) {
        let same = |p: &&Outcome| p.serve == o.serve && p.concurrency == o.concurrency;
        if !all.iter().any(same) {
            all.push(o);
        }
    }
    all.truncate(most);
    all
}

/// A setting's scenario.
fn job(args: &VerifyArgs, base: &Scenario, o: &Outcome) -> anyhow::Result<Job> {
    let mut s = base.clone();
    for (knob, value) in &o.changes {
        if knob == "device" {
            bail!("--verify: one server runs on one device; leave out --knob device");
        }
        setting(knob, value, base)
            .with_context(|| format!("{knob} {value}"))?
            .apply(&mut s);
    }
    if o.concurrency.is_some() {
        s.workload.max_concurrency = o.concurrency;
    }
    if o.requests > 0 {
        s.workload.num_prompts = u32::try_from(o.requests).unwrap_or(u32::MAX);
    }
    let changes: Vec<String> = o.changes.iter().map(|(k, v)| format!("{k} {v}")).collect();
    let mut what = match changes.is_empty() {
        true => "today's setting".to_string(),
        false => changes.join(", "),
    };
    if let Some(n) = o.concurrency {
        what.push_str(&format!(", {n} at once"));
    }
    Ok((what, args.prompts(s)))
}

/// Measures the best settings, each after the user has started a server with it.
///
/// # Errors
/// No server there, or nothing that could be measured.
pub fn tune(
    args: &VerifyArgs,
    base: &Scenario,
    slo: Option<&str>,
    answer: &Tuned,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    let slo = match slo {
        Some(text) => Slo::parse(text).context("--slo")?,
        None => Slo {
            terms: vec![],
            per_request: Default::default(),
        },
    };
    let chosen = chosen(answer, args.verify_settings);
    ensure!(!chosen.is_empty(), "--verify: no setting tried starts");
    let client = args.client()?;
    let (mut runs, mut interrupted, salt) = (vec![], false, salt());
    let mut before: Option<f64> = None;
    'settings: for (i, outcome) in chosen.iter().enumerate() {
        let job = job(args, base, outcome)?;
        let head = format!(
            "\nSetting {} of {}: {}\n  {}",
            i + 1,
            chosen.len(),
            job.0,
            outcome.serve
        );
        let mut question = format!(
            "{head}\nStart the server with it at {}, then press Enter (s: skip, q: end)",
            args.url()
        );
        let session = loop {
            match ask(&question)? {
                Reply::Measure => {}
                Reply::Skip => continue 'settings,
                Reply::Stop => break 'settings,
                Reply::Interrupted => {
                    interrupted = true;
                    break 'settings;
                }
            }
            let session = Session::open(&client, None, false, conversations(&job.1.workload))?;
            let started = session.info().started;
            if started.is_none() || started != before {
                before = started;
                break session;
            }
            question = format!(
                "The server at {} is still the process that was measured before. Restart it with the line above, then press Enter (s: skip, q: end)",
                args.url()
            );
        };
        announce(&job, &slo);
        let (v, stopped) = one(&session, &client, &job, &slo, salt + i as u64)?;
        runs.push(v);
        interrupted = stopped;
        if stopped {
            break;
        }
    }
    ensure!(!runs.is_empty(), "--verify: no setting was measured");
    let verification = Verification {
        tune: Some(answer.clone()),
        ..Verification::new(args.url(), &runs, interrupted)
    };
    Ok(close(&verification, &runs, as_json))
}
