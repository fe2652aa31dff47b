//! Runs against the server, each beside its simulation.
use super::VerifyArgs;
use crate::bench::INTERRUPTED;
use crate::bench::client_args::ClientArgs;
use crate::bench::session::Session;
use crate::capacity::Answered;
use crate::recordings::other_model;
use anyhow::{Context, ensure};
use capsim::plan::capacity::at_load;
use capsim::plan::{Slo, trial};
use capsim::predict::Scenario;
use capsim_live::bench::clock::unix_seconds;
use capsim_live::bench::drive::conversations;
use capsim_study::report::capacity::load;
use capsim_study::report::json::verified::Verification;
use capsim_study::report::verified as report;
use capsim_study::validate::verified::{Verified, verified};
use clap::Parser;
use std::process::ExitCode;

/// The client's flags as words.
#[derive(Parser, Debug)]
#[command(no_binary_name = true, name = "--verify-client")]
struct ClientWords {
    #[command(flatten)]
    client: ClientArgs,
}

impl VerifyArgs {
    /// The server's address.
    pub(super) fn url(&self) -> &str {
        self.verify.as_deref().unwrap_or_default()
    }

    /// The client.
    pub(super) fn client(&self) -> anyhow::Result<ClientArgs> {
        let given = self.verify_client.as_deref().unwrap_or_default();
        let mut words = shlex::split(given)
            .with_context(|| format!("--verify-client `{given}`: a quote is not closed"))?;
        words.push(format!("--base-url={}", self.url()));
        let parsed = ClientWords::try_parse_from(&words).map_err(|e| {
            let text = e.to_string();
            let first = text.split("\n\n").next().unwrap_or_default();
            anyhow::anyhow!(
                "--verify-client: {}",
                first.trim_start_matches("error: ").trim_end()
            )
        })?;
        Ok(parsed.client)
    }

    /// See [`VerifyArgs::check`].
    pub(super) fn checked(&self) -> anyhow::Result<()> {
        ensure!(
            self.verify_prompts != Some(0),
            "--verify-prompts 0: must be at least 1"
        );
        ensure!(
            self.verify_settings > 0,
            "--verify-settings 0: must be at least 1"
        );
        self.client()?.options(None, false).map(|_| ())
    }

    /// A scenario with the number of requests that are measured.
    pub(super) fn prompts(&self, mut scenario: Scenario) -> Scenario {
        if let Some(n) = self.verify_prompts {
            scenario.workload.num_prompts = n;
        }
        scenario
    }
}

/// A run that is to be measured: its name, and what it is predicted with.
pub(super) type Job = (String, Scenario);

/// Says on standard error what is coming, so that a user can change his mind before hours pass.
pub(super) fn announce(job: &Job, slo: &Slo) {
    let (what, scenario) = job;
    let time = match trial(scenario, slo) {
        Ok(t) => format!(", {} by the prediction", lasting(t.run.summary.duration)),
        Err(_) => String::new(),
    };
    eprintln!(
        "measuring {what}: {} requests{time}",
        scenario.workload.num_prompts
    );
}

fn lasting(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// Measures one run. `salt` makes its prompts new to the server, whose prefix cache may hold those of an earlier run.
pub(super) fn one(
    session: &Session<'_>,
    client: &ClientArgs,
    job: &Job,
    slo: &Slo,
    salt: u64,
) -> anyhow::Result<(Verified, bool)> {
    let (what, scenario) = job;
    let mut scenario = scenario.clone();
    let w = &mut scenario.workload;
    w.seed = w.seed.wrapping_add(salt) % (1 << 31);
    w.greedy = client.greedy();
    w.check().context("load")?;
    let (recording, _, stopped) = session
        .recording(&scenario.workload)
        .with_context(|| what.clone())?;
    let mut v = verified(what.clone(), &scenario, slo, &recording)?;
    v.paired
        .notes
        .splice(0..0, other_model(&recording, &scenario.model_name));
    Ok((v, stopped))
}

/// A number that differs from one second to the next, with room for the runs of one command.
pub(super) fn salt() -> u64 {
    (unix_seconds() % 1_000_000) * 16
}

/// Prints what was found; the exit code says whether it is as predicted.
pub(super) fn close(answer: &Verification, runs: &[Verified], as_json: bool) -> ExitCode {
    if as_json {
        // In the order of the fields, as `capacity --json` and `tune --json` have it.
        println!(
            "{}",
            serde_json::to_string_pretty(answer).unwrap_or_default()
        );
    } else {
        print!("{}", report::text(&answer.url, runs));
    }
    match (answer.interrupted, answer.agrees) {
        (true, _) => ExitCode::from(INTERRUPTED),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::FAILURE,
    }
}

/// Three loads around the answer of `capacity`.
///
/// # Errors
/// No server there, or nothing that could be measured.
pub fn capacity(args: &VerifyArgs, a: &Answered, as_json: bool) -> anyhow::Result<ExitCode> {
    let (q, c) = (&a.question, &a.capacity);
    let loads = c.loads_around();
    ensure!(
        !loads.is_empty(),
        "--verify: the answer names no load that could be measured"
    );
    let jobs: Vec<Job> = loads
        .iter()
        .map(|l| (load(c.axis, *l), args.prompts(at_load(&a.scenario, q, *l))))
        .collect();
    let client = args.client()?;
    let talks = jobs.iter().any(|(_, s)| conversations(&s.workload));
    let session = Session::open(&client, None, false, talks)?;
    let (mut runs, mut interrupted, salt) = (vec![], false, salt());
    for (i, job) in jobs.iter().enumerate() {
        announce(job, &q.slo);
        let (v, stopped) = one(&session, &client, job, &q.slo, salt + i as u64)?;
        runs.push(v);
        interrupted = stopped;
        if stopped {
            break;
        }
    }
    let answer = Verification {
        capacity: Some(c.clone()),
        ..Verification::new(args.url(), &runs, interrupted)
    };
    Ok(close(&answer, &runs, as_json))
}
