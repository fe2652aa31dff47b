//! What loggers call a request's time, its prompt tokens and its output tokens.
//!
//! Sources: LiteLLM (litellm/proxy/_types.py: SpendLogsPayload; its JSON logs), OpenAI's `usage` object and `created`, Anthropic's `usage`,
//! Langfuse (exported observations: `startTime`, `usage.input`), OpenTelemetry's semantic conventions for generative AI
//! (`gen_ai.usage.input_tokens`, once `prompt_tokens`) and spans (`startTimeUnixNano`), vLLM (vllm/tracing.py).

/// Names in lower case, of letters and digits alone; the first that is there counts.
pub(super) const TIME: &[&str] = &[
    "starttimeunixnano",
    "starttime",
    "requeststarttime",
    "requeststart",
    "requesttime",
    "arrivaltime",
    "arrivedat",
    "arrival",
    "startedat",
    "createdat",
    "timestamp",
    "ts",
    "time",
    "datetime",
    "created",
    "date",
];

/// Prompt tokens.
pub(super) const INPUT: &[&str] = &[
    "prompttokens",
    "inputtokens",
    "numprompttokens",
    "numinputtokens",
    "prompttokencount",
    "inputtokencount",
    "contexttokens",
    "requesttokens",
    "inputlength",
    "promptlen",
    "inputlen",
    "numprefilltokens",
    "tokensin",
];

/// Output tokens.
pub(super) const OUTPUT: &[&str] = &[
    "completiontokens",
    "outputtokens",
    "generatedtokens",
    "numcompletiontokens",
    "numoutputtokens",
    "numgeneratedtokens",
    "completiontokencount",
    "outputtokencount",
    "candidatestokencount",
    "responsetokens",
    "outputlength",
    "outputlen",
    "numdecodetokens",
    "tokensout",
];

/// A name in lower case, of letters and digits alone.
pub(super) fn plain(name: &str) -> String {
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    letters.map(|c| c.to_ascii_lowercase()).collect()
}

/// Which of `names` is a column of these, the first that is there.
pub(super) fn column<'a>(names: &[&str], columns: &[&'a str]) -> Option<&'a str> {
    let plains: Vec<String> = columns.iter().map(|c| plain(c)).collect();
    names
        .iter()
        .find_map(|n| plains.iter().position(|p| p == n))
        .map(|at| columns[at])
}
