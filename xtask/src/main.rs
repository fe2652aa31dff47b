//! `cargo xtask`: what maintainers do beside `cargo test`. Each task runs a command or a script of this repository and says which.
use std::path::Path;
use std::process::{Command, ExitCode};

/// A task: name, what it does, the commands; what follows its name goes to the last one.
struct Task {
    name: &'static str,
    what: &'static str,
    steps: &'static [Step],
}

/// A command with variables of its environment.
struct Step {
    environment: &'static [(&'static str, &'static str)],
    words: &'static [&'static str],
}

const fn step(words: &'static [&'static str]) -> Step {
    Step {
        environment: &[],
        words,
    }
}

/// A command that writes what is generated.
const fn generating(words: &'static [&'static str]) -> Step {
    Step {
        environment: &[("CAPSIM_WRITE_GENERATED", "1")],
        words,
    }
}

const RELEASE: Step = step(&[
    "cargo",
    "build",
    "--release",
    "-p",
    "capsim-cli",
    "--all-features",
]);

const TASKS: &[Task] = &[
    Task {
        name: "generate",
        what: "files made from tables and types: docs/settings.md, the release table of docs/engine.md, Python's fields, answers and \
               stub; --check only compares",
        steps: &[
            generating(&["cargo", "test", "--quiet", "-p", "capsim", "generated"]),
            generating(&[
                "cargo",
                "test",
                "--quiet",
                "-p",
                "capsim-study",
                "generated",
            ]),
        ],
    },
    Task {
        name: "accuracy",
        what: "fits and predicts every run set of validation/index.json; writes docs/accuracy.md, its pictures and the fitted profiles",
        steps: &[
            RELEASE,
            Step {
                environment: &[("CAPSIM_SHARED", "none")],
                words: &[
                    "target/release/capsim",
                    "validate",
                    "--all",
                    "--write-profiles",
                ],
            },
        ],
    },
    Task {
        name: "guides",
        what: "runs the commands of docs/guide and writes what they print; --check only compares",
        steps: &[RELEASE, step(&["python3", "scripts/guide_outputs.py"])],
    },
    Task {
        name: "site",
        what: "the documentation as a site with search, into target/site; every link is followed (argument: another folder)",
        steps: &[step(&[
            "cargo",
            "run",
            "--quiet",
            "-p",
            "capsim-cli",
            "--example",
            "site",
            "--",
        ])],
    },
    Task {
        name: "cards",
        what: "docs/cards.md: which model runs on which card, how fast, for how many; --check only compares some rows",
        steps: &[RELEASE, step(&["python3", "scripts/cards.py"])],
    },
    Task {
        name: "record",
        what: "records scheduling decisions of an installed vLLM (arguments: scripts/record_scheduler.py --help)",
        steps: &[step(&["python3", "scripts/record_scheduler.py"])],
    },
    Task {
        name: "flags",
        what: "the engines' flag lists from their wheels (arguments: scripts/flag_lists.py --help)",
        steps: &[step(&["python3", "scripts/flag_lists.py"])],
    },
    Task {
        name: "python",
        what: "builds the Python package into an environment under target/ and runs its tests",
        steps: &[step(&["python3", "scripts/python_tests.py"])],
    },
    Task {
        name: "release",
        what: "archive, crates and wheel in target/dist (arguments: scripts/release.py --help)",
        steps: &[step(&["python3", "scripts/release.py"])],
    },
];

fn help() {
    println!("cargo xtask TASK [ARGUMENTS]\n");
    for t in TASKS {
        println!("  {:<10} {}", t.name, t.what);
    }
}

/// Runs a task's steps, the arguments going to the last; the first that fails ends it.
fn run(task: &Task, arguments: &[String], root: &Path) -> Result<(), String> {
    let check = task.name == "generate" && arguments.iter().any(|a| a == "--check");
    let arguments = if check { &[] } else { arguments };
    for (at, step) in task.steps.iter().enumerate() {
        let mut command = Command::new(step.words[0]);
        command.args(&step.words[1..]).current_dir(root);
        if !check {
            command.envs(step.environment.iter().copied());
        }
        if at + 1 == task.steps.len() {
            command.args(arguments);
        }
        eprintln!("+ {}", step.words.join(" "));
        let status = command
            .status()
            .map_err(|e| format!("{}: {e}", step.words[0]))?;
        if !status.success() {
            return Err(format!("{}: {status}", step.words.join(" ")));
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some(name) = words.first().filter(|w| *w != "--help" && *w != "help") else {
        help();
        return ExitCode::SUCCESS;
    };
    let Some(task) = TASKS.iter().find(|t| t.name == name) else {
        eprintln!("error: there is no task `{name}`; there are:\n");
        help();
        return ExitCode::from(2);
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    match run(task, &words[1..], &root) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}
