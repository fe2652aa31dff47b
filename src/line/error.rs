//! What is wrong with a line.

/// Why a line cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Words that start no server.
    #[error(
        "`{words}` starts no server: paste `vllm serve MODEL ...`, `python -m sglang.launch_server ...`, `trtllm-serve ...`, `llama-server ...`, a `docker run` \
         line, a compose or Kubernetes file, or flags of vllm serve alone"
    )]
    NoServer {
        /// The first words.
        words: String,
    },
    /// A server that capsim does not simulate.
    #[error(
        "`{program}` starts a server that capsim does not simulate (it knows vLLM, SGLang, TensorRT-LLM and llama-server)"
    )]
    OtherServer {
        /// The program.
        program: String,
    },
    /// An image that needs a command, and none is there.
    #[error("the image `{image}` starts no server by itself, and no command follows it")]
    NoCommand {
        /// The image.
        image: String,
    },
    /// A quotation mark without its partner.
    #[error("the quotation mark {quote} is never closed (after `{after}`)")]
    OpenQuote {
        /// The mark.
        quote: char,
        /// The text in front of it.
        after: String,
    },
    /// A command in a command, deeper than any line that people type.
    #[error("the line nests commands too deeply")]
    TooDeep,
    /// A text that is far too long for a line.
    #[error(
        "the text, or what its variables make of it, is longer than 256 KiB: it is no line that starts a server"
    )]
    TooLong,
    /// A file that the line names and that cannot be read.
    #[error("{flag} `{path}`: {reason}")]
    File {
        /// The flag that names it.
        flag: String,
        /// The file.
        path: String,
        /// What went wrong.
        reason: String,
    },
    /// YAML that is none.
    #[error("this is no valid YAML: {reason}")]
    Yaml {
        /// What the parser says.
        reason: String,
    },
    /// A document without a server in it.
    #[error(
        "this {kind} starts no server that capsim knows (vLLM, SGLang, TensorRT-LLM, llama-server)"
    )]
    NothingIn {
        /// What kind of document it is.
        kind: &'static str,
    },
    /// A line without a model.
    #[error("the line names no model: {hint}")]
    NoModel {
        /// How the engine takes one.
        hint: String,
    },
    /// A flag without its value.
    #[error("`{flag}` needs a value")]
    MissingValue {
        /// The flag.
        flag: String,
    },
    /// The beginning of several flags.
    #[error("`{flag}` is ambiguous: it could be {}", names.join(" or "))]
    Ambiguous {
        /// As typed.
        flag: String,
        /// The flags that begin so.
        names: Vec<String>,
    },
    /// A flag that asks for what is not simulated, and without which the answer would be that of another server.
    #[error("`{words}` is not simulated: {reason}")]
    NotSimulated {
        /// The flag and its value.
        words: String,
        /// Why there is no answer without it, and what to do.
        reason: &'static str,
    },
    /// A value that is no such thing.
    #[error("`{flag}`: `{value}` is not {expected}")]
    BadValue {
        /// The flag.
        flag: String,
        /// What was given.
        value: String,
        /// What would be right.
        expected: String,
    },
}
