//! `--verify URL` of `capacity` and `tune`: the answer, measured on the server that it is about.
#[cfg(feature = "live")]
mod measure;
#[cfg(feature = "live")]
mod settings;

#[cfg(feature = "live")]
pub use measure::capacity;
#[cfg(feature = "live")]
pub use settings::tune;

use super::scenario_args::flags_of;
use capsim::engine::kind;
use capsim::predict::Scenario;
use capsim::predict::spec::ScenarioSpec;
use capsim_study::report::capacity::command;
use clap::Args;

/// What is measured, and how.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Verification on a running server")]
pub struct VerifyArgs {
    /// Measure the answer on the server there, beside its prediction: three loads around it (capacity), or the best settings one by one, as
    /// the server is restarted with each (tune)
    #[arg(long, value_name = "URL")]
    verify: Option<String>,
    /// Requests of each measured run (default: as many as are simulated)
    #[arg(long, value_name = "N", requires = "verify")]
    verify_prompts: Option<u32>,
    /// Settings that tune measures
    #[arg(long, value_name = "N", requires = "verify", default_value_t = 3)]
    verify_settings: usize,
    /// Flags of the client, as `capsim bench serve` has them: '--api-key KEY --tokenizer FILE'
    #[arg(
        long,
        value_name = "FLAGS",
        requires = "verify",
        allow_hyphen_values = true
    )]
    verify_client: Option<String>,
}

impl VerifyArgs {
    /// Whether a server was named.
    pub fn wanted(&self) -> bool {
        self.verify.is_some()
    }

    /// Everything that can be checked before the answer is searched.
    ///
    /// # Errors
    /// Flags that make no sense; a build without HTTP.
    pub fn check(&self) -> anyhow::Result<()> {
        if !self.wanted() {
            return Ok(());
        }
        #[cfg(not(feature = "live"))]
        return super::left_out::refuse("--verify");
        #[cfg(feature = "live")]
        self.checked()
    }
}

/// The command that asks again and measures, broken where a shell lets it.
pub fn line(verb: &str, question: &[String], spec: &ScenarioSpec, scenario: &Scenario) -> String {
    let described = flags_of(spec).unwrap_or_else(|| vec!["SCENARIO.json".into()]);
    let port = kind(scenario.engine.scheduler).port();
    let server = ["--verify".to_string(), format!("http://127.0.0.1:{port}")];
    let quoted = |w: &String| shlex::try_quote(w).map_or(w.clone(), |q| q.into_owned());
    let mut words: Vec<String> = vec!["capsim".into(), verb.into()];
    for word in question.iter().chain(&described).chain(&server) {
        match words.last_mut() {
            // A flag and its value stay on one line.
            Some(last)
                if last.starts_with("--") && !last.contains(' ') && !word.starts_with("--") =>
            {
                *last = format!("{last} {}", quoted(word));
            }
            _ => words.push(quoted(word)),
        }
    }
    command(&words)
}
