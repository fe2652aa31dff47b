//! Which program words start.
use crate::device::Scheduler;

/// A program that a line starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// An engine's server.
    Server(Scheduler),
    /// The load client `vllm bench serve`.
    Bench,
    /// `docker run` and the like: an image follows, after options.
    Container,
    /// `bash -c`: a text that holds the line follows.
    Shell,
    /// `bash FILE`: a script.
    Script,
    /// A server or benchmark that is not simulated.
    Other,
}

/// Modules that `python -m` starts.
const MODULES: &[(&str, Program)] = &[
    (
        "vllm.entrypoints.openai.api_server",
        Program::Server(Scheduler::Vllm),
    ),
    (
        "vllm.entrypoints.api_server",
        Program::Server(Scheduler::Vllm),
    ),
    ("sglang.launch_server", Program::Server(Scheduler::Sglang)),
    ("vllm.benchmarks.serve", Program::Bench),
    ("vllm.benchmarks.benchmark_serving", Program::Bench),
    ("sglang.bench_serving", Program::Other),
    ("llama_cpp.server", Program::Other),
    ("mlc_llm", Program::Other),
    ("fastchat.serve.vllm_worker", Program::Other),
    (
        "tensorrt_llm.commands.serve",
        Program::Server(Scheduler::Trtllm),
    ),
];

/// Scripts by the last part of their path.
const SCRIPTS: &[(&str, Program)] = &[
    ("api_server.py", Program::Server(Scheduler::Vllm)),
    ("launch_server.py", Program::Server(Scheduler::Sglang)),
    ("benchmark_serving.py", Program::Bench),
];

/// Programs that take a subcommand.
const COMMANDS: &[(&str, &str, Program)] = &[
    ("vllm", "serve", Program::Server(Scheduler::Vllm)),
    ("vllm-omni", "serve", Program::Other),
    ("sglang", "serve", Program::Server(Scheduler::Sglang)),
    ("llama", "serve", Program::Server(Scheduler::LlamaServer)),
    ("llama", "server", Program::Server(Scheduler::LlamaServer)),
    ("docker", "run", Program::Container),
    ("docker", "create", Program::Container),
    ("podman", "run", Program::Container),
    ("podman", "create", Program::Container),
    ("nerdctl", "run", Program::Container),
    ("ollama", "serve", Program::Other),
    ("ollama", "run", Program::Other),
    ("lmdeploy", "serve", Program::Other),
    ("mlc_llm", "serve", Program::Other),
    ("trtllm-serve", "serve", Program::Server(Scheduler::Trtllm)),
    ("trtllm-serve", "disaggregated", Program::Other),
    ("trtllm-serve", "disaggregated_mpi_worker", Program::Other),
    ("trtllm-serve", "mm_embedding_serve", Program::Other),
];

/// Programs by name alone.
const NAMES: &[(&str, Program)] = &[
    ("llama-server", Program::Server(Scheduler::LlamaServer)),
    ("trtllm-serve", Program::Server(Scheduler::Trtllm)),
    ("text-generation-launcher", Program::Other),
    ("llama-swap", Program::Other),
    ("tabbyAPI", Program::Other),
    ("llama-cli", Program::Other),
    ("llama-bench", Program::Other),
];

const SHELLS: &[&str] = &["bash", "sh", "zsh", "dash", "ash", "fish"];

/// The last part of a path, of either system, without `.exe`.
pub(super) fn file_name(path: &str) -> &str {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    name.strip_suffix(".exe").unwrap_or(name)
}

/// The program that words begin with, and how many words name it. A path in front of a name is taken; so is `-m MODULE`, whatever
/// Python it is given to.
pub(super) fn at(words: &[String]) -> Option<(Program, usize)> {
    let first = words.first()?.as_str();
    let name = file_name(first);
    let second = words.get(1).map_or("", String::as_str);
    let third = words.get(2).map_or("", String::as_str);
    if first == "-m" || first == "-mvllm.entrypoints.openai.api_server" {
        return module(
            if first == "-m" { second } else { &first[2..] },
            if first == "-m" { 2 } else { 1 },
            &words[1..],
        );
    }
    if let Some((_, program)) = SCRIPTS.iter().find(|(s, _)| *s == name) {
        return Some((*program, 1));
    }
    if SHELLS.contains(&name) && !second.is_empty() && !second.starts_with('-') {
        return Some((Program::Script, 1));
    }
    if SHELLS.contains(&name) && second.starts_with('-') {
        // bash -lc "…", bash -l -c "…"
        let at = words
            .iter()
            .skip(1)
            .take_while(|w| w.starts_with('-'))
            .position(|w| w.ends_with('c'))?;
        return Some((Program::Shell, at + 2));
    }
    if name == "vllm" && second == "bench" {
        return Some(match third {
            "serve" => (Program::Bench, 3),
            _ => (Program::Other, 2),
        });
    }
    if matches!(name, "docker" | "podman" | "nerdctl")
        && second == "container"
        && matches!(third, "run" | "create")
    {
        return Some((Program::Container, 3));
    }
    if let Some((.., program)) = COMMANDS.iter().find(|(p, c, _)| *p == name && *c == second) {
        return Some((*program, 2));
    }
    // llama.cpp's server was called `server` once.
    if name == "server" && words.iter().take(64).any(|w| w.ends_with(".gguf")) {
        return Some((Program::Server(Scheduler::LlamaServer), 1));
    }
    let by_name = NAMES.iter().find(|(n, _)| {
        *n == name
            || name
                .strip_prefix(n)
                .is_some_and(|rest| rest.starts_with('-'))
    });
    by_name.map(|(_, program)| (*program, 1))
}

fn module(name: &str, words: usize, rest: &[String]) -> Option<(Program, usize)> {
    if name == "vllm.entrypoints.cli.main" || name == "vllm" || name == "sglang" {
        let mut command = rest.to_vec();
        command[0] = name.split('.').next().unwrap_or(name).into();
        return at(&command).map(|(program, n)| (program, n - 1 + words));
    }
    let (_, program) = MODULES.iter().find(|(m, _)| *m == name)?;
    Some((*program, words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(line: &str) -> Option<(Program, usize)> {
        let words: Vec<String> = line.split_whitespace().map(String::from).collect();
        at(&words)
    }

    #[test]
    fn the_program_says_whose_flags_they_are() {
        use Program::{Bench, Container, Other, Server, Shell};
        use Scheduler::{LlamaServer, Sglang, Trtllm, Vllm};
        for (line, found) in [
            ("trtllm-serve m --tp_size 8", Some((Server(Trtllm), 1))),
            ("trtllm-serve serve m", Some((Server(Trtllm), 2))),
            ("trtllm-serve disaggregated -c f", Some((Other, 2))),
            ("vllm serve m", Some((Server(Vllm), 2))),
            ("/srv/venv/bin/vllm serve m", Some((Server(Vllm), 2))),
            (
                "-m vllm.entrypoints.openai.api_server --model m",
                Some((Server(Vllm), 2)),
            ),
            (
                "-m vllm.entrypoints.cli.main serve m",
                Some((Server(Vllm), 3)),
            ),
            (
                "/x/vllm/entrypoints/openai/api_server.py --model m",
                Some((Server(Vllm), 1)),
            ),
            (
                "-m sglang.launch_server --model-path m",
                Some((Server(Sglang), 2)),
            ),
            ("sglang serve --model-path m", Some((Server(Sglang), 2))),
            (
                "./build/bin/llama-server -m m.gguf",
                Some((Server(LlamaServer), 1)),
            ),
            (
                "C:\\x\\llama-server.exe -m m.gguf",
                Some((Server(LlamaServer), 1)),
            ),
            (
                "llama-server-vulkan -m m.gguf",
                Some((Server(LlamaServer), 1)),
            ),
            ("./server -m m.gguf", Some((Server(LlamaServer), 1))),
            ("vllm bench serve --model m", Some((Bench, 3))),
            ("vllm bench throughput", Some((Other, 2))),
            ("docker run --rm x", Some((Container, 2))),
            ("podman container run x", Some((Container, 3))),
            ("bash -l -c 'x'", Some((Shell, 3))),
            ("sh -lc x", Some((Shell, 2))),
            ("bash run.sh", Some((Program::Script, 1))),
            ("bash", None),
            ("ollama serve", Some((Other, 2))),
            ("-m", None),
            ("-m vllm.entrypoints.cli.main", None),
            ("-m http.server", None),
            ("python", None),
        ] {
            assert_eq!(program(line), found, "{line}");
        }
    }
}
