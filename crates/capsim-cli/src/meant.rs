//! What somebody who typed a flag or a command that does not exist may have meant.
use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Parts of words, and the flags that are about the same, the likeliest first.
const FLAGS: [(&[&str], &[&str]); 20] = [
    (&["ttft", "tpot", "latency", "sla", "deadline"], &["--slo"]),
    (
        &["price", "cost", "budget", "dollar", "usd", "rent"],
        &["--price"],
    ),
    (&["kwh", "power", "energy"], &["--electricity"]),
    (&["kv", "cache-type", "cache-dtype"], &["--kv-cache-dtype"]),
    (
        &["spec", "draft", "mtp", "eagle", "ngram"],
        &["--num-speculative-tokens", "--speculative-model"],
    ),
    (
        &["context", "ctx", "max-len", "max-length", "seq-len"],
        &["--max-model-len", "--context"],
    ),
    (
        &["in-len", "input", "prompt-len", "prompt-size", "prefill"],
        &["--random-input-len"],
    ),
    (
        &[
            "out-len",
            "output",
            "answer",
            "new-tokens",
            "generate",
            "decode",
        ],
        &["--random-output-len"],
    ),
    (&["think", "pause"], &["--think-time"]),
    (
        &[
            "user",
            "client",
            "people",
            "parallel-req",
            "simultaneous",
            "num-seq",
        ],
        &["--max-concurrency", "--users", "--for-users"],
    ),
    (&["batch"], &["--max-concurrency", "--max-num-seqs"]),
    (
        &["rate", "qps", "rps", "per-second"],
        &["--request-rate", "--for-rate"],
    ),
    (
        &[
            "quant",
            "bits",
            "bit",
            "weight",
            "precision",
            "dtype",
            "format",
        ],
        &["--weights"],
    ),
    (
        &["tensor", "num-gpu", "n-gpu", "gpu-count", "world"],
        &["--tensor-parallel-size"],
    ),
    (&["pipeline"], &["--pipeline-parallel-size"]),
    (&["util", "vram", "mem"], &["--gpu-memory-utilization"]),
    (
        &["gpu", "card", "accelerator", "machine", "hw"],
        &["--device"],
    ),
    (&["offload", "ram"], &["--cpu-offload-gb"]),
    (&["trace", "log", "replay"], &["--trace-file"]),
    (&["version", "release"], &["--engine-version"]),
];

/// The same for commands.
const COMMANDS: [(&[&str], &str); 12] = [
    (
        &["cost", "price", "buy", "card", "which", "recommend", "size"],
        "compare",
    ),
    (&["fit", "vram", "mem", "kv"], "memory"),
    (&["user", "slo", "sla", "limit", "max", "scale"], "capacity"),
    (&["optim", "best", "search", "setting", "config"], "tune"),
    (
        &["mock", "emulat", "fake", "server", "stub", "proxy"],
        "serve",
    ),
    (&["measure", "profile", "microbench"], "calibrate"),
    (&["why", "log", "diagnos"], "explain"),
    (&["list", "show", "gpu", "hardware"], "models"),
    (&["check", "accuracy", "verify"], "validate"),
    (&["page", "html", "plot", "chart"], "report"),
    (&["ui", "web", "gui", "dashboard"], "explore"),
    (
        &["run", "sim", "estim", "speed", "through", "latency"],
        "predict",
    ),
];

/// The subcommand that was being read, and its name.
fn reached<'a>(root: &'a Command, args: &[std::ffi::OsString]) -> &'a Command {
    let mut command = root;
    for word in args.iter().skip(1) {
        let Some(deeper) = word.to_str().and_then(|w| command.find_subcommand(w)) else {
            break;
        };
        command = deeper;
    }
    command
}

/// The flags of a command that a word may have meant, each with the first line of its help.
fn flags(command: &Command, typed: &str) -> Vec<(String, String)> {
    let word = typed.trim_start_matches('-').replace('_', "-");
    let word = word.split('=').next().unwrap_or_default().to_lowercase();
    let about = FLAGS
        .iter()
        .filter(|(parts, _)| parts.iter().any(|p| word.contains(p)));
    let mut all: Vec<(String, String)> = vec![];
    for flag in about.flat_map(|(_, flags)| flags.iter()) {
        let long = flag.trim_start_matches('-');
        let found = command.get_arguments().find(|a| a.get_long() == Some(long));
        let Some(arg) = found else { continue };
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        if !all.iter().any(|(f, _)| f == flag) {
            all.push((flag.to_string(), help));
        }
    }
    all.truncate(3);
    all
}

/// The commands that a word may have meant, each with what it does.
fn commands(root: &Command, typed: &str) -> Vec<(String, String)> {
    let word = typed.to_lowercase();
    let meant = COMMANDS
        .iter()
        .filter(|(parts, _)| parts.iter().any(|p| word.contains(p)));
    let found = meant.filter_map(|(_, name)| {
        let about = root.find_subcommand(name)?.get_about()?;
        Some((format!("capsim {name}"), about.to_string()))
    });
    found.take(3).collect()
}

/// An error of the parser in words that help: what may have been meant, and never that a flag could be a value. `None`: the parser's own
/// words are the best there are.
pub fn words(error: &clap::Error, root: &Command, args: &[std::ffi::OsString]) -> Option<String> {
    let of = |kind: ContextKind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    let (typed, found, more, what) = match error.kind() {
        ErrorKind::UnknownArgument => {
            let typed = of(ContextKind::InvalidArg)?;
            let command = reached(root, args);
            let mut found = flags(command, &typed);
            if let (true, Some(like)) = (found.is_empty(), of(ContextKind::SuggestedArg)) {
                found.push((like, String::new()));
            }
            let name = command.get_name();
            let help = match name == root.get_name() {
                true => "capsim --help".to_string(),
                false => format!("capsim {name} --help"),
            };
            (typed, found, format!("{help} lists all flags"), "flag")
        }
        ErrorKind::InvalidSubcommand => {
            let typed = of(ContextKind::InvalidSubcommand)?;
            let mut found = commands(root, &typed);
            if let (true, Some(ContextValue::Strings(like))) = (
                found.is_empty(),
                error.get(ContextKind::SuggestedSubcommand),
            ) {
                found.extend(like.iter().map(|l| (l.clone(), String::new())));
            }
            (typed, found, "capsim --help lists all".into(), "command")
        }
        _ => return None,
    };
    let mut text = format!("error: there is no {what} `{typed}` here");
    for (name, help) in found {
        let help = help.split(". ").next().unwrap_or_default();
        text += &match help {
            "" => format!("\n  perhaps {name}"),
            help => format!("\n  perhaps {name}: {help}"),
        };
    }
    Some(format!("{text}\n{more}\n"))
}
