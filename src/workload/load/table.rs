//! The table of a load's fields, under `vllm bench serve`'s names where it has them.
use super::LoadSection;
use crate::fields::{Field, Kind, keys, names};

const fn count(name: &'static str, label: &'static str, help: &'static str) -> Field {
    Field::new(name, Kind::Count(u32::MAX as u64), label, help)
}
const fn number(name: &'static str, label: &'static str, help: &'static str) -> Field {
    Field::new(name, Kind::Number, label, help)
}
const fn text(name: &'static str, label: &'static str, help: &'static str) -> Field {
    Field::new(name, Kind::Text, label, help)
}
const fn switch(name: &'static str, label: &'static str, help: &'static str) -> Field {
    Field::new(name, Kind::Switch, label, help)
}

/// All fields of a load.
pub static LOAD: [Field; N] = ROWS;

const N: usize = 35;

const ROWS: [Field; N] = [
    count(
        "num_prompts",
        "Requests measured",
        "Number of requests measured (default: 4 per client, or 1000)",
    ),
    count(
        "max_concurrency",
        "Most requests open at once",
        "Most requests that the client has open (default: 32 if nothing else sets a pace)",
    )
    .many(),
    number(
        "request_rate",
        "Requests per second",
        "Requests per second; inf: all at once (default: inf)",
    )
    .many(),
    number(
        "burstiness",
        "Burstiness",
        "Shape of the gamma-distributed gaps between requests: 1 is Poisson, below 1 is burstier (default: 1)",
    ),
    count(
        "random_input_len",
        "Prompt tokens",
        "Prompt tokens of a request (default: 256; 1024 as in vllm bench serve)",
    )
    .many()
    .alias(&["input_len"]),
    count(
        "random_output_len",
        "Output tokens",
        "Output tokens of a request (default: 256; 128 as in vllm bench serve)",
    )
    .many()
    .alias(&["output_len"]),
    number(
        "random_range_ratio",
        "Spread of the lengths",
        "Draw lengths uniformly from length × (1 ± R), R from 0 to below 1 (default: 0)",
    ),
    text(
        "images",
        "Images of a request",
        "Images of each request, behind its text: COUNTxWIDTHxHEIGHT in pixels, such as 1x1024x1024; the model's own rule makes prompt \
         tokens of them (default: none)",
    )
    .many(),
    Field::new(
        "prompts",
        Kind::Choice(&["distinct", "identical", "shared-prefix"]),
        "What prompts have in common",
        "What prompts have in common: distinct, identical, shared-prefix (default: distinct)",
    )
    .many(),
    count(
        "shared_prefix_len",
        "Shared prompt tokens",
        "Tokens that prompts share, for --prompts shared-prefix (default: 0)",
    ),
    number(
        "temperature",
        "Temperature",
        "Sampling temperature; at 0 equal prompts get equal answers (default: 0)",
    ),
    count(
        "num_warmups",
        "Warm-up requests",
        "Requests sent one by one before the measured ones (default: 1)",
    ),
    number(
        "send_skew_ms",
        "Milliseconds between first sends",
        "Milliseconds between the first requests of successive clients; at 0 all are admitted in one step (default: 0)",
    ),
    switch(
        "vllm_bench",
        "Requests of vllm bench serve",
        "Send the requests that `vllm bench serve --dataset-name random` sends for the same flags and seed, with its defaults",
    ),
    Field::new(
        "seed",
        Kind::Count(u64::MAX),
        "Seed",
        "Seed of all random draws (default: 0)",
    ),
    text(
        "arrival",
        "Arrival process",
        "Arrival process: constant, poisson, gamma (with --burstiness), weibull:CV or weibull:shape=K, \
         mmpp:RATE,RATE,SECONDS,SECONDS, rate-series:T:RATE,T:RATE… (linear between; add /repeat to repeat it) (default: gamma)",
    ),
    text(
        "ramp_up_strategy",
        "Ramp-up",
        "Raise the rate from request to request as vllm bench serve does: linear or exponential",
    ),
    number(
        "ramp_up_start_rps",
        "Rate at the first request",
        "Requests per second at the first request of a ramp-up",
    ),
    number(
        "ramp_up_end_rps",
        "Rate at the last request",
        "Requests per second at the last request of a ramp-up",
    ),
    count(
        "users",
        "Users",
        "Number of users who read an answer, think, and ask again, instead of a rate",
    )
    .many(),
    text(
        "think_time",
        "Think time",
        "Seconds from an answer to the same user's next request: SECONDS, exponential:MEAN, lognormal:MEAN,CV (default: 0)",
    ),
    count(
        "turns",
        "Requests per conversation",
        "Requests per conversation; each prompt repeats the conversation and adds the input length (default: 1)",
    ),
    text(
        "input_dist",
        "Distribution of prompt lengths",
        "Distribution of prompt lengths: fixed:N, uniform:MIN,MAX, normal:MEAN,SD, lognormal:MEDIAN,SIGMA, \
         pareto-lognormal:TAIL,ALPHA,SCALE,MEDIAN,SIGMA (each with [,min=N][,max=N]), empirical:FILE",
    ),
    text(
        "output_dist",
        "Distribution of output lengths",
        "Distribution of output lengths, written as --input-dist",
    ),
    text(
        "trace_file",
        "Trace",
        "Replay a recorded trace: a file, or a folder of ServeGen clients",
    ),
    text(
        "trace_format",
        "Format of the trace",
        "Format of the trace: mooncake, bailian, llmservingsim, log, azure, burstgpt, vidur, csv, servegen (default: recognised by its first line)",
    ),
    text(
        "trace_columns",
        "Columns of the trace",
        "Columns of another CSV: time=NAME,input=NAME,output=NAME[,unit=s|ms|us|ns]",
    ),
    count(
        "trace_block_size",
        "Tokens per hash id",
        "Tokens per hash id of the trace (default: 512 for mooncake, 16 for bailian)",
    ),
    switch(
        "trace_skip_empty",
        "Leave out empty requests",
        "Leave out requests of the trace without input or output tokens, instead of refusing the file",
    ),
    switch(
        "trace_sort",
        "Put the trace in order",
        "Put the trace's rows in the order of their times, instead of refusing a file that is out of order",
    ),
    number(
        "trace_start",
        "Start in the trace",
        "Seconds of recorded time to leave out at the beginning (default: 0)",
    ),
    number(
        "trace_duration",
        "Length of the trace",
        "Seconds of recorded time to take (default: to the end)",
    ),
    switch(
        "trace_spread",
        "Spread equal times",
        "Spread requests recorded at the same time up to the next recorded time",
    ),
    number(
        "trace_rate",
        "Rate of ServeGen clients",
        "Requests per second of all ServeGen clients together (default: as recorded)",
    ),
    number(
        "trace_speedup",
        "Speed-up of the trace",
        "Replay the trace this many times faster than recorded (default: 1)",
    )
    .many(),
];

const NAMES: [&str; N] = names(&ROWS);

keys! {
    LoadSection, NAMES, "LOAD";
    NUM_PROMPTS: u32 = "num_prompts";
    MAX_CONCURRENCY: u32 = "max_concurrency";
    REQUEST_RATE: f64 = "request_rate";
    BURSTINESS: f64 = "burstiness";
    RANDOM_INPUT_LEN: u32 = "random_input_len";
    RANDOM_OUTPUT_LEN: u32 = "random_output_len";
    RANDOM_RANGE_RATIO: f64 = "random_range_ratio";
    IMAGES: String = "images";
    PROMPTS: String = "prompts";
    SHARED_PREFIX_LEN: u32 = "shared_prefix_len";
    TEMPERATURE: f64 = "temperature";
    NUM_WARMUPS: u32 = "num_warmups";
    SEND_SKEW_MS: f64 = "send_skew_ms";
    VLLM_BENCH: bool = "vllm_bench";
    SEED: u64 = "seed";
    ARRIVAL: String = "arrival";
    RAMP_UP_STRATEGY: String = "ramp_up_strategy";
    RAMP_UP_START_RPS: f64 = "ramp_up_start_rps";
    RAMP_UP_END_RPS: f64 = "ramp_up_end_rps";
    USERS: u32 = "users";
    THINK_TIME: String = "think_time";
    TURNS: u32 = "turns";
    INPUT_DIST: String = "input_dist";
    OUTPUT_DIST: String = "output_dist";
    TRACE_FILE: String = "trace_file";
    TRACE_FORMAT: String = "trace_format";
    TRACE_COLUMNS: String = "trace_columns";
    TRACE_BLOCK_SIZE: u32 = "trace_block_size";
    TRACE_SKIP_EMPTY: bool = "trace_skip_empty";
    TRACE_SORT: bool = "trace_sort";
    TRACE_START: f64 = "trace_start";
    TRACE_DURATION: f64 = "trace_duration";
    TRACE_SPREAD: bool = "trace_spread";
    TRACE_RATE: f64 = "trace_rate";
    TRACE_SPEEDUP: f64 = "trace_speedup";
}
