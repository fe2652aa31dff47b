//! The models that ship with capsim: the `config.json` files under `models/`, found by name.
use super::config::{self, ModelConfig};
use super::error::{ModelError, closest};

/// A model that ships with capsim.
#[derive(Clone, Copy, Debug)]
pub struct Builtin {
    /// Its name on Hugging Face, e.g. `Qwen/Qwen3-8B`.
    pub id: &'static str,
    /// Its `config.json`.
    pub json: &'static str,
    /// Licence of the weights.
    pub licence: &'static str,
    /// Published number of parameters (models/README.md says where).
    pub published_parameters: u64,
}

impl Builtin {
    /// The name without the owner, in lower case: the directory under `models/`.
    pub fn name(&self) -> String {
        short(self.id).to_ascii_lowercase()
    }

    /// The parsed config.
    ///
    /// # Panics
    /// Never: every shipped config is parsed in the tests.
    pub fn config(&self) -> ModelConfig {
        config::parse(self.json, self.id).expect("shipped configs are tested")
    }
}

macro_rules! builtins {
    ($($id:literal, $directory:literal, $licence:literal, $published:literal;)*) => {
        /// All of them, the reference model first.
        pub const ALL: &[Builtin] = &[$(Builtin {
            id: $id,
            json: include_str!(concat!("../../models/", $directory, "/config.json")),
            licence: $licence,
            published_parameters: $published,
        }),*];
    };
}

builtins! {
    "Qwen/Qwen3-30B-A3B-Instruct-2507", "qwen3-30b-a3b-instruct-2507", "Apache-2.0", 30_532_122_624;
    "Qwen/Qwen3-30B-A3B", "qwen3-30b-a3b", "Apache-2.0", 30_532_122_624;
    "Qwen/Qwen3-32B", "qwen3-32b", "Apache-2.0", 32_762_123_264;
    "Qwen/Qwen3-14B", "qwen3-14b", "Apache-2.0", 14_768_307_200;
    "Qwen/Qwen3-8B", "qwen3-8b", "Apache-2.0", 8_190_735_360;
    "Qwen/Qwen3-4B", "qwen3-4b", "Apache-2.0", 4_022_468_096;
    "Qwen/Qwen3-1.7B", "qwen3-1.7b", "Apache-2.0", 1_720_574_976;
    "Qwen/Qwen3-0.6B", "qwen3-0.6b", "Apache-2.0", 596_049_920;
    "Qwen/Qwen2.5-7B-Instruct", "qwen2.5-7b-instruct", "Apache-2.0", 7_615_616_512;
    "meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b-instruct", "Llama 3.1 Community", 8_030_261_248;
    "meta-llama/Llama-2-7b-hf", "llama-2-7b-hf", "Llama 2 Community", 6_738_415_616;
    "mistralai/Mixtral-8x7B-Instruct-v0.1", "mixtral-8x7b-instruct-v0.1", "Apache-2.0", 46_702_792_704;
    "openai/gpt-oss-20b", "gpt-oss-20b", "Apache-2.0", 20_910_000_000;
    "openai/gpt-oss-120b", "gpt-oss-120b", "Apache-2.0", 116_830_000_000;
    "google/gemma-2-9b-it", "gemma-2-9b-it", "Gemma", 9_241_705_984;
    "Qwen/Qwen3-Coder-30B-A3B-Instruct", "qwen3-coder-30b-a3b-instruct", "Apache-2.0", 30_532_122_624;
    "Qwen/Qwen3.6-35B-A3B", "qwen3.6-35b-a3b", "Apache-2.0", 34_660_000_000;
    "Qwen/Qwen3.5-35B-A3B", "qwen3.5-35b-a3b", "Apache-2.0", 34_660_000_000;
    "Qwen/Qwen3.5-122B-A10B", "qwen3.5-122b-a10b", "Apache-2.0", 122_110_000_000;
    "Qwen/Qwen3.6-27B", "qwen3.6-27b", "Apache-2.0", 26_900_000_000;
    "Qwen/Qwen3.5-9B", "qwen3.5-9b", "Apache-2.0", 8_950_000_000;
    "Qwen/Qwen3.5-4B", "qwen3.5-4b", "Apache-2.0", 4_210_000_000;
    "Qwen/Qwen3.5-2B", "qwen3.5-2b", "Apache-2.0", 1_880_000_000;
    "Qwen/Qwen3-Next-80B-A3B-Instruct", "qwen3-next-80b-a3b-instruct", "Apache-2.0", 79_670_000_000;
    "Qwen/Qwen3-Coder-Next", "qwen3-coder-next", "Apache-2.0", 79_670_000_000;
    "Qwen/Qwen2.5-0.5B-Instruct", "qwen2.5-0.5b-instruct", "Apache-2.0", 494_032_768;
    "Qwen/Qwen2.5-1.5B-Instruct", "qwen2.5-1.5b-instruct", "Apache-2.0", 1_543_714_304;
    "Qwen/Qwen2.5-3B-Instruct", "qwen2.5-3b-instruct", "Qwen Research", 3_085_938_688;
    "Qwen/Qwen2.5-14B-Instruct", "qwen2.5-14b-instruct", "Apache-2.0", 14_770_033_664;
    "Qwen/Qwen2.5-32B-Instruct", "qwen2.5-32b-instruct", "Apache-2.0", 32_763_876_352;
    "meta-llama/Llama-3.2-1B-Instruct", "llama-3.2-1b-instruct", "Llama 3.2 Community", 1_235_814_400;
    "meta-llama/Llama-3.2-3B-Instruct", "llama-3.2-3b-instruct", "Llama 3.2 Community", 3_212_749_824;
    "meta-llama/Llama-3.1-70B-Instruct", "llama-3.1-70b-instruct", "Llama 3.1 Community", 70_553_706_496;
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0", "tinyllama-1.1b-chat-v1.0", "Apache-2.0", 1_100_048_384;
    "microsoft/Phi-4-mini-instruct", "phi-4-mini-instruct", "MIT", 3_836_021_760;
    "google/gemma-4-26B-A4B-it", "gemma-4-26b-a4b-it", "Apache-2.0", 25_230_000_000;
    "google/gemma-4-31B-it", "gemma-4-31b-it", "Apache-2.0", 30_700_000_000;
    "mistralai/Ministral-3-14B-Instruct-2512", "ministral-3-14b-instruct-2512", "Apache-2.0", 13_510_000_000;
}

fn short(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}

/// Whether a word of a name says how a model was tuned, or when, and not which size it is: `instruct`, `2507`, `v1.0`. `mini` or `14b`
/// make another model.
fn keeps_the_sizes(word: &str) -> bool {
    tuned(word) || dated(word)
}

fn tuned(word: &str) -> bool {
    [
        "instruct", "it", "chat", "hf", "base", "thinking", "pt", "preview",
    ]
    .contains(&word)
}

/// Dates and versions: two models that both have one are the same only if it is the same.
fn dated(word: &str) -> bool {
    let date = word.len() == 4 && word.bytes().all(|b| b.is_ascii_digit());
    let version = word
        .strip_prefix('v')
        .is_some_and(|v| v.starts_with(|c: char| c.is_ascii_digit()));
    date || version
}

/// A name without the words at its end that keep the sizes, and those.
fn stem(name: &str) -> (&str, Vec<&str>) {
    let (mut stem, mut words) = (name, vec![]);
    while let Some((before, word)) = stem.rsplit_once('-') {
        if !keeps_the_sizes(word) {
            break;
        }
        words.push(word);
        stem = before;
    }
    (stem, words)
}

/// The model of the same sizes whose name differs least at its end.
fn sibling(wanted: &str) -> Option<&'static Builtin> {
    let (wanted, words) = stem(wanted);
    let mut best: Option<(i32, &Builtin)> = None;
    let mut alone = false;
    for b in ALL {
        let name = b.name();
        let (own, others) = stem(&name);
        let dates = |of: &[&str]| -> Vec<String> {
            of.iter()
                .filter(|w| dated(w))
                .map(|w| w.to_string())
                .collect()
        };
        let (mine, its) = (dates(&words), dates(&others));
        if own != wanted || (!mine.is_empty() && !its.is_empty() && mine != its) {
            continue;
        }
        let shared = others.iter().filter(|w| words.contains(w)).count() as i32;
        let score = 3 * shared - others.len() as i32;
        alone = best.is_none_or(|(s, _)| score != s);
        if best.is_none_or(|(s, _)| score > s) {
            best = Some((score, b));
        }
    }
    best.filter(|_| alone).map(|(_, b)| b)
}

/// Finds a built-in model by its Hugging Face id or by the part after the slash, ignoring case. A short name
/// also stands for the nearest variant of the same size: `llama-3.1-8b` for `Llama-3.1-8B-Instruct`, and the other way round.
///
/// # Errors
/// An unknown name, with the closest known one.
///
/// ```
/// use capsim::model::builtin;
/// assert_eq!(builtin::find("qwen/qwen3-8b")?.id, "Qwen/Qwen3-8B");
/// assert_eq!(builtin::find("Llama-3.1-8B")?.id, "meta-llama/Llama-3.1-8B-Instruct");
/// let err = builtin::find("lama-3.1-8b").unwrap_err().to_string();
/// assert!(err.starts_with("no built-in model \"lama-3.1-8b\" (did you mean \"llama-3.1-8b-instruct\"?)"), "{err}");
/// # Ok::<(), capsim::model::ModelError>(())
/// ```
pub fn find(name: &str) -> Result<&'static Builtin, ModelError> {
    let wanted = name.trim().to_ascii_lowercase();
    if let Some(exact) = ALL
        .iter()
        .find(|b| b.id.to_ascii_lowercase() == wanted || b.name() == wanted)
    {
        return Ok(exact);
    }
    let owned = |b: &&Builtin| {
        let owner = wanted.rsplit_once('/').map(|(owner, _)| owner);
        owner.is_none_or(|o| b.id.to_ascii_lowercase().starts_with(o))
    };
    if let Some(found) = sibling(short(&wanted)).filter(owned) {
        return Ok(found);
    }
    let names: Vec<String> = ALL.iter().map(Builtin::name).collect();
    let name: String = name.chars().take(100).collect();
    Err(ModelError::UnknownModel {
        suggestion: closest(short(&name), names.iter().map(String::as_str)),
        name,
    })
}
