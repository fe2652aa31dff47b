//! What people type instead of a flag's name: the names of other tools, which no help lists.
use clap::Command;
use std::ffi::OsString;

/// A word as it is typed, and the flag that it stands for where the command has no flag of that name itself. `--batch-size` is the number
/// of requests computed together, as in `vllm bench latency` (vLLM 0.33: vllm/benchmarks/latency.py); `--isl` and `--osl` are NVIDIA's
/// words for prompt and output lengths (AIPerf, AIConfigurator).
const TYPED: [(&str, &str); 34] = [
    ("-tp", "--tensor-parallel-size"),
    ("--tp", "--tensor-parallel-size"),
    ("--tp-size", "--tensor-parallel-size"),
    ("--num-gpus", "--tensor-parallel-size"),
    ("--gpus", "--tensor-parallel-size"),
    ("-dp", "--data-parallel-size"),
    ("--dp", "--data-parallel-size"),
    ("--dp-size", "--data-parallel-size"),
    ("--isl", "--random-input-len"),
    ("--prompt-len", "--random-input-len"),
    ("--input-tokens", "--random-input-len"),
    ("--prompt-tokens", "--random-input-len"),
    ("--osl", "--random-output-len"),
    ("--output-tokens", "--random-output-len"),
    ("--max-tokens", "--random-output-len"),
    ("--concurrency", "--max-concurrency"),
    ("--concurrent-users", "--max-concurrency"),
    ("--batch-size", "--max-concurrency"),
    ("--num-requests", "--num-prompts"),
    ("--requests", "--num-prompts"),
    ("--rps", "--request-rate"),
    ("--qps", "--request-rate"),
    ("--rate", "--request-rate"),
    ("--gpu", "--device"),
    ("--card", "--device"),
    ("--hardware", "--device"),
    ("--quant", "--weights"),
    ("--precision", "--weights"),
    ("--model-path", "--model"),
    ("--context-length", "--max-model-len"),
    ("--ctx-size", "--max-model-len"),
    ("--kv-dtype", "--kv-cache-dtype"),
    ("--trace", "--trace-file"),
    ("--num-users", "--users"),
];

/// A flag with its dashes, and whether a command has it.
fn has(command: &Command, flag: &str) -> bool {
    let Some(long) = flag.strip_prefix("--") else {
        return false;
    };
    command.get_arguments().any(|a| {
        let aliases = a.get_all_aliases().unwrap_or_default();
        a.get_long() == Some(long) || aliases.contains(&long)
    })
}

/// The words with what is typed put into the command's own. A line that starts a server, behind `--`, is left as it is.
pub fn understood(args: impl IntoIterator<Item = OsString>, root: &Command) -> Vec<OsString> {
    let mut words: Vec<OsString> = args.into_iter().collect();
    let mut command = root;
    for word in words.iter_mut().skip(1) {
        let Some(text) = word.to_str() else { continue };
        if text == "--" {
            break;
        }
        if let Some(deeper) = command.find_subcommand(text) {
            command = deeper;
            continue;
        }
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let meant = TYPED.iter().find(|(typed, _)| *typed == name);
        if let Some((_, flag)) = meant
            && !has(command, name)
            && has(command, flag)
        {
            *word = match value {
                Some(value) => format!("{flag}={value}").into(),
                None => (*flag).into(),
            };
        }
    }
    words
}
